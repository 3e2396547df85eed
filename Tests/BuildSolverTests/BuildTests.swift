import OCIModel
import Testing

@testable import BuildSolver

@Suite struct BuildTests {
  @Test func oneVertex() async throws {
    let graph = Graph(), solver = makeSolver()
    let vertex = graph.const(7)
    #expect(try await solver.once(vertex) == 7)
    #expect(graph.counts.executions == ["const-7": 1])
    await solver.shutdown()
    #expect(solver.leftovers == [])
  }

  @Test func sharedVertexRunsOnceForAllEdgesAndJobs() async throws {
    let graph = Graph(), solver = makeSolver()
    let base = graph.const(1)
    let left = graph.vertex("left", value: 10, inputs: [In(base)])
    let right = graph.vertex("right", value: 20, inputs: [In(base)])
    let top = graph.vertex("top", inputs: [In(left), In(right)])
    let first = try solver.makeJob(id: "1"), second = try solver.makeJob(id: "2")
    async let one = first.number(top)
    async let two = second.number(left)
    let values = try await [one, two]
    #expect(values == [32, 11])
    #expect(try await second.number(right) == 21)
    #expect(graph.counts.executions == ["const-1": 1, "left": 1, "right": 1, "top": 1])
    #expect(graph.counts.maps == ["const-1": 1, "left": 1, "right": 1, "top": 1])
    await first.close()
    await second.close()
    #expect(solver.leftovers == [])
  }

  @Test func branchesRunAtOnce() async throws {
    let graph = Graph(), solver = makeSolver(jobs: 3)
    let together = Gate()
    let branches = (0..<3).map { n in
      graph.vertex("branch-\(n)", .const, value: n) { _ in
        // None goes on before all three are there.
        try await together.meet(3)
      }
    }
    let top = graph.vertex("top", inputs: branches.map { In($0) })
    #expect(try await solver.once(top) == 3)
    await solver.shutdown()
  }

  @Test func cacheMapsOfAllInputsAreComputedAtOnce() async throws {
    let graph = Graph(), solver = makeSolver(jobs: 1)
    let together = Gate()
    let roots = (0..<4).map { n in
      graph.vertex("root-\(n)", .const, value: n, beforeMap: { _ in
        try await together.meet(4)
      })
    }
    #expect(try await solver.once(graph.vertex("top", inputs: roots.map { In($0) })) == 6)
    await solver.shutdown()
  }

  @Test func eachOutputIsAnEdgeOfItsOwn() async throws {
    let graph = Graph(), solver = makeSolver()
    let many = graph.vertex("many", .add, value: 100, inputs: [In(graph.const(1)), In(graph.const(2)), In(graph.const(3))])
    let top = graph.vertex("top", inputs: [In(many, 2), In(many, 0), In(many, 2)])
    let job = try solver.makeJob(id: "job")
    #expect(try await job.number(top) == 103 + 101 + 103)
    #expect(try await job.number(Edge(many, index: 1)) == 102)
    #expect(graph.counts.executions["many"] == 1)
    let tooFar = await #expect(throws: SolverError.self) { try await job.number(Edge(many, index: 3)) }
    #expect(tooFar?.code == .invalidGraph)
    #expect(tooFar?.vertex?.name == "many")
    await #expect(throws: SolverError.self) { try await job.number(Edge(many, index: -1)) }
    await job.close()
    #expect(solver.leftovers == [])
    #expect(graph.ledger.overReleased == 0)
  }

  @Test func severalEdgesAtOnce() async throws {
    let graph = Graph(), solver = makeSolver()
    let base = graph.const(1)
    let tops = (0..<5).map { graph.vertex("top-\($0)", value: $0, inputs: [In(base)]) }
    try await solver.withJob(id: "job") { job in
      let results = try await job.build(tops.map { Edge($0) })
      #expect(results.map { number($0) } == [1, 2, 3, 4, 5])
      for result in results { await result.release() }
    }
    #expect(graph.counts.total == 6)
    #expect(solver.leftovers == [])
  }

  @Test func everyResultIsReleasedOnceAndOnlyWhenNoOneHasIt() async throws {
    let graph = Graph()
    let results = MemoryResultStorage()
    let solver = makeSolver(cache: StoredCache(id: "cache", keys: MemoryCacheStorage(), results: results))
    let many = graph.vertex("many", .add, value: 1, inputs: [In(graph.const(1)), In(graph.const(2), content: "value")])
    let top = graph.vertex("top", inputs: [In(many, 0), In(many, 1, content: "tens")])
    var kept: CachedResult?
    for round in 0..<3 {
      let job = try solver.makeJob(id: "\(round)")
      let result = try await job.build(Edge(top))
      #expect(number(result) == 5)
      let clone = result.clone()
      await result.release()
      await result.release()
      if round == 0 { kept = clone as? CachedResult } else { await clone.release() }
      await job.close()
    }
    // The cache holds one of each of what was saved, and the test one more handle.
    #expect(solver.leftovers == [])
    #expect(number(try #require(kept)) == 5)
    await kept?.release()
    #expect(graph.ledger.overReleased == 0)
    #expect(graph.ledger.live == 5)
  }

  // MARK: builds within builds

  @Test(arguments: [1, 8]) func anOpCanAskForABuild(jobs: Int) async throws {
    let graph = Graph(), solver = makeSolver(jobs: jobs)
    let inner = graph.vertex("inner", value: 1, inputs: [In(graph.const(5))])
    let asking = graph.vertex("asking", .custom { _, context in
      let result = try await context.build(Edge(inner))
      return [result]
    })
    let plain = graph.vertex("plain", value: 2, inputs: [In(inner)])
    let top = graph.vertex("top", inputs: [In(asking), In(plain)])
    let job = try solver.makeJob(id: "job")
    #expect(try await job.number(top) == 6 + 8)
    #expect(graph.counts.executions == ["const-5": 1, "inner": 1, "asking": 1, "plain": 1, "top": 1])
    await job.close()
    #expect(solver.leftovers == [])
    #expect(graph.ledger.overReleased == 0)
    // A second time all is found by its keys.
    #expect(try await solver.once(top) == 14)
    #expect(graph.counts.total == 5)
  }

  @Test func whatAnOpAskedForLivesAsLongAsItsVertex() async throws {
    let graph = Graph(), solver = makeSolver()
    let inner = graph.const(5, "inner")
    let asking = graph.vertex("asking", .custom { _, context in [try await context.build(Edge(inner))] })
    let first = try solver.makeJob(id: "1"), second = try solver.makeJob(id: "2")
    #expect(try await first.number(asking) == 5)
    #expect(try await second.number(asking) == 5)
    #expect(solver.activeCount == 2)
    await first.close()
    #expect(solver.activeCount == 2)
    await second.close()
    #expect(solver.leftovers == [])
  }

  @Test func aJobBuildsWhileItBuilds() async throws {
    let graph = Graph(), solver = makeSolver(jobs: 1)
    let job = try solver.makeJob(id: "job")
    let inner = graph.const(3, "inner")
    // A frontend: no op of the solver's graph, but it builds for the same job while an op waits for it.
    let outer = graph.vertex("outer", .custom { _, _ in [Number(try await job.number(inner) + 1)] }, takesSlot: false)
    #expect(try await job.number(outer) == 4)
    await job.close()
    #expect(solver.leftovers == [])
  }

  @Test func aBuildThatNeedsItselfIsRefused() async throws {
    let graph = Graph(), solver = makeSolver()
    let circle = graph.vertex("circle", .custom { _, context in [try await context.build(Edge(context.vertex))] })
    let error = await #expect(throws: SolverError.self) { try await solver.once(circle) }
    #expect(error?.code == .invalidGraph)
  }

  @Test func nestedBuildsWithOneSlot() async throws {
    let graph = Graph(), solver = makeSolver(jobs: 1)
    var asked = graph.const(1)
    for level in 0..<20 {
      let next = asked
      asked = graph.vertex("level-\(level)", .custom { _, context in
        async let one = context.build(Edge(next))
        async let two = context.build(Edge(next))
        let (first, second) = try await (one, two)
        let sum = number(first) + number(second)
        await first.release()
        await second.release()
        return [Number(sum)]
      })
    }
    #expect(try await solver.once(asked) == 1 << 20)
    #expect(graph.counts.total == 21)
    #expect(solver.leftovers == [])
  }
}
