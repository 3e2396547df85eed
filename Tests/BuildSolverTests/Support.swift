import BuildProgress
import OCIModel
import Synchronization
import Testing

@testable import BuildSolver

/// Counts references, so that a test sees what was released too often or never.
final class Ledger: Sendable {
  private let state = Mutex((live: 0, made: 0, overReleased: 0))
  func made() { state.withLock { $0.live += 1; $0.made += 1 } }
  func cloned() { state.withLock { $0.live += 1 } }
  func released(again: Bool) { state.withLock { if again { $0.overReleased += 1 } else { $0.live -= 1 } } }
  var live: Int { state.withLock { $0.live } }
  var overReleased: Int { state.withLock { $0.overReleased } }
}

final class Number: SolverResult {
  let id: String
  let value: Int
  private let ledger: Ledger?
  private let released = Atomic(false)
  private static let next = Atomic(0)

  init(_ value: Int, ledger: Ledger? = nil, id: String? = nil) {
    self.value = value
    self.ledger = ledger
    self.id = id ?? "result-\(Self.next.add(1, ordering: .relaxed).newValue)"
    if id == nil { ledger?.made() } else { ledger?.cloned() }
  }
  func release() async { ledger?.released(again: released.exchange(true, ordering: .relaxed)) }
  func clone() -> any SolverResult { Number(value, ledger: ledger, id: id) }
}

func number(_ result: any SolverResult) -> Int {
  let base = (result as? CachedResult)?.base ?? result
  return (base as? Number)?.value ?? .min
}

/// How often ops were asked.
final class Counts: Sendable {
  private let state = Mutex((maps: [String: Int](), executions: [String: Int](), order: [String]()))
  func map(_ name: String) { state.withLock { $0.maps[name, default: 0] += 1 } }
  func execute(_ name: String) { state.withLock { $0.executions[name, default: 0] += 1; $0.order.append(name) } }
  var maps: [String: Int] { state.withLock { $0.maps } }
  var executions: [String: Int] { state.withLock { $0.executions } }
  var order: [String] { state.withLock { $0.order } }
  var total: Int { executions.values.reduce(0, +) }
  func reset() { state.withLock { $0 = ([:], [:], []) } }
}

enum Kind: Sendable {
  case const
  case sum
  /// One result for each input.
  case add
  case custom(@Sendable ([Int], OpContext) async throws -> [any SolverResult])
}

struct TestFailure: Error, Equatable { var text: String }

final class TestOp: Op {
  let name: String
  let seeds: [String]
  let kind: Kind
  let value: Int
  let dependencies: [CacheMap.Dependency]
  let counts: Counts?
  let ledger: Ledger?
  let beforeMap: (@Sendable (OpContext) async throws -> Void)?
  let beforeExecute: (@Sendable (OpContext) async throws -> Void)?
  let takesSlot: Bool

  init(
    name: String, seeds: [String], kind: Kind, value: Int, dependencies: [CacheMap.Dependency], counts: Counts?, ledger: Ledger?,
    beforeMap: (@Sendable (OpContext) async throws -> Void)?, beforeExecute: (@Sendable (OpContext) async throws -> Void)?,
    takesSlot: Bool
  ) {
    (self.name, self.seeds, self.kind, self.value, self.dependencies) = (name, seeds, kind, value, dependencies)
    (self.counts, self.ledger, self.beforeMap, self.beforeExecute) = (counts, ledger, beforeMap, beforeExecute)
    self.takesSlot = takesSlot
  }

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    counts?.map(name)
    try await beforeMap?(context)
    let digest = CacheDigest(Digest.sha256(of: "seed:\(seeds[index])"))
    return CacheMapAnswer(CacheMap(digest: digest, dependencies: dependencies), done: index == seeds.count - 1)
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    counts?.execute(name)
    try await beforeExecute?(context)
    let numbers = inputs.map { number($0) }
    switch kind {
    case .const: return [Number(value, ledger: ledger)]
    case .sum: return [Number(numbers.reduce(value, +), ledger: ledger)]
    case .add: return numbers.map { Number($0 + value, ledger: ledger) }
    case .custom(let body): return try await body(numbers, context)
    }
  }

  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { takesSlot ? try await slots.acquire() : nil }
}

struct In: Sendable {
  var vertex: Vertex
  var index = 0
  var selector: String?
  var content: String?
  init(_ vertex: Vertex, _ index: Int = 0, selector: String? = nil, content: String? = nil) {
    (self.vertex, self.index, self.selector, self.content) = (vertex, index, selector, content)
  }

  func dependency(onContent: (@Sendable () -> Void)? = nil) -> CacheMap.Dependency {
    var dependency = CacheMap.Dependency(selector: selector.map { Digest.sha256(of: $0) })
    if let content {
      dependency.computeDigest = { result, _ in
        onContent?()
        let value = number(result)
        return Digest.sha256(of: "\(content):\(content == "tens" ? value / 10 : value)")
      }
    }
    return dependency
  }
}

/// A graph's maker: every vertex it makes shares its counts and ledger.
struct Graph: Sendable {
  var counts = Counts()
  var ledger = Ledger()
  var prefix = ""

  func vertex(
    _ name: String, _ kind: Kind = .sum, value: Int = 0, seed: String? = nil, more: [String] = [], inputs: [In] = [],
    dependencies: [CacheMap.Dependency]? = nil, ignoreCache: Bool = false, sources: [any CacheManager] = [], takesSlot: Bool = true,
    options: VertexOptions? = nil,
    beforeMap: (@Sendable (OpContext) async throws -> Void)? = nil,
    beforeExecute: (@Sendable (OpContext) async throws -> Void)? = nil
  ) -> Vertex {
    let op = TestOp(
      name: name, seeds: [seed ?? name] + more, kind: kind, value: value, dependencies: dependencies ?? inputs.map { $0.dependency() },
      counts: counts, ledger: ledger, beforeMap: beforeMap, beforeExecute: beforeExecute, takesSlot: takesSlot)
    return Vertex(
      digest: Digest.sha256(of: prefix + name), name: name, payload: op, inputs: inputs.map { Edge($0.vertex, index: $0.index) },
      options: options ?? VertexOptions(ignoreCache: ignoreCache, cacheSources: sources))
  }
  func const(_ value: Int, _ name: String? = nil, ignoreCache: Bool = false) -> Vertex {
    vertex(name ?? "const-\(value)", .const, value: value, seed: "const-\(value)", ignoreCache: ignoreCache)
  }
}

func makeSolver(
  cache: any CacheManager = StoredCache.inMemory(), jobs: Int = 8, keyLocking: (any KeyLocking)? = nil,
  cacheProblem: @escaping @Sendable (any Error, Vertex) -> Void = { _, _ in }
) -> Solver {
  Solver(SolverOptions(cache: cache, jobs: jobs, keyLocking: keyLocking, cacheProblem: cacheProblem) { vertex in
    guard let op = vertex.payload as? any Op else { throw TestFailure(text: "no op") }
    return op
  })
}

extension Solver {
  /// Builds one edge in a job of its own, and ends the job.
  func once(_ edge: Edge, job: String = "job") async throws -> Int {
    try await withJob(id: job) { job in try await job.number(edge) }
  }
  func once(_ vertex: Vertex, job: String = "job") async throws -> Int { try await once(Edge(vertex), job: job) }
}
extension Job {
  func number(_ edge: Edge) async throws -> Int {
    let result = try await build(edge)
    let value = (result.base as? Number)?.value ?? .min
    await result.release()
    return value
  }
  func number(_ vertex: Vertex) async throws -> Int { try await number(Edge(vertex)) }
}

/// Opens once; who waits before is let go then.
final class Gate: Sendable {
  private struct State {
    var open = false
    var ticket = 0
    var waiting: [Int: CheckedContinuation<Void, any Error>] = [:]
    var arrived = 0
    var met = 0
  }
  private let state = Mutex(State())

  /// Waits until `count` are here; the last one opens.
  func meet(_ count: Int) async throws {
    let met = state.withLock { state in state.met += 1; return state.met }
    if met == count { open() }
    try await wait()
  }

  func open() {
    let waiting = state.withLock { state in
      state.open = true
      defer { state.waiting = [:] }
      return state.waiting.values
    }
    for waiter in waiting { waiter.resume() }
  }
  /// Ends early when the task is cancelled.
  func wait() async throws {
    let ticket = state.withLock { state in state.ticket += 1; return state.ticket }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Void, any Error>) in
        let now: Result<Void, any Error>? = state.withLock { state in
          state.arrived += 1
          if Task.isCancelled { return .failure(CancellationError()) }
          if state.open { return .success(()) }
          state.waiting[ticket] = waiter
          return nil
        }
        if let now { waiter.resume(with: now) }
      }
    } onCancel: {
      state.withLock { $0.waiting.removeValue(forKey: ticket) }?.resume(throwing: CancellationError())
    }
  }
  var arrived: Int { state.withLock { $0.arrived } }
}

/// Waits until something holds; a test that waits in vain fails.
func eventually(_ what: String, _ holds: @Sendable () -> Bool, at location: SourceLocation = #_sourceLocation) async {
  for _ in 0..<5000 {
    if holds() { return }
    try? await Task.sleep(for: .milliseconds(1))
  }
  Issue.record("waited in vain: \(what)", sourceLocation: location)
}
