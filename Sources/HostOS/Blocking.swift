import NIOPosix

/// Where work that waits for the disk, the kernel or another process runs: threads of its own, never Swift's cooperative ones.
package enum Blocking {
  /// Threads beyond the cores, since most of them wait. Two blocking works that wait for one another must not fill the pool:
  /// a body must not wait for another `Blocking.run`.
  private static let pool: NIOThreadPool = {
    NIOThreadPool._makePerpetualStartedPool(numberOfThreads: max(16, HostFacts.cores * 4), threadNamePrefix: "blocking-")
  }()

  /// Runs `body` on a thread that may block. A task that is cancelled before its turn comes gets CancellationError; once begun the body runs
  /// to its end.
  package static func run<Value: Sendable>(_ body: @Sendable @escaping () throws -> Value) async throws -> Value {
    try await pool.runIfActive(body)
  }
}
