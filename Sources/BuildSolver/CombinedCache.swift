package import OCIModel

/// Several caches asked as one. Results come from any, and are kept in the main one.
package final class CombinedCache: CacheManager {
  package let id: String
  private let main: any CacheManager
  private let all: [any CacheManager]

  package init(main: any CacheManager, others: [any CacheManager]) {
    self.main = main
    all = [main] + others.sorted { $0.id < $1.id }
    id = Digest.sha256(of: all.map(\.id).joined(separator: ",")).description
  }

  /// Asks all at once. One that fails is as one that knows nothing, unless it is the main one.
  private func each<T: Sendable>(
    _ caches: [any CacheManager], _ body: @escaping @Sendable (any CacheManager) async throws -> [T]
  ) async throws -> [[T]] {
    let main = main
    return try await withThrowingTaskGroup(of: (Int, [T]).self) { group in
      for (i, cache) in caches.enumerated() {
        group.addTask { (i, try await Self.answer(of: cache, isMain: cache === main, body)) }
      }
      var answers = Array(repeating: [T](), count: caches.count)
      for try await (i, answer) in group { answers[i] = answer }
      return answers
    }
  }

  /// A function of its own: Swift 6.3 optimises a closure that returns a tuple from its `do` and another from its `catch` into wrong elements.
  private static func answer<T: Sendable>(
    of cache: any CacheManager, isMain: Bool, _ body: @Sendable (any CacheManager) async throws -> [T]
  ) async throws -> [T] {
    do { return try await body(cache) } catch where !isMain { return [] }
  }

  package func query(_ inputs: [CacheKeyWithSelector], input: Int, digest: CacheDigest, output: Int) async throws -> [CacheKey] {
    var found: [String: CacheKey] = [:]
    // What only this build can ask for, no other cache has: reading the context waits for none to arrive.
    let asked = inputs.isEmpty && digest.isRandom ? [main] : all
    for keys in try await each(asked, { try await $0.query(inputs, input: input, digest: digest, output: output) }) {
      // One key in several caches: all of them may have results for it.
      for key in keys { found[key.id] = found[key.id]?.alsoKnown(key.ids) ?? key }
    }
    return found.values.sorted { $0.id < $1.id }
  }

  package func records(_ key: CacheKey, context: CacheContext) async throws -> [CacheRecord] {
    let known = key.ids
    let main = main
    let answers = try await each(all.filter { known[$0.id] != nil }) { cache in
      try await cache.records(key, context: context).map { record in
        var record = record
        record.priority = cache === main ? 1 : 0
        return record
      }
    }
    var found: [String: CacheRecord] = [:]
    for record in answers.joined() where found[record.id] == nil { found[record.id] = record }
    return found.values.sorted { $0.id < $1.id }
  }

  package func load(_ record: CacheRecord, context: CacheContext) async throws -> any SolverResult {
    guard record.manager !== main else { return try await main.load(record, context: context) }
    let loaded = try await record.manager.loadWithParents(record, context: context)
    guard let first = loaded.first else { throw SolverError(.cache, "the cached result \(record.id) is gone") }
    do {
      for result in loaded { _ = try await main.save(result.key, result.result, createdAt: result.cacheResult.createdAt) }
    } catch {
      for result in loaded { await result.result.release() }
      throw error
    }
    for result in loaded.dropFirst() { await result.result.release() }
    return first.result
  }

  package func loadWithParents(_ record: CacheRecord, context: CacheContext) async throws -> [LoadedResult] {
    try await record.manager.loadWithParents(record, context: context)
  }
  package func save(_ key: CacheKey, _ result: any SolverResult, createdAt: Timestamp) async throws -> CacheRecord {
    try await main.save(key, result, createdAt: createdAt)
  }
  package func lockNames(_ key: CacheKey) async throws -> [String] { try await main.lockNames(key) }
  package func releaseUnreferenced() async throws {
    for cache in all { try await cache.releaseUnreferenced() }
  }
}
