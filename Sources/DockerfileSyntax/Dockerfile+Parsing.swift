extension Dockerfile {
  /// Parses a Dockerfile's bytes into stages.
  ///
  /// - Throws: ``DockerfileError`` with the place of the first mistake.
  public static func parse(bytes: [UInt8], limits: SyntaxLimits = SyntaxLimits()) throws(DockerfileError) -> Dockerfile {
    try Dockerfile(SyntaxTree.parse(bytes: bytes, limits: limits))
  }

  /// Parses a Dockerfile's text into stages.
  ///
  /// - Throws: ``DockerfileError`` with the place of the first mistake.
  public static func parse(_ text: String, limits: SyntaxLimits = SyntaxLimits()) throws(DockerfileError) -> Dockerfile {
    try Dockerfile(SyntaxTree.parse(text, limits: limits))
  }

  /// Gives a syntax tree its meaning.
  ///
  /// - Throws: ``DockerfileError`` with the place of the first mistake.
  public init(_ tree: SyntaxTree) throws(DockerfileError) { try self.init(tree) { _ in { _ in } } }

  /// Gives a syntax tree its meaning; `look` sees each node before, and what it answers sees what became of it.
  init(_ tree: SyntaxTree, look: (InstructionNode) -> (InstructionBuilder.Built) -> Void) throws(DockerfileError) {
    self.tree = tree
    globalArguments = []
    stages = []
    for (index, node) in tree.nodes.enumerated() {
      let seen = look(node)
      let built: InstructionBuilder.Built
      do { built = try InstructionBuilder.build(node) } catch {
        guard error.code == .unknownInstruction, error.suggestion == nil else { throw error }
        throw error.advising(StrayLine.advice(for: node, after: index > 0 ? tree.nodes[index - 1] : nil, escape: tree.escape))
      }
      seen(built)
      switch built {
      case .stage(let stage): stages.append(stage)
      case .instruction(.arg(let argument)) where stages.isEmpty: globalArguments.append(argument)
      case .instruction(let instruction):
        guard !stages.isEmpty else {
          throw DockerfileError(.stage, "\(instruction.name) stands before the first FROM; only ARG may", range: node.range, focus: node.keywordRange)
            .advising("begin the file with FROM and a base image, as in FROM alpine:3.20, and put \(instruction.name) below it")
        }
        stages[stages.count - 1].instructions.append(instruction)
      }
    }
  }

  /// The index of the last stage with that name, letter case ignored; nil when there is none.
  public func stageIndex(named name: String) -> Int? {
    let lowered = name.lowercased()
    return stages.lastIndex { $0.name == lowered }
  }
}

extension Instruction {
  /// Parses the text that an ONBUILD held, when it fires in a child's build.
  ///
  /// - Parameters:
  ///   - text: ``OnbuildInstruction/expression``, or an entry of an image's `OnBuild` list.
  ///   - range: the place that errors and progress shall point to: the child's FROM.
  /// - Throws: ``DockerfileError``, also when the text is a FROM or more than one instruction.
  public static func trigger(_ text: String, at range: SourceRange, limits: SyntaxLimits = SyntaxLimits()) throws(DockerfileError) -> Instruction {
    do throws(DockerfileError) {
      let tree = try SyntaxTree.parse(text, limits: limits)
      guard tree.nodes.count == 1 else {
        throw DockerfileError(.badArguments, "the ONBUILD trigger \(text.quoted) is more than one instruction")
      }
      var node = tree.nodes[0]
      node.move(to: range)
      guard case .instruction(let instruction) = try InstructionBuilder.build(node) else {
        throw DockerfileError(.badArguments, "an ONBUILD trigger cannot be FROM")
      }
      return instruction
    } catch {
      var error = error
      (error.range, error.focus) = (range, nil)
      throw error
    }
  }

  /// The instruction's word in upper case.
  public var name: String { origin.keyword.asciiUppercased }

  /// Where it came from.
  public var origin: InstructionOrigin {
    switch self {
    case .add(let it): it.origin
    case .arg(let it): it.origin
    case .cmd(let it): it.origin
    case .copy(let it): it.origin
    case .entrypoint(let it): it.origin
    case .env(let it): it.origin
    case .expose(let it): it.origin
    case .healthcheck(let it): it.origin
    case .label(let it): it.origin
    case .maintainer(let it): it.origin
    case .onbuild(let it): it.origin
    case .run(let it): it.origin
    case .shell(let it): it.origin
    case .stopsignal(let it): it.origin
    case .user(let it): it.origin
    case .volume(let it): it.origin
    case .workdir(let it): it.origin
    }
  }
}
