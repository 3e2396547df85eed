internal import BuildProgress
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

extension ProgressTask {
  /// Runs an export as a vertex. The same export may happen twice in a build, and the lines of the two must not run together.
  static func export<T: Sendable>(_ name: String, _ sink: any ProgressSink, _ body: (ProgressTask) async throws -> T) async throws -> T {
    let id = "export:\(name):\(UInt64.random(in: .min ... .max)):\(UInt64.random(in: .min ... .max))"
    return try await ProgressTask(name, id: id, sink).run { vertex in try await vertex.tellingRetries { try await body(vertex) } }
  }

  /// What registries make wait for is said in the vertex's log.
  package func tellingRetries<T: Sendable>(_ body: () async throws -> T) async throws -> T {
    try await RegistryRetry.observing({ log($0.description) }, body)
  }
}

/// A line with a measure in bytes. Shown a few times a second at most.
final class ExportMeter: Sendable {
  private struct State {
    var current: Int64 = 0
    var shown: Timestamp?
    var started: Timestamp?
    var ended = false
  }
  private let state = Mutex(State())
  private let vertex: ProgressTask
  private let id: String
  private let name: String
  private let total: Int64

  init(_ vertex: ProgressTask, _ id: String, name: String = "", total: Int64 = 0) { (self.vertex, self.id, self.name, self.total) = (vertex, id, name, total) }

  func add(_ bytes: Int64) { show(ended: false) { $0.current += bytes } }
  func set(_ bytes: Int64) { show(ended: false) { $0.current = bytes } }
  func finish() { show(ended: true) { _ in } }

  /// Of a transfer to or from a registry: what needs no bytes makes no line.
  func follow(_ progress: TransferProgress) {
    switch progress.state {
    case .waiting, .exists, .mounted, .retrying: break
    case .transferring: set(progress.bytes)
    case .done:
      set(progress.bytes)
      finish()
    }
  }

  private func show(ended: Bool, _ change: (inout State) -> Void) {
    let now = wallClock()
    let due: State? = state.withLock { state in
      guard !state.ended else { return nil }
      change(&state)
      let isFirst = state.started == nil
      if isFirst { state.started = now }
      state.ended = ended
      guard ended || isFirst || (state.shown.map { now.nanosecondsSinceEpoch - $0.nanosecondsSinceEpoch > 100_000_000 } ?? true) else { return nil }
      state.shown = now
      return state
    }
    guard let due else { return }
    vertex.status(id, name: name, current: due.current, total: total, started: due.started ?? now, completed: ended ? now : nil)
  }
}

/// Tells blocking work that its task was cancelled.
final class CancelFlag: Sendable {
  private let flag = Atomic<Bool>(false)
  var isSet: Bool { flag.load(ordering: .relaxed) }

  /// Runs `body` with a flag that is set when the task is cancelled.
  static func watching<T: Sendable>(_ body: (CancelFlag) async throws -> T) async throws -> T {
    let flag = CancelFlag()
    return try await withTaskCancellationHandler {
      try await body(flag)
    } onCancel: {
      flag.flag.store(true, ordering: .relaxed)
    }
  }
}
