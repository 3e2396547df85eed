package import BuildProgress
package import OCIModel
import Synchronization

package struct SolverOptions: Sendable {
  /// Makes the op of a vertex from its payload. Called once for each active vertex, and only when the op is needed.
  package var resolveOp: @Sendable (Vertex) throws -> any Op
  /// Where results are found and kept.
  package var cache: any CacheManager
  /// How many ops execute at once.
  package var jobs: Int
  /// Whether there is memory for one more beside those that execute.
  package var hasRoom: @Sendable () -> Bool = { true }
  /// Serialises equal work between processes; nil when no other process shares the cache.
  package var keyLocking: (any KeyLocking)?
  /// A cache that could not be asked, or a record that could not be loaded: a miss, never the build's failure.
  package var cacheProblem: @Sendable (any Error, Vertex) -> Void
  package var now: @Sendable () -> Timestamp

  package init(
    cache: any CacheManager, jobs: Int, keyLocking: (any KeyLocking)? = nil, now: @escaping @Sendable () -> Timestamp = { wallClock() },
    cacheProblem: @escaping @Sendable (any Error, Vertex) -> Void = { _, _ in },
    resolveOp: @escaping @Sendable (Vertex) throws -> any Op
  ) {
    (self.cache, self.jobs, self.keyLocking) = (cache, jobs, keyLocking)
    (self.now, self.cacheProblem, self.resolveOp) = (now, cacheProblem, resolveOp)
  }
}

/// Holds all vertices that are being built, for any number of jobs at once, so that equal work is done once. All decisions are
/// the core's, made under one lock; all work is done in tasks that the solver owns and `shutdown` waits for.
package final class Solver: Sendable {
  let options: SolverOptions
  let slots: JobSlots

  private struct State {
    var core = SchedulerCore()
    var tasks: [Int: Task<Void, Never>] = [:]
    var builds: [RequestID: CheckedContinuation<CachedResult, any Error>] = [:]
    var closeWaiters: [Int: [CheckedContinuation<Void, Never>]] = [:]
    var nextJob = 0
    var shutDown = false
  }
  private let state = Mutex(State())

  package init(_ options: SolverOptions) {
    self.options = options
    slots = JobSlots(limit: options.jobs, hasRoom: options.hasRoom)
  }

  /// Ends all jobs and waits for everything that is under way.
  package func shutdown() async {
    let jobs = state.withLock { state in
      state.shutDown = true
      return state.core.jobs.values.map(\.job)
    }
    for job in jobs { await job.close() }
    while let task = state.withLock({ $0.tasks.first?.value }) { await task.value }
  }

  // MARK: builds

  func build(_ edge: Edge, for owner: BuildOwner) async throws -> CachedResult {
    guard edge.index >= 0 else { throw SolverError(.invalidGraph, "\(edge.vertex.name) has no output \(edge.index)") }
    let id = state.withLock { $0.core.ids.next() }
    do {
      return try await withTaskCancellationHandler {
        try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<CachedResult, any Error>) in
          change { state in
            state.builds[id] = waiter
            do {
              // Looked at under the lock: a cancellation from here on finds the build registered.
              if Task.isCancelled { throw CancellationError() }
              let vertex = try state.core.load(edge.vertex, for: owner) { vertex, original in
                ActiveOp(vertex: vertex, originalDigest: original, solver: self)
              }
              try state.core.startBuild(id, Edge(vertex, index: edge.index))
              if case .job(let number) = owner { state.core.jobs[number]?.builds.insert(id) }
            } catch {
              state.core.effects.append(.finishBuild(id, .failure(error)))
            }
          }
        }
      } onCancel: {
        change { $0.core.cancel(id) }
      }
    } catch let error as SolverError {
      throw error.reached(from: edge.vertex)
    }
  }

  /// Changes the core, lets it run until it has nothing to do, and does what it wants done.
  private func change(_ body: (inout State) -> Void) {
    var after: [@Sendable () -> Void] = []
    state.withLock { state in
      body(&state)
      repeat {
        state.core.drain()
        let effects = state.core.effects
        state.core.effects = []
        for effect in effects { if let rest = perform(effect, &state) { after.append(rest) } }
      } while !state.core.effects.isEmpty
    }
    for rest in after { rest() }
  }

  /// Tasks are started and looked up under the lock, so that a cancellation never overtakes the start. What runs code of others
  /// comes back, to be done without the lock: a cancelled task's handlers run at once, and may well ask the solver something.
  private func perform(_ effect: Effect, _ state: inout State) -> (@Sendable () -> Void)? {
    switch effect {
    case .start(let id, let op, let work):
      state.tasks[id] = Task {
        let outcome: Result<RequestStatus.Value, any Error>
        do { outcome = .success(try await self.perform(work, op)) } catch { outcome = .failure(error) }
        await self.completed(id, outcome)
      }
    case .cancel(let id):
      guard let task = state.tasks[id] else { return nil }
      return { task.cancel() }
    case .ask(let edge, let op, let questions):
      spawn(&state) { solver in
        let answers = await solver.answer(questions, op)
        return { $0.answered(edge, answers) }
      }
    case .askRecords(let edge, let op, let keys):
      spawn(&state) { solver in
        let records = await solver.records(keys, op)
        return { $0.answered(edge, records: records) }
      }
    case .release(let result):
      spawn(&state) { _ in await result.release(); return { _ in } }
    case .releaseOp(let op):
      spawn(&state) { _ in await op.release(); return { _ in } }
    case .finishBuild(let id, let outcome):
      var closed: [CheckedContinuation<Void, Never>] = []
      for (number, job) in state.core.jobs where job.builds.contains(id) {
        state.core.jobs[number]?.builds.remove(id)
        if job.builds.count == 1 { closed = state.closeWaiters.removeValue(forKey: number) ?? [] }
      }
      guard let waiter = state.builds.removeValue(forKey: id) else { return nil }
      return { [closed] in
        waiter.resume(with: outcome)
        for waiter in closed { waiter.resume() }
      }
    }
    return nil
  }

  private func spawn(_ state: inout State, _ body: @escaping @Sendable (Solver) async -> @Sendable (inout SchedulerCore) -> Void) {
    let id = state.core.ids.next()
    state.tasks[id] = Task {
      let then = await body(self)
      self.change { state in
        state.tasks[id] = nil
        then(&state.core)
      }
    }
  }

  private func completed(_ id: RequestID, _ outcome: Result<RequestStatus.Value, any Error>) async {
    var wanted = true
    change { state in
      state.tasks[id] = nil
      wanted = state.core.complete(id, outcome)
    }
    if !wanted, case .success(.result(let result)) = outcome { await result.release() }
  }

  // MARK: jobs

  /// A job is what a client wants done; its vertices live as long as it does. Close it, or use `withJob`.
  package func makeJob(id: String, progress: any ProgressSink = DiscardingSink()) throws -> Job {
    try state.withLock { state in
      guard !state.shutDown else { throw SolverError(.closed, "the solver was shut down") }
      guard !state.core.jobs.values.contains(where: { $0.job.id == id }) else {
        throw SolverError(.invalidGraph, "a job with id \(id) exists")
      }
      state.nextJob += 1
      let job = Job(id: id, number: state.nextJob, solver: self, progress: JobProgress(progress, now: options.now))
      state.core.jobs[job.number] = JobState(job: job)
      return job
    }
  }

  package func withJob<T: Sendable>(
    id: String, progress: any ProgressSink = DiscardingSink(), _ body: (Job) async throws -> T
  ) async throws -> T {
    let job = try makeJob(id: id, progress: progress)
    do {
      let value = try await body(job)
      await job.close()
      return value
    } catch {
      await job.close()
      throw error
    }
  }

  package func job(id: String) -> Job? { state.withLock { $0.core.jobs.values.first { $0.job.id == id }?.job } }

  func close(_ number: Int) async {
    await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
      var waits = false
      change { state in
        guard let job = state.core.jobs[number] else { return }
        state.core.jobs[number]?.closing = true
        guard !job.builds.isEmpty else { return }
        waits = true
        state.closeWaiters[number, default: []].append(done)
        for build in job.builds { state.core.cancel(build) }
      }
      if !waits { done.resume() }
    }
    // What the job alone wanted is released before this returns.
    let released = state.withLock { state in
      state.core.discard(number)
      defer { state.core.effects = [] }
      return state.core.effects
    }
    for effect in released {
      switch effect {
      case .release(let result): await result.release()
      case .releaseOp(let op): await op.release()
      default: change { $0.core.effects.append(effect) }
      }
    }
  }

  // MARK: what ops and caches ask

  func jobs(of vertex: Digest) -> [Job] {
    state.withLock { state in state.core.jobNumbers(of: vertex).compactMap { state.core.jobs[$0]?.job } }
  }
  func context(of vertex: Digest) -> OpContext? { state.withLock { $0.core.states[vertex]?.op.context } }
  func activeOp(of vertex: Digest) -> ActiveOp? { state.withLock { $0.core.states[vertex]?.op } }

  func cacheContext(_ vertex: Digest, progress: OpProgress?) -> CacheContext {
    CacheContext(progress: progress) { [self] keys, ancestors in
      var found: [String: any Sendable] = [:]
      var seen: Set<Digest> = [vertex]
      var queue = [vertex]
      var next = 0
      while next < queue.count, found.count < keys.count {
        let op = activeOp(of: queue[next])
        next += 1
        for options in op?.cacheOptions() ?? [] {
          for key in keys where found[key] == nil { found[key] = options[key] }
        }
        if ancestors { queue += (op?.vertex.inputs ?? []).map(\.vertex.digest).filter { seen.insert($0).inserted } }
      }
      return found
    }
  }

  /// For tests: what is active or under way; empty at the end.
  var leftovers: [String] {
    state.withLock { state in
      let left = [
        ("vertices", state.core.states.count), ("requests", state.core.isIdle ? 0 : 1), ("merge index", state.core.index.isEmpty ? 0 : 1),
        ("tasks", state.tasks.count), ("builds", state.builds.count), ("jobs", state.core.jobs.count),
      ]
      return left.filter { $0.1 > 0 }.map { "\($0.0): \($0.1)" }
    }
  }
  var mergedCount: Int { state.withLock { $0.core.states.values.reduce(0) { $0 + $1.edges.values.count { $0.owner != nil } } } }
  var mergeIndexCount: Int { state.withLock { $0.core.index.count } }
  var activeCount: Int { state.withLock { $0.core.states.count } }
}
