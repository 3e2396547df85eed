import BuildDaemon
import BuildInterface
import GRPCCore
import Synchronization
import Testing

/// Who came when.
private final class Order: Sendable {
  let list = Mutex<[Int]>([])
}

@Suite struct RunningBuildsTests {
  @Test func aBuildIsFoundWhileItRunsAndALittleAfter() async throws {
    let builds = RunningBuilds()
    async let early = builds.wait(for: "r", patience: .seconds(60))
    while builds.find("r") == nil {
      _ = try? builds.begin(ref: "r", sessionID: "s")
      await Task.yield()
    }
    let build = try #require(builds.find("r"))
    #expect(try await early === build)
    #expect(throws: BuildError.self) { try builds.begin(ref: "r", sessionID: "s") }
    builds.end(build)
    #expect(builds.running.isEmpty)
    #expect(try await builds.wait(for: "r", patience: .zero) === build)
    #expect(build.journal.isClosed)
    // The ref is free again.
    #expect(try builds.begin(ref: "r", sessionID: "s") !== build)
  }

  @Test func aRefThatNeverComesIsNotFound() async throws {
    let error = await #expect(throws: RPCError.self) { try await RunningBuilds().wait(for: "r", patience: .milliseconds(10)) }
    #expect(error?.code == .notFound && error?.message == "no such job r")
  }

  @Test(arguments: ["", " ", "a b", String(repeating: "x", count: 300), "a\n"]) func refsAreChecked(_ ref: String) {
    #expect(throws: BuildError.self) { try RunningBuilds().begin(ref: ref, sessionID: "") }
  }

  @Test func noneBeginsOnceItStops() async throws {
    let builds = RunningBuilds()
    let build = try builds.begin(ref: "a", sessionID: "")
    builds.stopAccepting()
    let error = #expect(throws: RPCError.self) { try builds.begin(ref: "b", sessionID: "") }
    #expect(error?.code == .unavailable)
    async let idle: Void = builds.waitUntilIdle()
    builds.end(build)
    await idle
  }

  @Test func slotsAreGivenInOrderAndWaitersCanLeave() async throws {
    let slots = BuildSlots(1, queue: 2)
    let order = Order()
    let (waiting, told) = AsyncStream.makeStream(of: Int.self)
    try await slots.run {
      let second = Task { try await slots.run(waiting: { told.yield(2) }) { order.list.withLock { $0.append(2) } } }
      for await number in waiting { #expect(number == 2); break }
      let third = Task { try await slots.run(waiting: { told.yield(3) }) { order.list.withLock { $0.append(3) } } }
      for await number in waiting { #expect(number == 3); break }
      second.cancel()
      await #expect(throws: CancellationError.self) { try await second.value }
      order.list.withLock { $0.append(1) }
      _ = third
    }
    try await slots.run { order.list.withLock { $0.append(4) } }
    #expect(order.list.withLock { $0 } == [1, 3, 4])
  }
}
