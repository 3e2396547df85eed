import OCIModel
import Synchronization

/// What an op may ask of the solver while it computes. One for each active vertex.
package final class OpContext: Sendable {
  package let vertex: Vertex
  package let progress: OpProgress
  private let solver: Solver
  private struct State {
    var cleanups: [@Sendable () async -> Void] = []
    var ended = false
    var lease: JobSlots.Lease?
    var keyLock: (any KeyLock)?
    var subBuildKeys: [ExportableCacheKey] = []
  }
  private let state = Mutex(State())

  init(vertex: Vertex, progress: OpProgress, solver: Solver) {
    (self.vertex, self.progress, self.solver) = (vertex, progress, solver)
  }

  /// Builds another edge on behalf of this vertex and of all jobs it belongs to. Kept until the vertex is released; the
  /// answer is the caller's to release. While it waits, the op's job slot is free for others.
  package func build(_ edge: Edge) async throws -> CachedResult {
    let solver = solver, digest = vertex.digest
    let body = { @Sendable in try await solver.build(edge, for: .vertex(digest)) }
    let result = if let lease = state.withLock({ $0.lease }) { try await lease.suspended(body) } else { try await body() }
    // The first has the whole chain.
    if let key = result.cacheKeys.first { state.withLock { $0.subBuildKeys.append(key) } }
    return result
  }

  /// The jobs that want this vertex now, those of the vertices that asked for it included.
  package var jobs: [Job] { solver.jobs(of: vertex.digest) }

  /// Runs when the vertex is released, in reverse order of registration; at once if it is released already.
  package func cleanup(_ body: @escaping @Sendable () async -> Void) async {
    let late = state.withLock { state in
      if !state.ended { state.cleanups.append(body) }
      return state.ended
    }
    if late { await body() }
  }

  /// Decisions of the build that steps share: see `ResolverCache`.
  package func resolverLock(_ key: String) async throws -> ResolverCache.Lease {
    try await ResolverCache.lock(key, in: jobs.sorted { $0.number < $1.number }.map(\.resolverCache))
  }

  /// For results of this vertex.
  package var cacheContext: CacheContext { solver.cacheContext(vertex.digest, progress: progress) }

  /// The lock of this vertex's cache key between processes, while it executes: for a child that must hold it too.
  package var keyLock: (any KeyLock)? { state.withLock { $0.keyLock } }

  // MARK: for the solver

  func executing(lease: JobSlots.Lease?) { state.withLock { $0.lease = lease } }
  func holding(_ lock: (any KeyLock)?) { state.withLock { $0.keyLock = lock } }
  var subBuildKeys: [ExportableCacheKey] { state.withLock { $0.subBuildKeys } }

  /// The vertex's edge was merged into another's: that one's context outlives this one and cleans up for both.
  func moveCleanups(to other: OpContext) {
    let moved = state.withLock { state in
      defer { state.cleanups = [] }
      return state.cleanups
    }
    other.state.withLock { $0.cleanups += moved }
  }
  func end() async {
    let cleanups = state.withLock { state in
      defer { (state.cleanups, state.ended) = ([], true) }
      return state.cleanups
    }
    for cleanup in cleanups.reversed() { await cleanup() }
  }
}

/// Serialises work on one cache key between processes.
package protocol KeyLocking: Sendable {
  /// Waits until no other process works on the key, of which these are the names (`CacheManager.lockNames`), in order. Throws when the task is cancelled.
  func lock(_ names: [String]) async throws -> any KeyLock
}
package protocol KeyLock: Sendable {
  func unlock() async
}
