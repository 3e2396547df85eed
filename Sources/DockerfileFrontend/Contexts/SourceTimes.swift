internal import BuildInterface
internal import BuildKitProto
internal import DockerfileSyntax
internal import LLB
internal import OCIModel

/// Times of build sources, for `SOURCE_DATE_EPOCH=context` and its like.
struct SourceTimes: Sendable {
  let context: BuildContext
  let lookups: SourceLookups

  /// nil for a directory of the client, which has no time of its own.
  func ofMainContext() async throws -> Timestamp? {
    guard let source = try context.remote?.source() else { return nil }
    return try await time(of: source, logName: "[internal] resolve main build context metadata")
  }

  /// nil unless the definition is one source.
  func time(of definition: Definition, logName: String) async throws -> Timestamp? {
    let sources = definition.sources
    guard sources.count == 1, let source = sources.first, let head = definition.head else { return nil }
    return try await lookups.time(of: source, head: head, logName: logName)
  }
}

extension Converter {
  static let epochName = "SOURCE_DATE_EPOCH"

  /// SOURCE_DATE_EPOCH, from a build argument or a global ARG: the time of everything that is written. Its value becomes canonical.
  mutating func readEpoch() async throws {
    let name = Converter.epochName
    guard let text = buildArguments[name] ?? globals[name].flatMap({ $0.isEmpty ? nil : $0 }) else { return }
    if let seconds = Int64(text) { epoch = Timestamp(seconds: seconds) } else if !text.isEmpty { epoch = try await sourceTime(text) }
    let canonical = epoch.map { String($0.seconds) } ?? ""
    if buildArguments[name] != nil { buildArguments[name] = canonical }
    if globals[name] != nil { globals[name] = canonical }
  }

  /// The time of what a word names: the main context, another one, or a stage that is nothing but one download.
  private func sourceTime(_ word: String) async throws -> Timestamp? {
    guard let times = request.times else { return nil }
    if word == "context" { return try await times.ofMainContext() }
    if let contexts = request.contexts, let found = contexts.find(word, platform: nil) {
      let loaded = try await contexts.load(found)
      guard let state = try loaded.state?(Graph()) else { return nil }
      return try await times.time(of: try state.marshal(), logName: "[internal] resolve \(Converter.epochName) named context \(word)")
    }
    guard let stage = request.dockerfile.stages.first(where: { $0.name?.lowercased() == word.lowercased() }) else {
      let known = ["context"] + options.contexts.keys.sorted() + request.dockerfile.stages.compactMap(\.name)
      throw BuildError(
        .invalidArgument, .usage, "invalid \(Converter.epochName): \(word.prefix(100))",
        suggestion: "give seconds since 1970, as in SOURCE_DATE_EPOCH=$(git log -1 --pretty=%ct), or what is to tell its time: " + known.prefix(20).joined(separator: ", "))
    }
    return try await times.time(of: sourceOnly(stage), logName: "[internal] resolve \(Converter.epochName) source stage \(stage.name ?? "")")
  }

  /// The one thing that a stage from scratch downloads.
  private func sourceOnly(_ stage: Stage) throws -> Definition {
    func refuse(_ why: String) -> BuildError {
      failure("\(Converter.epochName)=\(stage.name ?? ""): \(why)", at: stage.origin.range, suggestion: "a stage tells a time when it is FROM scratch with one ADD of an address, and ARGs")
    }
    var words = globals
    words[Converter.epochName] = nil
    func text(_ word: String, _ origin: InstructionOrigin) throws -> String { try located(at: origin) { try lexer.expand(word, environment: StateWords(words)).text } }
    guard try text(stage.baseName, stage.origin) == Converter.scratchName else { throw refuse("the stage must use FROM scratch") }
    var source: State?
    for instruction in stage.instructions {
      switch instruction {
      case .arg(let arg):
        for argument in arg.arguments {
          if let given = buildArguments[argument.key] { words[argument.key] = given } else if let value = argument.value { words[argument.key] = try text(value, arg.origin) }
        }
      case .add(let add):
        guard source == nil, add.sources.contents.isEmpty, add.sources.paths.count == 1, let path = add.sources.paths.first else {
          throw refuse("the stage must have exactly one ADD of one address")
        }
        source = try self.source(of: text(path, add.origin), checksum: text(add.checksum ?? "", add.origin), add)
      default: throw refuse("the stage may not have other instructions")
      }
    }
    guard let source else { throw refuse("the stage must have exactly one ADD of one address") }
    return try source.marshal()
  }

  private func source(of path: String, checksum: String, _ add: AddInstruction) throws -> State {
    try located(at: add.origin) {
      let graph = Graph()
      if var address = try GitAddress(parsing: path) {
        if add.keepGitDirectory == true { address.keepsGitDirectory = true }
        if !checksum.isEmpty { address.checksum = checksum }
        // Times of files do not matter here.
        (address.modificationTime, address.fetchesByCommit) = ("", false)
        return graph.git(address)
      }
      guard Converter.isURL(path) else {
        throw failure("\(path): only what is downloaded has a time", at: add.origin.range, suggestion: "an http or https address, or a git repository")
      }
      return graph.http(path, HTTPOptions(checksum: checksum.isEmpty ? nil : try Digest(parsing: checksum), filename: URLText.filename(path) ?? "__unnamed__"))
    }
  }
}
