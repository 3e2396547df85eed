internal import OCIModel

package struct CacheExportOptions: Sendable {
  package enum Mode: Sendable {
    /// The result, and of the steps that led to it those whose layers it contains.
    case minimum
    /// Every step's result.
    case maximum
    /// What has blobs already; what a minimal export goes on with below its first result.
    case onlyRemote
  }
  package var mode: Mode
  package var form: RemoteForm
  /// Makes blobs of a result; nil when it has none to show.
  package var makeRemote: @Sendable (any SolverResult) async throws -> CacheRemote?
  /// Where the lazy layers of the exported result are had from.
  package var lookup: @Sendable (Set<String>) -> [String: any Sendable]

  package init(
    mode: Mode, form: RemoteForm, lookup: @escaping @Sendable (Set<String>) -> [String: any Sendable] = { _ in [:] },
    makeRemote: @escaping @Sendable (any SolverResult) async throws -> CacheRemote?
  ) {
    (self.mode, self.form, self.lookup, self.makeRemote) = (mode, form, lookup, makeRemote)
  }
}

extension Job {
  /// Adds to `chains` the records by which a later build, elsewhere, finds `result` again, and those of the steps that led to it. The job is still open.
  package func exportCache(of result: CachedResult, to chains: inout CacheChains, _ options: CacheExportOptions) async throws {
    // All its keys have the same chain behind them.
    guard let key = result.cacheKeys.first else { return }
    let walk = CacheExportWalk(solver: solver, options: options, chains: chains)
    _ = try await walk.export(key, options.mode)
    chains = walk.chains
  }
}

/// One export's way through the keys of a result and of all it was made from: the same as BuildKit's (solver/exporter.go).
private final class CacheExportWalk {
  private let solver: Solver
  private let options: CacheExportOptions
  private(set) var chains: CacheChains
  private var exported: [ObjectIdentifier: [CacheChains.Record]] = [:]
  /// Keeps the objects, whose identities name them, alive.
  private var seen: [CacheExport] = []
  private var linked: [String: [CacheChains.Record]] = [:]
  private var caches: [String: StoredCache] = [:]

  init(solver: Solver, options: CacheExportOptions, chains: CacheChains) {
    (self.solver, self.options, self.chains) = (solver, options, chains)
    if let own = solver.options.cache as? StoredCache { caches[own.id] = own }
  }

  func export(_ item: ExportableCacheKey, _ mode: CacheExportOptions.Mode) async throws -> [CacheChains.Record] {
    guard item.export.others.isEmpty else {
      var all: [CacheChains.Record] = []
      for other in item.export.others { all += try await export(other, mode) }
      return all
    }
    let name = ObjectIdentifier(item.export)
    if let known = exported[name] { return known }
    exported[name] = []
    seen.append(item.export)
    let key = item.key
    let ids = key.ids
    let dependencies = key.dependencies
    let (record, result) = try await self.result(item, mode, isRoot: dependencies.isEmpty)
    // What the result contains has blobs now.
    let mode = result != nil && mode == .minimum ? .onlyRemote : mode

    var inputs = [[CacheChains.Link]](repeating: [], count: dependencies.count)
    for (input, group) in dependencies.enumerated() {
      for dependency in group { inputs[input] += try await links(to: dependency, mode) }
    }
    for (input, dependency) in item.export.secondary?.all ?? [] where input < inputs.count { inputs[input] += try await links(to: dependency, mode) }
    for (manager, id) in ids.sorted(by: { $0.key < $1.key }) {
      if let cache = caches[manager] { _ = try await backlinks(cache, id) }
    }
    guard inputs.allSatisfy({ !$0.isEmpty }) else { return [] }
    if let record, dependencies.isEmpty { try await otherRoots(record) }
    guard let made = try chains.add(CacheKey.rootID(key.digest, output: key.output), inputs, result.map { [$0] } ?? []) else { return [] }
    exported[name] = [made]
    return [made]
  }

  /// What cannot be exported is left out; the rest is good without it.
  private func links(to dependency: CacheKeyWithSelector, _ mode: CacheExportOptions.Mode) async throws -> [CacheChains.Link] {
    do {
      return try await export(dependency.key, mode).map { CacheChains.Link($0, selector: dependency.selector) }
    } catch {
      try Task.checkCancellation()
      return []
    }
  }

  /// The record whose result is taken, the newest of several, and that result as blobs. Results of steps without inputs (a base image, files of
  /// the client) are not exported.
  private func result(_ item: ExportableCacheKey, _ mode: CacheExportOptions.Mode, isRoot: Bool) async throws -> (CacheRecord?, CacheExportResult?) {
    let export = item.export
    guard !isRoot, export.exported ?? true else { return (export.record, nil) }
    let candidates = (export.record.map { [$0] } ?? []) + export.records.sorted {
      $0.createdAt != $1.createdAt ? $0.createdAt > $1.createdAt : ($0.priority, $0.id) < ($1.priority, $1.id)
    }
    let context = self.context(item)
    for record in candidates {
      guard let cache = record.manager as? StoredCache else { continue }
      caches[cache.id] = cache
      let id = try await cache.keyID(record.key)
      guard let stored = try await cache.keys.results(of: id).first(where: { $0.id == record.id }) else { continue }
      var remote: CacheRemote?
      do { remote = try await cache.results.remote(stored, form: options.form, context: context) } catch { try Task.checkCancellation() }
      if remote == nil, mode != .onlyRemote, let loaded = try await cache.results.load(stored, context: context) {
        do { remote = try await options.makeRemote(loaded) } catch {
          await loaded.release()
          throw error
        }
        await loaded.release()
      }
      return (record, remote.flatMap { $0.layers.isEmpty ? nil : CacheExportResult(createdAt: record.createdAt, remote: $0) })
    }
    return (nil, nil)
  }

  /// What the ops left for loading the record's result, then what the exported result knows.
  private func context(_ item: ExportableCacheKey) -> CacheContext {
    let own = item.export.context ?? item.key.vertex.map { solver.cacheContext($0, progress: nil) }
    let lookup = options.lookup
    return CacheContext { keys, ancestors in
      var found = own?.options(keys, ancestors: ancestors) ?? [:]
      let rest = keys.filter { found[$0] == nil }
      if !rest.isEmpty { found.merge(lookup(rest)) { a, _ in a } }
      return found
    }
  }

  /// The chains that the cache knows to lead to the key, though they took no part in this build.
  private func backlinks(_ cache: StoredCache, _ id: String) async throws -> [CacheChains.Record] {
    let name = cache.id + "\n" + id
    if let known = linked[name] { return known }
    linked[name] = []
    let ways = try await cache.keys.backlinks(of: id)
    var found: [CacheChains.Record] = []
    if ways.isEmpty, Digest(id) != nil, let root = try chains.add(id) { found.append(root) }
    var order: [String] = []
    var inputs: [String: [[CacheChains.Link]]] = [:]
    for way in ways {
      let sources = try await backlinks(cache, way.from)
      if inputs[way.record] == nil { order.append(way.record) }
      while (inputs[way.record]?.count ?? 0) <= way.input { inputs[way.record, default: []].append([]) }
      inputs[way.record]?[way.input] += sources.map { CacheChains.Link($0, selector: way.selector) }
    }
    for record in order {
      guard let links = inputs[record], links.allSatisfy({ !$0.isEmpty }), let made = try chains.add(record, links) else { continue }
      found.append(made)
    }
    linked[name] = found
    return found
  }

  /// Other names of a root's result.
  private func otherRoots(_ record: CacheRecord) async throws {
    guard let cache = record.manager as? StoredCache else { return }
    let own = try await cache.keyID(record.key)
    for id in try await cache.keys.keys(withResult: record.id) where id != own && Digest(id) != nil {
      if try await cache.keys.backlinks(of: id).isEmpty { _ = try chains.add(id) }
    }
  }
}
