#if os(Linux)
  import HostOS
  import OCIModel
  import Synchronization
  import Testing

  @testable import BuildExecutor

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// What is left of a build, wherever it was in its work.
  struct Remains: CustomStringConvertible {
    var processes: [String] = []
    var mounts: [String] = []
    var groups: [String] = []
    var isNone: Bool { processes.isEmpty && mounts.isEmpty && groups.isEmpty }
    var description: String { "processes \(processes), mounts \(mounts), control groups \(groups)" }

    /// Of the child whose processes' pids are `pids`, whose steps have `token` in their environment and whose files are beneath `work`.
    init(pids: [ProcessIdentity], token: String, work: String, parent: Int32) throws {
      for one in pids where ProcessIdentity.startTime(of: one.pid) == one.startTime && Self.state(one.pid) != "Z" { processes.append("\(one.pid) \(Self.name(one.pid))") }
      for entry in try Directory.open("/proc").entries() {
        guard let pid = Int32(entry.name), pid != getpid() else { continue }
        if Self.state(pid) != "Z", Self.file("/proc/\(pid)/environ", has: token) { processes.append("\(pid) \(Self.name(pid))") }
        if Self.file("/proc/\(pid)/mountinfo", has: work) { mounts.append("\(pid) \(Self.name(pid))") }
      }
      for line in (Files.text("/proc/self/mountinfo") ?? "").split(separator: "\n") {
        let fields = line.split(separator: " ")
        guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 1, fields[dash + 1].hasPrefix("cgroup") else { continue }
        let found = (try? Directory.open(String(fields[4])).entries().map(\.name)) ?? []
        groups += found.filter { $0.hasPrefix("manifold-step-\(parent)-") }
      }
    }
    /// As bytes: String's search would take longer than what is measured.
    private static func file(_ path: String, has text: String) -> Bool {
      guard let bytes = try? Files.read(path, limit: 16 << 20) else { return false }
      let wanted = Array(text.utf8)
      guard let first = wanted.first, bytes.count >= wanted.count else { return false }
      return bytes.withUnsafeBufferPointer { all in
        for i in 0...(all.count - wanted.count) where all[i] == first && wanted.indices.allSatisfy({ all[i + $0] == wanted[$0] }) { return true }
        return false
      }
    }
    private static func name(_ pid: Int32) -> String { (Files.text("/proc/\(pid)/comm") ?? "").filter { $0 != "\n" } }
    private static func state(_ pid: Int32) -> String? {
      (Files.text("/proc/\(pid)/stat") ?? "").split(separator: ")").last?.split(separator: " ").first.map(String.init)
    }
  }

  @Suite(.enabled(if: Fixture.canRun && !Child.isOne, "needs root, an OCI runtime and apt"), .serialized) struct SupervisionTests {
    /// A child that runs the named test of `KilledBuild`; killed with -9 after `ready` and a further pause.
    private func kill(_ test: String, pause: Duration = .zero, whenReady: Bool = true, sourceLocation: SourceLocation = #_sourceLocation) async throws {
      try await Fixture.fetchPackages(["amd64", "arm64"])
      let work = try Files.makeTemporaryDirectory(in: Fixture.own, prefix: "killed-")
      let token = "manifold-token-\(UInt64.random(in: 0 ... .max))"
      let running = Task {
        try await Child.run(
          "BuildExecutorTests.KilledBuild/\(test)", prefix: "echo $$ > \(work)/pid.new; mv \(work)/pid.new \(work)/pid", variables: ["TOKEN": token, "PLACE": work])
      }
      let ready = whenReady ? "ready" : "pid"
      for _ in 0..<1500 where !Files.exists("\(work)/\(ready)") { try await Task.sleep(for: .milliseconds(10)) }
      guard Files.exists("\(work)/\(ready)") else {
        running.cancel()
        Issue.record("the child never was ready: \((try? await running.value)?.text ?? "")", sourceLocation: sourceLocation)
        return
      }
      try await Task.sleep(for: pause)
      let pid = try #require(Int32((Files.text("\(work)/pid") ?? "").filter { !$0.isWhitespace }))
      let family = Self.family(pid)
      #expect(!whenReady || family.count >= 5, "server, supervisor, init, runtime, step: \(family)", sourceLocation: sourceLocation)
      // On a thread of its own: the others are busy with other tests.
      let (left, took) = try await DedicatedThread.run {
        Result {
          try Processes.kill(pid, signal: SIGKILL)
          let start = ContinuousClock.now
          var left = try Remains(pids: family, token: token, work: work, parent: pid)
          while !left.isNone, ContinuousClock.now - start < Self.allowance {
            usleep(20_000)
            left = try Remains(pids: family, token: token, work: work, parent: pid)
          }
          return (left, ContinuousClock.now - start)
        }
      }.get()
      _ = try? await running.value
      #expect(left.isNone, "left after \(Self.allowance): \(left)", sourceLocation: sourceLocation)
      if whenReady { print("BuildExecutorTests: \(test): all was gone \(took) after kill -9") }
      if Files.exists("\(work)/locks") {
        let lock = try LockFile(path: "\(work)/locks").tryLock(offset: 7)
        #expect(lock != nil, "the lock is still held", sourceLocation: sourceLocation)
        lock?.release()
      }
      try Files.removeTree(work)
    }

    /// Two seconds; more where other work has the cores.
    private static var allowance: Duration {
      let load = Files.text("/proc/loadavg")?.split(separator: " ").first.flatMap { Double($0) } ?? 0
      return .seconds(2) * max(1, load / Double(HostFacts.cores))
    }

    private static func family(_ pid: Int32) -> [ProcessIdentity] {
      var found: [ProcessIdentity] = []
      var waiting = [pid]
      while let next = waiting.popLast() {
        if let start = ProcessIdentity.startTime(of: next) {
          var one = ProcessIdentity.current
          (one.pid, one.startTime) = (next, start)
          found.append(one)
        }
        waiting += Processes.children(of: next)
      }
      return found
    }

    @Test func nothingOutlivesAKilledBuild() async throws { try await kill("sleeps") }
    @Test func norAnEmulatedStep() async throws {
      guard Fixture.hasEmulator("aarch64") else { return }
      try await kill("sleepsEmulated")
    }
    /// Killed while containers are being set up and taken down.
    @Test(arguments: [0, 40, 90, 150, 230, 310, 420, 530, 650, 800]) func atAnyMoment(milliseconds: Int) async throws {
      try await kill("works", pause: .milliseconds(milliseconds), whenReady: false)
    }

    @Test func cancellationStopsTheStep() async throws {
      let step = try await Fixture.writable()
      let started = AsyncStream.makeStream(of: Void.self)
      let token = "manifold-token-\(UInt64.random(in: 0 ... .max))"
      let plan = step.plan
      let task = Task {
        try await Fixture.shell(
          "trap '' TERM INT HUP; (trap '' TERM; sleep 1000) & echo up; sleep 1000", change: { $0.environment.append("T=\(token)") }, root: plan, onOutput: { _ in started.continuation.yield() })
      }
      for await _ in started.stream { break }
      let start = ContinuousClock.now
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      let took = ContinuousClock.now - start
      print("BuildExecutorTests: a cancelled step was gone after \(took)")
      #expect(took < Self.allowance)
      // At return, not some time later: the snapshot is free then.
      #expect(try Remains(pids: [], token: token, work: step.path, parent: -1).isNone)
      #expect(try step.upper.statusIfPresent("etc/hosts") == nil)
    }

    @Test func cancelledBeforeItStarts() async throws {
      let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return try await Fixture.shell("true")
      }
      await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test func aKilledSupervisorIsAnErrorAndLeavesNothing() async throws {
      let started = AsyncStream.makeStream(of: Void.self)
      let token = "manifold-token-\(UInt64.random(in: 0 ... .max))"
      let task = Task {
        try await Fixture.shell("echo up; sleep 1000", change: { $0.environment.append("T=\(token)") }, onOutput: { _ in started.continuation.yield() })
      }
      for await _ in started.stream { break }
      let step = try #require(
        try Directory.open("/proc").entries().compactMap { Int32($0.name) }.first { (Files.text("/proc/\($0)/environ") ?? "").contains(token) })
      // The step's process, the runtime, init, and the supervisor above it.
      var pid = step
      while let line = Files.text("/proc/\(pid)/stat"), !line.contains("(manifold-step)") {
        pid = try #require(Int32(line.split(separator: ")").last?.split(separator: " ").dropFirst().first ?? ""))
      }
      try Processes.kill(pid, signal: SIGKILL)
      await #expect { try await task.value } throws: { ($0 as? ExecutorError)?.code == .supervisor }
      for _ in 0..<50 where try !Remains(pids: [], token: token, work: "/no such", parent: -1).isNone { try await Task.sleep(for: .milliseconds(20)) }
      #expect(try Remains(pids: [], token: token, work: "/no such", parent: -1).isNone)
    }

    @Test func outputComesAsItIsWritten() async throws {
      let place = try Files.makeTemporaryDirectory(in: Fixture.own, prefix: "stream-")
      let ran = try await Fixture.shell(
        "echo first; i=0; while ! test -e /place/seen; do sleep 0.02; i=$((i+1)); test $i -gt 400 && exit 9; done; echo second",
        change: { $0.mounts = [ProcessMount(destination: "/place", plan: .bind(path: place, readOnly: true))] },
        onOutput: { if case .standardOutput(let bytes) = $0, bytes.starts(with: Array("first".utf8)) { try? Files.writeAtomically([], to: place + "/seen", durable: false) } })
      #expect(ran.exit.code == 0 && ran.output == "first\nsecond\n", "\(ran)")
    }

    @Test func outOfMemoryIsTold() async throws {
      // A control group for the whole child, whichever version there is.
      let prefix = """
        group=
        for base in /sys/fs/cgroup/memory /sys/fs/cgroup; do
          if test -e $base/cgroup.procs && mkdir $base/manifold-test-$$ 2>/dev/null; then group=$base/manifold-test-$$; break; fi
        done
        test -n "$group" || { echo "no memory control group can be made"; exit 77; }
        if test -e $group/memory.max; then echo 150M > $group/memory.max; elif test -e $group/memory.limit_in_bytes; then echo 150M > $group/memory.limit_in_bytes
        else rmdir $group; echo "no memory controller"; exit 77; fi
        (trap '' HUP INT; parent=$$; while kill -0 $parent 2>/dev/null; do sleep 0.1; done; sleep 0.3; rmdir $group) >/dev/null 2>&1 &
        echo $$ > $group/cgroup.procs
        """
      let ran = try await Child.run("BuildExecutorTests.KilledBuild/eatsMemory", prefix: prefix, variables: ["PLACE": Fixture.own])
      if ran.text.hasPrefix("no memory") {
        print("BuildExecutorTests: SKIPPING the out-of-memory test: \(ran.text)")
        return
      }
      #expect(ran.passed, "\(ran.text)")
    }

    /// What a RUN costs at least. Only said: a loaded machine is no failure.
    @Test func cost() async throws {
      _ = try await Fixture.shell("true")
      var times: [Duration] = []
      for _ in 0..<15 {
        let plan = try await Fixture.writable().plan
        let start = ContinuousClock.now
        _ = try await Fixture.shell("true", root: plan)
        times.append(ContinuousClock.now - start)
      }
      times.sort()
      print("BuildExecutorTests: a RUN of `true`: \(times[times.count / 2]) in the middle, \(times[0]) at best")
    }
  }

  /// What the children of `SupervisionTests` do.
  @Suite(.enabled(if: Child.isOne && Fixture.given("PLACE") != nil)) struct KilledBuild {
    let place = Fixture.given("PLACE") ?? "", token = Fixture.given("TOKEN") ?? ""

    private func sleep(_ platform: Platform) async throws {
      let lock = try #require(try LockFile(path: place + "/locks").tryLock(offset: 7))
      var spec = ProcessSpec(
        arguments: ["/bin/sh", "-c", "trap '' TERM HUP INT; (trap '' HUP; sleep 1000) & sh -c 'sleep 1001; true' & echo up; sleep 1002; true"],
        environment: ["PATH=/bin", "TOKEN=\(token)"], platform: platform)
      spec.mounts = [ProcessMount(destination: "/tmp", plan: .tmpfs(size: nil))]
      let place = place
      _ = try await Fixture.executor.get().run(spec, root: try await Fixture.writable(platform).plan, locks: [lock.descriptor]) { _ in
        try? Files.writeAtomically([], to: place + "/ready", durable: false)
      }
    }
    @Test func sleeps() async throws { try await sleep(.current) }
    @Test func sleepsEmulated() async throws { try await sleep(try Platform(parsing: "linux/arm64")) }

    @Test func works() async throws {
      let token = token
      try await withThrowingTaskGroup { group in
        for _ in 0..<3 {
          group.addTask {
            while true { _ = try await Fixture.shell("echo x | cat; sleep 0.05", change: { $0.environment.append("TOKEN=\(token)") }) }
          }
        }
        try await group.waitForAll()
      }
    }

    @Test func eatsMemory() async throws {
      let ran = try await Fixture.shell("tail /dev/zero")
      #expect(ran.exit.code == 137 && ran.exit.outOfMemory, "\(ran)")
      let fine = try await Fixture.shell("sh -c 'kill -9 $$'; exit $?")
      #expect(fine.exit.code == 137 && !fine.exit.outOfMemory, "\(fine)")
    }
  }
#endif
