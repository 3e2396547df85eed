import Synchronization

/// What the steps of one job decided together, by key (which digest a tag had, say). Who locks a key sees what was
/// decided and may add to it; others wait meanwhile.
package final class ResolverCache: Sendable {
  private struct Entry {
    var values: [any Sendable] = []
    var locked = false
    var waiting: [(ticket: Int, continuation: CheckedContinuation<Void, any Error>)] = []
  }
  private struct State {
    var entries: [String: Entry] = [:]
    var nextTicket = 0
  }
  private let state = Mutex(State())

  package init() {}

  /// Waits for the key. Throws only when the task is cancelled.
  package func lock(_ key: String) async throws -> Lease { try await Self.lock(key, in: [self]) }

  /// Locks a key in several caches. Callers give them in one order, else two could wait for each other.
  static func lock(_ key: String, in caches: [ResolverCache]) async throws -> Lease {
    let lease = Lease(key)
    do {
      for cache in caches {
        try await cache.take(key)
        lease.add(cache, values: cache.state.withLock { $0.entries[key]?.values ?? [] })
      }
    } catch {
      lease.release()
      throw error
    }
    return lease
  }

  private func take(_ key: String) async throws {
    let ticket = state.withLock { state in
      state.nextTicket += 1
      return state.nextTicket
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Void, any Error>) in
        let outcome: Result<Void, any Error>? = state.withLock { state in
          if Task.isCancelled { return .failure(CancellationError()) }
          if state.entries[key]?.locked != true {
            state.entries[key, default: Entry()].locked = true
            return .success(())
          }
          state.entries[key]?.waiting.append((ticket, waiter))
          return nil
        }
        if let outcome { waiter.resume(with: outcome) }
      }
    } onCancel: {
      let waiter = state.withLock { state -> CheckedContinuation<Void, any Error>? in
        guard let i = state.entries[key]?.waiting.firstIndex(where: { $0.ticket == ticket }) else { return nil }
        return state.entries[key]?.waiting.remove(at: i).continuation
      }
      waiter?.resume(throwing: CancellationError())
    }
  }

  private func give(_ key: String, adding value: (any Sendable)?) {
    let next = state.withLock { state -> CheckedContinuation<Void, any Error>? in
      guard var entry = state.entries[key] else { return nil }
      if let value { entry.values.append(value) }
      let next = entry.waiting.isEmpty ? nil : entry.waiting.removeFirst().continuation
      entry.locked = next != nil
      state.entries[key] = !entry.locked && entry.values.isEmpty ? nil : entry
      return next
    }
    next?.resume()
  }

  /// A locked key. Given back by `release`, or when the last reference goes.
  package final class Lease: Sendable {
    private let key: String
    private let held = Mutex<(caches: [ResolverCache], values: [any Sendable])>(([], []))
    fileprivate init(_ key: String) { self.key = key }
    deinit { release() }

    /// What was decided so far. Several when two builds that had decided apart came together.
    package var values: [any Sendable] { held.withLock { $0.values } }
    package func release(adding value: (any Sendable)? = nil) {
      let caches = held.withLock { held in
        defer { held.caches = [] }
        return held.caches
      }
      for cache in caches { cache.give(key, adding: value) }
    }
    fileprivate func add(_ cache: ResolverCache, values: [any Sendable]) {
      held.withLock { $0.caches.append(cache); $0.values += values }
    }
  }
}
