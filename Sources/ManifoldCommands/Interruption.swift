internal import HostOS
internal import Synchronization

/// Ended by a signal of the user's.
struct Interrupted: Error, Sendable {
  var signal: Int32
}

/// What Ctrl-C does to a command that takes its time.
enum Interruption {
  private final class First: Sendable {
    private let signal = Mutex<Int32?>(nil)
    var value: Int32? { signal.withLock { $0 } }
    /// Whether this is the first one.
    func note(_ new: Int32) -> Bool {
      signal.withLock { kept in
        defer { kept = kept ?? new }
        return kept == nil
      }
    }
  }

  /// Runs `body` so that the first SIGINT or SIGTERM cancels it, and it can stop its steps and clean up; the second one ends the program on the
  /// spot. Throws `Interrupted` when a signal came and `body` failed, with whatever.
  static func guarding<T: Sendable>(_ body: @Sendable @escaping () async throws -> T) async throws -> T {
    let signals = try Signals.events([Signals.interrupt, Signals.terminate])
    let work = Task { try await body() }
    let first = First()
    let listener = Task.detached {
      for await signal in signals {
        guard first.note(signal) else { Signals.end(by: signal) }
        work.cancel()
      }
    }
    defer { listener.cancel() }
    let result = await withTaskCancellationHandler { await work.result } onCancel: { work.cancel() }
    if case .failure = result, let signal = first.value { throw Interrupted(signal: signal) }
    return try result.get()
  }
}
