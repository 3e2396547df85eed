import BuildProgress
import BuildSolver
import OCIModel

private final class Nothing: SolverResult {
  let id: String
  init(_ id: String) { self.id = id }
  func release() async {}
  func clone() -> any SolverResult { Nothing(id) }
}

private struct NoOp: Op {
  let digest: CacheDigest
  let inputs: Int
  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    CacheMapAnswer(CacheMap(digest: digest, dependencies: (0..<inputs).map { _ in CacheMap.Dependency() }))
  }
  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] { [Nothing(context.vertex.digest.hex)] }
}

private func vertex(_ name: String, _ inputs: [Vertex]) -> Vertex {
  let digest = Digest.sha256(of: name)
  return Vertex(digest: digest, name: name, payload: NoOp(digest: CacheDigest(digest), inputs: inputs.count), inputs: inputs.map { Edge($0) })
}

/// Vertices in rows; each stands on three of the row above.
private func mesh(_ count: Int, width: Int) -> Vertex {
  var above: [Vertex] = []
  var made = 0
  while made < count {
    let row = (0..<min(width, count - made)).map { i in
      vertex("v\(made + i)", above.isEmpty ? [] : [above[i % above.count], above[(i + 1) % above.count], above[(i * 7 + 3) % above.count]])
    }
    made += row.count
    above = row
  }
  return vertex("top", above)
}

func solverBenchmarks() async throws {
  // One vertex that stands on all the others is looked at anew for each of them: quadratic, and so shown smaller.
  for (shape, width, scale) in [("chain", 1, 1), ("mesh of 100 a row", 100, 1), ("one row", 1_000_000, 10)] {
    for count in [1_000 / scale, 10_000 / scale] {
      try await measure("solver: \(shape), \(count) vertices", runs: 3, {
        let top = width == 1 ? (0..<count).reduce(vertex("bottom", [])) { vertex("c\($1)", [$0]) } : mesh(count, width: width)
        let solver = Solver(SolverOptions(cache: StoredCache.inMemory(), jobs: 2) { $0.payload as? NoOp ?? NoOp(digest: CacheDigest($0.digest), inputs: 0) })
        try await solver.withJob(id: "bench") { job in await (try job.build(Edge(top))).release() }
        await solver.shutdown()
        return Double(count)
      }, note: rate("vertices"))
    }
  }
}
