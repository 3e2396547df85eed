import BuildProgress
import OCIModel
import Testing

@testable import BuildSolver

extension RecordingSink {
  var vertices: [ProgressVertex] { events.flatMap(\.vertices) }
  /// The last that was told of each vertex, by name.
  var last: [String: ProgressVertex] { Dictionary(vertices.map { ($0.name, $0) }) { _, last in last } }
  var logs: [String] { events.flatMap(\.logs).map { String(decoding: $0.message, as: UTF8.self) } }
}

@Suite struct ProgressTests {
  @Test func everyVertexIsTold() async throws {
    let graph = Graph(), solver = makeSolver(), sink = RecordingSink()
    let group = ProgressGroup(id: "g", name: "group")
    let base = graph.vertex("base", .const, value: 1)
    let top = graph.vertex("top", inputs: [In(base)], options: VertexOptions(progressGroup: group), beforeExecute: { context in
      context.progress.log("one\n", stream: 1)
      context.progress.status("layer", name: "extracting", current: 1, total: 2)
      context.progress.warn(VertexWarning(vertex: .sha256(of: "?"), short: "careful"))
    })
    try await solver.withJob(id: "job", progress: sink) { job in _ = try await job.number(top) }
    let last = sink.last
    #expect(sink.vertices.prefix(2).map(\.name) == ["base", "top"])
    for name in ["base", "top"] {
      let vertex = try #require(last[name])
      #expect(try #require(vertex.started) <= #require(vertex.completed))
      #expect(!vertex.cached)
      #expect(vertex.error == "")
    }
    #expect(last["top"]?.inputs == [base.digest])
    #expect(last["top"]?.progressGroup == group)
    #expect(sink.logs == ["one\n"])
    #expect(sink.events.flatMap(\.statuses).map(\.id) == ["layer"])
    #expect(sink.events.flatMap(\.warnings).map(\.vertex) == [top.digest])
    // Started before it logs, completed after.
    let order = sink.events.flatMap { event in
      event.vertices.filter { $0.name == "top" }.map { $0.completed != nil ? "end" : $0.started != nil ? "start" : "known" }
        + event.logs.map { _ in "log" }
    }
    #expect(order == ["known", "start", "log", "end"])
  }

  @Test func cachedVerticesAndThoseBelowThem() async throws {
    let graph = Graph(), solver = makeSolver()
    func build(_ prefix: String) -> Vertex {
      let base = graph.vertex(prefix + "base", .const, seed: "base")
      let step = graph.vertex(prefix + "step", seed: "step", inputs: [In(base)])
      return graph.vertex(prefix + "top", seed: "top", inputs: [In(step)])
    }
    _ = try await solver.once(build("a"))
    let sink = RecordingSink()
    try await solver.withJob(id: "job", progress: sink) { job in _ = try await job.number(build("b")) }
    for name in ["bstep", "btop"] {
      #expect(sink.last[name]?.cached == true)
      #expect(sink.last[name]?.completed != nil)
      #expect(sink.last[name]?.error == "")
    }
    // What reads a vertex is told after it.
    let ends = sink.vertices.filter { $0.completed != nil }.map(\.name)
    #expect(ends == ["bbase", "bstep", "btop"])
  }

  @Test func aVertexOfTwoJobsReportsToBothAndTheLateOneGetsWhatHappened() async throws {
    let graph = Graph(), solver = makeSolver()
    let gate = Gate()
    let vertex = graph.vertex("v", .const, beforeExecute: { context in
      context.progress.log("before\n")
      context.progress.status("s", current: 1)
      context.progress.status("s", current: 2)
      try await gate.wait()
      context.progress.log("after\n")
    })
    let early = RecordingSink(), late = RecordingSink()
    let one = try solver.makeJob(id: "1", progress: early), two = try solver.makeJob(id: "2", progress: late)
    let first = Task { try await one.number(vertex) }
    await eventually("it executes") { gate.arrived == 1 }
    let second = Task { try await two.number(vertex) }
    await eventually("the late one heard") { !late.logs.isEmpty }
    gate.open()
    _ = try await (first.value, second.value)
    await one.close()
    await two.close()
    for sink in [early, late] {
      #expect(sink.logs == ["before\n", "after\n"])
      #expect(sink.events.flatMap(\.statuses).last?.current == 2)
      #expect(sink.last["v"]?.completed != nil)
    }
    #expect(late.events.flatMap(\.statuses).count == 1)
  }

  @Test func mergedEdgesReportToBoth() async throws {
    let graph = Graph(), solver = makeSolver()
    let gate = Gate()
    func build(_ prefix: String) -> Vertex {
      graph.vertex(prefix, .const, seed: "same", beforeExecute: { context in
        context.progress.log("working\n")
        try await gate.wait()
      })
    }
    let early = RecordingSink(), late = RecordingSink()
    let one = try solver.makeJob(id: "1", progress: early), two = try solver.makeJob(id: "2", progress: late)
    let first = Task { try await one.number(build("a")) }
    await eventually("it executes") { gate.arrived == 1 }
    let second = Task { try await two.number(build("b")) }
    await eventually("the late one heard") { !late.logs.isEmpty }
    gate.open()
    _ = try await (first.value, second.value)
    #expect(late.last["a"]?.completed != nil)
    #expect(early.last["b"] == nil)
    await one.close()
    await two.close()
  }

  @Test func whatAnOpAskedForIsToldToo() async throws {
    let graph = Graph(), solver = makeSolver()
    let inner = graph.vertex("inner", .const, beforeExecute: { $0.progress.log("inside\n") })
    let asking = graph.vertex("asking", .custom { _, context in [try await context.build(Edge(inner))] })
    let sink = RecordingSink(), late = RecordingSink()
    let one = try solver.makeJob(id: "1", progress: sink), two = try solver.makeJob(id: "2", progress: late)
    _ = try await one.number(asking)
    _ = try await two.number(asking)
    for sink in [sink, late] {
      #expect(sink.logs == ["inside\n"])
      #expect(sink.last["inner"]?.completed != nil)
    }
    await one.close()
    await two.close()
  }

  @Test func errorsAndCancellations() async throws {
    let graph = Graph(), solver = makeSolver(), sink = RecordingSink()
    let endless = CancelTests.Endless()
    let bad = graph.vertex("bad", .const, beforeExecute: { _ in
      await eventually("the other runs") { endless.gate.arrived == 1 }
      throw TestFailure(text: "boom")
    })
    let slow = graph.vertex("slow", .const, beforeExecute: { _ in try await endless.run() })
    let never = graph.vertex("never", inputs: [In(bad), In(slow)])
    _ = try? await solver.withJob(id: "job", progress: sink) { job in try await job.number(never) }
    #expect(sink.last["bad"]?.error == "\(TestFailure(text: "boom"))")
    #expect(sink.last["slow"]?.isCancelled == true)
    #expect(sink.last["slow"]?.completed != nil)
    #expect(sink.last["never"]?.started == nil)
  }

  @Test func aRecordThatCannotBeLoadedIsNoError() async throws {
    let cache = FaultyCache(.inMemory())
    let graph = Graph(), solver = makeSolver(cache: cache), sink = RecordingSink()
    let top = graph.vertex("top", inputs: [In(graph.const(1))])
    _ = try await solver.once(top)
    cache.fail(.load)
    try await solver.withJob(id: "job", progress: sink) { job in _ = try await job.number(top) }
    #expect(sink.vertices.allSatisfy { $0.error.isEmpty })
    #expect(sink.last["top"]?.cached == false)
    #expect(sink.last["top"]?.completed != nil)
  }

  @Test func aLongLogKeepsItsEndForLateOnes() throws {
    let progress = VertexProgress(Graph().const(1), now: { wallClock() })
    let line = [UInt8](repeating: 0x61, count: 1 << 16)
    for _ in 0..<200 { progress.log(line, stream: 1) }
    progress.log(Array("the end".utf8), stream: 1)
    let sink = RecordingSink()
    progress.join(JobProgress(sink, now: { wallClock() }))
    #expect(sink.logs.last == "the end")
    let kept = sink.events.flatMap(\.logs).reduce(0) { $0 + $1.message.count }
    #expect(kept <= VertexProgress.keptLog && kept > VertexProgress.keptLog / 2)
  }
}
