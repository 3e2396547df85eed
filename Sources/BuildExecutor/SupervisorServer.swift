#if os(Linux)
  import CHostOS
  import HostOS
  import Synchronization

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// The process that forks a supervisor for each container (supervisor.c). Started with the first container, and again should it have died;
  /// ends when this program does.
  final class SupervisorServer: Sendable {
    private struct Running {
      var socket: Descriptor
      var pid: Int32
    }
    private let running = Mutex<Running?>(nil)

    /// Hands a plan over. Answers this side of the control socket. Blocks for a moment.
    func start(_ plan: SupervisorPlan, input: Descriptor, output: Descriptor, error: Descriptor) throws -> Descriptor {
      if plan.isMalformed { throw ExecutorError(.invalidStep, "a path or name of the step contains a NUL byte") }
      let memory = plan.text.withUnsafeBytes { manifold_supervisor_memory($0.baseAddress, UInt($0.count)) }
      let text = Descriptor(owning: try Self.checked(memory, "write the container's plan"))
      let (ours, theirs) = try Self.socketPair()
      let descriptors = [text, theirs, input, output, error] + plan.descriptors
      guard descriptors.count <= Int(MANIFOLD_SUPERVISOR_MAX_FDS) else {
        throw ExecutorError(.invalidStep, "\(descriptors.count - 5) mounts for one step; \(MANIFOLD_SUPERVISOR_MAX_FDS - 5) at most")
      }
      try withExtendedLifetime(descriptors) {
        let numbers = descriptors.map(\.raw)
        try running.withLock { running in
          let server = try running ?? Self.launch()
          running = server
          var result = manifold_supervisor_request(server.socket.raw, numbers, Int32(numbers.count))
          if result == -EPIPE || result == -ECONNRESET {
            Self.reap(server)
            let second = try Self.launch()
            running = second
            result = manifold_supervisor_request(second.socket.raw, numbers, Int32(numbers.count))
          }
          _ = try Self.checked(result, "reach the container supervisor")
        }
      }
      return ours
    }

    private static func launch() throws -> Running {
      let (ours, theirs) = try socketPair()
      let pid = withExtendedLifetime(theirs) { manifold_supervisor_start(theirs.raw) }
      return Running(socket: ours, pid: try checked(pid, "start the container supervisor"))
    }

    static func socketPair() throws -> (Descriptor, Descriptor) {
      var pair: [Int32] = [-1, -1]
      _ = try checked(manifold_supervisor_socketpair(&pair), "make a socket")
      return (Descriptor(owning: pair[0]), Descriptor(owning: pair[1]))
    }

    private static func checked(_ result: Int32, _ what: String) throws -> Int32 {
      if result < 0 { throw ExecutorError(.supervisor, "cannot \(what)", cause: HostError(errno: -result, operation: what, path: "")) }
      return result
    }

    private static func reap(_ server: Running) {
      var status: Int32 = 0
      while waitpid(server.pid, &status, 0) < 0, errno == EINTR {}
    }

    deinit {
      if let server = running.withLock({ $0.take() }) {
        // Its end-of-file, and so its end.
        shutdown(server.socket.raw, Int32(SHUT_RDWR))
        Self.reap(server)
      }
    }
  }
#endif
