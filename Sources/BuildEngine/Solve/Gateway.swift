internal import BuildInterface
internal import BuildKitProto
internal import BuildOutputs
internal import BuildProgress
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import LLB
internal import OCIModel
internal import Synchronization

/// What the Dockerfile frontend sees of a running build.
final class EngineGateway: FrontendGateway {
  let environment: FrontendEnvironment
  private let job: Job
  private let session: SolveSession
  private let loader: GraphLoader
  private let progress: any ProgressSink
  private struct Asked {
    var references: [EngineReference] = []
    var images: [ProvenanceCapture.Image] = []
    var warnings: [VertexWarning] = []
  }
  private let asked = Mutex(Asked())
  /// What the frontend had solved so far, and the images that it looked up: its sources, too.
  var references: [EngineReference] { asked.withLock { $0.references } }
  var images: [ProvenanceCapture.Image] { asked.withLock { $0.images } }
  var warnings: [VertexWarning] { asked.withLock { $0.warnings } }

  init(environment: FrontendEnvironment, job: Job, session: SolveSession, caches: [any CacheManager] = [], progress: any ProgressSink) {
    self.environment = environment
    self.job = job
    self.session = session
    loader = GraphLoader(defaultPlatform: environment.buildPlatform.normalized, caches: caches)
    self.progress = progress
  }

  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference { try reference(definition) }

  func reference(_ definition: Pb_Definition) throws -> EngineReference {
    let reference = EngineReference(edge: loader.edge(try Definition(definition).load()), definition: definition, job: job)
    asked.withLock { $0.references.append(reference) }
    return reference
  }

  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage {
    let resolve: @Sendable () async throws -> BaseImage = {
      if let layout = options.layout { return try await self.session.layouts.resolve(layout, reference, platform: options.platform) }
      return try await self.session.images.resolve(reference, platform: options.platform, mode: options.mode)
    }
    let image: BaseImage
    if options.logName.isEmpty {
      image = try await resolve()
    } else {
      image = try await ProgressTask(options.logName, id: "internal:\(session.id):\(options.platform):\(options.logName)", progress).run { vertex in
        let image = try await vertex.tellingRetries { try await resolve() }
        if image.place == .localStore { vertex.log("\(reference.familiar): taken from the local store") }
        if let mirror = image.mirror { vertex.log("\(reference.familiar): from the mirror \(mirror)") }
        for warning in image.warnings { vertex.log(warning) }
        return image
      }
    }
    asked.withLock { $0.images.append(.init(reference: reference.withDefaultTag, platform: options.isPlatformImplied ? nil : options.platform, digest: image.digest, isLocal: options.layout != nil)) }
    return ResolvedImage(reference: reference, digest: image.digest, config: image.configBytes)
  }

  func time(of source: Pb_SourceOp, logName: String) async throws -> Timestamp? {
    let reference = try reference(try SourceTime.definition(of: source, name: logName))
    return try await ProgressTask(logName, id: "internal:\(session.id):\(logName):\(source.identifier)", progress).run { _ in
      try await reference.read { try SourceTime.of(source, in: $0) }
    }
  }

  func warn(_ warning: VertexWarning) async {
    asked.withLock { $0.warnings.append(warning) }
    progress.emit(ProgressEvent(warnings: [warning]))
  }

  func progress<T: Sendable>(named name: String, _ body: @Sendable () async throws -> T) async throws -> T {
    try await ProgressTask(name, id: "internal:\(session.id):\(name)", progress).run { _ in try await body() }
  }
}

/// The lazy result of a definition: built at first use, kept until the build ends.
final class EngineReference: FrontendReference {
  /// nil for scratch.
  let edge: Edge?
  let definition: Pb_Definition
  private let job: Job
  private let result = SingleFlight<CachedResult?>()

  init(edge: Edge?, definition: Pb_Definition, job: Job) {
    self.edge = edge
    self.definition = definition
    self.job = job
  }

  /// Lent: released when the job ends.
  func built() async throws -> CachedResult? {
    try await result.value {
      guard let edge = self.edge else { return nil }
      let result = try await self.job.build(edge)
      await self.job.cleanup { await result.release() }
      return result
    }
  }

  func evaluate() async throws { _ = try await built() }

  func readFile(_ path: String, limit: Int) async throws -> [UInt8] {
    try await read { tree in
      let resolved = try TreePaths.resolve(path, in: tree, followLast: true)
      guard let status = try tree.status(resolved), !resolved.isEmpty else { throw TreeError(.notFound, "\"\(path)\": no such file") }
      guard status.kind == .regular else { throw TreeError("\"\(path)\" is not a file") }
      return try tree.open(resolved).readToEnd(limit: limit)
    }
  }

  func readStart(of path: String, count: Int) async throws -> [UInt8] {
    try await read { tree in
      let resolved = try TreePaths.resolve(path, in: tree, followLast: true)
      guard try tree.status(resolved)?.kind == .regular else { throw TreeError(.notFound, "\"\(path)\": no such file") }
      var bytes = [UInt8](repeating: 0, count: count)
      let file = try tree.open(resolved)
      let n = try bytes.withUnsafeMutableBytes { try file.readFully(into: $0, at: 0) }
      return Array(bytes[..<n])
    }
  }

  func entries(_ directory: String) async throws -> [String] {
    try await read { tree in
      let resolved = try TreePaths.resolve(directory, in: tree, followLast: true)
      guard try resolved.isEmpty || tree.status(resolved)?.kind == .directory else { throw TreeError(.notFound, "\"\(directory)\": no such directory") }
      return try tree.children(resolved).map { name in
        let isDirectory = try tree.status(resolved.isEmpty ? name : resolved + "/" + name)?.kind == .directory
        return isDirectory ? name + "/" : name
      }
    }
  }

  func exists(_ path: String) async throws -> Bool {
    try await read { tree in try tree.status(TreePaths.resolve(path, in: tree, followLast: false)) != nil }
  }

  func read<T: Sendable>(_ body: @escaping @Sendable (any TreeReader) throws -> T) async throws -> T {
    do {
      guard let result = try await built() else { return try body(EmptyTree()) }
      switch try TreeResult.of(result).tree {
      case .scratch: return try body(EmptyTree())
      case .local(let source): return try await Blocking.run { try body(source.tree) }
      case .snapshot(let ref): return try await ref.withMounted { try body(MountedTree($0)) }
      }
    } catch let error as TreeError {
      throw BuildError(error.code == .notFound ? .notFound : .invalidArgument, .usage, error.description, suggestion: error.suggestion)
    }
  }
}
