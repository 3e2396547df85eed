internal import GRPCCore
internal import Synchronization

/// So many builds at once; the others wait in the order they came.
package final class BuildSlots: Sendable {
  private struct State {
    var free: Int
    var next = 0
    var waiting: [(id: Int, continuation: CheckedContinuation<Void, any Error>)] = []
    var cancelled: Set<Int> = []
  }
  private let state: Mutex<State>
  /// Who would wait behind so many is refused instead.
  private let queue: Int

  package init(_ count: Int, queue: Int = 1000) {
    state = Mutex(State(free: max(1, count)))
    self.queue = queue
  }

  /// `waiting` is called when a slot is not free at once.
  package func run<T: Sendable>(waiting: () -> Void = {}, _ body: () async throws -> T) async throws -> T {
    try await take(waiting)
    defer { give() }
    return try await body()
  }

  private func take(_ told: () -> Void) async throws {
    let id: Int? = try state.withLock { state in
      if state.free > 0 {
        state.free -= 1
        return nil
      }
      guard state.waiting.count < queue else { throw RPCError(code: .resourceExhausted, message: "too many builds are waiting already") }
      state.next += 1
      return state.next
    }
    guard let id else { return }
    told()
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let result: Result<Void, any Error>? = state.withLock { state in
          if state.cancelled.remove(id) != nil { return .failure(CancellationError()) }
          if state.free > 0 {
            state.free -= 1
            return .success(())
          }
          state.waiting.append((id, continuation))
          return nil
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      let waiter: CheckedContinuation<Void, any Error>? = state.withLock { state in
        guard let index = state.waiting.firstIndex(where: { $0.id == id }) else {
          state.cancelled.insert(id)
          return nil
        }
        return state.waiting.remove(at: index).continuation
      }
      waiter?.resume(throwing: CancellationError())
    }
    // A cancellation after the slot was given leaves its mark.
    _ = state.withLock { $0.cancelled.remove(id) }
  }

  private func give() {
    let next: CheckedContinuation<Void, any Error>? = state.withLock { state in
      if state.waiting.isEmpty {
        state.free += 1
        return nil
      }
      return state.waiting.removeFirst().continuation
    }
    next?.resume()
  }
}
