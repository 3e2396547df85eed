internal import Synchronization

/// A value computed once for all who ask. A failure is told to those who waited and tried again by the next. The work is cancelled when
/// all who wait for it are.
final class SingleFlight<Value: Sendable>: Sendable {
  private struct Flight {
    var task: Task<Value, any Error>
    var waiters: Int
  }
  private let state = Mutex<Flight?>(nil)

  func value(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let task = state.withLock { flight in
      if flight == nil { flight = Flight(task: Task { try await body() }, waiters: 0) }
      flight?.waiters += 1
      return flight?.task
    }
    guard let task else { throw CancellationError() }
    do {
      let value = try await withTaskCancellationHandler { try await task.value } onCancel: { leave(task) }
      return value
    } catch {
      state.withLock { if $0?.task == task { $0 = nil } }
      throw error
    }
  }

  /// One waiter fewer. A value that is there already stays.
  private func leave(_ task: Task<Value, any Error>) {
    let isLast = state.withLock { flight in
      guard flight?.task == task else { return false }
      flight?.waiters -= 1
      return flight?.waiters == 0
    }
    if isLast { task.cancel() }
  }

  /// The value if it was computed, or is being.
  func ifReady() async -> Value? {
    guard let task = state.withLock({ $0?.task }) else { return nil }
    return try? await task.value
  }
}
