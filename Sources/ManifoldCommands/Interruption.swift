internal import HostOS
internal import Synchronization

/// Ended by a signal of the user's.
struct Interrupted: Error, Sendable {
  var signal: Int32
}

/// What Ctrl-C does to a command that takes its time: the first SIGINT or SIGTERM cancels it, and it can stop its steps and clean up; the next
/// one ends the program on the spot.
final class Interruption: Sendable {
  private struct State {
    var first: Int32?
    var count = 0
    /// Signals that are somebody else's to act on.
    var passed = 0
  }
  enum Answer { case none, cancel, end }
  private let state = Mutex(State())

  /// From now on one signal is left to the program that runs in the container and gets it too; only the next one cancels.
  func leaveOneToTheContainer() { state.withLock { $0.passed = $0.count + 1 } }

  /// What is to be done about the next signal.
  func note(_ signal: Int32) -> Answer {
    state.withLock { state in
      state.count += 1
      if state.count <= state.passed { return .none }
      defer { state.first = state.first ?? signal }
      return state.first == nil ? .cancel : .end
    }
  }

  var cancelledBy: Int32? { state.withLock { $0.first } }

  /// Throws `Interrupted` when a signal cancelled `body` and it failed, with whatever.
  static func guarding<T: Sendable>(_ body: @Sendable @escaping (Interruption) async throws -> T) async throws -> T {
    let signals = try Signals.events([Signals.interrupt, Signals.terminate])
    let interruption = Interruption()
    let work = Task { try await body(interruption) }
    let listener = Task.detached {
      for await signal in signals {
        switch interruption.note(signal) {
        case .none: break
        case .cancel: work.cancel()
        case .end: Signals.end(by: signal)
        }
      }
    }
    defer { listener.cancel() }
    let result = await withTaskCancellationHandler {
      await work.result
    } onCancel: {
      work.cancel()
    }
    if case .failure = result, let signal = interruption.cancelledBy { throw Interrupted(signal: signal) }
    return try result.get()
  }
}
