package import OCIModel
import Synchronization

/// A cache key: one way to name a result, by the digest of the op and the keys of its inputs. Compared by identity; what two
/// keys have in common is the id that a cache finds for them.
package final class CacheKey: Sendable {
  /// The id of a key without dependencies, or that the cache gave it; else a name that only its own cache manager replaces.
  package let id: String
  package let digest: CacheDigest
  /// The vertex it was made for; nil for content keys.
  package let vertex: Digest?
  package let output: Int

  private struct Known {
    /// By cache manager: the id this key has there.
    var ids: [String: String] = [:]
    /// By edge index: see `EdgeIndex`.
    var indexIDs: [String] = []
  }
  private let known: Mutex<Known>
  // Written by init and deinit only: keys hang together as deep as the graph, and are taken apart in a loop.
  private nonisolated(unsafe) var storedDependencies: [[CacheKeyWithSelector]]
  /// For each input the keys of which any one does.
  package var dependencies: [[CacheKeyWithSelector]] { storedDependencies }

  /// A key for an output of an op; `output` is -1 for a content key.
  package init(digest: CacheDigest, vertex: Digest? = nil, output: Int, dependencies: [[CacheKeyWithSelector]] = []) {
    id = CacheKey.rootID(digest, output: output)
    (self.digest, self.vertex, self.output) = (digest, vertex, output)
    storedDependencies = dependencies
    known = Mutex(Known())
  }

  /// A key as a cache knows it.
  init(id: String, manager: String, digest: CacheDigest, output: Int) {
    (self.id, self.digest, self.output, vertex) = (id, digest, output, nil)
    storedDependencies = []
    known = Mutex(Known(ids: [manager: id]))
  }

  /// The same key, known for `vertex` and with the ways to it that this build found.
  private init(_ other: CacheKey, vertex: Digest?, dependencies: [[CacheKeyWithSelector]], more: [String: String]) {
    (id, digest, output, self.vertex) = (other.id, other.digest, other.output, vertex)
    storedDependencies = dependencies
    known = Mutex(Known(ids: other.ids.merging(more) { a, _ in a }))
  }

  deinit {
    var rest = storedDependencies
    storedDependencies = []
    while var group = rest.popLast() {
      while let item = group.popLast() {
        var key = item.releasingExport()
        guard isKnownUniquelyReferenced(&key) else { continue }
        rest += key.storedDependencies
        key.storedDependencies = []
      }
    }
  }

  func with(vertex: Digest?, dependencies: [[CacheKeyWithSelector]]? = nil) -> CacheKey {
    CacheKey(self, vertex: vertex, dependencies: dependencies ?? self.dependencies, more: [:])
  }
  func alsoKnown(_ ids: [String: String]) -> CacheKey {
    CacheKey(self, vertex: vertex, dependencies: dependencies, more: ids)
  }

  var ids: [String: String] { known.withLock { $0.ids } }
  /// The id this key has with a manager, once known; the first to say stays.
  func remember(_ id: String, manager: String) -> String {
    known.withLock { known in
      if let first = known.ids[manager] { return first }
      known.ids[manager] = id
      return id
    }
  }
  var indexIDs: [String] {
    get { known.withLock { $0.indexIDs } }
    set { known.withLock { $0.indexIDs = newValue } }
  }

  /// Whether an id is of a random key, which nobody can ask for again.
  package static func isOfOneBuild(_ id: String) -> Bool { id.hasPrefix("random:") }

  /// `sha256("<digest>@<output>")`, as BuildKit's `rootKey`; a random digest names itself.
  package static func rootID(_ digest: CacheDigest, output: Int) -> String {
    digest.isRandom ? digest.description : Digest.sha256(of: "\(digest)@\(output)").description
  }
}

/// A key of an input, and which part of that input is read.
package struct CacheKeyWithSelector: Sendable {
  package var key: ExportableCacheKey
  package var selector: Digest?
  package init(_ key: ExportableCacheKey, selector: Digest? = nil) { (self.key, self.selector) = (key, selector) }
  package init(_ key: CacheKey, selector: Digest? = nil) { self.init(ExportableCacheKey(key), selector: selector) }
  /// The key alone, everything else let go.
  fileprivate consuming func releasingExport() -> CacheKey { key.key }
}

/// A key, with what an export of the cache needs to follow the chain that led to it.
package struct ExportableCacheKey: Sendable {
  package let key: CacheKey
  package let export: CacheExport
  package init(_ key: CacheKey, export: CacheExport = CacheExport()) { (self.key, self.export) = (key, export) }
}

/// Where the result behind a key is, for exporting the cache.
package final class CacheExport: Sendable {
  /// The result this build made or loaded.
  package let record: CacheRecord?
  /// Results a cache holds for the key, while none is loaded.
  package let records: [CacheRecord]
  /// `VertexOptions.exportCache` of the vertex.
  package let exported: Bool?
  /// Keys by which the dependencies of merged edges were known.
  package let secondary: SecondaryKeys?
  /// Further chains that led to the result: builds that the op asked for, other keys of one result.
  package let others: [ExportableCacheKey]
  package let context: CacheContext?

  package init(
    record: CacheRecord? = nil, records: [CacheRecord] = [], exported: Bool? = nil, secondary: SecondaryKeys? = nil,
    others: [ExportableCacheKey] = [], context: CacheContext? = nil
  ) {
    (self.record, self.records, self.exported) = (record, records, exported)
    (self.secondary, self.others, self.context) = (secondary, others, context)
  }
}

/// The dependency keys of edges that were merged into one, by input.
package final class SecondaryKeys: Sendable {
  private let stored = Mutex<[(input: Int, key: CacheKeyWithSelector)]>([])
  package init() {}
  package var all: [(input: Int, key: CacheKeyWithSelector)] { stored.withLock { $0 } }
  func add(_ keys: [(input: Int, key: CacheKeyWithSelector)]) { stored.withLock { $0 += keys } }
}
