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
  /// Definitions that stand for the local sources `context` and `dockerfile`.
  let contextInput: Definition?
  let dockerfileInput: Definition?

  init(_ environment: FrontendEnvironment, _ options: FrontendOptions) throws {
    self.options = options
    if let remote = environment.attributes[options.contextName], !remote.isEmpty {
      throw FrontendOptions.unsupported("a remote build context (\(remote))", instead: "fetch it first and build in its folder")
    }
    contextInput = environment.inputs[BuildContext.contextName].map { Definition($0) }
    dockerfileInput = options.forcesLocalDockerfile ? nil : environment.inputs[options.dockerfileName].map { Definition($0) }
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
      bytes = try await reference.readFile(options.filename, limit: limit)
    } catch let error as BuildError where error.code == .notFound {
      guard let lowercased, let found = try? await reference.readFile(lowercased, limit: limit) else {
        throw BuildError(
          .notFound, .usage, "failed to read dockerfile: open \(options.filename): no such file or directory",
          suggestion: "name the file with -f, relative to where the command runs, or change to its folder", cause: error)
      }
      bytes = found
    }
    let map = SourceMap(filename: options.filename, language: "Dockerfile", data: bytes, definition: definition)
    let name = options.filename + BuildContext.ignoreFilename
    return Source(map: map, text: String(decoding: bytes, as: UTF8.self), ignoreFile: try await read(name, from: reference).map { (name, $0) })
  }

  /// `dockerfile`, accepted in place of `Dockerfile`.
  private var lowercased: String? {
    guard SlashPath.base(options.filename) == BuildContext.defaultFilename else { return nil }
    return SlashPath.join(SlashPath.directory(options.filename), BuildContext.defaultFilename.lowercased())
  }

  private func dockerfileDefinition() throws -> Definition {
    if let dockerfileInput { return dockerfileInput }
    var local = LocalOptions(sessionID: session(options.dockerfileName), sharedKeyHint: options.dockerfileName)
    local.followPaths = [options.filename, options.filename + BuildContext.ignoreFilename] + (lowercased.map { [$0] } ?? [])
    local.differ = LocalDiffer.none
    let graph = Graph()
    return try graph.local(options.dockerfileName, local, options: VertexOptions(name: "[internal] load build definition from \(options.filename)")).marshal()
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
    if contextInput != nil { return [] }
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
    if let contextInput {
      let state = try graph.state(of: contextInput)
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
