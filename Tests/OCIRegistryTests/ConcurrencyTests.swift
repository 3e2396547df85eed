import OCIRegistry
import Synchronization
import Testing

/// A `Mutex` that closures of tasks can share.
private final class Locked<Value: Sendable>: Sendable {
  private let value: Mutex<Value>
  init(_ value: Value) { self.value = Mutex(value) }
  func withLock<T: Sendable>(_ body: (inout sending Value) -> sending T) -> T { value.withLock(body) }
}

@Suite struct ConcurrencyTests {
  @Test func limiterBoundsAndServesInTurn() async throws {
    let limiter = ConcurrencyLimiter(3)
    let now = Locked(0), peak = Locked(0)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<50 {
        group.addTask {
          try await limiter.run {
            let running = now.withLock { n in n += 1; return n }
            peak.withLock { $0 = max($0, running) }
            try await Task.sleep(for: .milliseconds(1))
            now.withLock { $0 -= 1 }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(peak.withLock { $0 } == 3)
  }

  @Test func cancelledWaitersLeaveAndSlotsComeBack() async throws {
    let limiter = ConcurrencyLimiter(1)
    for _ in 0..<200 {
      let holder = Task { try await limiter.run { try await Task.sleep(for: .milliseconds(2)) } }
      let waiters = (0..<4).map { _ in Task { try await limiter.run {} } }
      for waiter in waiters.prefix(3) { waiter.cancel() }
      holder.cancel()
      _ = await holder.result
      for waiter in waiters { _ = await waiter.result }
    }
    try await limiter.run {}
  }

  @Test func sharedWorkRunsOnceAndToldToAll() async throws {
    let work = SharedWork<String, Int, Int>()
    let runs = Locked(0), events = Locked<[Int]>([])
    let results = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<20 {
        group.addTask {
          let outcome = try await work.run("k", observer: { event in events.withLock { $0.append(event) } }) { emit in
            runs.withLock { $0 += 1 }
            try await Task.sleep(for: .milliseconds(50))
            emit(7)
            return 42
          }
          switch outcome {
          case .own(let value), .joined(let value): return value
          case .joinedFailure: return -1
          }
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(results == Array(repeating: 42, count: 20))
    #expect(runs.withLock { $0 } == 1)
    #expect(events.withLock { $0.count } == 20)
  }

  @Test func sharedWorkOutlivesOneWaiterButNotAll() async throws {
    let work = SharedWork<String, Int, Never>()
    let ended = Locked("")
    let body: @Sendable (@escaping @Sendable (Never) -> Void) async throws -> Int = { _ in
      do {
        try await Task.sleep(for: .milliseconds(100))
        ended.withLock { $0 = "finished" }
        return 1
      } catch {
        ended.withLock { $0 = "cancelled" }
        throw error
      }
    }
    let first = Task { try await work.run("k", observer: { _ in }, body) }
    try await Task.sleep(for: .milliseconds(20))
    let second = Task { try await work.run("k", observer: { _ in }, body) }
    try await Task.sleep(for: .milliseconds(20))
    first.cancel()
    #expect(await first.result.isCancelled)
    if case .success(.joined(1)) = await second.result {} else { Issue.record("the second waiter got no result") }
    #expect(ended.withLock { $0 } == "finished")

    let third = Task { try await work.run("k", observer: { _ in }, body) }
    try await Task.sleep(for: .milliseconds(20))
    third.cancel()
    _ = await third.result
    try await Task.sleep(for: .milliseconds(50))
    #expect(ended.withLock { $0 } == "cancelled")
  }
}

extension Result {
  fileprivate var isCancelled: Bool { if case .failure(let error) = self { error is CancellationError } else { false } }
}
