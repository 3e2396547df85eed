import Synchronization

/// One computation for all who ask for it at once. It is cancelled when the last of them gives up; who asks while it dies
/// waits for its end and starts it anew.
final class Flight<Value: Sendable>: Sendable {
  private struct Call {
    var waiters: [Int: CheckedContinuation<Value, any Error>] = [:]
    /// Asked after the cancellation: told to try again.
    var late: [Int: CheckedContinuation<Value, any Error>] = [:]
    var task: Task<Void, Never>?
    var cancelled = false
  }
  private struct Again: Error {}
  private struct State {
    var nextTicket = 0
    var calls: [String: Call] = [:]
  }
  private let state = Mutex(State())

  /// `body` runs in a task of its own, which this flight owns: it ends before the last of its callers returns. It must not
  /// ask the same flight for the same key.
  func run(_ key: String, _ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    while true {
      do { return try await join(key, body) } catch is Again {}
    }
  }

  private func join(_ key: String, _ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let ticket = state.withLock { state in
      state.nextTicket += 1
      return state.nextTicket
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Value, any Error>) in
        let refused = state.withLock { state in
          if Task.isCancelled { return true }
          if state.calls[key]?.cancelled == true {
            state.calls[key]?.late[ticket] = waiter
          } else if state.calls[key] != nil {
            state.calls[key]?.waiters[ticket] = waiter
          } else {
            var call = Call(waiters: [ticket: waiter])
            call.task = Task { [self] in
              let outcome: Result<Value, any Error>
              do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
              land(key, outcome)
            }
            state.calls[key] = call
          }
          return false
        }
        if refused { waiter.resume(throwing: CancellationError()) }
      }
    } onCancel: {
      leave(key, ticket)
    }
  }

  private func leave(_ key: String, _ ticket: Int) {
    let (waiter, task) = state.withLock { state -> (CheckedContinuation<Value, any Error>?, Task<Void, Never>?) in
      guard var call = state.calls[key] else { return (nil, nil) }
      defer { state.calls[key] = call }
      if let late = call.late.removeValue(forKey: ticket) { return (late, nil) }
      guard call.waiters[ticket] != nil, !call.cancelled else { return (nil, nil) }
      guard call.waiters.count == 1 else { return (call.waiters.removeValue(forKey: ticket), nil) }
      // The last one stays until the work has really stopped.
      call.cancelled = true
      return (nil, call.task)
    }
    waiter?.resume(throwing: CancellationError())
    // Without the lock: the handlers of what is cancelled run at once.
    task?.cancel()
  }

  private func land(_ key: String, _ outcome: Result<Value, any Error>) {
    guard let call = state.withLock({ $0.calls.removeValue(forKey: key) }) else { return }
    for waiter in call.waiters.values { waiter.resume(with: outcome) }
    for waiter in call.late.values { waiter.resume(throwing: Again()) }
  }
}
