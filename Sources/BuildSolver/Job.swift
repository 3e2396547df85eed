import BuildProgress
import Synchronization

/// What one client wants done: builds that share vertices, decisions and a progress stream, and end together.
package final class Job: Sendable {
  package let id: String
  let number: Int
  /// What the steps of this job decided together.
  package let resolverCache = ResolverCache()
  let progress: JobProgress
  let solver: Solver
  private struct State {
    var values: [String: any Sendable] = [:]
    var cleanups: [@Sendable () async -> Void] = []
    var closed = false
  }
  private let state = Mutex(State())

  init(id: String, number: Int, solver: Solver, progress: JobProgress) {
    (self.id, self.number, self.solver, self.progress) = (id, number, solver, progress)
  }

  /// Builds an edge. Any number at once, and from within ops of this job too. Cancelling the task gives the build up: ops
  /// that nobody else wants are stopped before this throws. The result is the caller's to release; it stays good until then,
  /// also when the job is closed.
  package func build(_ edge: Edge) async throws -> CachedResult { try await solver.build(edge, for: .job(number)) }

  /// All of them at once, in their order. When one fails the others are cancelled, and its error is thrown.
  package func build(_ edges: [Edge]) async throws -> [CachedResult] {
    try await withThrowingTaskGroup(of: (Int, CachedResult).self) { group in
      for (i, edge) in edges.enumerated() { group.addTask { (i, try await self.build(edge)) } }
      var results: [Int: CachedResult] = [:]
      do {
        while let (i, result) = try await group.next() { results[i] = result }
      } catch {
        group.cancelAll()
        while let outcome = await group.nextResult() {
          if case .success(let (_, result)) = outcome { await result.release() }
        }
        for result in results.values { await result.release() }
        throw error
      }
      return edges.indices.compactMap { results[$0] }
    }
  }

  /// Something ops find by key, through `OpContext.jobs`: the client's session, say.
  package func setValue(_ key: String, _ value: any Sendable) { state.withLock { $0.values[key] = value } }
  package func value(_ key: String) -> (any Sendable)? { state.withLock { $0.values[key] } }

  /// Runs when the job is closed, in reverse order of registration; at once if it is closed already.
  package func cleanup(_ body: @escaping @Sendable () async -> Void) async {
    let late = state.withLock { state in
      if !state.closed { state.cleanups.append(body) }
      return state.closed
    }
    if late { await body() }
  }

  /// The active ops an edge's result is made from, the edge's own last; only those that were needed.
  package func ops(below edge: Edge) -> [(vertex: Vertex, op: any Op)] {
    var found: [(vertex: Vertex, op: any Op)] = []
    var seen: Set<ObjectIdentifier> = []
    var rest = [(edge.vertex, false)]
    while let (vertex, done) = rest.popLast() {
      if done {
        if let op = solver.activeOp(of: vertex.digest)?.resolved { found.append((vertex, op)) }
      } else if seen.insert(ObjectIdentifier(vertex)).inserted {
        rest.append((vertex, true))
        rest += vertex.inputs.reversed().map { ($0.vertex, false) }
      }
    }
    return found
  }

  /// Ends the job: its builds are cancelled and waited for, vertices that no other job wants are released. May be called again.
  package func close() async {
    await solver.close(number)
    progress.close()
    let cleanups = state.withLock { state in
      defer { (state.cleanups, state.closed) = ([], true) }
      return state.cleanups
    }
    for cleanup in cleanups.reversed() { await cleanup() }
  }
}
