internal import BuildOutputs
internal import BuildSnapshots
internal import BuildSolver
internal import OCIModel

/// Results of ops by the ids of their refs: what a cache record points at.
struct StoredResults: CacheResultStorage {
  let refs: RefStore

  func save(_ result: any SolverResult, createdAt: Timestamp) async throws -> CacheResult {
    let tree = try TreeResult.of(result)
    if case .snapshot(let ref) = tree.tree { try await refs.retain(ref) }
    return CacheResult(id: tree.id, createdAt: createdAt)
  }

  func load(_ result: CacheResult, context: CacheContext) async throws -> (any SolverResult)? {
    if result.id == TreeResult.scratchID { return TreeResult(.scratch) }
    if result.id.hasPrefix(TreeResult.localPrefix) { return nil }
    guard let ref = try await refs.ref(result.id, providers: { digests in Self.providers(digests, context) }) else { return nil }
    return TreeResult(.snapshot(ref))
  }

  /// Layers that are not here yet come from where this build would get them.
  private static func providers(_ layers: [Digest], _ context: CacheContext) -> [Digest: any LayerProvider] {
    let found = context.options(Set(layers.map(LayerFetch.option)))
    var out: [Digest: any LayerProvider] = [:]
    for layer in layers { if let provider = found[LayerFetch.option(layer)] as? any LayerProvider { out[layer] = provider } }
    return out
  }

  func remote(_ result: CacheResult, form: RemoteForm, context: CacheContext) async throws -> CacheRemote? {
    guard let loaded = try await load(result, context: context) as? TreeResult, case .snapshot(let ref) = loaded.tree else { return nil }
    do {
      let remote = try await ref.cacheRemote(form, makes: false)
      await loaded.release()
      return remote
    } catch {
      await loaded.release()
      throw error
    }
  }

  func exists(_ id: String, context: CacheContext) async -> Bool {
    if id == TreeResult.scratchID { return true }
    if id.hasPrefix(TreeResult.localPrefix) { return false }
    return (try? await refs.exists(id)) ?? false
  }
}
