extension Instruction {
  /// Expands variables in the words of an instruction: ADD and COPY (`--chown`, `--chmod`, `--checksum`, sources, destination), ARG, ENV,
  /// LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR. The others stay as they are: CMD, ENTRYPOINT, RUN's command and SHELL are for the
  /// shell to expand; EXPOSE goes through ``WordLexer/words(in:environment:)``, RUN's mounts through
  /// ``RunInstruction/resolvedMounts(expanding:)``, heredocs of ADD and COPY through ``expandContents(_:)``.
  ///
  /// - Parameter expand: gives the expansion of one word, usually by ``WordLexer/expand(_:environment:)`` with the file's escape character.
  /// - Throws: what `expand` throws; a ``DockerfileError`` without a place gets the instruction's.
  public mutating func expand(_ expand: WordExpander) throws {
    let origin = origin
    try located(at: origin) {
      switch self {
      case .add(var it):
        try it.owner.expandInPlace(expand)
        try it.mode.expandInPlace(expand)
        try it.checksum.expandInPlace(expand)
        try it.sources.expand(expand)
        self = .add(it)
      case .copy(var it):
        try it.owner.expandInPlace(expand)
        try it.mode.expandInPlace(expand)
        try it.sources.expand(expand)
        self = .copy(it)
      case .arg(var it):
        for index in it.arguments.indices {
          it.arguments[index].key = try expand(it.arguments[index].key)
          try it.arguments[index].value.expandInPlace(expand)
        }
        self = .arg(it)
      case .env(var it):
        try it.variables.expandInPlace(expand)
        self = .env(it)
      case .label(var it):
        try it.labels.expandInPlace(expand)
        self = .label(it)
      case .stopsignal(var it):
        it.signal = try expand(it.signal)
        self = .stopsignal(it)
      case .user(var it):
        it.user = try expand(it.user)
        self = .user(it)
      case .volume(var it):
        it.volumes = try it.volumes.map(expand)
        self = .volume(it)
      case .workdir(var it):
        it.path = try expand(it.path)
        self = .workdir(it)
      case .cmd, .entrypoint, .expose, .healthcheck, .maintainer, .onbuild, .run, .shell: break
      }
    }
  }

  /// Expands variables in the heredocs of ADD and COPY whose word is not quoted.
  ///
  /// - Parameter expand: gives the expansion of a whole document, by a ``WordLexer`` with the escape character `\` whatever the file's is,
  ///   and ``WordLexer/ignoresQuotes`` set.
  /// - Throws: as ``expand(_:)``.
  public mutating func expandContents(_ expand: WordExpander) throws {
    let origin = origin
    try located(at: origin) {
      switch self {
      case .add(var it):
        try it.sources.expandContents(expand)
        self = .add(it)
      case .copy(var it):
        try it.sources.expandContents(expand)
        self = .copy(it)
      default: break
      }
    }
  }
}

extension RunInstruction {
  /// The mounts with variables expanded and all options checked.
  ///
  /// - Throws: ``DockerfileError`` at the instruction, or what `expand` throws.
  public func resolvedMounts(expanding expand: WordExpander) throws -> [RunMount] {
    try located(at: origin) { try mounts.map { try $0.resolved(expanding: expand) } }
  }
}

/// Gives a ``DockerfileError`` that leaves `body` without a place this one.
private func located<T>(at origin: InstructionOrigin, _ body: () throws -> T) throws -> T {
  do {
    return try body()
  } catch let error as DockerfileError {
    throw error.located(at: origin)
  }
}

extension FileSources {
  fileprivate mutating func expand(_ expand: WordExpander) throws {
    paths = try paths.map(expand)
    destination = try expand(destination)
  }

  fileprivate mutating func expandContents(_ expand: WordExpander) throws {
    for index in contents.indices where contents[index].expands { contents[index].data = try expand(contents[index].data) }
  }
}

extension [KeyValue] {
  fileprivate mutating func expandInPlace(_ expand: WordExpander) throws {
    for index in indices {
      self[index].key = try expand(self[index].key)
      self[index].value = try expand(self[index].value)
    }
  }
}

extension String? {
  fileprivate mutating func expandInPlace(_ expand: WordExpander) throws {
    if let word = self { self = try expand(word) }
  }
}
