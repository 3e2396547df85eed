#if os(Linux)
  import HostOS
  import OCIModel
  import Testing

  @testable import BuildExecutor

  /// Real programs of other architectures, with whatever this machine (or the namespaces that a parent test made) has registered.
  @Suite(.enabled(if: Fixture.canRun, "needs root, an OCI runtime and apt")) struct EmulatedRunTests {
    /// A 386 program on an amd64 machine is told that machine's name, as in BuildKit.
    static let platforms = [
      ("linux/386", "i386", "x86_64"), ("linux/arm64", "aarch64", "aarch64"), ("linux/arm/v7", "arm", "armv7l"), ("linux/ppc64le", "ppc64le", "ppc64le"),
      ("linux/s390x", "s390x", "s390x"), ("linux/mips64le", "mips64el", "mips64"),
    ]

    /// How the programs are to run, if the parent knows: `private`, `host`, `native`.
    static func checkKind(_ support: Emulation.Support, _ platform: Platform) {
      guard let expected = Fixture.given("EMULATION") else { return }
      switch support {
      case .privateRegistration: #expect(expected == "private", "\(platform)")
      case .hostRegistered: #expect(expected == "host", "\(platform)")
      case .native: #expect(platform.architecture == "386", "\(platform)")
      case .impossible(let reason, _): Issue.record("\(platform): \(reason)")
      }
    }

    @Test(arguments: platforms) func shells(platform name: String, qemu: String, machine: String) async throws {
      let platform = try Platform(parsing: name)
      let support = await (try Fixture.executor.get()).emulation.support(for: platform)
      guard support == .native || Fixture.hasEmulator(qemu) else { return }
      Self.checkKind(support, platform)
      // Applets as children of the shell, in pipes, by their links and through a further exec; a command that is not there; a status.
      let ran = try await Fixture.shell(
        """
        uname -m; echo c b a | tr ' ' '\\n' | sort | head -1 | sed s/a/first/; ls /bin | grep -c ^sh$; find /bin -name 'euid' | xargs -n1 ls
        sh -c 'echo "$0 $1" | cat' zero one; env X=1 sh -c 'echo $X'; nosuch 2>/dev/null; echo $?; (sleep 0.1; echo late) & wait; exit 3
        """, platform: platform)
      #expect(ran.exit.code == 3, "\(name): \(ran)")
      #expect(ran.output == "\(machine)\nfirst\n1\n/bin/euid\nzero one\n1\n127\nlate\n", "\(name): \(ran)")
    }

    @Test(arguments: platforms + [("linux/riscv64", "riscv64", "riscv64")]) func setuidPrograms(platform name: String, qemu: String, machine: String) async throws {
      if Fixture.given("IDS") == "one" { return }
      let platform = try Platform(parsing: name)
      let support = await (try Fixture.executor.get()).emulation.support(for: platform)
      guard support == .native || Fixture.hasEmulator(qemu) else { return }
      Self.checkKind(support, platform)
      let spec = ProcessSpec(arguments: ["/bin/euid"], user: "app", platform: platform)
      let ran = try await Fixture.run(spec, root: try await Fixture.writable(platform).plan)
      #expect(ran.exit.code == 0, "\(name): \(ran)")
      // And that it is no setuid program that has always 0.
      let step = try await Fixture.writable(platform)
      try step.upper.makeDirectory("bin", mode: 0o755)
      try step.upper.writeAtomically(try Files.read(try await Fixture.root(platform) + "/bin/euid", limit: 1 << 20), to: "bin/mine", mode: 0o755, durable: false)
      let other = try await Fixture.run(ProcessSpec(arguments: ["/bin/mine"], user: "3:3", platform: platform), root: step.plan)
      #expect(other.exit.code == 3, "\(name): \(other)")
    }

    @Test func withoutNetworkAndOutput() async throws {
      guard Fixture.hasEmulator("aarch64") else { return }
      let ran = try await Fixture.shell(
        "ip addr | grep -c 'inet 127'; cat /sys/kernel/notes | wc -c >/dev/null; yes 0123456789 | head -c 300000 | wc -c", platform: try Platform(parsing: "linux/arm64"), change: { $0.network = .none })
      #expect(ran.output == "1\n300000\n", "\(ran)")
    }

    @Test func surroundingsAreAsTheParentMeant() {
      if let map = Fixture.given("MAP") {
        #expect(HostFacts.inUserNamespace)
        #expect(Files.text("/proc/self/uid_map").map { $0.split(separator: "\n").reduce(UInt64(0)) { $0 + (UInt64($1.split(separator: " ").last ?? "") ?? 0) } } == UInt64(map))
      }
      if let groups = Fixture.given("CGROUPS") { #expect(HostFacts.cgroupMode.rawValue == groups) }
    }

    @Test func versionIsTold() async throws {
      guard Fixture.hasEmulator("aarch64") else { return }
      switch await (try Fixture.executor.get()).emulation.support(for: try Platform(parsing: "linux/arm64")) {
      case .privateRegistration(let interpreter, _): #expect(interpreter.version?.contains(".") == true && interpreter.description.hasPrefix("QEMU "))
      default: break
      }
    }
  }
#endif
