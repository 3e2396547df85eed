internal import BuildProgress
internal import BuildSolver
internal import OCIModel
internal import Synchronization

extension OpProgress {
  /// A line for bytes that come or go, beneath the vertex. Ended by `finish`.
  func transfer(_ id: String, total: Int64) -> TransferStatus { TransferStatus(self, id: id, total: total) }
}

/// Told as often as bytes come; passed on a few times a second.
final class TransferStatus: Sendable {
  private struct State {
    var current: Int64 = 0
    var told: Int64 = 0
    var finished = false
  }
  private static let interval: Int64 = 100_000_000
  private let progress: OpProgress
  private let id: String
  private let total: Int64
  private let started = wallClock()
  private let state = Mutex(State())

  init(_ progress: OpProgress, id: String, total: Int64) {
    (self.progress, self.id, self.total) = (progress, id, total)
    progress.status(id, current: 0, total: total, started: started)
  }

  /// Bytes so far.
  func update(_ current: Int64) {
    let now = wallClock().nanosecondsSinceEpoch
    let tells = state.withLock { state in
      state.current = current
      guard !state.finished, now - state.told >= TransferStatus.interval else { return false }
      state.told = now
      return true
    }
    if tells { progress.status(id, current: current, total: total, started: started) }
  }

  func finish() {
    let current: Int64? = state.withLock { state in
      if state.finished { return nil }
      state.finished = true
      return state.current
    }
    if let current { progress.status(id, current: current, total: total, started: started, completed: wallClock()) }
  }
}
