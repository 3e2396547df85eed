import OCIModel
import Testing

@testable import BuildSolver

@Suite struct MergeTests {
  @Test func equalEdgesOfTwoJobsExecuteOnce() async throws {
    let graph = Graph(), solver = makeSolver()
    let gate = Gate()
    func build(_ prefix: String) -> Vertex {
      let base = graph.vertex(prefix + "base", .const, value: 1, seed: "base", beforeExecute: { _ in try await gate.wait() })
      let step = graph.vertex(prefix + "step", value: 10, seed: "step", inputs: [In(base)])
      return graph.vertex(prefix + "top", value: 100, seed: "top", inputs: [In(step)])
    }
    let one = try solver.makeJob(id: "1"), two = try solver.makeJob(id: "2")
    let first = Task { try await one.number(build("a")) }
    await eventually("the first executes") { gate.arrived == 1 }
    let second = Task { try await two.number(build("b")) }
    await eventually("the second asked") { graph.counts.maps["bbase"] == 1 && graph.counts.maps["btop"] == 1 }
    gate.open()
    #expect(try await first.value == 111)
    #expect(try await second.value == 111)
    // Each once; whose step and top it is depends on who learns first that the base is done.
    #expect(graph.counts.executions["abase"] == 1)
    #expect(Set(graph.counts.executions.keys.map { $0.dropFirst() }) == ["base", "step", "top"])
    #expect(graph.counts.total == 3)
    // The first job's end takes nothing from the second.
    await one.close()
    #expect(try await two.number(build("b")) == 111)
    #expect(graph.counts.total == 3)
    await two.close()
    #expect(solver.leftovers == [])
    #expect(graph.ledger.overReleased == 0)
  }

  @Test func cancellingTheJobThatCameFirstLeavesTheWorkToTheSecond() async throws {
    let graph = Graph(), solver = makeSolver()
    let gate = Gate()
    func build(_ prefix: String) -> Vertex {
      graph.vertex(prefix + "base", .const, value: 1, seed: "base", beforeExecute: { _ in try await gate.wait() })
    }
    let one = try solver.makeJob(id: "1"), two = try solver.makeJob(id: "2")
    let first = Task { try await one.number(build("a")) }
    await eventually("the first executes") { gate.arrived == 1 }
    let second = Task { try await two.number(build("b")) }
    await eventually("the second asked") { graph.counts.maps["bbase"] == 1 }
    await eventually("the second waits for the first one's work") { solver.mergedCount == 1 }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    await one.close()
    gate.open()
    #expect(try await second.value == 1)
    #expect(graph.counts.executions == ["abase": 1])
    await two.close()
    #expect(solver.leftovers == [])
  }

  @Test func jobsOfMergedEdgesKeepEachOthersVerticesAlive() async throws {
    let graph = Graph(), solver = makeSolver()
    func build(_ n: Int) -> Vertex {
      graph.vertex("v\(n)", .add, value: 2, seed: "v", inputs: [In(graph.vertex("dep\(n)", .const, value: 1, seed: "dep"))])
    }
    let jobs = try (0..<3).map { try solver.makeJob(id: "\($0)") }
    #expect(try await jobs[0].number(build(0)) == 3)
    #expect(solver.activeCount == 2)
    #expect(try await jobs[1].number(build(1)) == 3)
    #expect(solver.activeCount == 4)
    await jobs[0].close()
    // The second job's edges live in the first one's vertices.
    #expect(solver.activeCount == 4)
    #expect(try await jobs[2].number(build(2)) == 3)
    #expect(solver.activeCount == 6)
    await jobs[1].close()
    #expect(solver.activeCount == 4)
    #expect(try await jobs[2].number(build(2)) == 3)
    #expect(graph.counts.total == 2)
    await jobs[2].close()
    #expect(solver.leftovers == [])
    #expect(graph.ledger.overReleased == 0)
  }

  @Test func anEdgeIsNeverMergedIntoOneItIsMadeFrom() async throws {
    let graph = Graph(), solver = makeSolver()
    // The result of the first step has the content of its input, and the second step is equal to the first.
    var vertex = graph.const(5, "base")
    for n in 0..<4 { vertex = graph.vertex("step\(n)", seed: "step", inputs: [In(vertex, content: "value")]) }
    #expect(try await solver.once(vertex) == 5)
    #expect(try await solver.once(vertex) == 5)
    #expect(solver.leftovers == [])
  }

  @Test func edgesMergeBothWaysBetweenVerticesWithSeveralOutputs() async throws {
    // What one vertex makes of (a, b) the other makes of (b, a): their edges are equal crosswise.
    for round in 0..<20 {
      let graph = Graph(), solver = makeSolver()
      func build(_ prefix: String, _ order: [Int]) -> Vertex {
        let inputs = order.map { In(graph.vertex("\(prefix)in\($0)", .const, value: $0, seed: "in-\($0)")) }
        let many = graph.vertex(prefix + "many", .add, value: 1, seed: "many", inputs: inputs)
        return graph.vertex(prefix + "top", seed: prefix + "top", inputs: [In(many, 0), In(many, 1)])
      }
      let one = try solver.makeJob(id: "1"), two = try solver.makeJob(id: "2")
      async let first = one.number(build("a", [1, 2]))
      async let second = two.number(build("b", [1, 2]))
      #expect(try await first == 5)
      #expect(try await second == 5)
      if round.isMultiple(of: 2) { await one.close(); await two.close() } else { await two.close(); await one.close() }
      #expect(solver.leftovers == [])
      #expect(graph.ledger.overReleased == 0)
    }
  }

  @Test func aForcedEdgeIsNotMergedIntoOneThatIsNot() async throws {
    let graph = Graph(), solver = makeSolver()
    let gate = Gate()
    let plain = graph.vertex("plain", .const, value: 1, seed: "s", beforeExecute: { _ in try await gate.wait() })
    let forced = graph.vertex("forced", .const, value: 1, seed: "s", ignoreCache: true)
    let job = try solver.makeJob(id: "job")
    let first = Task { try await job.number(plain) }
    await eventually("the plain one executes") { gate.arrived == 1 }
    #expect(try await job.number(forced) == 1)
    gate.open()
    #expect(try await first.value == 1)
    #expect(graph.counts.executions == ["plain": 1, "forced": 1])
    // A plain one is served by the forced one.
    #expect(try await job.number(graph.vertex("other", .const, value: 1, seed: "s")) == 1)
    #expect(graph.counts.total == 2)
    await job.close()
    #expect(solver.leftovers == [])
  }

  @Test func mergedWhileAnOpAsksForIt() async throws {
    let graph = Graph(), solver = makeSolver()
    let gate = Gate()
    @Sendable func inner(_ prefix: String) -> Vertex {
      graph.vertex(prefix + "inner", .const, value: 7, seed: "inner", beforeExecute: { _ in try await gate.wait() })
    }
    let asking = graph.vertex("asking", .custom { _, context in [try await context.build(Edge(inner("b")))] })
    let one = try solver.makeJob(id: "1"), two = try solver.makeJob(id: "2")
    let first = Task { try await one.number(inner("a")) }
    await eventually("the first executes") { gate.arrived == 1 }
    let second = Task { try await two.number(asking) }
    await eventually("the second asked") { graph.counts.maps["binner"] == 1 }
    await eventually("the second waits for the first one's work") { solver.mergedCount == 1 }
    first.cancel()
    _ = try? await first.value
    await one.close()
    gate.open()
    #expect(try await second.value == 7)
    #expect(graph.counts.executions == ["ainner": 1, "asking": 1])
    await two.close()
    #expect(solver.leftovers == [])
  }

  /// An op whose result has the content of its input leads to itself in the index. A solver that is never idle must forget such keys too.
  @Test(.timeLimit(.minutes(10))) func keysInACircleAreForgotten() async throws {
    let graph = Graph(), solver = makeSolver()
    let held = try solver.makeJob(id: "held")
    _ = try await held.number(graph.const(1))
    var most = 0
    for n in 0..<400 {
      let base = graph.const(n + 10)
      var vertex = base
      for step in 0..<4 { vertex = graph.vertex("same-\(n)-\(step)", seed: "same-\(n)-\(step % 2)", inputs: [In(vertex, content: "value")]) }
      #expect(try await solver.once(vertex) == n + 10)
      most = max(most, solver.mergeIndexCount)
    }
    #expect(most < 1200, "\(most)")
    await held.close()
    #expect(solver.leftovers == [])
  }
}
