internal import BuildOutputs
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import LayerArchive
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

/// A cache from elsewhere, asked behind the local one. It is read once, from the build's first moment on; whoever asks meanwhile waits. One that cannot be
/// read knows nothing.
final class ImportedCache: CacheManager {
  let id: String
  private let loading: Task<StoredCache, any Error>

  init(id: String, load: @escaping @Sendable () async throws -> StoredCache) {
    self.id = id
    loading = Task { try await load() }
  }

  /// Nobody waits any more.
  func cancel() { loading.cancel() }
  func end() async {
    loading.cancel()
    _ = await loading.result
  }

  private func loaded() async throws -> StoredCache { try await loading.value }

  func query(_ inputs: [CacheKeyWithSelector], input: Int, digest: CacheDigest, output: Int) async throws -> [CacheKey] {
    try await loaded().query(inputs, input: input, digest: digest, output: output)
  }
  func records(_ key: CacheKey, context: CacheContext) async throws -> [CacheRecord] { try await loaded().records(key, context: context) }
  func load(_ record: CacheRecord, context: CacheContext) async throws -> any SolverResult { try await loaded().load(record, context: context) }
  func save(_ key: CacheKey, _ result: any SolverResult, createdAt: Timestamp) async throws -> CacheRecord {
    try await loaded().save(key, result, createdAt: createdAt)
  }
  func loadWithParents(_ record: CacheRecord, context: CacheContext) async throws -> [LoadedResult] {
    try await loaded().loadWithParents(record, context: context)
  }
  func lockNames(_ key: CacheKey) async throws -> [String] { try await loaded().lockNames(key) }
  func releaseUnreferenced() async throws {}
}

/// Results of an imported cache: chains of lazy layers, which a step that needs them brings here.
struct ImportedResults: CacheResultStorage {
  let content: ImportedCacheContent
  let refs: RefStore
  private let checks = KeyedFlights()

  init(_ content: ImportedCacheContent, refs: RefStore) { (self.content, self.refs) = (content, refs) }

  func save(_ result: any SolverResult, createdAt: Timestamp) async throws -> CacheResult { throw SolverError(.cache, "an imported cache is only read") }

  func exists(_ id: String, context: CacheContext) async -> Bool { content.records.remote(id) != nil }

  func load(_ result: CacheResult, context: CacheContext) async throws -> (any SolverResult)? {
    guard let remote = content.records.remote(result.id) else { return nil }
    return try await tree(remote, context)
  }

  func loadWithParents(_ result: CacheResult, context: CacheContext) async throws -> [String: any SolverResult]? {
    var out: [String: any SolverResult] = [:]
    do {
      for (key, remote) in content.records.remotes(below: result.id) { out[key] = try await tree(remote, context) }
    } catch {
      for result in out.values { await result.release() }
      throw error
    }
    return out
  }

  /// Nothing is fetched, but all layers must be where they are promised: what a registry has forgotten is a miss now, not a failure when a step needs it.
  private func tree(_ remote: CacheRemote, _ context: CacheContext) async throws -> TreeResult {
    var layers: [(descriptor: Descriptor, diffID: Digest)] = []
    var facts: [RefStore.LayerFacts] = []
    for layer in remote.layers {
      var descriptor = layer.descriptor
      guard let diffID = descriptor.annotations[CacheAnnotations.diffID].flatMap({ Digest($0) }) else {
        throw SolverError(.cache, "the imported cache does not say what the layer \(descriptor.digest) holds")
      }
      facts.append(
        RefStore.LayerFacts(
          description: descriptor.annotations[CacheAnnotations.description] ?? "imported \(descriptor.digest)",
          created: descriptor.annotations[CacheAnnotations.createdAt].flatMap { try? Timestamp(rfc3339: $0) }))
      for key in [CacheAnnotations.diffID, CacheAnnotations.createdAt, CacheAnnotations.description] { descriptor.annotations[key] = nil }
      layers.append((descriptor, diffID))
    }
    try await check(layers.map(\.descriptor))
    if layers.isEmpty { return TreeResult(.scratch) }
    let isWindows = context.options([LayerFetch.windows])[LayerFetch.windows] != nil
    let fetch = ImportedLayerFetch(place: content.place, progress: context.progress)
    return TreeResult(.snapshot(try await refs.layers(on: nil, layers, provider: fetch, facts: facts, system: isWindows ? .untold : .common)))
  }

  private func check(_ layers: [Descriptor]) async throws {
    let (place, store, checks) = (content.place, refs.store, checks)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for layer in layers where !store.contains(layer.digest) {
        group.addTask {
          let isThere = try await checks.value(for: layer.digest.description) { try await place.has(layer) }
          if !isThere { throw SolverError(.cache, "the imported cache's layer \(layer.digest) is gone") }
        }
      }
      try await group.waitForAll()
    }
  }

  func remote(_ result: CacheResult, form: RemoteForm, context: CacheContext) async throws -> CacheRemote? {
    guard var remote = content.records.remote(result.id) else { return nil }
    // As BuildKit: some layer is in the form that is wanted, or all when it is forced.
    let matches = remote.layers.map { LayerCompression(mediaType: $0.descriptor.mediaType)?.rawValue == form.compression }
    guard form.force ? matches.allSatisfy({ $0 }) : matches.contains(true) else { return nil }
    let fetch = ImportedLayerFetch(place: content.place, progress: nil)
    for i in remote.layers.indices {
      let isHere = refs.store.contains(remote.layers[i].descriptor.digest)
      remote.layers[i].source = CacheLayerSource(provider: isHere ? nil : fetch, origin: fetch.repository == nil ? nil : fetch)
    }
    return remote
  }
}

/// Brings layers of an imported cache into the store.
struct ImportedLayerFetch: RegistryLayerProvider {
  let place: CachePlace
  let progress: OpProgress?

  var repository: Reference? { place.repository }

  func fetch(_ descriptor: Descriptor, into store: ContentStore) async throws {
    let status = progress?.transfer(descriptor.digest.description, total: descriptor.size)
    defer { status?.finish() }
    try await place.fetch(descriptor, into: store) { status?.update($0) }
  }
}
