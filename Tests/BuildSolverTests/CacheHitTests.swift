import OCIModel
import Synchronization
import Testing

@testable import BuildSolver

@Suite struct CacheHitTests {
  /// base → step → top, with names that differ by `prefix`, so that only keys can match.
  private func chain(_ graph: Graph, _ base: Int, _ prefix: String, content: String? = nil) -> Vertex {
    let root = graph.vertex(prefix + "base", .const, value: base, seed: "base-\(base)")
    let step = graph.vertex(prefix + "step", value: 10, seed: "step", inputs: [In(root, content: content)])
    return graph.vertex(prefix + "top", value: 100, seed: "top", inputs: [In(step)])
  }

  @Test func byDefinition() async throws {
    let graph = Graph(), solver = makeSolver()
    #expect(try await solver.once(chain(graph, 1, "a")) == 111)
    graph.counts.reset()
    #expect(try await solver.once(chain(graph, 1, "b")) == 111)
    #expect(graph.counts.executions == [:])
    #expect(try await solver.once(chain(graph, 2, "c")) == 112)
    #expect(graph.counts.executions == ["cbase": 1, "cstep": 1, "ctop": 1])
  }

  @Test func byContent() async throws {
    let graph = Graph(), solver = makeSolver()
    #expect(try await solver.once(chain(graph, 41, "a", content: "tens")) == 151)
    graph.counts.reset()
    // Another base with the same content: only it executes.
    #expect(try await solver.once(chain(graph, 42, "b", content: "tens")) == 151)
    #expect(graph.counts.executions == ["bbase": 1])
    graph.counts.reset()
    // From now on its definition is enough.
    #expect(try await solver.once(chain(graph, 42, "c", content: "tens")) == 151)
    #expect(graph.counts.executions == [:])
    // Other content.
    #expect(try await solver.once(chain(graph, 51, "d", content: "tens")) == 161)
    #expect(graph.counts.executions == ["dbase": 1, "dstep": 1, "dtop": 1])
  }

  @Test func contentIsNotComputedWhenTheDefinitionMatches() async throws {
    let computed = Atomic(0)
    let graph = Graph(), solver = makeSolver()
    func build(_ prefix: String) -> Vertex {
      let base = graph.vertex(prefix + "base", .const, value: 1, seed: "base")
      return graph.vertex(prefix + "top", seed: "top", inputs: [In(base)], dependencies: [
        In(base, content: "value").dependency { computed.add(1, ordering: .relaxed) }
      ])
    }
    _ = try await solver.once(build("a"))
    #expect(computed.load(ordering: .relaxed) == 1)
    _ = try await solver.once(build("b"))
    #expect(computed.load(ordering: .relaxed) == 1)
    #expect(graph.counts.total == 2)
  }

  @Test func contentKeyIsComputedOnceForAllOutputs() async throws {
    let computed = Atomic(0)
    let graph = Graph(), solver = makeSolver()
    let base = graph.const(1), other = graph.const(2)
    let many = graph.vertex("many", .add, inputs: [In(base), In(other)], dependencies: [
      In(base, content: "value").dependency { computed.add(1, ordering: .relaxed) }, CacheMap.Dependency(),
    ])
    #expect(try await solver.once(graph.vertex("top", inputs: [In(many, 0), In(many, 1)])) == 3)
    #expect(computed.load(ordering: .relaxed) == 1)
  }

  @Test func preprocessRunsBeforeTheOpAndIsNoKey() async throws {
    let prepared = Mutex<[Int]>([])
    let graph = Graph(), solver = makeSolver()
    func build(_ prefix: String, _ value: Int) -> Vertex {
      let base = graph.vertex(prefix + "base", .const, value: value, seed: "base-\(value)")
      return graph.vertex(prefix + "top", seed: "top", inputs: [In(base)], dependencies: [
        CacheMap.Dependency(preprocess: { result, _ in prepared.withLock { $0.append(number(result)) } })
      ], beforeExecute: { _ in #expect(prepared.withLock { $0.contains(value) }) })
    }
    _ = try await solver.once(build("a", 1))
    _ = try await solver.once(build("b", 2))
    #expect(prepared.withLock { $0 } == [1, 2])
    _ = try await solver.once(build("c", 2))
    #expect(prepared.withLock { $0 } == [1, 2])
    #expect(graph.counts.total == 4)
  }

  @Test func selectorsArePartOfTheKey() async throws {
    let graph = Graph(), solver = makeSolver()
    func build(_ prefix: String, _ selector: String?) -> Vertex {
      graph.vertex(prefix + "top", seed: "top", inputs: [In(graph.const(1, prefix + "base"), selector: selector)])
    }
    for (prefix, selector, executed) in [("a", "x", 2), ("b", "x", 0), ("c", "y", 1), ("d", nil, 1), ("e", "y", 0)] {
      graph.counts.reset()
      _ = try await solver.once(build(prefix, selector))
      #expect(graph.counts.total == executed, "\(prefix)")
    }
  }

  @Test func anInputWhoseResultIsGoneIsNotComputedWhenTheResultAboveIsThere() async throws {
    let results = MemoryResultStorage(), keys = MemoryCacheStorage()
    let cache = StoredCache(id: "cache", keys: keys, results: results)
    let graph = Graph(), solver = makeSolver(cache: cache)
    let ids = Mutex<[String]>([])
    try await solver.withJob(id: "1") { job in
      let base = try await job.build(Edge(chain(graph, 1, "a").inputs[0].vertex.inputs[0].vertex))
      ids.withLock { $0.append(base.id) }
      await base.release()
    }
    #expect(try await solver.once(chain(graph, 1, "a")) == 111)
    for id in ids.withLock({ $0 }) { await results.remove(id) }
    try await cache.releaseUnreferenced()
    graph.counts.reset()
    #expect(try await solver.once(chain(graph, 1, "b")) == 111)
    #expect(graph.counts.executions == [:])
  }

  @Test func cacheMapsBeyondTheFirstFindAResult() async throws {
    let graph = Graph(), solver = makeSolver()
    func build(_ prefix: String, _ seeds: [String]) -> Vertex {
      graph.vertex(prefix + "root", .const, value: 1, seed: seeds[0], more: Array(seeds.dropFirst()))
    }
    _ = try await solver.once(build("a", ["tag", "digest"]))
    #expect(graph.counts.maps == ["aroot": 2])
    _ = try await solver.once(build("b", ["other tag", "digest"]))
    #expect(graph.counts.total == 1)
    #expect(graph.counts.maps["broot"] == 2)
    // What the first finds is enough.
    _ = try await solver.once(build("c", ["tag", "digest"]))
    #expect(graph.counts.total == 1)
    #expect(graph.counts.maps["croot"] == 1)
  }

  @Test func randomDigestsAreNeverFoundByAnotherDefinition() async throws {
    struct LocalOp: Op {
      let name: String
      func cacheMap(_ index: Int, context: OpContext) -> CacheMapAnswer {
        CacheMapAnswer(CacheMap(digest: CacheDigest(random: Digest.sha256(of: name))))
      }
      func execute(_ inputs: [any SolverResult], context: OpContext) -> [any SolverResult] { [Number(1)] }
    }
    let keys = MemoryCacheStorage()
    let solver = makeSolver(cache: StoredCache(id: "c", keys: keys, results: MemoryResultStorage()))
    _ = try await solver.once(Vertex(digest: .sha256(of: "l"), name: "l", payload: LocalOp(name: "session")))
    #expect(keys.keys() == ["random:" + Digest.sha256(of: "session").hex])
  }
}
