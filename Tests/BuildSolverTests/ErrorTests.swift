import OCIModel
import Synchronization
import Testing

@testable import BuildSolver

@Suite struct ErrorTests {
  private let failure = TestFailure(text: "exit code 1")

  private func expectFailure(
    _ solver: Solver, _ edge: Edge, vertex: String, phase: SolverError.Phase, path: [String], input: Int? = nil,
    at location: SourceLocation = #_sourceLocation
  ) async {
    let error = await #expect(throws: SolverError.self, sourceLocation: location) { try await solver.once(edge) }
    #expect(error?.code == .vertexFailed, sourceLocation: location)
    #expect(error?.vertex?.name == vertex, sourceLocation: location)
    #expect(error?.vertex?.digest == Digest.sha256(of: vertex), sourceLocation: location)
    #expect(error?.phase == phase, sourceLocation: location)
    #expect(error?.input == input, sourceLocation: location)
    #expect(error?.path.map(\.name) == path, sourceLocation: location)
    #expect(error?.cause as? TestFailure == failure, sourceLocation: location)
    #expect(error?.payload is TestOp, sourceLocation: location)
    #expect(error?.description == "\(vertex): \(failure)", sourceLocation: location)
    #expect(solver.leftovers == [], sourceLocation: location)
  }

  @Test func namesTheVertexAndTheWayToIt() async throws {
    let failure = failure
    for failing in ["map", "execute"] {
      let graph = Graph(), solver = makeSolver()
      let base = graph.vertex(
        "base", .const, beforeMap: { _ in if failing == "map" { throw failure } },
        beforeExecute: { _ in if failing == "execute" { throw failure } })
      let step = graph.vertex("step", inputs: [In(graph.const(3)), In(base)])
      let top = graph.vertex("top", inputs: [In(step)])
      await expectFailure(
        solver, Edge(top), vertex: "base", phase: failing == "map" ? .cacheKey : .execute, path: ["top", "step", "base"])
      #expect(graph.counts.executions["step"] == nil)
    }
  }

  @Test func contentKeysAndPreprocessing() async throws {
    let failure = failure
    for dependency in [CacheMap.Dependency(computeDigest: { _, _ in throw failure }), .init(preprocess: { _, _ in throw failure })] {
      let graph = Graph(), solver = makeSolver()
      let base = graph.const(1)
      let step = graph.vertex("step", inputs: [In(graph.const(2)), In(base)], dependencies: [.init(), dependency])
      await expectFailure(solver, Edge(step), vertex: "step", phase: .contentKey, path: ["step"], input: 1)
      #expect(graph.counts.executions["step"] == nil)
      #expect(graph.ledger.overReleased == 0)
    }
  }

  @Test func anOpThatCannotBeMade() async throws {
    let solver = makeSolver()
    let error = await #expect(throws: SolverError.self) {
      try await solver.once(Vertex(digest: .sha256(of: "x"), name: "x", payload: 1))
    }
    #expect(error?.cause as? TestFailure == TestFailure(text: "no op"))
    #expect(error?.vertex?.name == "x")
  }

  @Test func whatFailsWithinAnAskedForBuildIsNamed() async throws {
    let failure = failure
    let graph = Graph(), solver = makeSolver()
    let inner = graph.vertex("inner", .const, beforeExecute: { _ in throw failure })
    let middle = graph.vertex("middle", inputs: [In(inner)])
    let asking = graph.vertex("asking", .custom { _, context in [try await context.build(Edge(middle))] })
    let top = graph.vertex("top", inputs: [In(asking)])
    await expectFailure(solver, Edge(top), vertex: "inner", phase: .execute, path: ["top", "asking", "middle", "inner"])
  }

  @Test func aFailureCancelsWhatElseTheBuildDoes() async throws {
    let failure = failure
    let graph = Graph(), solver = makeSolver()
    let endless = CancelTests.Endless()
    let slow = graph.vertex("slow", .const, beforeExecute: { _ in try await endless.run() })
    let bad = graph.vertex("bad", .const, beforeExecute: { _ in
      await eventually("the other runs") { endless.gate.arrived == 1 }
      throw failure
    })
    let top = graph.vertex("top", inputs: [In(slow), In(bad)])
    await expectFailure(solver, Edge(top), vertex: "bad", phase: .execute, path: ["top", "bad"])
    #expect(endless.cancelled == 1)
  }

  @Test func aFailureCancelsTheOtherEdgesAskedForWithIt() async throws {
    let failure = failure
    let graph = Graph(), solver = makeSolver()
    let endless = CancelTests.Endless()
    let slow = graph.vertex("slow", .const, beforeExecute: { _ in try await endless.run() })
    let bad = graph.vertex("bad", .const, beforeExecute: { _ in
      await eventually("the other runs") { endless.gate.arrived == 1 }
      throw failure
    })
    let done = graph.const(1)
    let job = try solver.makeJob(id: "job")
    let error = await #expect(throws: SolverError.self) { try await job.build([Edge(done), Edge(slow), Edge(bad)]) }
    #expect(error?.vertex?.name == "bad")
    #expect(endless.cancelled == 1)
    await job.close()
    #expect(solver.leftovers == [])
  }

  @Test func aFailureReachesAllJobsThatShareTheVertexAndOnlyThose() async throws {
    let failure = failure
    let graph = Graph(), solver = makeSolver()
    let gate = Gate()
    let bad = graph.vertex("bad", .const, beforeExecute: { _ in
      try await gate.wait()
      throw failure
    })
    let good = graph.vertex("good", .const, value: 2, beforeExecute: { _ in try await gate.wait() })
    let jobs = try (0..<3).map { try solver.makeJob(id: "\($0)") }
    let one = Task { try await jobs[0].number(graph.vertex("a", inputs: [In(bad)])) }
    let two = Task { try await jobs[1].number(graph.vertex("b", inputs: [In(bad)])) }
    let three = Task { try await jobs[2].number(good) }
    await eventually("both run") { gate.arrived == 2 }
    gate.open()
    let first = await #expect(throws: SolverError.self) { try await one.value }
    #expect(first?.path.map(\.name) == ["a", "bad"])
    let second = await #expect(throws: SolverError.self) { try await two.value }
    #expect(second?.path.map(\.name) == ["b", "bad"])
    #expect(try await three.value == 2)
    #expect(graph.counts.executions["bad"] == 1)
    for job in jobs { await job.close() }
    #expect(solver.leftovers == [])
  }

  @Test func aFailedVertexIsTriedAgainByTheNextJob() async throws {
    let failure = failure
    let graph = Graph(), solver = makeSolver()
    let runs = Atomic(0)
    let flaky = graph.vertex("flaky", .const, value: 4, beforeExecute: { _ in
      if runs.add(1, ordering: .relaxed).newValue == 1 { throw failure }
    })
    await #expect(throws: SolverError.self) { try await solver.once(flaky) }
    #expect(try await solver.once(flaky) == 4)
  }

  @Test func tooManyDependenciesInACacheMap() async throws {
    let graph = Graph(), solver = makeSolver()
    let wrong = graph.vertex("wrong", .const, dependencies: [.init(), .init()])
    let error = await #expect(throws: SolverError.self) { try await solver.once(wrong) }
    #expect(error?.code == .invalidGraph)
  }

  @Test func anIgnoringVertexKeepsItsOwnDigestInErrors() async throws {
    let failure = failure
    let graph = Graph(), solver = makeSolver()
    let job = try solver.makeJob(id: "keep")
    _ = try await job.number(graph.const(1, "x"))
    let forced = graph.vertex("x", .const, value: 1, seed: "const-1", ignoreCache: true, beforeExecute: { _ in throw failure })
    let error = await #expect(throws: SolverError.self) { try await solver.once(forced) }
    #expect(error?.vertex?.digest == Digest.sha256(of: "x"))
    await job.close()
  }
}
