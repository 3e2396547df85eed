@testable import HostOS
import Synchronization
import Testing

private final class Tally: Sendable {
  private let state = Mutex((inside: 0, most: 0, total: 0))
  func enter() {
    state.withLock {
      $0.inside += 1
      $0.most = max($0.most, $0.inside)
    }
  }
  func leave() {
    state.withLock {
      $0.inside -= 1
      $0.total += 1
    }
  }
  var most: Int { state.withLock { $0.most } }
  var total: Int { state.withLock { $0.total } }
}

@Suite struct LockTests {
  @Test func tasksExcludeOneAnother() async throws {
    try await withScratch { path in
      let file = try LockFile(path: path + "/locks")
      let tally = Tally()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<50 {
          group.addTask {
            let lock = try await file.lock(offset: 5)
            tally.enter()
            try await Task.sleep(for: .microseconds(200))
            tally.leave()
            lock.release()
          }
        }
        try await group.waitForAll()
      }
      #expect(tally.most == 1 && tally.total == 50)
    }
  }

  @Test func twoObjectsOnOneFileExcludeToo() async throws {
    try await withScratch { path in
      let a = try LockFile(path: path + "/locks"), b = try LockFile(path: path + "/locks")
      let held = try a.tryLock(offset: 1)
      #expect(held != nil)
      #expect(try b.tryLock(offset: 1) == nil)
      #expect(try b.tryLock(offset: 2) != nil)
      let waiting = Task { try await b.lock(offset: 1) }
      try await Task.sleep(for: .milliseconds(20))
      held?.release()
      let lock = try await waiting.value
      #expect(try a.tryLock(offset: 1) == nil)
      lock.release()
      lock.release()
      #expect(try a.tryLock(offset: 1) != nil)
    }
  }

  @Test func sharedAndExclusive() async throws {
    try await withScratch { path in
      let file = try LockFile(path: path + "/locks")
      let first = try file.tryLock(offset: 0, shared: true), second = try file.tryLock(offset: 0, shared: true)
      #expect(first != nil && second != nil)
      #expect(try file.tryLock(offset: 0) == nil)
      let writer = Task { try await file.lock(offset: 0) }
      try await Task.sleep(for: .milliseconds(20))
      // One who waits for it alone is not overtaken for ever.
      #expect(try file.tryLock(offset: 0, shared: true) == nil)
      first?.release()
      second?.release()
      let lock = try await writer.value
      #expect(try file.tryLock(offset: 0, shared: true) == nil)
      lock.release()
      #expect(try file.tryLock(offset: 0, shared: true) != nil)
    }
  }

  @Test func cancelledTasksStopWaitingAndHurtNoOne() async throws {
    try await withScratch { path in
      let file = try LockFile(path: path + "/locks")
      let held = try file.tryLock(offset: 3)
      let waiting = (0..<20).map { _ in Task { try await file.lock(offset: 3).release() } }
      let last = Task { try await file.lock(offset: 3) }
      for task in waiting { task.cancel() }
      for task in waiting { await #expect(throws: CancellationError.self) { try await task.value } }
      held?.release()
      let lock = try await last.value
      lock.release()
      #expect(try file.tryLock(offset: 3) != nil)
    }
  }

  /// Another process, which is killed while it holds the lock.
  @Test(.enabled(if: Processes.executablePath("python3") != nil)) func processesExcludeAndDie() async throws {
    try await withScratch { path in
      let file = try LockFile(path: path + "/locks")
      let script = """
        import fcntl, struct, sys, time
        f = open(sys.argv[1], "r+")
        fcntl.fcntl(f, 37, struct.pack("hhqqi4x", 1, 0, 7, 1, 0))
        open(sys.argv[1] + ".held", "w").close()
        time.sleep(600)
        """
      let other = Task { try await Processes.run("python3", ["-c", script, path + "/locks"]) }
      while !Files.exists(path + "/locks.held") { try await Task.sleep(for: .milliseconds(10)) }
      #expect(try file.tryLock(offset: 7) == nil)
      #expect(try file.tryLock(offset: 8) != nil)
      let told = Tally()
      let waiting = Task { try await file.lock(offset: 7) { told.enter() } }
      try await Task.sleep(for: .milliseconds(100))
      other.cancel()
      _ = try await waiting.value
      #expect(told.most == 1)
      _ = try? await other.value
    }
  }

  @Test func handedOverLocksLiveWithTheChild() throws {
    try withScratch { path in
      let file = try LockFile(path: path + "/locks")
      let held = try #require(try file.tryLock(offset: 9))
      let copy = try held.descriptor.duplicate()
      held.handOver()
      #expect(try file.tryLock(offset: 9) == nil)
      try copy.close()
      #expect(try file.tryLock(offset: 9) != nil)
    }
  }
}
