internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

extension Converter {
  /// What COPY and ADD have in common.
  struct FileStep {
    var keyword: String
    var origin: InstructionOrigin
    var sources: FileSources
    var owner: String
    var mode: String
    var checksum = ""
    var unpack: Bool?
    var from: State
    var isAdd: Bool { keyword == "ADD" }
  }

  static let excludeAdvice = "list what is to be left out in .dockerignore, or copy the rest by name"
  static let gitAdvice = "clone it in a RUN of an earlier stage and COPY --from that stage, or ADD the host's archive of a tag by its URL"

  func dispatchAdd(_ stage: StageState, _ add: AddInstruction, _ command: StageState.Command) throws {
    if add.link { throw unsupported("ADD --link", at: add.origin, instead: "leave --link out: the files are the same") }
    if !add.excludes.isEmpty { throw unsupported("ADD --exclude", at: add.origin, instead: Converter.excludeAdvice) }
    if add.keepGitDirectory != nil { throw unsupported("ADD --keep-git-dir", at: add.origin, instead: Converter.gitAdvice) }
    let step = FileStep(
      keyword: "ADD", origin: add.origin, sources: add.sources, owner: add.owner ?? "", mode: add.mode ?? "", checksum: add.checksum ?? "", unpack: add.unpack,
      from: graph.placeholder(Converter.contextInput))
    try copyFiles(step, in: stage, command)
    for path in step.sources.paths where !Converter.isURL(path) { stage.contextPaths.insert(SlashPath.join("/", path)) }
  }

  func dispatchCopy(_ stage: StageState, _ copy: CopyInstruction, _ command: StageState.Command) throws {
    if copy.link { throw unsupported("COPY --link", at: copy.origin, instead: "leave --link out: the files are the same") }
    if copy.parents { throw unsupported("COPY --parents", at: copy.origin, instead: "copy each folder to its own place, as in COPY a/b /dst/a/b") }
    if !copy.excludes.isEmpty { throw unsupported("COPY --exclude", at: copy.origin, instead: Converter.excludeAdvice) }
    var from = graph.placeholder(Converter.contextInput)
    if let source = command.sources.first {
      guard source.isDispatched else {
        throw failure(
          "cannot copy from stage \(GoText.quoted(copy.from ?? "")), it needs to be defined before current stage \(GoText.quoted(stage.displayName))", at: copy.origin.range,
          suggestion: "move the stage that is copied from above this one")
      }
      from = source.state
    }
    let step = FileStep(
      keyword: "COPY", origin: copy.origin, sources: copy.sources, owner: copy.owner ?? "", mode: copy.mode ?? "", from: from)
    try copyFiles(step, in: stage, command)
    if command.sources.isEmpty { for path in step.sources.paths { stage.contextPaths.insert(SlashPath.join("/", path)) } }
  }

  private func copyFiles(_ step: FileStep, in stage: StageState, _ command: StageState.Command) throws {
    let destination = Converter.destination(step.sources.destination, in: stage.state.directory)
    var base = CopyOptions()
    base.createDestination = true
    base.mode = try fileMode(step)
    if !step.owner.isEmpty { base.owner = FileOwner(parsing: step.owner) }
    try checkChecksum(step)

    let environment = stage.state.environment
    let name = StepText.uppercasingInstruction(StepText.expanding(step.origin.code, lexer, StateWords(environment)))
    let stepName = stage.nextStepName(
      name, platform: stage.platform ?? targetPlatform, environment: environment, isOnbuild: command.isOnbuild, showsPlatform: options.isMultiPlatform)
    var actions: [FileAction] = []
    for path in step.sources.paths {
      if Converter.isGit(path) {
        guard step.isAdd else { throw failure("source can't be a git ref for COPY", at: step.origin.range, suggestion: "a file of that name is written ./\(path)") }
        throw unsupported("a git source (\(path))", at: step.origin, instead: Converter.gitAdvice)
      }
      actions.append(Converter.isURL(path) ? try download(path, to: destination, step, base, stepName) : local(path, to: destination, step, base))
    }
    for file in step.sources.contents { actions.append(try inline(file, to: destination, stage, base)) }
    stage.state = try stage.state.file(
      actions, options: VertexOptions(name: stepName, ignoreCache: stage.ignoresCache, location: location(of: step.origin)))
    stage.commit(Converter.historyLine(step), layer: true, isStep: true, epoch: epoch)
  }

  private static func historyLine(_ step: FileStep) -> String {
    var words = [step.keyword]
    if !step.owner.isEmpty { words.append("--chown=" + step.owner) }
    if !step.mode.isEmpty { words.append("--chmod=" + step.mode) }
    words += step.sources.paths + step.sources.contents.map { "<<" + $0.path } + [step.sources.destination]
    return words.joined(separator: " ")
  }

  private func local(_ path: String, to destination: String, _ step: FileStep, _ base: CopyOptions) -> FileAction {
    var copy = base
    copy.followSymlinks = true
    copy.contentsOnly = true
    copy.attemptUnpack = step.unpack ?? step.isAdd
    copy.allowWildcard = true
    copy.allowEmptyWildcard = true
    return .copy(from: step.from, Converter.source(path), to: destination, copy)
  }

  /// A downloaded archive stays an archive unless `--unpack` says otherwise.
  private func download(_ url: String, to destination: String, _ step: FileStep, _ base: CopyOptions, _ name: String) throws -> FileAction {
    guard step.isAdd else { throw failure("source can't be a URL for COPY", at: step.origin.range, suggestion: "use ADD to download a file") }
    var checksum: Digest?
    if !step.checksum.isEmpty {
      do { checksum = try Digest(parsing: step.checksum) } catch { throw failure("\(error)", at: step.origin.range) }
    }
    let filename = URLText.filename(url) ?? "__unnamed__"
    let source = graph.http(
      url, HTTPOptions(checksum: checksum, filename: filename), options: VertexOptions(name: name, description: ["com.docker.dockerfile.v1.command": ""]))
    var copy = base
    copy.attemptUnpack = step.unpack ?? false
    return .copy(from: source, filename, to: destination, copy)
  }

  private func inline(_ file: InlineFile, to destination: String, _ stage: StageState, _ base: CopyOptions) throws -> FileAction {
    let source = try graph.scratch.file(
      [.makeFile(file.path, mode: 0o644, data: Array(file.data.utf8))], options: VertexOptions(name: "[internal] preparing inline document", platform: stage.platform))
    return .copy(from: source, file.path, to: destination, base)
  }

  private func fileMode(_ step: FileStep) throws -> FileMode? {
    if step.mode.isEmpty { return nil }
    if let bits = UInt32(step.mode, radix: 8), step.mode.first != "+" {
      if bits <= 0o7777 { return .bits(Int32(bits)) }
    } else if !step.mode.utf8.allSatisfy({ (0x30...0x39).contains($0) }), SymbolicMode.isValid(step.mode) {
      return .symbolic(step.mode)
    }
    throw failure(
      "invalid chmod parameter: '\(step.mode)'. it should be octal string and between 0 and 07777", at: step.origin.range, suggestion: "as --chmod=755 or --chmod=u=rwX,go=rX")
  }

  private func checkChecksum(_ step: FileStep) throws {
    guard !step.checksum.isEmpty else { return }
    guard step.sources.paths.count == 1, let path = step.sources.paths.first else { throw failure("checksum can't be specified for multiple sources", at: step.origin.range, suggestion: "write one ADD for each download") }
    guard Converter.isURL(path) || Converter.isGit(path) else { throw failure("checksum requires HTTP(S) or Git sources", at: step.origin.range, suggestion: "leave --checksum out: local files are always compared by content") }
  }

  static func isURL(_ path: String) -> Bool { path.hasPrefix("http://") || path.hasPrefix("https://") }

  /// Whether a source names a git repository: a URL of git's own schemes, one that ends in `.git`, or `user@host:path`.
  static func isGit(_ path: String) -> Bool {
    if path.hasPrefix("./") || path.hasPrefix("../") { return false }
    if let scheme = URLText.scheme(path) {
      switch scheme {
      case "git", "ssh": return true
      case "http", "https": return URLText.path(path).hasSuffix(".git")
      default: return false
      }
    }
    return URLText.isSCPStyle(path)
  }
}
