import OCIModel
import Synchronization
import Testing

@testable import BuildSolver

/// Passes on to a cache, and fails where it is told to.
final class FaultyCache: CacheManager {
  struct Faults: OptionSet, Sendable {
    let rawValue: Int
    static let query = Faults(rawValue: 1), records = Faults(rawValue: 2), load = Faults(rawValue: 4), save = Faults(rawValue: 8)
  }
  let inner: StoredCache
  var id: String { inner.id }
  private let state = Mutex((faults: Faults(), loads: 0))
  let onLoad: (@Sendable () async throws -> Void)?
  init(_ inner: StoredCache, onLoad: (@Sendable () async throws -> Void)? = nil) { (self.inner, self.onLoad) = (inner, onLoad) }

  func fail(_ faults: Faults) { state.withLock { $0.faults = faults } }
  var loads: Int { state.withLock { $0.loads } }
  private func check(_ fault: Faults) throws {
    if state.withLock({ $0.faults.contains(fault) }) { throw TestFailure(text: "cache fault \(fault.rawValue)") }
  }

  func query(_ inputs: [CacheKeyWithSelector], input: Int, digest: CacheDigest, output: Int) async throws -> [CacheKey] {
    try check(.query)
    return try await inner.query(inputs, input: input, digest: digest, output: output)
  }
  func records(_ key: CacheKey, context: CacheContext) async throws -> [CacheRecord] {
    try check(.records)
    return try await inner.records(key, context: context).map { record in
      var record = record
      record.manager = self
      return record
    }
  }
  func load(_ record: CacheRecord, context: CacheContext) async throws -> any SolverResult {
    state.withLock { $0.loads += 1 }
    try await onLoad?()
    try check(.load)
    return try await inner.load(record, context: context)
  }
  func save(_ key: CacheKey, _ result: any SolverResult, createdAt: Timestamp) async throws -> CacheRecord {
    try check(.save)
    return try await inner.save(key, result, createdAt: createdAt)
  }
  func loadWithParents(_ record: CacheRecord, context: CacheContext) async throws -> [LoadedResult] {
    state.withLock { $0.loads += 1 }
    try check(.load)
    return try await inner.loadWithParents(record, context: context)
  }
  func lockNames(_ key: CacheKey) async throws -> [String] { try await inner.lockNames(key) }
  func releaseUnreferenced() async throws { try await inner.releaseUnreferenced() }
}

@Suite struct CacheProblemTests {
  private func chain(_ graph: Graph, ignoring: Set<String> = []) -> Vertex {
    let base = graph.vertex("base", .const, value: 1, ignoreCache: ignoring.contains("base"))
    let step = graph.vertex("step", value: 10, inputs: [In(base)], ignoreCache: ignoring.contains("step"))
    return graph.vertex("top", value: 100, inputs: [In(step)], ignoreCache: ignoring.contains("top"))
  }

  @Test(arguments: [FaultyCache.Faults.load, .query, .records]) func whatTheCacheCannotGiveIsComputed(_ fault: FaultyCache.Faults) async throws {
    let problems = Mutex(0)
    let cache = FaultyCache(.inMemory())
    let graph = Graph()
    let solver = makeSolver(cache: cache) { _, _ in problems.withLock { $0 += 1 } }
    #expect(try await solver.once(chain(graph)) == 111)
    #expect(problems.withLock { $0 } == 0)
    cache.fail(fault)
    graph.counts.reset()
    #expect(try await solver.once(chain(graph)) == 111)
    #expect(graph.counts.executions == ["base": 1, "step": 1, "top": 1])
    #expect(problems.withLock { $0 } >= 3)
    cache.fail([])
    graph.counts.reset()
    #expect(try await solver.once(chain(graph)) == 111)
    #expect(graph.counts.executions == [:])
    #expect(solver.leftovers == [])
  }

  @Test func aRecordThatVanishesIsAMiss() async throws {
    let results = MemoryResultStorage()
    let gone = Mutex<[String]>([])
    let inner = StoredCache(id: "c", keys: MemoryCacheStorage(), results: results)
    // Gone between finding the record and loading it: another process collected it.
    let cache = FaultyCache(inner, onLoad: { for id in gone.withLock({ $0 }) { await results.remove(id) } })
    let graph = Graph(), solver = makeSolver(cache: cache)
    let root = graph.const(1)
    try await solver.withJob(id: "1") { job in
      let result = try await job.build(Edge(root))
      gone.withLock { $0.append(result.id) }
      await result.release()
    }
    #expect(try await solver.once(root) == 1)
    #expect(graph.counts.executions == ["const-1": 2])
    #expect(cache.loads == 1)
  }

  @Test func aResultThatCannotBeSavedFailsItsVertex() async throws {
    let cache = FaultyCache(.inMemory())
    cache.fail(.save)
    let graph = Graph(), solver = makeSolver(cache: cache)
    let error = await #expect(throws: SolverError.self) { try await solver.once(chain(graph)) }
    #expect(error?.code == .cache)
    #expect(error?.vertex?.name == "base")
    #expect(error?.cause as? TestFailure == TestFailure(text: "cache fault 8"))
    #expect(solver.leftovers == [])
    #expect(graph.ledger.live == 0)
  }

  // MARK: no cache

  @Test func ignoringExecutesAndStillSaves() async throws {
    let graph = Graph(), solver = makeSolver()
    #expect(try await solver.once(chain(graph, ignoring: ["base", "step", "top"])) == 111)
    #expect(graph.counts.total == 3)
    #expect(try await solver.once(chain(graph)) == 111)
    #expect(graph.counts.total == 3)
    #expect(try await solver.once(chain(graph, ignoring: ["base", "step", "top"])) == 111)
    #expect(graph.counts.total == 6)
  }

  @Test func whatReadsAnIgnoringVertexIsDoneAgain() async throws {
    let graph = Graph(), solver = makeSolver()
    _ = try await solver.once(chain(graph))
    graph.counts.reset()
    _ = try await solver.once(chain(graph, ignoring: ["base"]))
    // As BuildKit: a vertex that ignores the cache has no key to look up by until it is done, so its reader is done again; that
    // one's key is the old one, and who reads it finds the old record.
    #expect(graph.counts.executions == ["base": 1, "step": 1])
  }

  @Test func ignoringServesThoseWhoNeedNotButNotTheOtherWayRound() async throws {
    let graph = Graph(), solver = makeSolver()
    let plain = try solver.makeJob(id: "plain"), forced = try solver.makeJob(id: "forced"), later = try solver.makeJob(id: "later")
    _ = try await plain.number(graph.const(1, "x"))
    _ = try await forced.number(graph.const(1, "x", ignoreCache: true))
    #expect(graph.counts.executions == ["x": 2])
    // The forced one is active now, and good enough.
    _ = try await later.number(graph.const(1, "x"))
    _ = try await later.number(graph.const(1, "x", ignoreCache: true))
    #expect(graph.counts.executions == ["x": 2])
    for job in [plain, forced, later] { await job.close() }
    #expect(solver.leftovers == [])
  }

  // MARK: several caches

  @Test func anotherCacheIsAskedAndItsResultsAreKept() async throws {
    let remote = FaultyCache(StoredCache(id: "remote", keys: MemoryCacheStorage(), results: MemoryResultStorage()))
    let graph = Graph()
    _ = try await makeSolver(cache: remote).once(chain(graph))
    graph.counts.reset()
    func imported(_ sources: [any CacheManager]) -> Vertex {
      let base = graph.vertex("base", .const, value: 1, sources: sources)
      let step = graph.vertex("step", value: 10, inputs: [In(base)], sources: sources)
      return graph.vertex("top", value: 100, inputs: [In(step)], sources: sources)
    }
    let solver = makeSolver()
    #expect(try await solver.once(imported([remote])) == 111)
    #expect(graph.counts.executions == [:])
    #expect(remote.loads == 1)
    // Kept: the next build does without the other cache.
    #expect(try await solver.once(imported([])) == 111)
    #expect(graph.counts.executions == [:])
    #expect(remote.loads == 1)
    // A source that cannot be reached is as an empty one.
    remote.fail([.query, .records, .load])
    let fresh = makeSolver()
    #expect(try await fresh.once(imported([remote])) == 111)
    #expect(graph.counts.total == 3)
  }

  // MARK: other processes

  /// The lock of one "machine", and what happens while a process waits for it.
  final class Locks: KeyLocking {
    struct Lock: KeyLock {
      let owner: Locks
      func unlock() async { owner.state.withLock { $0.held -= 1 } }
    }
    let state = Mutex((held: 0, keys: [String]()))
    let whileWaiting: (@Sendable () async throws -> Void)?
    init(whileWaiting: (@Sendable () async throws -> Void)? = nil) { self.whileWaiting = whileWaiting }
    func lock(_ names: [String]) async throws -> any KeyLock {
      try await whileWaiting?()
      state.withLock { $0.held += 1; $0.keys += names }
      return Lock(owner: self)
    }
  }

  @Test func whatAnotherProcessMadeMeanwhileIsTaken() async throws {
    let keys = MemoryCacheStorage(), results = MemoryResultStorage()
    let mine = Graph(), theirs = Graph()
    let other = makeSolver(cache: StoredCache(id: "store", keys: keys, results: results))
    let locks = Locks(whileWaiting: { _ = try await other.once(self.chain(theirs)) })
    let solver = makeSolver(cache: StoredCache(id: "store", keys: keys, results: results), keyLocking: locks)
    #expect(try await solver.once(chain(mine)) == 111)
    #expect(mine.counts.executions == [:])
    #expect(theirs.counts.total == 3)
    #expect(locks.state.withLock { $0.held } == 0)
  }

  /// What reads a forced result is done anew, though its key has a record from before.
  @Test func aLockedKeyDoesNotBringBackWhatAForcedInputMadeStale() async throws {
    let graph = Graph(), solver = makeSolver(keyLocking: Locks())
    _ = try await solver.once(chain(graph))
    graph.counts.reset()
    _ = try await solver.once(chain(graph, ignoring: ["base"]))
    #expect(graph.counts.executions == ["base": 1, "step": 1])
  }

  @Test func aLockIsWaitedForWithoutASlot() async throws {
    let graph = Graph()
    let gate = Gate()
    let locks = Locks(whileWaiting: { try await gate.wait() })
    let waiting = makeSolver(jobs: 1, keyLocking: locks)
    let job = try waiting.makeJob(id: "job")
    async let one = job.number(graph.const(1))
    await eventually("the lock is asked for") { gate.arrived == 1 }
    // The only slot is free.
    let lease = try await waiting.slots.acquire()
    lease.release()
    gate.open()
    #expect(try await one == 1)
    await job.close()
    #expect(locks.state.withLock { $0.held } == 0)
    // Both sides name the work alike.
    let second = Locks()
    _ = try await makeSolver(keyLocking: second).once(graph.const(1))
    #expect(second.state.withLock { $0.keys } == locks.state.withLock { $0.keys })
  }

  /// An image is known by its name's digest and by its content: one process executed it and knows both, another found it by the first.
  @Test func workOnWhatWasFoundAndWorkOnWhatWasMadeHaveALockInCommon() async throws {
    let graph = Graph()
    let base = graph.vertex("base", .const, value: 1, more: ["content"])
    let step = graph.vertex("step", value: 10, inputs: [In(base), In(graph.vertex("other", .const, value: 5, more: ["more"]))])
    func names(_ storage: (MemoryCacheStorage, MemoryResultStorage)) async throws -> [String] {
      let locks = Locks()
      _ = try await makeSolver(cache: StoredCache(id: "store", keys: storage.0, results: storage.1), keyLocking: locks).once(step)
      return locks.state.withLock { $0.keys }
    }
    let alone = try await names((MemoryCacheStorage(), MemoryResultStorage()))
    let shared = (MemoryCacheStorage(), MemoryResultStorage())
    _ = try await makeSolver(cache: StoredCache(id: "store", keys: shared.0, results: shared.1)).once(base)
    graph.counts.reset()
    let second = try await names(shared)
    #expect(graph.counts.executions == ["other": 1, "step": 1])
    // The last four, and two of the last two: the step's.
    #expect(alone.count == 6 && second.count == 3)
    #expect(Set(second.suffix(2)).isSubset(of: alone.suffix(4)))
  }

  @Test func twoThatSaveTheSameKeyMakeOneOfIt() async throws {
    let keys = MemoryCacheStorage()
    func build() async throws -> Graph {
      let graph = Graph()
      let solver = makeSolver(cache: StoredCache(id: "store", keys: keys, results: MemoryResultStorage()))
      _ = try await solver.once(chain(graph, ignoring: ["base", "step", "top"]))
      return graph
    }
    _ = try await build()
    let before = keys.keys()
    _ = try await build()
    #expect(keys.keys() == before)
    #expect(before.count == 3)
  }
}
