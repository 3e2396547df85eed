internal import BuildExecutor
internal import BuildInterface
internal import BuildKitProto
internal import BuildProgress
internal import BuildSolver
internal import LLB
internal import OCIModel

/// What the solver carries for a vertex without looking inside: the op as loaded, its platform made explicit.
struct OpPayload: Sendable {
  let op: Pb_Op
  let platform: Platform
  let locations: [SourceLocation]
  /// Of a download that no line is named for: the lines of the first step that reads it.
  var readerLocations: [SourceLocation] = []
  /// Limits of a step; no part of what it is.
  var resources = Pb_LinuxResources()
  /// Of a build op: what makes vertices of the definition that it reads.
  var loader: GraphLoader?
}

/// Turns loaded definitions into the solver's vertices. Vertices with one digest are one object within a build.
struct GraphLoader: Sendable {
  /// The platform of ops that name none.
  let defaultPlatform: Platform
  /// Asked besides the engine's own.
  var caches: [any CacheManager] = []
  /// Definitions that this one came out of.
  var depth = 0
  /// For what a step of such a definition wrote.
  var nested: GraphLoader {
    var inner = self
    inner.depth += 1
    return inner
  }

  /// A definition of anyone's, after the build's policies: what cannot run here or may not is an error. nil for scratch.
  func edge(of definition: Pb_Definition, policies more: [Moby_Buildkit_V1_Sourcepolicy_Policy] = [], session: SolveSession, services: EngineServices) async throws -> Edge? {
    let allowed = try await services.applying(session.policies.adding(more), to: definition)
    let graph = try Definition(allowed).load(supporting: Capability.supported)
    for digest in graph.order {
      guard let vertex = graph.vertices[digest], case .exec(let exec)? = vertex.op.op, let lacking = ExecOperation.lacking(exec, allowed: session.entitlements) else { continue }
      throw ErrorTranslation.placed(lacking, digest: digest, name: vertex.name, payload(vertex, []))
    }
    return edge(graph)
  }

  /// nil for scratch.
  func edge(_ graph: LoadedGraph) -> Edge? {
    guard let root = graph.root else { return nil }
    var vertices: [Digest: Vertex] = [:]
    let readers = readers(graph)
    for digest in graph.order {
      guard let loaded = graph.vertices[digest] else { continue }
      let inputs = loaded.inputs.compactMap { input in vertices[input.digest].map { Edge($0, index: Int(input.index)) } }
      vertices[digest] = Vertex(digest: digest, name: loaded.name, payload: payload(loaded, readers[digest] ?? []), inputs: inputs, options: options(loaded.metadata))
    }
    return vertices[root.digest].map { Edge($0, index: Int(root.index)) }
  }

  /// Frontends give the lines of ADD to the step that copies, and none to the download or the repository that it copies from.
  private func readers(_ graph: LoadedGraph) -> [Digest: [SourceLocation]] {
    var found: [Digest: [SourceLocation]] = [:]
    for digest in graph.order {
      guard let reader = graph.vertices[digest], !reader.locations.isEmpty else { continue }
      for input in reader.inputs where found[input.digest] == nil {
        guard let read = graph.vertices[input.digest], read.locations.isEmpty, case .source(let source) = read.op.op else { continue }
        if ["git://", "http://", "https://"].contains(where: source.identifier.hasPrefix) { found[input.digest] = reader.locations }
      }
    }
    return found
  }

  private func payload(_ loaded: LoadedVertex, _ readerLocations: [SourceLocation]) -> OpPayload {
    var platform = defaultPlatform
    if loaded.op.hasPlatform {
      let p = loaded.op.platform
      platform = Platform(os: p.os, architecture: p.architecture, variant: p.variant, osVersion: p.osversion, osFeatures: p.osfeatures)
    }
    return OpPayload(
      op: loaded.op, platform: platform.normalized, locations: loaded.locations, readerLocations: readerLocations, resources: loaded.metadata.linuxResources,
      loader: { if case .build? = loaded.op.op { self } else { nil } }())
  }

  private func options(_ metadata: Pb_OpMetadata) -> BuildSolver.VertexOptions {
    BuildSolver.VertexOptions(
      ignoreCache: metadata.ignoreCache, description: metadata.description_p, cacheSources: caches,
      exportCache: metadata.hasExportCache ? metadata.exportCache.value : nil,
      progressGroup: metadata.hasProgressGroup
        ? ProgressGroup(id: metadata.progressGroup.id, name: metadata.progressGroup.name, weak: metadata.progressGroup.weak) : nil)
  }
}

extension EngineServices {
  /// The op that computes a vertex.
  func resolve(_ vertex: Vertex) throws -> any Op {
    guard let payload = vertex.payload as? OpPayload else { throw InvalidDefinition("\(vertex.name): not a vertex of this engine") }
    switch payload.op.op {
    case .source(let source): return try self.source(source, payload)
    case .exec(let exec):
      if let refusal = ExecOperation.refusal(exec) { throw refusal }
      return ExecOperation(op: exec, platform: payload.platform, inputCount: vertex.inputs.count, services: self, resources: StepResources(payload.resources))
    case .file(let file): return FileOperation(op: file, inputCount: vertex.inputs.count, services: self)
    case .merge(let merge): return MergeOperation(op: merge, inputCount: vertex.inputs.count, services: self)
    case .diff(let diff): return DiffOperation(op: diff, services: self)
    case .passthrough(let passthrough): return PassthroughOperation(op: passthrough, inputCount: vertex.inputs.count, services: self)
    case .build(let build):
      guard let loader = payload.loader else { throw InvalidDefinition("\(vertex.name): not a vertex of this engine") }
      return BuildOperation(op: build, inputCount: vertex.inputs.count, loader: loader, services: self)
    case nil: throw InvalidDefinition("\(vertex.name): an op of no known kind")
    }
  }

  private func source(_ source: Pb_SourceOp, _ payload: OpPayload) throws -> any Op {
    let identifier = source.identifier
    let scheme = identifier.prefix { $0 != ":" }
    guard identifier.dropFirst(scheme.count).hasPrefix("://") else { throw InvalidDefinition("invalid source \"\(identifier)\"") }
    switch scheme {
    case "docker-image":
      let wanted = source.attrs["image.resolvemode"] ?? ""
      guard let mode = wanted.isEmpty ? .default : ImageResolveMode(rawValue: wanted) else { throw InvalidDefinition("source \(identifier): invalid resolvemode: \(wanted)") }
      try ImageRecordType.check(source)
      return ImageSource(
        reference: try Reference(parsing: String(identifier.dropFirst("docker-image://".count))), platform: payload.platform, mode: mode,
        checksum: try source.attrs["image.checksum"].map { try Digest(parsing: $0) }, layerLimit: try ImageRecordType.layerLimit(source, SourceAttribute.imageLayerLimit), services: self)
    case "docker-image+blob", "oci-layout+blob": return try BlobSource(source, scheme: scheme, services: self)
    case "oci-layout":
      guard let store = source.attrs[SourceAttribute.ociLayoutStoreID], !store.isEmpty else { throw InvalidDefinition("source \(identifier): it does not say which layout of the client it means") }
      return ImageSource(
        reference: try Reference(parsing: String(identifier.dropFirst("oci-layout://".count))), platform: payload.platform, mode: .default, checksum: nil, layout: store,
        layerLimit: try ImageRecordType.layerLimit(source, SourceAttribute.ociLayoutLayerLimit), services: self)
    case "local": return try LocalSourceOperation(source, services: self)
    case "git": return try GitSource(source, services: self)
    case "http", "https": return try HTTPSource(source, services: self)
    default: throw InvalidDefinition("source \(identifier): sources of this kind are not supported yet")
    }
  }
}

extension StepResources {
  init(_ limits: Pb_LinuxResources) {
    self.init(
      memory: limits.memory, memorySwap: limits.memorySwap, cpuShares: limits.cpuShares, cpuPeriod: limits.cpuPeriod, cpuQuota: limits.cpuQuota,
      cpusetCPUs: limits.cpusetCpus, cpusetMems: limits.cpusetMems)
  }
}
