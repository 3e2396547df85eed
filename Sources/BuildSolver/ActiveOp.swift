import OCIModel
import Synchronization

/// The op of one active vertex, shared by all its edges: each of its answers is computed once, and remembered unless
/// computing it was cancelled.
final class ActiveOp: Sendable {
  let vertex: Vertex
  /// The digest the vertex had in its definition.
  let originalDigest: Digest
  let progress: VertexProgress
  let context: OpContext
  private let solver: Solver

  private struct Memo {
    var op: Result<any Op, any Error>?
    var maps: [CacheMap] = []
    var mapsDone = false
    var mapError: (any Error)?
    var contentKeys: [Int: Result<Digest?, any Error>] = [:]
    var results: Result<[SharedResult], any Error>?
    var sources: [String: any CacheManager] = [:]
    var released = false
  }
  private let memo = Mutex(Memo())
  private let mapFlight = Flight<Void>()
  private let contentFlight = Flight<Digest?>()
  private let executeFlight = Flight<[CachedResult]>()

  init(vertex: Vertex, originalDigest: Digest, solver: Solver) {
    (self.vertex, self.originalDigest, self.solver) = (vertex, originalDigest, solver)
    progress = VertexProgress(vertex, now: solver.options.now)
    context = OpContext(vertex: vertex, progress: OpProgress(progress), solver: solver)
  }

  // MARK: caches

  func addCacheSources(_ sources: some Sequence<any CacheManager>) {
    memo.withLock { memo in
      for source in sources where source.id != solver.options.cache.id { memo.sources[source.id] = source }
    }
  }
  var cacheSources: [any CacheManager] { memo.withLock { Array($0.sources.values) } }
  var cache: any CacheManager {
    let sources = cacheSources
    return sources.isEmpty ? solver.options.cache : CombinedCache(main: solver.options.cache, others: sources)
  }
  /// What the op left for loading results, once it is known.
  func cacheOptions() -> [[String: any Sendable]] {
    progress.failed ? [] : memo.withLock { $0.maps.map(\.options) }
  }

  // MARK: the op's answers

  /// The op, if it was needed so far.
  var resolved: (any Op)? { memo.withLock { try? $0.op?.get() } }

  private func op() throws -> any Op {
    if let known = memo.withLock({ $0.op }) { return try known.get() }
    let made = Result { try solver.options.resolveOp(vertex) }
    // Two at once may make it; both use the first.
    return try memo.withLock { memo in
      if memo.op == nil { memo.op = made }
      return memo.op ?? made
    }.get()
  }

  func cacheMap(_ index: Int) async throws -> CacheMapAnswer {
    do {
      while true {
        let known: CacheMapAnswer? = try memo.withLock { memo in
          if index < memo.maps.count { return CacheMapAnswer(memo.maps[index], done: memo.mapsDone && index == memo.maps.count - 1) }
          if memo.mapsDone {
            throw SolverError(.inconsistent, "cache map \(index) was asked for, but the op has only \(memo.maps.count)")
          }
          if let error = memo.mapError { throw error }
          return nil
        }
        if let known { return known }
        let next = memo.withLock { $0.maps.count }
        try await mapFlight.run("\(next)") { [self] in try await computeCacheMap(next) }
      }
    } catch { throw wrap(error, .cacheKey) }
  }

  private func computeCacheMap(_ index: Int) async throws {
    if memo.withLock({ $0.maps.count > index || $0.mapError != nil }) { return }
    let isRoot = vertex.inputs.isEmpty
    if isRoot { progress.started() }
    do {
      let answer = try await op().cacheMap(index, context: context)
      guard answer.map.dependencies.count <= vertex.inputs.count else {
        throw SolverError(.invalidGraph, "its cache map describes \(answer.map.dependencies.count) inputs, but it has \(vertex.inputs.count)")
      }
      memo.withLock { memo in
        memo.maps.append(answer.map)
        memo.mapsDone = answer.done
      }
      if isRoot { progress.completed() }
    } catch {
      let error = Task.isCancelled ? CancellationError() : error
      if !(error is CancellationError) { memo.withLock { $0.mapError = error } }
      if isRoot { progress.completed(error: error) }
      throw error
    }
  }

  /// The content key of an input, after its preprocessing. Takes over `result`.
  func contentKey(_ input: Int, _ dependency: CacheMap.Dependency, of result: CachedResult) async throws -> Digest? {
    do {
      let key = try await contentFlight.run("\(input)") { [self] in
        if let known = memo.withLock({ $0.contentKeys[input] }) { return try known.get() }
        do {
          // Preparing an input is shown as work on that input.
          let inputContext = solver.context(of: vertex.inputs[input].vertex.digest) ?? context
          try await dependency.preprocess?(result.base, inputContext)
          let key = try await dependency.computeDigest?(result.base, context)
          memo.withLock { $0.contentKeys[input] = .success(key) }
          return key
        } catch {
          let error = Task.isCancelled ? CancellationError() : error
          if !(error is CancellationError) { memo.withLock { $0.contentKeys[input] = .failure(error) } }
          throw error
        }
      }
      await result.release()
      return key
    } catch {
      await result.release()
      progress.started()
      progress.completed(error: error)
      throw wrap(error, .contentKey, input: input)
    }
  }

  /// The op's results, each a handle of the caller's. Takes over nothing.
  func execute(_ inputs: [CachedResult]) async throws -> [CachedResult] {
    do {
      return try await executeFlight.run("") { [self] in
        if let known = memo.withLock({ $0.results }) { return try known.get().map { $0.handle() } }
        do {
          let outputs = try await perform(inputs).map { SharedResult($0) }
          let released = memo.withLock { memo in
            if !memo.released { memo.results = .success(outputs) }
            return memo.released
          }
          let handles = outputs.map { $0.handle() }
          if released { for output in outputs { await output.release() } }
          return handles
        } catch {
          let error = Task.isCancelled ? CancellationError() : error
          if !(error is CancellationError) { memo.withLock { $0.results = .failure(error) } }
          throw error
        }
      }
    } catch { throw wrap(error, .execute) }
  }

  private func perform(_ inputs: [CachedResult]) async throws -> [any SolverResult] {
    let op = try op()
    let lease = try await op.acquire(solver.slots)
    context.executing(lease: lease)
    defer {
      context.executing(lease: nil)
      lease?.release()
    }
    progress.started()
    do {
      let outputs = try await op.execute(inputs.map(\.base), context: context)
      progress.completed()
      return outputs
    } catch {
      progress.completed(error: Task.isCancelled ? CancellationError() : error)
      throw error
    }
  }

  private func wrap(_ error: any Error, _ phase: SolverError.Phase, input: Int? = nil) -> any Error {
    SolverError.wrap(error, vertex: vertex, digest: originalDigest, phase: phase, input: input)
  }

  /// No one needs the vertex any more.
  func release() async {
    let results = memo.withLock { memo in
      defer { (memo.released, memo.results) = (true, nil) }
      return try? memo.results?.get()
    }
    for result in results ?? [] { await result.release() }
    await context.end()
  }
}
