package import BuildProgress
internal import OCIModel
internal import Synchronization

/// All that happened in one build, for as many listeners as there are, each from the beginning and at its own pace. Bounded: of a vertex or status that was told
/// several times the newest is enough for whoever comes late, and of what steps wrote the oldest goes.
package final class StatusJournal: ProgressSink {
  private struct Entry {
    var number: Int
    var event: ProgressEvent
    var size: Int
  }
  private struct State {
    var entries: [Entry] = []
    var next = 1
    var size = 0
    var isClosed = false
    var listeners: [Int: AsyncStream<Void>.Continuation] = [:]
    var nextListener = 0
  }
  private let state = Mutex(State())
  private let limit: Int

  /// `limit`: bytes, roughly.
  package init(limit: Int = 16 << 20) { self.limit = limit }

  package func emit(_ event: ProgressEvent) {
    if event.isEmpty { return }
    let listeners = state.withLock { state -> [AsyncStream<Void>.Continuation] in
      if state.isClosed { return [] }
      let entry = Entry(number: state.next, event: event, size: Self.size(of: event))
      state.next += 1
      state.entries.append(entry)
      state.size += entry.size
      if state.size > limit { Self.compact(&state, to: limit / 2) }
      return Array(state.listeners.values)
    }
    for listener in listeners { listener.yield() }
  }

  /// Nothing more happens. Listeners get what there is and end.
  package func close() {
    let listeners = state.withLock { state in
      state.isClosed = true
      return Array(state.listeners.values)
    }
    for listener in listeners { listener.finish() }
  }

  package var isClosed: Bool { state.withLock { $0.isClosed } }

  /// Hands over everything from the beginning, then what comes, until the build ends or `body` throws. Several events may come as one.
  package func listen(_ body: (ProgressEvent) async throws -> Void) async throws {
    let (signals, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let id = state.withLock { state in
      state.nextListener += 1
      state.listeners[state.nextListener] = continuation
      if state.isClosed { continuation.finish() }
      return state.nextListener
    }
    defer { state.withLock { $0.listeners[id] = nil } }
    var seen = 0
    while let event = next(after: &seen) { try await body(event) }
    for await _ in signals {
      while let event = next(after: &seen) { try await body(event) }
    }
    try Task.checkCancellation()
    while let event = next(after: &seen) { try await body(event) }
  }

  /// What came after `seen`, as one event of moderate size.
  private func next(after seen: inout Int) -> ProgressEvent? {
    let from = seen
    let found = state.withLock { state -> (event: ProgressEvent, last: Int)? in
      var low = 0, high = state.entries.count
      while low < high {
        let middle = (low + high) / 2
        if state.entries[middle].number > from { high = middle } else { low = middle + 1 }
      }
      guard low < state.entries.count else { return nil }
      var event = ProgressEvent(), size = 0, last = from
      for entry in state.entries[low...] {
        if size > 0, size + entry.size > 1 << 20 { break }
        size += entry.size
        event.vertices += entry.event.vertices
        event.statuses += entry.event.statuses
        event.logs += entry.event.logs
        event.warnings += entry.event.warnings
        last = entry.number
      }
      return (event, last)
    }
    guard let found else { return nil }
    seen = found.last
    return found.event
  }

  /// From the newest to the oldest: what is told again later goes, then output beyond half of the room.
  private static func compact(_ state: inout State, to limit: Int) {
    struct Key: Hashable { var vertex: Digest, id: String }
    var vertices: Set<Digest> = [], statuses: Set<Key> = []
    var kept: [Entry] = [], size = 0
    for var entry in state.entries.reversed() {
      entry.event.vertices = entry.event.vertices.reversed().filter { vertices.insert($0.digest).inserted }.reversed()
      entry.event.statuses = entry.event.statuses.reversed().filter { statuses.insert(Key(vertex: $0.vertex, id: $0.id)).inserted }.reversed()
      if size > limit { entry.event.logs = [] }
      if entry.event.isEmpty { continue }
      entry.size = Self.size(of: entry.event)
      size += entry.size
      kept.append(entry)
    }
    state.entries = kept.reversed()
    state.size = size
  }

  private static func size(of event: ProgressEvent) -> Int {
    var size = 64
    for vertex in event.vertices { size += 200 + vertex.name.utf8.count + vertex.error.utf8.count + vertex.inputs.count * 80 }
    for status in event.statuses { size += 160 + status.id.utf8.count + status.name.utf8.count }
    for log in event.logs { size += 100 + log.message.count }
    for warning in event.warnings { size += 200 + warning.short.count + warning.detail.reduce(0) { $0 + $1.count } + (warning.sourceInfo?.data.count ?? 0) }
    return size
  }
}
