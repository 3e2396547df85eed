internal import BuildProgress
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The vertex that stands for one export, with its lines: `exporting to image`, `exporting layers`…
struct ExportVertex: Sendable {
  let digest: Digest
  let name: String
  private let sink: any ProgressSink

  init(_ name: String, _ sink: any ProgressSink) {
    self.name = name
    self.sink = sink
    // The same export may happen twice in a build; the lines of the two must not run together.
    digest = .sha256(of: "export:\(name):\(UInt64.random(in: .min ... .max)):\(UInt64.random(in: .min ... .max))")
  }

  /// Runs the export as the vertex.
  static func run<T: Sendable>(_ name: String, _ sink: any ProgressSink, _ body: (ExportVertex) async throws -> T) async throws -> T {
    let export = ExportVertex(name, sink)
    var vertex = ProgressVertex(digest: export.digest, name: name, started: now)
    sink.emit(ProgressEvent(vertices: [vertex]))
    do {
      let value = try await body(export)
      vertex.completed = now
      sink.emit(ProgressEvent(vertices: [vertex]))
      return value
    } catch {
      vertex.completed = now
      vertex.error = error is CancellationError ? ProgressVertex.cancelledError : "\(error)"
      sink.emit(ProgressEvent(vertices: [vertex]))
      throw error
    }
  }

  /// A line without a measure, from the beginning of `body` to its end.
  @discardableResult
  func step<T: Sendable>(_ id: String, _ body: () async throws -> T) async throws -> T {
    let started = Self.now
    status(id, started: started, completed: nil)
    defer { status(id, started: started, completed: Self.now) }
    return try await body()
  }

  /// A line that says that something was done.
  func done(_ id: String) {
    let time = Self.now
    status(id, started: time, completed: time)
  }

  func log(_ text: String) {
    sink.emit(ProgressEvent(logs: [VertexLog(vertex: digest, timestamp: Self.now, stream: 2, message: Array((text + "\n").utf8))]))
  }

  fileprivate func status(_ id: String, name: String = "", current: Int64 = 0, total: Int64 = 0, started: Timestamp, completed: Timestamp?) {
    sink.emit(
      ProgressEvent(statuses: [
        VertexStatus(id: id, vertex: digest, name: name, total: total, current: current, timestamp: Self.now, started: started, completed: completed)
      ]))
  }

  static var now: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
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
  private let vertex: ExportVertex
  private let id: String
  private let name: String
  private let total: Int64

  init(_ vertex: ExportVertex, _ id: String, name: String = "", total: Int64 = 0) { (self.vertex, self.id, self.name, self.total) = (vertex, id, name, total) }

  func add(_ bytes: Int64) { show(ended: false) { $0.current += bytes } }
  func set(_ bytes: Int64) { show(ended: false) { $0.current = bytes } }
  func finish() { show(ended: true) { _ in } }

  /// Of a transfer to or from a registry: what needs no bytes makes no line.
  func follow(_ progress: TransferProgress) {
    switch progress.state {
    case .waiting, .exists, .mounted: break
    case .transferring, .retrying: set(progress.bytes)
    case .done:
      set(progress.bytes)
      finish()
    }
  }

  private func show(ended: Bool, _ change: (inout State) -> Void) {
    let now = ExportVertex.now
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
