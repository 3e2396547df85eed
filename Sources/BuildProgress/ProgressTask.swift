package import OCIModel

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The time of day.
package func wallClock() -> Timestamp {
  var now = timespec()
  clock_gettime(CLOCK_REALTIME, &now)
  return Timestamp(seconds: Int64(now.tv_sec), nanoseconds: Int32(now.tv_nsec))
}

/// A vertex of the progress stream that no op of the graph stands behind, with its lines: `[internal] load metadata for …`, `exporting to image`.
package struct ProgressTask: Sendable {
  package let name: String
  private let digest: Digest
  private let sink: any ProgressSink

  /// Tasks of one `id` are one vertex: whoever may do the same twice in a build gives each an id of its own.
  package init(_ name: String, id: String, _ sink: any ProgressSink) {
    self.name = name
    self.sink = sink
    digest = .sha256(of: id)
  }

  /// Runs the work as the vertex: its begin, its end, its error.
  package func run<T: Sendable>(_ body: (ProgressTask) async throws -> T) async throws -> T {
    var vertex = ProgressVertex(digest: digest, name: name, started: wallClock())
    sink.emit(ProgressEvent(vertices: [vertex]))
    do {
      let value = try await body(self)
      vertex.completed = wallClock()
      sink.emit(ProgressEvent(vertices: [vertex]))
      return value
    } catch {
      vertex.completed = wallClock()
      vertex.error = error is CancellationError ? ProgressVertex.cancelledError : "\(error)"
      sink.emit(ProgressEvent(vertices: [vertex]))
      throw error
    }
  }

  /// A line without a measure, from the beginning of `body` to its end.
  @discardableResult
  package func step<T: Sendable>(_ id: String, _ body: () async throws -> T) async throws -> T {
    let started = wallClock()
    status(id, started: started, completed: nil)
    defer { status(id, started: started, completed: wallClock()) }
    return try await body()
  }

  /// A line that says that something was done.
  package func done(_ id: String) {
    let time = wallClock()
    status(id, started: time, completed: time)
  }

  /// A line of text, without its end.
  package func log(_ line: String, stream: Int = 2) {
    sink.emit(ProgressEvent(logs: [VertexLog(vertex: digest, timestamp: wallClock(), stream: stream, message: Array((line + "\n").utf8))]))
  }

  /// A part of the work with a measure; sent again, under the same id, when it changes.
  package func status(_ id: String, name: String = "", current: Int64 = 0, total: Int64 = 0, started: Timestamp?, completed: Timestamp?) {
    sink.emit(
      ProgressEvent(statuses: [
        VertexStatus(id: id, vertex: digest, name: name, total: total, current: current, timestamp: wallClock(), started: started, completed: completed)
      ]))
  }
}
