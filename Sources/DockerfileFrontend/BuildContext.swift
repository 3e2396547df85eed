internal import BuildInterface
internal import DockerfileSyntax
internal import LLB
internal import OCIModel
internal import PathPatterns

/// Where a build's files come from: the Dockerfile, what is ignored, and the context itself.
struct BuildContext: Sendable {
  static let defaultFilename = "Dockerfile"
  static let ignoreFilename = ".dockerignore"
  static let contextName = "context"

  let options: FrontendOptions
  /// nil is a directory of the client.
  let remote: RemoteContext?
  /// Definition that stands for the local source `dockerfile`.
  let dockerfileInput: Definition?
  /// The Dockerfile's path in what it is read from.
  let filename: String

  init(_ environment: FrontendEnvironment, _ options: FrontendOptions, _ gateway: any FrontendGateway) async throws {
    self.options = options
    if let address = environment.attributes[options.contextName], let found = try RemoteAddress(address, what: "the build context") {
      let context = try await RemoteContext(found, shown: address, options, gateway)
      remote = context
      dockerfileInput = options.forcesLocalDockerfile ? nil : try context.definition()
      // A file that is no archive is the Dockerfile, whatever it is called.
      if case .file = context { filename = RemoteContext.filename } else { filename = options.filename }
      return
    }
    remote = environment.inputs[BuildContext.contextName].map { .definition(Definition($0)) }
    dockerfileInput = options.forcesLocalDockerfile ? nil : environment.inputs[options.dockerfileName].map { Definition($0) }
    filename = options.filename
  }

  /// The Dockerfile as it was read, and the patterns of the ignore file that goes with it, if there is one of its name.
  struct Source: Sendable {
    var map: SourceMap
    var text: String
    var ignoreFile: (name: String, bytes: [UInt8])?
  }

  private func session(_ name: String) -> String { options.localSessions[name] ?? options.sessionID }

  func readDockerfile(_ gateway: any FrontendGateway) async throws -> Source {
    let definition = try dockerfileDefinition()
    let reference = try await gateway.solve(definition.proto)
    let limit = SyntaxLimits().sourceBytes
    var bytes: [UInt8]
    do {
      bytes = try await reference.readFile(filename, limit: limit)
    } catch let error as BuildError where error.code == .notFound {
      guard let lowercased, let found = try? await reference.readFile(lowercased, limit: limit) else { throw await missing(in: reference, error) }
      bytes = found
    }
    let map = SourceMap(filename: filename, language: "Dockerfile", data: bytes, definition: definition)
    let name = filename + BuildContext.ignoreFilename
    return Source(map: map, text: String(decoding: bytes, as: UTF8.self), ignoreFile: try await read(name, from: reference).map { (name, $0) })
  }

  /// Says what there is instead.
  private func missing(in reference: any FrontendReference, _ error: BuildError) async -> BuildError {
    var advice = "name the file with -f, relative to where the command runs, or change to its folder"
    if dockerfileInput != nil {
      let directory = SlashPath.directory(filename)
      let place = directory == "." || directory.isEmpty ? "the build context" : "\(directory) of the build context"
      if let entries = try? await reference.entries(directory) {
        advice =
          entries.isEmpty
          ? "\(place) is empty" : "\(place) has " + entries.prefix(20).joined(separator: ", ") + (entries.count > 20 ? " and \(entries.count - 20) more" : "") + "; name the file with -f, relative to the context"
      } else {
        advice = "name the file with -f, relative to the build context"
      }
    }
    return BuildError(.notFound, .usage, "failed to read dockerfile: open \(filename): no such file or directory", suggestion: advice, cause: error)
  }

  /// `dockerfile`, accepted in place of `Dockerfile`.
  private var lowercased: String? {
    guard SlashPath.base(filename) == BuildContext.defaultFilename else { return nil }
    return SlashPath.join(SlashPath.directory(filename), BuildContext.defaultFilename.lowercased())
  }

  private func dockerfileDefinition() throws -> Definition {
    if let dockerfileInput { return dockerfileInput }
    var local = LocalOptions(sessionID: session(options.dockerfileName), sharedKeyHint: options.dockerfileName)
    local.followPaths = [filename, filename + BuildContext.ignoreFilename] + (lowercased.map { [$0] } ?? [])
    local.differ = LocalDiffer.none
    let graph = Graph()
    return try graph.local(options.dockerfileName, local, options: VertexOptions(name: "[internal] load build definition from \(filename)")).marshal()
  }

  private func read(_ path: String, from reference: any FrontendReference) async throws -> [UInt8]? {
    do {
      return try await reference.readFile(path, limit: 16 << 20)
    } catch let error as BuildError where error.code == .notFound {
      return nil
    }
  }

  /// The patterns of files that the context is without: of the Dockerfile's own ignore file, else of `.dockerignore`.
  func ignorePatterns(_ source: Source, _ gateway: any FrontendGateway) async throws -> [String] {
    // As with BuildKit: what was fetched is taken whole.
    if remote != nil { return [] }
    var file = source.ignoreFile
    if file == nil {
      var local = LocalOptions(sessionID: session(BuildContext.contextName), sharedKeyHint: BuildContext.contextName + "-" + BuildContext.ignoreFilename)
      local.followPaths = [BuildContext.ignoreFilename]
      local.differ = LocalDiffer.none
      let definition = try Graph().local(BuildContext.contextName, local, options: VertexOptions(name: "[internal] load \(BuildContext.ignoreFilename)")).marshal()
      let reference = try await gateway.solve(definition.proto)
      file = try await read(BuildContext.ignoreFilename, from: reference).map { (BuildContext.ignoreFilename, $0) }
    }
    guard let file else { return [] }
    do {
      let patterns = try IgnoreFile.patterns(in: String(decoding: file.bytes, as: UTF8.self))
      _ = try PatternList(patterns)
      return patterns
    } catch {
      throw BuildError(.invalidArgument, .usage, "failed parsing \(file.name): \(error)", cause: error)
    }
  }

  /// The context in `graph`, as far as the paths need it (none: all of it).
  func main(in graph: Graph, followPaths: [String], excludes: [String]) throws -> State {
    if let remote {
      let state = try remote.state(in: graph)
      guard let directory = options.contextSubdirectory else { return state }
      var copy = CopyOptions()
      copy.contentsOnly = true
      return try graph.scratch.file([.copy(from: state, directory, to: "/", copy)])
    }
    var local = LocalOptions(sessionID: session(BuildContext.contextName), sharedKeyHint: BuildContext.contextName)
    local.excludePatterns = excludes
    local.followPaths = followPaths
    return graph.local(BuildContext.contextName, local, options: VertexOptions(name: "[internal] load build context"))
  }
}
