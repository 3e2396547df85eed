import HostOS
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A child process that runs beside the test, with its output in a file.
final class Child: Sendable {
  let pid: pid_t
  let outputPath: String
  private let input: HostOS.Descriptor
  private let status = Mutex<Int32?>(nil)

  /// In a process group of its own. `environment` is all that it gets. Its input is a pipe that ends when this process does.
  init(_ program: String, _ arguments: [String], environment: [String: String], outputPath: String) throws {
    let pipe = try HostOS.Descriptor.pipe()
    let output = try HostOS.Descriptor.open(outputPath, flags: [.writeOnly, .create, .truncate], mode: 0o644)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, pipe.read.raw, 0)
    posix_spawn_file_actions_adddup2(&actions, output.raw, 1)
    posix_spawn_file_actions_adddup2(&actions, output.raw, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // No signal blocked, as a shell starts its children: this thread may block some, and a shell that waits without SIGCHLD waits for ever.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
    posix_spawnattr_setpgroup(&attributes, 0)
    let strings = ([program] + arguments).map { strdup($0) }
    let variables = environment.map { strdup("\($0.key)=\($0.value)") }
    defer { (strings + variables).forEach { free($0) } }
    var pid: pid_t = 0
    let failed = posix_spawnp(&pid, program, &actions, &attributes, strings + [nil], variables + [nil])
    guard failed == 0 else { throw HostError(.notFound, errno: failed, operation: "start", path: program) }
    (self.pid, self.outputPath, input) = (pid, outputPath, pipe.write)
    withExtendedLifetime((pipe.read, output)) {}
  }

  deinit {
    kill(SIGKILL)
    _ = wait()
  }

  var output: String { Files.text(outputPath) ?? "" }

  func kill(_ signal: Int32) { status.withLock { if $0 == nil { _ = Glibc.kill(pid, signal) } } }

  /// Ends its input.
  func closeInput() { try? input.close() }

  /// Waits for its end, blocking; answers the wait status.
  @discardableResult
  func wait() -> Int32 {
    status.withLock { known in
      if let known { return known }
      var value: Int32 = 0
      while waitpid(pid, &value, 0) < 0, errno == EINTR {}
      known = value
      return value
    }
  }

  /// Whether it has ended by itself.
  var hasEnded: Bool {
    status.withLock { known in
      if known != nil { return true }
      var value: Int32 = 0
      guard waitpid(pid, &value, WNOHANG) == pid else { return false }
      known = value
      return true
    }
  }

  /// Waits until the output contains `text`; false when it ends or a minute passes before.
  func says(_ text: String, within seconds: Double = 60) async throws -> Bool {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    while true {
      // In this order: what it said just before the end counts, however late this looks.
      let over = hasEnded || clock.now >= end
      if output.contains(text) { return true }
      if over { return false }
      try await Task.sleep(for: .milliseconds(20))
    }
  }
}
