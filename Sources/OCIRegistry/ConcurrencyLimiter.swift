internal import Synchronization

/// Lets a bounded number of tasks through at once, first come, first served. A cancelled waiter leaves the queue at once.
package final class ConcurrencyLimiter: Sendable {
  private struct State: Sendable {
    var free: Int
    var nextTicket: UInt64 = 0
    var waiters: [(ticket: UInt64, continuation: CheckedContinuation<Void, any Error>)] = []
    /// Tickets cancelled before they could join the queue.
    var cancelled: Set<UInt64> = []
  }
  private let state: Mutex<State>

  package init(_ limit: Int) { state = Mutex(State(free: max(1, limit))) }

  /// Runs `body` when a slot is free. Throws `CancellationError` when cancelled while waiting.
  package func run<T: Sendable>(_ body: () async throws -> T) async throws -> T {
    try await acquire()
    defer { release() }
    return try await body()
  }

  private func acquire() async throws {
    try Task.checkCancellation()
    let ticket: UInt64? = state.withLock { state in
      if state.free > 0, state.waiters.isEmpty {
        state.free -= 1
        return nil
      }
      state.nextTicket += 1
      return state.nextTicket
    }
    guard let ticket else { return }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        enum Outcome { case go, cancelled, queued }
        let outcome: Outcome = state.withLock { state in
          if state.cancelled.remove(ticket) != nil { return .cancelled }
          if state.free > 0, state.waiters.isEmpty {
            state.free -= 1
            return .go
          }
          state.waiters.append((ticket, continuation))
          return .queued
        }
        switch outcome {
        case .go: continuation.resume()
        case .cancelled: continuation.resume(throwing: CancellationError())
        case .queued: break
        }
      }
    } onCancel: {
      let waiter = state.withLock { state -> CheckedContinuation<Void, any Error>? in
        if let i = state.waiters.firstIndex(where: { $0.ticket == ticket }) { return state.waiters.remove(at: i).continuation }
        state.cancelled.insert(ticket)
        return nil
      }
      waiter?.resume(throwing: CancellationError())
    }
    // A cancellation that came after the slot was given leaves its ticket behind.
    _ = state.withLock { $0.cancelled.remove(ticket) }
  }

  private func release() {
    let next = state.withLock { state -> CheckedContinuation<Void, any Error>? in
      if state.waiters.isEmpty {
        state.free += 1
        return nil
      }
      return state.waiters.removeFirst().continuation
    }
    next?.resume()
  }
}

/// Limiters made as they are asked for, one a key, for the life of the owner.
package final class KeyedLimiters: Sendable {
  private let limiters = Mutex<[String: ConcurrencyLimiter]>([:])
  private let limit: Int
  package init(_ limit: Int) { self.limit = limit }
  package subscript(_ key: String) -> ConcurrencyLimiter {
    limiters.withLock { limiters in
      if let limiter = limiters[key] { return limiter }
      let limiter = ConcurrencyLimiter(limit)
      limiters[key] = limiter
      return limiter
    }
  }
}
