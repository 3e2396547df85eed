import BuildDaemon
import BuildProgress
import OCIModel
import Synchronization
import Testing

@Suite struct StatusJournalTests {
  static func vertex(_ name: String, done: Bool = false) -> ProgressEvent {
    ProgressEvent(vertices: [
      ProgressVertex(digest: .sha256(of: name), name: name, started: Timestamp(seconds: 1), completed: done ? Timestamp(seconds: 2) : nil)
    ])
  }
  static func log(_ text: String) -> ProgressEvent {
    ProgressEvent(logs: [VertexLog(vertex: .sha256(of: "a"), timestamp: Timestamp(seconds: 1), stream: 1, message: Array(text.utf8))])
  }

  @Test func everyListenerHearsEverythingFromTheBeginning() async throws {
    let journal = StatusJournal()
    journal.emit(Self.vertex("a"))
    async let first = Self.all(journal)
    journal.emit(Self.log("1"))
    async let second = Self.all(journal)
    journal.emit(Self.vertex("a", done: true))
    journal.close()
    for event in [try await first, try await second, try await Self.all(journal)] {
      #expect(event.vertices.map { $0.completed != nil } == [false, true])
      #expect(event.logs.map { String(decoding: $0.message, as: UTF8.self) } == ["1"])
    }
  }

  static func all(_ journal: StatusJournal) async throws -> ProgressEvent {
    var out = ProgressEvent()
    try await journal.listen { event in
      out.vertices += event.vertices
      out.statuses += event.statuses
      out.logs += event.logs
      out.warnings += event.warnings
    }
    return out
  }

  @Test func whatIsKeptIsBounded() async throws {
    let journal = StatusJournal(limit: 100_000)
    for n in 0..<5_000 {
      journal.emit(Self.log(String(repeating: "x", count: 100)))
      journal.emit(Self.vertex("v\(n % 10)", done: n >= 4_990))
    }
    journal.close()
    let event = try await Self.all(journal)
    // The newest state of each vertex is there, and the newest output.
    var last: [String: Bool] = [:]
    for vertex in event.vertices { last[vertex.name] = vertex.completed != nil }
    #expect(last.count == 10 && last.values.allSatisfy { $0 })
    #expect(event.logs.count < 1_500 && !event.logs.isEmpty)
  }

  @Test func aListenerThatKeepsUpHearsEachLineOnce() async throws {
    let journal = StatusJournal(limit: 20_000)
    let (started, signal) = AsyncStream.makeStream(of: Void.self)
    let heard = Mutex(0)
    let (echo, answer) = AsyncStream.makeStream(of: Int.self)
    let listener = Task {
      try await journal.listen { event in
        signal.yield()
        let n = heard.withLock { $0 += event.logs.count; return $0 }
        answer.yield(n)
      }
    }
    journal.emit(Self.vertex("a"))
    for await _ in started { break }
    var iterator = echo.makeAsyncIterator()
    for n in 1...1_000 {
      journal.emit(Self.log("line \(n)"))
      while let so = await iterator.next(), so < n {}
    }
    journal.close()
    try await listener.value
    #expect(heard.withLock { $0 } == 1_000)
  }
}
