package import OCIModel
import Synchronization

/// Cache keys in memory, and the reference for every other storage.
package final class MemoryCacheStorage: CacheKeyStorage {
  private struct Key {
    var results: [String: CacheResult] = [:]
    var links: [CacheLink: Set<String>] = [:]
    var sources: Set<String> = []
  }
  private struct State {
    var keys: [String: Key] = [:]
    var byResult: [String: Set<String>] = [:]

    mutating func apply(_ change: CacheChange) {
      switch change {
      case .addResult(let key, let result):
        keys[key, default: Key()].results[result.id] = result
        byResult[result.id, default: []].insert(key)
      case .addLink(let from, let link, let to):
        keys[from, default: Key()].links[link, default: []].insert(to)
        keys[to, default: Key()].sources.insert(from)
      case .release(let result):
        for key in byResult.removeValue(forKey: result) ?? [] {
          keys[key]?.results[result] = nil
          drop(ifEmpty: key)
        }
      }
    }

    private mutating func drop(ifEmpty id: String) {
      var rest = [id]
      while let id = rest.popLast() {
        // A key may lead to itself: an op whose result has the content of its input.
        guard let key = keys[id], key.results.isEmpty, key.links.values.allSatisfy({ $0 == [id] }) else { continue }
        keys[id] = nil
        for source in key.sources {
          for link in keys[source]?.links.keys ?? [:].keys {
            keys[source]?.links[link]?.remove(id)
            if keys[source]?.links[link]?.isEmpty == true { keys[source]?.links[link] = nil }
          }
          rest.append(source)
        }
      }
    }
  }
  private let state = Mutex(State())

  package init() {}

  package func exists(_ key: String) -> Bool {
    state.withLock { state in state.keys[key].map { !$0.links.isEmpty || !$0.results.isEmpty } ?? false }
  }
  package func targets(of links: [(from: String, link: CacheLink)]) -> [[String]] {
    state.withLock { state in links.map { state.keys[$0.from]?.links[$0.link]?.sorted() ?? [] } }
  }
  package func results(of key: String) -> [CacheResult] {
    state.withLock { $0.keys[key]?.results.values.sorted { $0.id < $1.id } ?? [] }
  }
  package func apply(_ changes: [CacheChange]) {
    state.withLock { state in for change in changes { state.apply(change) } }
  }
  package func keys() -> [String] { state.withLock { $0.keys.keys.sorted() } }
  package func keys(withResult id: String) -> [String] { state.withLock { $0.byResult[id]?.sorted() ?? [] } }
  package func backlinks(of key: String) -> [CacheBacklink] {
    state.withLock { state in
      (state.keys[key]?.sources.sorted() ?? []).flatMap { source in
        (state.keys[source]?.links ?? [:]).filter { $0.value.contains(key) }.map { CacheBacklink(from: source, $0.key) }
      }
    }
  }
}

/// Results in memory, by their own ids.
package final class MemoryResultStorage: CacheResultStorage {
  private let stored = Mutex<[String: any SolverResult]>([:])
  package init() {}

  package func save(_ result: any SolverResult, createdAt: Timestamp) async -> CacheResult {
    let kept = result.clone()
    let old = stored.withLock { $0.updateValue(kept, forKey: result.id) }
    await old?.release()
    return CacheResult(id: result.id, createdAt: createdAt)
  }
  package func load(_ result: CacheResult, context: CacheContext) -> (any SolverResult)? {
    stored.withLock { $0[result.id]?.clone() }
  }
  package func exists(_ id: String, context: CacheContext) -> Bool { stored.withLock { $0[id] != nil } }
  package func remove(_ id: String) async { await stored.withLock { $0.removeValue(forKey: id) }?.release() }
}
