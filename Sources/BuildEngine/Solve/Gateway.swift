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

/// What a frontend sees of a running build. A frontend that was asked by another has one of its own, over the same build.
final class EngineGateway: FrontendGateway {
  let environment: FrontendEnvironment
  let build: RunningBuild
  private let loader: GraphLoader
  private var session: SolveSession { build.session }
  private var progress: any ProgressSink { build.progress }

  init(environment: FrontendEnvironment, build: RunningBuild, caches: [any CacheManager] = []) {
    self.environment = environment
    self.build = build
    loader = GraphLoader(defaultPlatform: environment.buildPlatform.normalized, caches: caches)
  }

  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference { try await reference(definition) }

  func solve(_ request: NestedSolve) async throws -> NestedResult { try await build.engine.solve(request, within: self) }

  func resolveSource(
    _ request: Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest
  ) async throws -> Moby_Buildkit_V1_Frontend_ResolveSourceMetaResponse {
    try await SourceLookup(gateway: self).resolve(request)
  }

  func newContainer(_ request: ContainerRequest) async throws -> any FrontendContainer { try await build.engine.newContainer(request, build: build) }

  func reference(_ definition: Pb_Definition, caches: [any CacheManager] = []) async throws -> EngineReference {
    var loader = loader
    loader.caches += caches
    let reference = EngineReference(edge: try await loader.edge(of: definition, session: session, services: build.engine.services), definition: definition, build: build)
    build.note(reference)
    return reference
  }

  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage {
    let (named, layout) = try await SourcePolicyPass.image(reference, platform: options.platform, layout: options.layout, session.policies)
    let resolve: @Sendable () async throws -> BaseImage = {
      let reference = named
      if let layout { return try await self.session.layouts.resolve(layout, reference, platform: options.platform) }
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
    build.note(.init(reference: reference.withDefaultTag, platform: options.isPlatformImplied ? nil : options.platform, digest: image.digest, isLocal: options.layout != nil))
    return ResolvedImage(reference: reference, digest: image.digest, config: image.configBytes)
  }

  func time(of source: Pb_SourceOp, logName: String) async throws -> Timestamp? {
    let reference = try await reference(try SourceTime.definition(of: source, name: logName))
    return try await ProgressTask(logName, id: "internal:\(session.id):\(logName):\(source.identifier)", progress).run { _ in
      try await reference.read { try SourceTime.of(source, in: $0) }
    }
  }

  func warn(_ warning: VertexWarning) async {
    build.note(warning)
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
  let build: RunningBuild
  private let result = SingleFlight<CachedResult?>()

  init(edge: Edge?, definition: Pb_Definition, build: RunningBuild) {
    self.edge = edge
    self.definition = definition
    self.build = build
  }

  /// Lent: released when the job ends.
  func built() async throws -> CachedResult? {
    try await result.value {
      guard let edge = self.edge else { return nil }
      try await self.build.steps.check([edge])
      let result = try await self.build.job.build(edge)
      await self.build.job.cleanup { await result.release() }
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
