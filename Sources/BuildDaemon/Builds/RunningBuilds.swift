package import BuildInterface
internal import GRPCCore
internal import HostOS
internal import Synchronization

/// A build that a client asked for, from its beginning until a little after its end.
package final class RunningBuild: Sendable {
  package let ref: String
  /// Of the client that asked for it.
  package let sessionID: String
  package let journal: StatusJournal
  private struct State {
    var cancel: (@Sendable () -> Void)?
    var isCancelled = false
    /// By the clock of the machine, in nanoseconds.
    var ended: Int64?
  }
  private let state = Mutex(State())

  init(ref: String, sessionID: String) {
    self.ref = ref
    self.sessionID = sessionID
    journal = StatusJournal()
  }

  package var hasEnded: Bool { state.withLock { $0.ended != nil } }
  var ended: Int64? { state.withLock { $0.ended } }

  /// Stops all its steps.
  package func cancel() {
    let cancel = state.withLock { state in
      state.isCancelled = true
      return state.cancel
    }
    cancel?()
  }

  /// How `cancel` reaches the build's task.
  func onCancel(_ body: @escaping @Sendable () -> Void) {
    let isCancelled = state.withLock { state in
      state.cancel = body
      return state.isCancelled
    }
    if isCancelled { body() }
  }

  fileprivate func end() {
    state.withLock { state in
      state.ended = HostClock.now
      state.cancel = nil
    }
    journal.close()
  }
}

/// The builds of one daemon by their refs.
package final class RunningBuilds: Sendable {
  private struct Waiter {
    var ref: String
    var continuation: AsyncStream<RunningBuild>.Continuation
  }
  private struct State {
    var builds: [String: RunningBuild] = [:]
    var waiters: [Int: Waiter] = [:]
    var nextWaiter = 0
    var isStopping = false
    /// Those who wait until no build runs.
    var idle: [AsyncStream<Void>.Continuation] = []
  }
  private let state = Mutex(State())
  /// A client may ask for a build's status a little before it asks for the build, or after the end of one that was short (BuildKit's numbers).
  private static let patience = Duration.seconds(6)
  private static let keep: Int64 = 10_000_000_000

  package init() {}

  package var running: [RunningBuild] { state.withLock { state in state.builds.values.filter { !$0.hasEnded } } }

  /// Throws when the ref is in use, or the daemon is stopping.
  package func begin(ref: String, sessionID: String) throws -> RunningBuild {
    guard !ref.isEmpty, ref.utf8.count <= 256, ref.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      throw BuildError(.invalidArgument, .usage, "a build's ref is 1 to 256 printable characters")
    }
    let (build, waiters) = try state.withLock { state in
      if state.isStopping { throw RPCError(code: .unavailable, message: "the daemon is stopping and takes no more builds") }
      Self.sweep(&state)
      if let other = state.builds[ref], !other.hasEnded { throw BuildError(.invalidArgument, .usage, "a build with the ref \(ref) is running already") }
      let build = RunningBuild(ref: ref, sessionID: sessionID)
      state.builds[ref] = build
      return (build, state.waiters.values.filter { $0.ref == ref }.map(\.continuation))
    }
    for waiter in waiters { waiter.yield(build) }
    return build
  }

  /// The build has ended; its journal is closed, and it can be found for some seconds yet.
  package func end(_ build: RunningBuild) {
    build.end()
    let idle = state.withLock { state in
      Self.sweep(&state)
      return Self.takeIdle(&state)
    }
    for one in idle { one.finish() }
  }

  package func find(_ ref: String) -> RunningBuild? { state.withLock { $0.builds[ref] } }

  /// The build, as soon as there is one of that ref. Throws NotFound, as BuildKit does, when none has come within `patience`.
  package func wait(for ref: String, patience: Duration = RunningBuilds.patience) async throws -> RunningBuild {
    let (stream, continuation) = AsyncStream.makeStream(of: RunningBuild.self)
    let (id, found) = state.withLock { state in
      state.nextWaiter += 1
      state.waiters[state.nextWaiter] = Waiter(ref: ref, continuation: continuation)
      return (state.nextWaiter, state.builds[ref])
    }
    defer { state.withLock { $0.waiters[id] = nil } }
    if let found { return found }
    let build = await withTaskGroup(of: RunningBuild?.self) { group in
      group.addTask {
        for await build in stream { return build }
        return nil
      }
      group.addTask {
        try? await Task.sleep(for: patience)
        return nil
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      return first
    }
    try Task.checkCancellation()
    guard let build else { throw RPCError(code: .notFound, message: "no such job \(ref)") }
    return build
  }

  /// No more builds; those that there are go on.
  package func stopAccepting() { state.withLock { $0.isStopping = true } }
  package func cancelAll() { for build in running { build.cancel() } }

  /// Waits until no build runs, or the task is cancelled.
  package func waitUntilIdle() async {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
    let now = state.withLock { state in
      state.idle.append(continuation)
      return Self.takeIdle(&state)
    }
    for one in now { one.finish() }
    for await _ in stream {}
  }

  private static func takeIdle(_ state: inout State) -> [AsyncStream<Void>.Continuation] {
    if state.builds.values.contains(where: { !$0.hasEnded }) { return [] }
    defer { state.idle = [] }
    return state.idle
  }

  private static func sweep(_ state: inout State) {
    let limit = HostClock.now - keep
    state.builds = state.builds.filter { $0.value.ended.map { $0 > limit } ?? true }
  }

  /// Forgets builds that ended a while ago.
  package func sweep() { state.withLock { Self.sweep(&$0) } }
}
