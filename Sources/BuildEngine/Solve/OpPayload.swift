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
}

/// Turns loaded definitions into the solver's vertices. Vertices with one digest are one object within a build.
struct GraphLoader {
  /// The platform of ops that name none.
  let defaultPlatform: Platform
  /// Asked besides the engine's own.
  var caches: [any CacheManager] = []

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
    return OpPayload(op: loaded.op, platform: platform.normalized, locations: loaded.locations, readerLocations: readerLocations, resources: loaded.metadata.linuxResources)
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
    case .build, .passthrough: throw InvalidDefinition("\(vertex.name): build ops are not supported yet")
    case nil: throw InvalidDefinition("\(vertex.name): an op of no known kind")
    }
  }

  private func source(_ source: Pb_SourceOp, _ payload: OpPayload) throws -> any Op {
    let identifier = source.identifier
    let scheme = identifier.prefix { $0 != ":" }
    guard identifier.dropFirst(scheme.count).hasPrefix("://") else { throw InvalidDefinition("invalid source \"\(identifier)\"") }
    switch scheme {
    case "docker-image":
      let mode: ImageResolveMode =
        switch source.attrs["image.resolvemode"] {
        case "pull": .forcePull
        case "local": .preferLocal
        default: .default
        }
      for key in source.attrs.keys where !["image.resolvemode", "image.recordtype", "image.checksum"].contains(key) {
        throw InvalidDefinition("source \(identifier): the attribute \(key) is not supported yet")
      }
      return ImageSource(
        reference: try Reference(parsing: String(identifier.dropFirst("docker-image://".count))), platform: payload.platform, mode: mode,
        checksum: try source.attrs["image.checksum"].map { try Digest(parsing: $0) }, services: self)
    case "oci-layout":
      for key in source.attrs.keys where ![SourceAttribute.ociLayoutSessionID, SourceAttribute.ociLayoutStoreID].contains(key) {
        throw InvalidDefinition("source \(identifier): the attribute \(key) is not supported yet")
      }
      guard let store = source.attrs[SourceAttribute.ociLayoutStoreID], !store.isEmpty else { throw InvalidDefinition("source \(identifier): it does not say which layout of the client it means") }
      return ImageSource(
        reference: try Reference(parsing: String(identifier.dropFirst("oci-layout://".count))), platform: payload.platform, mode: .default, checksum: nil, layout: store, services: self)
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
