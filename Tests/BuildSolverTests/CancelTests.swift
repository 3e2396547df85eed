import OCIModel
import Synchronization
import Testing

@testable import BuildSolver

@Suite struct CancelTests {
  /// An op that works until it is cancelled, and says when it was.
  final class Endless: Sendable {
    let gate = Gate()
    private let ended = Mutex(0)
    var cancelled: Int { ended.withLock { $0 } }
    func run() async throws {
      do { try await gate.wait() } catch {
        ended.withLock { $0 += 1 }
        throw error
      }
    }
  }

  @Test(arguments: ["cacheMap", "execute", "contentKey", "load"]) func cancelStopsTheWork(_ where: String) async throws {
    let endless = Endless()
    let cache = FaultyCache(.inMemory(), onLoad: { if `where` == "load" { try await endless.run() } })
    let graph = Graph(), solver = makeSolver(cache: cache)
    if `where` == "load" { _ = try await makeSolver(cache: cache.inner).once(graph.const(1)) }
    let base = `where` == "load" ? graph.const(1) : graph.vertex(
      "base", .const,
      beforeMap: { _ in if `where` == "cacheMap" { try await endless.run() } },
      beforeExecute: { _ in if `where` == "execute" { try await endless.run() } })
    let top = graph.vertex("top", inputs: [In(base)], dependencies: [
      CacheMap.Dependency(computeDigest: { _, _ in
        if `where` == "contentKey" { try await endless.run() }
        return nil
      })
    ])
    let job = try solver.makeJob(id: "job")
    let build = Task { try await job.number(`where` == "load" ? base : top) }
    await eventually("the work began") { endless.gate.arrived == 1 }
    build.cancel()
    await #expect(throws: CancellationError.self) { try await build.value }
    // The work has ended when the build has.
    #expect(endless.cancelled == 1)
    #expect(graph.counts.executions["top"] == nil)
    // What was cancelled can be asked for again.
    endless.gate.open()
    #expect(try await job.number(`where` == "load" ? base : top) == (`where` == "load" ? 1 : 0))
    await job.close()
    #expect(solver.leftovers == [])
    #expect(graph.ledger.overReleased == 0)
  }

  @Test func oneOfTwoJobsLeavesTheWorkToTheOther() async throws {
    let endless = Endless()
    let graph = Graph(), solver = makeSolver()
    let base = graph.vertex("base", .const, value: 5, beforeExecute: { _ in try await endless.run() })
    let top = graph.vertex("top", value: 1, inputs: [In(base)])
    let one = try solver.makeJob(id: "1"), two = try solver.makeJob(id: "2")
    let first = Task { try await one.number(top) }
    await eventually("it executes") { endless.gate.arrived == 1 }
    let second = Task { try await two.number(base) }
    await eventually("the second job waits too") { solver.jobs(of: base.digest).count == 2 }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    await one.close()
    #expect(endless.cancelled == 0)
    endless.gate.open()
    #expect(try await second.value == 5)
    #expect(graph.counts.executions == ["base": 1])
    await two.close()
    #expect(solver.leftovers == [])
  }

  @Test func theLastCancelStops() async throws {
    let endless = Endless()
    let graph = Graph(), solver = makeSolver()
    let base = graph.vertex("base", .const, value: 5, beforeExecute: { _ in try await endless.run() })
    let jobs = try (0..<3).map { try solver.makeJob(id: "\($0)") }
    let builds = jobs.map { job in Task { try await job.number(base) } }
    await eventually("it executes") { endless.gate.arrived == 1 }
    for (n, build) in builds.enumerated() {
      #expect(endless.cancelled == 0)
      build.cancel()
      await #expect(throws: CancellationError.self, "\(n)") { try await build.value }
    }
    #expect(endless.cancelled == 1)
    for job in jobs { await job.close() }
    #expect(solver.leftovers == [])
  }

  @Test func closingAJobCancelsItsBuilds() async throws {
    let endless = Endless()
    let graph = Graph(), solver = makeSolver()
    let base = graph.vertex("base", .const, value: 5, beforeExecute: { _ in try await endless.run() })
    let job = try solver.makeJob(id: "job")
    let build = Task { try await job.number(base) }
    await eventually("it executes") { endless.gate.arrived == 1 }
    await job.close()
    #expect(endless.cancelled == 1)
    #expect(solver.leftovers == [])
    await #expect(throws: CancellationError.self) { try await build.value }
    let late = await #expect(throws: SolverError.self) { try await job.number(base) }
    #expect(late?.code == .closed)
    await job.close()
  }

  @Test func shutdownEndsEverything() async throws {
    let endless = Endless()
    let graph = Graph(), solver = makeSolver()
    let builds = try (0..<4).map { n in
      let job = try solver.makeJob(id: "\(n)")
      let vertex = graph.vertex("v\(n)", .const, beforeExecute: { _ in try await endless.run() })
      return Task { try await job.number(vertex) }
    }
    await eventually("all execute") { endless.gate.arrived == 4 }
    await solver.shutdown()
    #expect(solver.leftovers == [])
    #expect(endless.cancelled == 4)
    for build in builds { await #expect(throws: CancellationError.self) { try await build.value } }
    #expect(throws: SolverError.self) { try solver.makeJob(id: "late") }
  }

  @Test func cancelledWhileWaitingForASlot() async throws {
    let graph = Graph(), solver = makeSolver(jobs: 1)
    let lease = try await solver.slots.acquire()
    let job = try solver.makeJob(id: "job")
    let build = Task { try await job.number(graph.const(1)) }
    await eventually("it waits") { graph.counts.maps["const-1"] == 1 }
    build.cancel()
    await #expect(throws: CancellationError.self) { try await build.value }
    lease.release()
    #expect(graph.counts.executions == [:])
    #expect(try await job.number(graph.const(1)) == 1)
    await job.close()
  }

  @Test func cancelReachesWhatAnOpAskedFor() async throws {
    let endless = Endless()
    let graph = Graph(), solver = makeSolver(jobs: 1)
    let inner = graph.vertex("inner", .const, beforeExecute: { _ in try await endless.run() })
    let asking = graph.vertex("asking", .custom { _, context in [try await context.build(Edge(inner))] })
    let job = try solver.makeJob(id: "job")
    let build = Task { try await job.number(asking) }
    await eventually("the inner one executes") { endless.gate.arrived == 1 }
    build.cancel()
    await #expect(throws: CancellationError.self) { try await build.value }
    #expect(endless.cancelled == 1)
    await job.close()
    #expect(solver.leftovers == [])
  }

  @Test func cancelledBeforeItBegins() async throws {
    let graph = Graph(), solver = makeSolver()
    let job = try solver.makeJob(id: "job")
    let build = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await job.number(graph.const(1))
    }
    await #expect(throws: CancellationError.self) { try await build.value }
    #expect(graph.counts.maps == [:])
    await job.close()
    #expect(solver.leftovers == [])
  }

  @Test func whoAsksWhileTheWorkDiesGetsItAnew() async throws {
    // The op takes its time to end after it was cancelled.
    let dying = Gate(), end = Gate()
    let graph = Graph(), solver = makeSolver()
    let runs = Atomic(0)
    let base = graph.vertex("base", .const, value: 5, beforeExecute: { _ in
      guard runs.add(1, ordering: .relaxed).newValue == 1 else { return }
      try? await dying.wait()
      await Task { try? await end.wait() }.value
    })
    let one = try solver.makeJob(id: "1"), two = try solver.makeJob(id: "2")
    let first = Task { try await one.number(base) }
    await eventually("it executes") { dying.arrived == 1 }
    first.cancel()
    await eventually("it is dying") { end.arrived == 1 }
    let second = Task { try await two.number(base) }
    try await Task.sleep(for: .milliseconds(20))
    end.open()
    #expect(try await second.value == 5)
    _ = try? await first.value
    await one.close()
    await two.close()
    #expect(solver.leftovers == [])
    #expect(graph.ledger.overReleased == 0)
  }
}
