internal import BuildInterface
internal import BuildProgress
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

/// What one conversion needs: everything that may differ between the platforms of a build is in `target`.
struct ConversionRequest: Sendable {
  var dockerfile: Dockerfile
  var options: FrontendOptions
  /// nil: none was asked for, and a base image may decide.
  var target: Platform? = nil
  /// All that are asked for and have this Dockerfile.
  var platforms: [Platform] = []
  var sourceMap: SourceMap
  /// Where checks report to: for the first platform only, as with BuildKit.
  var checks: CheckScope = .silent
  var mode: ConversionMode = .build
  /// What the context is without.
  var ignored: PatternList? = nil
  /// nil: there are none.
  var contexts: NamedContexts? = nil
  /// nil: no source has a time.
  var times: SourceTimes? = nil
  var resolveImage: @Sendable (Reference, ImageResolveOptions) async throws -> ResolvedImage
  /// The build context, restricted to what the given paths need (none: all of it).
  var mainContext: @Sendable (Graph, _ followPaths: [String]) throws -> State
}

/// How far a conversion goes.
enum ConversionMode: Sendable {
  case build
  /// All that the target needs is looked at, and no graph is made: what cannot be built here yet is no mistake.
  case outline
  /// As `outline`, and all stages are looked at when no target is named.
  case check
}

struct Conversion: Sendable {
  var definition: Definition
  var image: ImageConfig
  var baseImage: ImageConfig?
  /// SOURCE_DATE_EPOCH, when it was given.
  var epoch: Timestamp?
  /// Those of the file.
  var stages: [SourceStage] = []
}

/// Turns a Dockerfile into the graph and the image config of one platform, vertex for vertex as BuildKit's frontend does.
///
/// The phases, in order: names and bases of stages; which stages read which; the base images of those the target needs, with
/// their ONBUILD triggers; the instructions, stage by stage; the image config.
struct Converter {
  static let scratchName = "scratch"
  static let contextInput = "context"
  static let emptyAdvice = "begin it with FROM and a base image, as in FROM alpine:3.20, or FROM scratch"
  static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  let request: ConversionRequest
  let options: FrontendOptions
  let graph = Graph()
  let lexer: WordLexer
  let targetPlatform: Platform
  /// Nobody asked for a platform.
  let isImplicitTarget: Bool
  var globals = Environment()
  /// The ARGs before the first FROM.
  var declared: [String: DeclaredArgument] = [:]
  var checks: CheckScope { request.checks }
  /// Whether stages count that the target does not need.
  var looksAtAllStages: Bool { request.mode == .check && options.target.isEmpty }
  var buildArguments: [String: String]
  var epoch: Timestamp?
  var table = StageTable()

  init(_ request: ConversionRequest) {
    self.request = request
    options = request.options
    lexer = WordLexer(escape: request.dockerfile.tree.escape)
    targetPlatform = request.target ?? request.options.buildPlatform
    isImplicitTarget = request.target == nil
    buildArguments = request.options.buildArguments
  }

  static func convert(_ request: ConversionRequest) async throws -> Conversion {
    var converter = Converter(request)
    return try await converter.run()
  }

  private mutating func run() async throws -> Conversion {
    let (stage, paths) = try await dispatched()
    return try finish(stage, contextPaths: paths)
  }

  /// Only the checks and what the stages declare. Answers the target's stage.
  static func look(_ request: ConversionRequest) async throws -> StageState {
    var converter = Converter(request)
    let target = try await converter.dispatched().target
    try converter.failOnFindings()
    return target
  }

  private mutating func dispatched() async throws -> (target: StageState, contextPaths: Set<String>) {
    guard let last = request.dockerfile.stages.last else { 
      throw BuildError(
        .invalidArgument, .usage, "\(request.sourceMap.filename) has no stage to build", suggestion: Converter.emptyAdvice,
        sources: [SourcePlace(filename: request.sourceMap.filename, data: request.sourceMap.data, lines: 1...1)])
    }
    let target = options.target.isEmpty ? last.name ?? "" : options.target
    checkBasesWithDefaults(stageName: target)
    (globals, declared) = try globalArguments(stageName: target, given: buildArguments)
    try await readEpoch()
    try addStages()
    let stage = try targetStage()
    try findDependencies()
    try await resolve(stage)
    let paths = try dispatchStages(for: stage)
    checkPlatforms(stage)
    return (stage, paths)
  }

  func targetStage() throws -> StageState {
    if options.target.isEmpty, let last = table.stages.last { return last }
    if let stage = table.named(options.target) { return stage }
    throw BuildError(
      .notFound, .usage, "target stage \(GoText.quoted(options.target)) could not be found in \(request.sourceMap.filename)", suggestion: stageAdvice(for: options.target))
  }

  private func finish(_ stage: StageState, contextPaths: Set<String>) throws -> Conversion {
    for (key, value) in options.labels { stage.image.config.labels[key] = value }
    try failOnFindings()
    let context = try request.mainContext(graph, Converter.followPaths(contextPaths))
    stage.readPaths.paths.insert("/")
    var inputs = [Converter.contextInput: context]
    // Which of a named directory's files are needed is known only now.
    for stage in table.stages {
      if let directory = stage.contextDirectory { inputs[directory.input] = directory.directory.state(in: graph, followPaths: Converter.followPaths(stage.readPaths.paths)) }
    }
    let definition = try stage.state.marshal(MarshalOptions(platform: targetPlatform, inputs: inputs))
    var image = stage.image
    if !isImplicitTarget {
      let isSame = targetPlatform.os == image.platform.os && targetPlatform.architecture == image.platform.architecture
      image.platform.os = targetPlatform.os
      image.platform.architecture = targetPlatform.architecture
      if !targetPlatform.variant.isEmpty || !isSame { image.platform.variant = targetPlatform.variant }
      if !targetPlatform.osVersion.isEmpty || !isSame { image.platform.osVersion = targetPlatform.osVersion }
      if !targetPlatform.osFeatures.isEmpty { image.platform.osFeatures = targetPlatform.osFeatures }
    }
    image.platform = image.platform.normalized
    let reachable = Set(stage.reachable.map(ObjectIdentifier.init))
    let stages = table.stages.filter { !$0.isImplicit }.map { SourceStage(name: $0.displayName, isNeeded: reachable.contains(ObjectIdentifier($0)), steps: $0.stepCount) }
    return Conversion(definition: definition, image: image, baseImage: stage.baseImage, epoch: epoch, stages: stages)
  }

  /// Paths as the local source takes them: relative, sorted; none when the whole context is needed or nothing is.
  static func followPaths(_ paths: Set<String>) -> [String] {
    if paths.contains("/") { return [] }
    return paths.map { SlashPath.join(".", $0) }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
}

// MARK: - Errors and places

extension Converter {
  /// An error of the Dockerfile at an instruction.
  func failure(
    _ message: String, at range: DockerfileSyntax.SourceRange?, word: DockerfileSyntax.SourceRange? = nil, code: BuildError.Code = .invalidArgument, suggestion: String? = nil
  ) -> BuildError {
    BuildError(code, .usage, message, suggestion: suggestion, sources: range.map { [request.sourceMap.place($0, word: word)] } ?? [])
  }

  /// Refuses what is not built yet; where nothing is to be built that is no mistake.
  func refuse(_ what: String, at origin: InstructionOrigin, instead suggestion: String) throws {
    if request.mode == .build { throw unsupported(what, at: origin, instead: suggestion) }
  }

  private func unsupported(_ what: String, at origin: InstructionOrigin, instead suggestion: String) -> BuildError {
    failure("\(what) is not supported yet", at: origin.range, code: .unimplemented, suggestion: suggestion)
  }

  /// Which stage was meant, else which there are.
  func stageAdvice(for name: String) -> String {
    if let near = nearestStage(to: name) { return "did you mean the stage \(near)?" }
    let names = request.dockerfile.stages.compactMap(\.name)
    if names.isEmpty { return "no stage of \(request.sourceMap.filename) has a name; FROM … AS name gives it one" }
    return "the named stages are " + names.prefix(20).joined(separator: ", ") + (names.count > 20 ? " and \(names.count - 20) more" : "")
  }

  /// The stage whose name is a few letters from this one, or the same but for a tag or an ending.
  func nearestStage(to name: String) -> String? {
    let word = name.split(separator: ":").first.map(String.init) ?? name
    let names = request.dockerfile.stages.compactMap(\.name).filter { $0.lowercased() != word.lowercased() }
    // For a short name two letters are most of it.
    let near = Suggestion.nearest(to: word.lowercased(), among: names).flatMap { $0.count > 3 ? $0 : nil }
    return near ?? names.first { min($0.count, word.count) > 2 && ($0.hasPrefix(word) || word.hasPrefix($0)) }
  }

  /// What to say of a text that came out wrong because arguments in it have no value.
  func argumentAdvice(for text: String, where place: String) -> String? {
    guard let unset = try? lexer.expand(text, environment: StateWords(globals)).unmatched, let name = unset.min() else { return nil }
    let known = globals.names
    if let near = Suggestion.nearest(to: name, among: known) { return "$\(name) is not set; did you mean $\(near)?" }
    if let later = request.dockerfile.stages.lazy.flatMap(\.instructions).compactMap({ instruction -> InstructionOrigin? in
      if case .arg(let arg) = instruction, arg.arguments.contains(where: { $0.key == name }) { arg.origin } else { nil }
    }).first {
      return "$\(name) is not set here: move its ARG from line \(later.range.start.line) to a line above the first FROM"
    }
    return "$\(name) is not set; only arguments declared before the first FROM and the predefined platform arguments can be used in \(place)"
  }

  /// Runs `body`; its errors get the instruction's place unless they have one.
  func located<T>(at origin: InstructionOrigin, _ body: () throws -> T) throws -> T {
    do {
      return try body()
    } catch let error as DockerfileError {
      let error = error.located(at: origin)
      throw failure(error.message, at: error.range, word: error.focus, suggestion: error.help)
    } catch let error as LLBError {
      throw failure(error.description, at: origin.range)
    } catch var error as BuildError {
      if error.sources.isEmpty { error.sources = [request.sourceMap.place(origin.range)] }
      throw error
    }
  }

  func location(of origin: InstructionOrigin) -> SourceLocation {
    SourceLocation(request.sourceMap, origin.range.lines.map { SourceSpan(startLine: $0, endLine: $0) })
  }
}

extension SourceMap {
  /// Lines of this file, for an error, and the word among them that it is about.
  func place(_ range: DockerfileSyntax.SourceRange, word: DockerfileSyntax.SourceRange? = nil) -> SourcePlace {
    SourcePlace(filename: filename, data: data, lines: range.lines, focus: word.flatMap(focus))
  }

  private func focus(_ word: DockerfileSyntax.SourceRange) -> SourceFocus? {
    let lines = data.split(separator: UInt8(ascii: "\n"), maxSplits: word.start.line, omittingEmptySubsequences: false)
    guard lines.indices.contains(word.start.line - 1) else { return nil }
    let underline = SourceExcerpt.carets(below: String(decoding: lines[word.start.line - 1], as: UTF8.self), word)
    return SourceFocus(
      startLine: word.start.line, startColumn: word.start.column, endLine: word.end.line, endColumn: word.end.column, underline: underline ?? "")
  }
}
