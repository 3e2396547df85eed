package import OCIModel

/// A result as a cache knows it.
package struct CacheResult: Hashable, Sendable {
  package var id: String
  package var createdAt: Timestamp
  package init(id: String, createdAt: Timestamp) { (self.id, self.createdAt) = (id, createdAt) }
}

/// The way from the key of an input to the key of what an op makes of it. The fields are BuildKit's `CacheInfoLink`.
package struct CacheLink: Hashable, Sendable {
  package var input: Int
  package var output: Int
  package var digest: CacheDigest
  package var selector: Digest?
  package init(input: Int, output: Int, digest: CacheDigest, selector: Digest? = nil) {
    (self.input, self.output, self.digest, self.selector) = (input, output, digest, selector)
  }
}

/// A change of the stored keys.
package enum CacheChange: Hashable, Sendable {
  case addResult(key: String, CacheResult)
  case addLink(from: String, CacheLink, to: String)
  /// Forgets a result everywhere, and every key that then leads to nothing: it has no result and no link.
  case release(result: String)
}

/// Where cache keys, the links between them and the ids of their results are kept. Shared by any number of solvers, in one
/// process or several; nothing read stays true longer than the call.
package protocol CacheKeyStorage: Sendable {
  /// Whether the key has a result or leads somewhere.
  func exists(_ key: String) async throws -> Bool
  /// For each asked pair the keys that the link leads to; empty when none.
  func targets(of links: [(from: String, link: CacheLink)]) async throws -> [[String]]
  func results(of key: String) async throws -> [CacheResult]
  /// All of them or none, in order. Adding what is there already changes nothing (a result's time is replaced).
  func apply(_ changes: [CacheChange]) async throws
  /// All keys.
  func keys() async throws -> [String]
  /// The keys that have the result.
  func keys(withResult id: String) async throws -> [String]
  /// The links that lead to a key.
  func backlinks(of key: String) async throws -> [CacheBacklink]
}

/// Turns results into ids that outlive the build, and back.
package protocol CacheResultStorage: Sendable {
  /// Keeps the result; does not take over the caller's reference.
  func save(_ result: any SolverResult, createdAt: Timestamp) async throws -> CacheResult
  /// Nil when it is gone. An error is a miss too, and reported.
  func load(_ result: CacheResult, context: CacheContext) async throws -> (any SolverResult)?
  func exists(_ id: String, context: CacheContext) async -> Bool
  /// The results of a record's whole chain by key id, the record's own included: for a remote cache, which then becomes
  /// local in one go. Nil: `load` is all there is.
  func loadWithParents(_ result: CacheResult, context: CacheContext) async throws -> [String: any SolverResult]?
  /// The result as blobs, as far as there are blobs already: nothing is made. nil: that would be work.
  func remote(_ result: CacheResult, form: RemoteForm, context: CacheContext) async throws -> CacheRemote?
}

extension CacheResultStorage {
  package func loadWithParents(_ result: CacheResult, context: CacheContext) async throws -> [String: any SolverResult]? { nil }
  package func remote(_ result: CacheResult, form: RemoteForm, context: CacheContext) async throws -> CacheRemote? { nil }
}

/// Something a cache could give back.
package struct CacheRecord: Sendable {
  package var id: String
  package var createdAt: Timestamp
  /// Among equally old ones the higher goes first.
  package var priority = 0
  package var manager: any CacheManager
  package var key: CacheKey

  package init(id: String, createdAt: Timestamp, manager: any CacheManager, key: CacheKey) {
    (self.id, self.createdAt, self.manager, self.key) = (id, createdAt, manager, key)
  }

  /// The newest; the local one among equals; the id decides what is left.
  static func best(of records: some Collection<CacheRecord>) -> CacheRecord? {
    records.min { a, b in
      if a.createdAt != b.createdAt { return a.createdAt > b.createdAt }
      return a.priority != b.priority ? a.priority > b.priority : a.id < b.id
    }
  }
}

/// On whose behalf a cache is asked: what ops left for it, and where progress goes.
package struct CacheContext: Sendable {
  /// The progress of the vertex whose result is loaded.
  package var progress: OpProgress?
  private let lookup: @Sendable (_ keys: Set<String>, _ ancestors: Bool) -> [String: any Sendable]

  package init(
    progress: OpProgress? = nil,
    lookup: @escaping @Sendable (_ keys: Set<String>, _ ancestors: Bool) -> [String: any Sendable] = { _, _ in [:] }
  ) {
    (self.progress, self.lookup) = (progress, lookup)
  }
  /// `CacheMap.options` of the vertex, and of those it was made from if `ancestors`: the nearest wins.
  package func options(_ keys: Set<String>, ancestors: Bool = true) -> [String: any Sendable] { lookup(keys, ancestors) }
}

/// Finds results by key. The solver has one of its own, a vertex may name more.
package protocol CacheManager: AnyObject, Sendable {
  /// Names the store behind it, so that one store is asked once.
  var id: String { get }
  /// The keys that any of `inputs`, read as input number `input`, leads to; without inputs the root key, if it is known.
  func query(_ inputs: [CacheKeyWithSelector], input: Int, digest: CacheDigest, output: Int) async throws -> [CacheKey]
  func records(_ key: CacheKey, context: CacheContext) async throws -> [CacheRecord]
  /// Throws when the record is gone: a miss.
  func load(_ record: CacheRecord, context: CacheContext) async throws -> any SolverResult
  /// Keeps a result under a key and links the key to those of its dependencies. Does not take over the reference.
  func save(_ key: CacheKey, _ result: any SolverResult, createdAt: Timestamp) async throws -> CacheRecord
  /// The first is the record's own; those of its chain may follow.
  func loadWithParents(_ record: CacheRecord, context: CacheContext) async throws -> [LoadedResult]
  /// What to lock, in this order, while the key's result is made: whoever is about to make the same one has a name in common.
  func lockNames(_ key: CacheKey) async throws -> [String]
  /// Forgets what the result storage no longer has.
  func releaseUnreferenced() async throws
}

package struct LoadedResult: Sendable {
  package var result: any SolverResult
  package var cacheResult: CacheResult
  package var key: CacheKey
}
