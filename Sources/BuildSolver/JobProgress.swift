import BuildProgress
import OCIModel
import Synchronization

/// The stream of one job: what its vertices tell, and what follows from it. An input that a vertex could do without (its own
/// result was found) never starts; it is shown as cached once a vertex that reads it starts.
final class JobProgress: Sendable {
  private struct State {
    var vertices: [Digest: ProgressVertex] = [:]
    var wasCached: Set<Digest> = []
    var closed = false
  }
  private let state = Mutex(State())
  private let sink: any ProgressSink
  private let now: @Sendable () -> Timestamp

  init(_ sink: any ProgressSink, now: @escaping @Sendable () -> Timestamp) { (self.sink, self.now) = (sink, now) }

  func emit(_ event: ProgressEvent) {
    state.withLock { state in
      guard !state.closed else { return }
      var event = event
      if !event.vertices.isEmpty {
        var all: [ProgressVertex] = []
        for vertex in event.vertices { Self.add(vertex, to: &state, out: &all) }
        event.vertices = all
      }
      if !event.isEmpty { sink.emit(event) }
    }
  }

  private static func add(_ vertex: ProgressVertex, to state: inout State, out: inout [ProgressVertex]) {
    state.vertices[vertex.digest] = vertex
    if let started = vertex.started {
      let first = out.count
      var rest = vertex.inputs
      while let digest = rest.popLast() {
        guard var input = state.vertices[digest], !input.cached, input.completed == nil, input.started == nil else { continue }
        (input.cached, input.started, input.completed) = (true, started, started)
        state.vertices[digest] = input
        markCached(digest, in: &state)
        out.append(input)
        rest += input.inputs
      }
      out[first...].reverse()  // Inputs before what reads them.
    }
    if vertex.cached { markCached(vertex.digest, in: &state) }
    out.append(vertex)
  }

  private static func markCached(_ digest: Digest, in state: inout State) {
    var rest = [digest]
    while let next = rest.popLast() {
      if let vertex = state.vertices[next], state.wasCached.insert(next).inserted { rest += vertex.inputs }
    }
  }

  /// The end: what started and did not complete was cancelled. Nothing is emitted afterwards.
  func close() {
    let time = now()
    state.withLock { state in
      guard !state.closed else { return }
      state.closed = true
      var left = state.vertices.values.filter { $0.started != nil && $0.completed == nil }
      left.sort { ($0.started ?? time, $0.digest) < ($1.started ?? time, $1.digest) }
      for i in left.indices {
        left[i].completed = time
        if !state.wasCached.contains(left[i].digest), left[i].error.isEmpty { left[i].error = ProgressVertex.cancelledError }
      }
      if !left.isEmpty { sink.emit(ProgressEvent(vertices: left)) }
    }
  }
}
