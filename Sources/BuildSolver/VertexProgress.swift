package import BuildProgress
package import OCIModel
import Synchronization

/// The progress of one active vertex: kept for those who join late, and passed on to every job the vertex belongs to.
package final class VertexProgress: Sendable {
  /// How much a vertex's log is kept for late joiners, in bytes. The oldest goes first.
  static let keptLog = 4 << 20

  private struct State {
    var vertex: ProgressVertex
    var announced = false
    var logs: [VertexLog] = []
    var firstLog = 0
    var logBytes = 0
    var statuses: [String: VertexStatus] = [:]
    var statusOrder: [String] = []
    var warnings: [VertexWarning] = []
    var jobs: [ObjectIdentifier: JobProgress] = [:]
    /// The vertices whose edge does this one's work since they were merged.
    var successors: [VertexProgress] = []
  }
  private let state: Mutex<State>
  package let digest: Digest
  private let now: @Sendable () -> Timestamp

  init(_ vertex: Vertex, now: @escaping @Sendable () -> Timestamp) {
    digest = vertex.digest
    self.now = now
    state = Mutex(State(vertex: ProgressVertex(
      digest: vertex.digest, inputs: vertex.inputs.map(\.vertex.digest), name: vertex.name,
      progressGroup: vertex.options.progressGroup)))
  }

  var failed: Bool { state.withLock { !$0.vertex.error.isEmpty } }

  /// From now on the job hears of this vertex; it is told first what happened so far. Nothing when it hears already.
  func join(_ job: JobProgress) {
    let successors = state.withLock { state -> [VertexProgress] in
      guard state.jobs.updateValue(job, forKey: ObjectIdentifier(job)) == nil else { return [] }
      job.emit(ProgressEvent(
        vertices: [state.vertex], statuses: state.statusOrder.compactMap { state.statuses[$0] },
        logs: Array(state.logs[state.firstLog...]), warnings: state.warnings))
      return state.successors
    }
    for successor in successors { successor.join(job) }
  }
  func leave(_ job: JobProgress) { state.withLock { _ = $0.jobs.removeValue(forKey: ObjectIdentifier(job)) } }

  /// `other` does the work from now on: everyone who hears of this vertex hears of that one.
  func merge(into other: VertexProgress) {
    guard other !== self else { return }
    let jobs = state.withLock { state -> [JobProgress] in
      guard !state.successors.contains(where: { $0 === other }) else { return [] }
      state.successors.append(other)
      return Array(state.jobs.values)
    }
    for job in jobs { other.join(job) }
  }

  // MARK: what happens

  /// Work on the vertex begins (again).
  func started(cached: Bool = false) {
    let time = now()
    update { $0.started = time; $0.completed = nil; $0.cached = cached }
  }
  func completed(cached: Bool = false, error: (any Error)? = nil) {
    let time = now()
    update {
      $0.completed = time
      $0.cached = cached
      $0.error = error.map(Self.text) ?? ""
    }
  }
  private static func text(_ error: any Error) -> String {
    error is CancellationError ? ProgressVertex.cancelledError : "\(error)"
  }
  private func update(_ change: (inout ProgressVertex) -> Void) {
    state.withLock { state in
      change(&state.vertex)
      Self.emit(ProgressEvent(vertices: [state.vertex]), state)
    }
  }

  func log(_ bytes: [UInt8], stream: Int) {
    let log = VertexLog(vertex: digest, timestamp: now(), stream: stream, message: bytes)
    state.withLock { state in
      state.logs.append(log)
      state.logBytes += bytes.count
      while state.logBytes > Self.keptLog, state.firstLog < state.logs.count - 1 {
        state.logBytes -= state.logs[state.firstLog].message.count
        state.firstLog += 1
      }
      if state.firstLog > 1024, state.firstLog * 2 > state.logs.count {
        state.logs.removeFirst(state.firstLog)
        state.firstLog = 0
      }
      Self.emit(ProgressEvent(logs: [log]), state)
    }
  }
  func status(_ id: String, name: String, current: Int64, total: Int64, started: Timestamp?, completed: Timestamp?) {
    let status = VertexStatus(
      id: id, vertex: digest, name: name, total: total, current: current, timestamp: now(), started: started,
      completed: completed)
    state.withLock { state in
      if state.statuses.updateValue(status, forKey: id) == nil { state.statusOrder.append(id) }
      Self.emit(ProgressEvent(statuses: [status]), state)
    }
  }
  func warn(_ warning: VertexWarning) {
    state.withLock { state in
      state.warnings.append(warning)
      Self.emit(ProgressEvent(warnings: [warning]), state)
    }
  }

  private static func emit(_ event: ProgressEvent, _ state: borrowing State) {
    // Under the vertex's lock, so that each job gets a vertex's events in their order.
    for job in state.jobs.values { job.emit(event) }
  }
}

/// What an op tells about its work.
package struct OpProgress: Sendable {
  let vertex: VertexProgress
  init(_ vertex: VertexProgress) { self.vertex = vertex }

  /// The digest the vertex has in the progress stream.
  package var digest: Digest { vertex.digest }
  /// Output of the step: 1 standard output, 2 standard error.
  package func log(_ bytes: [UInt8], stream: Int = 1) { if !bytes.isEmpty { vertex.log(bytes, stream: stream) } }
  package func log(_ text: String, stream: Int = 2) { log(Array(text.utf8), stream: stream) }
  /// A part of the work with a measure; sent again, under the same id, when it changes.
  package func status(
    _ id: String, name: String = "", current: Int64 = 0, total: Int64 = 0, started: Timestamp? = nil, completed: Timestamp? = nil
  ) {
    vertex.status(id, name: name, current: current, total: total, started: started, completed: completed)
  }
  /// The warning's vertex is set to this one.
  package func warn(_ warning: VertexWarning) {
    var own = warning
    own.vertex = digest
    vertex.warn(own)
  }
}
