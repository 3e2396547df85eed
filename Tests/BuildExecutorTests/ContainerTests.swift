#if os(Linux)
  import HostOS
  import OCIModel
  import Testing

  @testable import BuildExecutor

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  @Suite(.enabled(if: Fixture.canRun, "needs root, an OCI runtime and apt")) struct ContainerTests {
    @Test func outputAndExit() async throws {
      let ran = try await Fixture.shell("echo out; echo err >&2; exit 7")
      #expect(ran.output == "out\n" && ran.errors == "err\n" && ran.exit == StepExit(code: 7))
      #expect(try await Fixture.shell("true").exit == StepExit(code: 0))
      let killed = try await Fixture.shell("sh -c 'kill -9 $$'; exit $?")
      #expect(killed.exit.code == 137 && killed.exit.signal == 9 && !killed.exit.outOfMemory)
    }

    /// As many descriptors as the session allows, though this program took more for itself (SurroundingsTests runs this with few).
    @Test func descriptorsAsTheSessionAllows() async throws {
      let line = try #require(Files.text("/proc/self/limits")?.split(separator: "\n").first { $0.hasPrefix("Max open files") })
      let own = String(try #require(line.dropFirst("Max open files".count).split(separator: " ").first))
      let session = getenv("MANIFOLD_NOFILE").map { String(cString: $0) } ?? own
      if Fixture.given("DESCRIPTORS") != nil { #expect(session == "1000" && own != "1000") }
      // runc raises the limit by itself.
      guard Fixture.given("RUNTIME") != "runc" else { return }
      #expect(try await Fixture.shell("ulimit -n").output == session + "\n")
    }

    @Test func manyBytesAreAllThere() async throws {
      let ran = try await Fixture.shell("yes 0123456789 | head -c 3000000")
      #expect(ran.output.utf8.count == 3_000_000)
    }

    @Test func noSuchProgram() async throws {
      let ran = try await Fixture.run(ProcessSpec(arguments: ["/no/such"]), root: try await Fixture.writable().plan)
      #expect(ran.exit.code != 0)
      #expect(ran.exit.runtimeMessage?.contains("/no/such") == true, "\(ran)")
      #expect(ran.errors.contains("/no/such"))
    }

    @Test func identity() async throws {
      let ran = try await Fixture.shell("id; hostname; pwd; echo $A; cat /proc/self/status | grep -E 'CapEff|NoNewPrivs|Seccomp:'; umask") {
        $0.environment.append("A=b c")
        $0.workingDirectory = "/new/dir"
      }
      #expect(ran.output.hasPrefix("uid=0(root) gid=0(root)"), "\(ran)")
      #expect(ran.output.contains("buildkitsandbox\n/new/dir\nb c\n"))
      // Without control groups nothing denies devices: then none may be made.
      let canMakeDevices = Fixture.given("CGROUPS") != "none" || Fixture.given("RUNTIME") == "runc"
      #expect(ran.output.contains("CapEff:\t00000000\(canMakeDevices ? "a80425fb" : "a00425fb")"), "\(ran)")
      #expect(ran.output.contains("NoNewPrivs:\t0") && ran.output.contains("Seccomp:\t2") && ran.output.contains("0022"))
    }

    @Test(arguments: [("app", "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"), ("app:extra", "uid=1000(app) gid=2000(extra)"), ("4:5", "uid=4 gid=5")])
    func users(user: String, expected: String) async throws {
      let step = try await Fixture.writable()
      let ran = try await Fixture.shell("id; touch made || echo no", change: { $0.user = user; $0.workingDirectory = "/mine/dir" }, root: step.plan)
      #expect(ran.output.hasPrefix(expected), "\(ran)")
      let status = try step.upper.status("mine/dir/made")
      #expect(ran.output.contains("uid=\(status.uid)"))
      await #expect { try await Fixture.shell("id", change: { $0.user = "nobody-here" }) } throws: { ($0 as? ExecutorError)?.code == .userNotFound }
    }

    @Test func setuidProgramsWork() async throws {
      let ran = try await Fixture.shell("/bin/euid; echo $?", change: { $0.user = "app" })
      #expect(ran.output == "0\n", "\(ran)")
    }

    @Test func processesAndFilesystems() async throws {
      let ran = try await Fixture.shell("ps | wc -l; cat /proc/1/comm; echo x 2>/dev/null > /proc/sys/kernel/hostname && echo writable; df /dev/shm | tail -1; ls /dev; ls /sys | head -2; cat /proc/timer_list; test -e /run || echo no run")
      #expect(ran.exit.code == 0, "\(ran)")
      #expect(ran.output.contains("65536") && ran.output.contains("null") && ran.output.contains("block") && ran.output.hasSuffix("no run\n"))
      #expect(!ran.output.contains("writable"))
    }

    @Test func hostFilesAreMountedAndLeaveNothing() async throws {
      let step = try await Fixture.writable()
      let ran = try await Fixture.shell(
        "cat /etc/hosts; test -s /etc/resolv.conf && echo resolver; echo x >> /etc/hosts || echo read-only",
        change: { $0.extraHosts = [.init(name: "friend", address: "10.1.2.3")] }, root: step.plan)
      #expect(ran.output.contains("10.1.2.3\tfriend\n") && ran.output.contains("localhost buildkitsandbox") && ran.output.contains("resolver") && ran.output.contains("read-only"))
      #expect(try step.upper.statusIfPresent("etc/hosts") == nil)
      #expect(try step.upper.statusIfPresent("etc/resolv.conf") == nil)
      // The directory may have been copied up, but has its time.
      if let etc = try step.upper.statusIfPresent("etc") { #expect(etc.mtime == 1_600_000_000_000_000_000) }
      await #expect { try await Fixture.shell("x", change: { $0.extraHosts = [.init(name: "a b", address: "1.2.3.4")] }) } throws: { ($0 as? ExecutorError)?.code == .invalidStep }
      await #expect { try await Fixture.shell("x", change: { $0.extraHosts = [.init(name: "a", address: "1.2.3")] }) } throws: { ($0 as? ExecutorError)?.code == .invalidStep }
    }

    @Test func networks() async throws {
      let none = try await Fixture.shell("ip addr; cat /proc/net/dev | wc -l", change: { $0.network = .none })
      #expect(none.output.contains("inet 127.0.0.1/8") && none.output.hasSuffix("3\n"), "\(none)")
      let host = try await Fixture.shell("readlink /proc/self/ns/net", change: { $0.network = .host })
      #expect(host.output == (try Directory.open("/proc/self/ns").readLink("net")) + "\n")
    }

    @Test func terminals() async throws {
      // crun 1.8 does not pass a terminal's new size on.
      let resizes = try Runtime.find(named: ContainerExecutor.Configuration.fromEnvironment(scratch: "").runtime).kind == .runc
      var numbers: (Int32, Int32) = (-1, -1)
      var size = winsize(ws_row: 11, ws_col: 22, ws_xpixel: 0, ws_ypixel: 0)
      try #require(openpty(&numbers.0, &numbers.1, nil, nil, &size) == 0)
      let outer = Descriptor(owning: numbers.0), inner = Descriptor(owning: numbers.1)
      let signals = AsyncStream.makeStream(of: Int32.self)
      let plan = try await Fixture.writable().plan
      let spec = ProcessSpec(
        arguments: ["/bin/sh", "-c", "tty; test -t 2 && stty size; echo ready; read x; echo got $x; i=0; while test \"$(stty size)\" = '11 22' -a $i -lt $TURNS; do i=$((i+1)); sleep 0.02; done; stty size; echo the \"\"end; exit 5"],
        environment: ["PATH=/bin", "TURNS=\(resizes ? 300 : 0)"])
      let step = Task {
        try await Fixture.executor.get().run(
          spec, root: plan, locks: [], streams: .attached(input: inner, output: inner, error: inner, terminal: true, signals: signals.stream))
      }
      let seen = Task.detached {
        var text = "", buffer = [UInt8](repeating: 0, count: 4096), stage = 0
        while !text.contains("the end") {
          var one = pollfd(fd: outer.raw, events: Int16(POLLIN), revents: 0)
          guard poll(&one, 1, 10_000) == 1 else { break }
          let n = read(outer.raw, &buffer, buffer.count)
          guard n > 0 else { break }
          text += String(decoding: buffer[..<n], as: UTF8.self)
          if stage == 0, text.contains("ready") {
            stage = 1
            _ = write(outer.raw, "hello\n", 6)
          }
          if stage == 1, text.contains("got hello") {
            stage = 2
            var size = winsize(ws_row: 33, ws_col: 44, ws_xpixel: 0, ws_ypixel: 0)
            _ = ioctl(outer.raw, UInt(TIOCSWINSZ), &size)
            signals.continuation.yield(SIGWINCH)
          }
        }
        return text
      }
      let text = await seen.value
      if !text.contains("the end") { step.cancel() }
      let exit = try await step.value
      #expect(exit.code == 5)
      #expect(text.contains("11 22") && text.contains("/dev/") && text.contains("33 44") == resizes, "\(text)")
    }

    @Test func limits() async throws {
      let ran = try await Fixture.shell("ulimit -n; ulimit -Hn", change: { $0.limits = [.init(name: "nofile", soft: 123, hard: 456)] })
      #expect(ran.output == "123\n456\n", "\(ran)")
    }

    @Test func devicesAreDenied() async throws {
      // A memory device may be made, as in BuildKit, but not opened; where it cannot be denied it may not even be made.
      let ran = try await Fixture.shell("mknod /dev/kmsg2 c 1 11 2>&1; mknod /x b 8 0 2>&1; cat /dev/kmsg2 2>&1 | head -c 100; dd if=/x count=1 2>&1; echo ok > /dev/null && echo fine")
      #expect(!ran.output.contains("records in"), "\(ran)")
      #expect(ran.output.contains("not permitted") && ran.output.hasSuffix("fine\n"))
    }

    @Test func forbiddenCalls() async throws {
      let ran = try await Fixture.shell("mount -t tmpfs x /tmp 2>&1; echo $?")
      #expect(ran.output.hasSuffix("1\n") && ran.output.contains("denied") || ran.output.contains("permitted"), "\(ran)")
    }
  }

  @Suite(.enabled(if: Fixture.canRun, "needs root, an OCI runtime and apt")) struct MountTests {
    @Test func binds() async throws {
      let source = Fixture.own + "/bind-\(Int.random(in: 0..<1 << 40))"
      try Files.makeDirectories(source + "/sub/deep")
      try Files.writeAtomically(Array("hello".utf8), to: source + "/sub/file", durable: false)
      try Directory.open(source).symlink(target: "/sub", at: "link")
      let step = try await Fixture.writable()
      let ran = try await Fixture.shell(
        """
        cat /rw/sub/file /ro/file /made/by/us/file /one/file.txt; echo
        echo new > /rw/sub/new && echo wrote; echo x > /ro/new || echo ro; ls /made/by/us
        """,
        change: {
          $0.mounts = [
            ProcessMount(destination: "/rw", plan: .bind(path: source, readOnly: false)),
            ProcessMount(destination: "/ro", plan: .bind(path: source, readOnly: false), subpath: "/sub", readOnly: true),
            ProcessMount(destination: "/made/by/us", plan: .bind(path: source, readOnly: false), subpath: "link"),
            ProcessMount(destination: "one/file.txt", plan: .bind(path: source + "/sub/file", readOnly: true)),
          ]
        }, root: step.plan)
      #expect(ran.output == "hellohellohellohello\nwrote\nro\ndeep\nfile\nnew\n", "\(ran)")
      #expect(try Files.read(source + "/sub/new", limit: 10) == Array("new\n".utf8))
      for stub in ["rw", "ro", "made", "one"] { #expect(try step.upper.statusIfPresent(stub) == nil, "\(stub) is left") }
    }

    @Test func stubParentsStayWhenAskedOrUsed() async throws {
      let step = try await Fixture.writable()
      let mounts = [ProcessMount(destination: "/a/b", plan: .tmpfs(size: nil)), ProcessMount(destination: "/c/d", plan: .tmpfs(size: 1 << 20), readOnly: true)]
      var ran = try await Fixture.shell("echo x > /a/b/x; echo y > /a/y; df -k /c/d | tail -1; touch /c/d/x || echo ro", change: { $0.mounts = mounts }, root: step.plan)
      #expect(ran.output.contains(" 1024 ") && ran.output.hasSuffix("ro\n"), "\(ran)")
      #expect(try step.upper.entries("a").map(\.name) == ["y"])
      #expect(try step.upper.statusIfPresent("c") == nil)
      let other = try await Fixture.writable()
      ran = try await Fixture.shell("true", change: { $0.mounts = mounts; $0.removesStubParents = false }, root: other.plan)
      #expect(try other.upper.entries("a").isEmpty && other.upper.entries("c").isEmpty)
    }

    @Test func overlaysSharedByTwoMounts() async throws {
      let step = try await Fixture.writable(), cache = try await Fixture.writable()
      let ran = try await Fixture.shell(
        "mkdir /c1/sub2; echo hi > /c1/sub2/f; cat /c2/f; ls /etc2", 
        change: {
          $0.mounts = [
            ProcessMount(destination: "/c1", plan: cache.plan), ProcessMount(destination: "/etc2", plan: cache.plan, subpath: "etc", readOnly: true),
            ProcessMount(destination: "/c2", plan: cache.plan, subpath: "tmp"),
          ]
        }, root: step.plan)
      #expect(ran.output == "group\npasswd\n", "\(ran)")
      #expect(ran.errors.contains("/c2/f"))
      #expect(try cache.upper.status("sub2/f").size == 3)
    }

    @Test func secretsAreInMemory() async throws {
      let step = try await Fixture.writable()
      let ran = try await Fixture.shell(
        "stat -c '%a %u %g %F' /run/secrets/s; cat /run/secrets/s; echo >> /run/secrets/s || echo ro",
        change: {
          $0.mounts = [ProcessMount(destination: "/run/secrets/s", source: .memory(bytes: Array("hush".utf8), mode: 0o440, uid: 3, gid: 4), readOnly: true)]
        }, root: step.plan)
      #expect(ran.output == "440 3 4 regular file\nhushro\n", "\(ran)")
      #expect(try step.upper.statusIfPresent("run") == nil)
    }

    @Test func refusedMounts() async throws {
      let source = Fixture.own
      for (mount, code) in [
        (ProcessMount(destination: "/x", plan: .bind(path: source + "/nowhere", readOnly: true)), ExecutorError.Code.mount),
        (ProcessMount(destination: "/x", plan: .bind(path: source, readOnly: true), subpath: "nowhere"), .mount),
        (ProcessMount(destination: "/../.", plan: .bind(path: source, readOnly: true)), .invalidStep),
        (ProcessMount(destination: "/x", plan: .bind(path: source, readOnly: true), subpath: "\0argument\0/bin/sh"), .mount),
      ] {
        await #expect { try await Fixture.shell("true", change: { $0.mounts = [mount] }) } throws: { ($0 as? ExecutorError)?.code == code }
      }
      // A link out of the source stays inside it.
      let outside = Fixture.own + "/links-\(Int.random(in: 0..<1 << 40))"
      try Files.makeDirectories(outside)
      try Directory.open(outside).symlink(target: "../../../../etc", at: "out")
      await #expect(throws: ExecutorError.self) {
        try await Fixture.shell("true", change: { $0.mounts = [ProcessMount(destination: "/x", plan: .bind(path: outside, readOnly: true), subpath: "out/passwd")] })
      }
    }

    @Test func readOnlyRoots() async throws {
      let root = try await Fixture.root(.current)
      var ran = try await Fixture.shell("touch /x || echo ro", change: { $0.readOnlyRoot = true })
      #expect(ran.output == "ro\n", "\(ran)")
      // Without an upper directory there is no place for mount points: an image that has them runs.
      let full = Fixture.own + "/full-\(Int.random(in: 0..<1 << 40))"
      for directory in ["etc", "proc", "sys", "dev"] { try Files.makeDirectories("\(full)/\(directory)") }
      for file in ["etc/hosts", "etc/resolv.conf"] { try Files.writeAtomically([], to: "\(full)/\(file)", durable: false) }
      ran = try await Fixture.shell("touch /x || echo ro; cat /etc/hosts | wc -l", root: .overlay(lowers: [full, root], upper: nil, work: nil, userXattr: false))
      #expect(ran.output == "ro\n2\n", "\(ran)")
    }

    @Test func manyLowers() async throws {
      let step = try await Fixture.writable()
      guard case .overlay(var lowers, let upper, let work, _, _) = step.plan else { return }
      for i in 0..<150 {
        try Files.makeDirectories("\(step.path)/layer-\(i)/l")
        try Files.writeAtomically([], to: "\(step.path)/layer-\(i)/l/\(i)", durable: false)
        lowers.insert("\(step.path)/layer-\(i)", at: 0)
      }
      let ran = try await Fixture.shell("ls /l | wc -l", root: .overlay(lowers: lowers, upper: upper, work: work, userXattr: false))
      #expect(ran.output == "150\n", "\(ran)")
    }

    @Test func workingDirectories() async throws {
      await #expect { try await Fixture.shell("true", change: { $0.workingDirectory = "/etc/passwd/x" }) } throws: { ($0 as? ExecutorError)?.code == .workingDirectory }
      // Beneath a mount it is the runtime's to make, and nothing is left in the root.
      let step = try await Fixture.writable()
      let ran = try await Fixture.shell("pwd", change: { $0.workingDirectory = "/m/x"; $0.mounts = [ProcessMount(destination: "/m", plan: .tmpfs(size: nil))] }, root: step.plan)
      #expect(ran.output == "/m/x\n", "\(ran)")
      #expect(try step.upper.statusIfPresent("m") == nil)
    }
  }
#endif
