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

  /// Root filesystems of Debian's static busybox, one an architecture, from apt; the packages are kept for the next run.
  enum Fixture {
    /// Why containers cannot be tested here; nil when they can.
    static let obstacle: String? = {
      if geteuid() != 0 { return "not root" }
      if (try? Runtime.find()) == nil { return "neither crun nor runc is installed" }
      if Processes.executablePath("apt-get") == nil || Processes.executablePath("dpkg-deb") == nil { return "no apt-get and dpkg-deb to get busybox from" }
      return nil
    }()
    static let canRun: Bool = {
      if let obstacle { print("BuildExecutorTests: SKIPPING all tests with real containers: \(obstacle)") }
      return obstacle == nil
    }()
    static func hasEmulator(_ name: String) -> Bool {
      let found = Processes.executablePath("qemu-\(name)-static") != nil
      if !found { print("BuildExecutorTests: SKIPPING emulation of \(name): qemu-user-static is not installed") }
      return found
    }

    /// What a test gave to a child of its own (`Child`).
    static func given(_ name: String) -> String? { getenv("MANIFOLD_TEST_" + name).map { String(cString: $0) } }
    static let work = given("WORK") ?? "/var/tmp/manifold-tests-\(geteuid())"
    static let packages = given("PACKAGES") ?? work + "/packages"
    /// Of this run alone.
    static let own: String = {
      try? Files.makeDirectories(work)
      let path = try? Files.makeTemporaryDirectory(in: work, prefix: "executor-")
      atexit { try? Files.removeTree(Fixture.own) }
      return path ?? work
    }()
    static let executor: Result<ContainerExecutor, any Error> = Result { try ContainerExecutor(.fromEnvironment(scratch: own + "/scratch")) }

    private static let debian = ["amd64": "amd64", "386": "i386", "arm64": "arm64", "arm": "armhf", "ppc64le": "ppc64el", "s390x": "s390x", "mips64le": "mips64el"]
    private static let applets = """
      [ ash awk cat chmod chown cp cut date dd df dirname echo env false find grep head hostname id ip ifconfig kill ln ls md5sum mkdir mknod mount mv nproc od printf ps pwd
      readlink rm rmdir sed seq sh sleep sort stat stty sync tail tee test timeout touch tr true tty uname wc xargs yes
      """
    private static let roots = Mutex<[String: Task<String, any Error>]>([:])

    /// A directory that serves as lower layer.
    static func root(_ platform: Platform) async throws -> String {
      let architecture = platform.architecture
      let task = roots.withLock { roots in
        if let task = roots[architecture] { return task }
        let task = Task { try await make(architecture) }
        roots[architecture] = task
        return task
      }
      return try await task.value
    }

    private static func make(_ architecture: String) async throws -> String {
      let root = own + "/root-" + architecture
      for directory in ["bin", "etc", "home", "tmp"] { try Files.makeDirectories("\(root)/\(directory)") }
      let tree = try Directory.open(root)
      // No busybox of it in the Debian that this is: only the programs made here.
      if let name = debian[architecture] {
        let file = try tree.openFile("bin/busybox", flags: [.writeOnly, .create], mode: 0o755)
        try file.write(try await busybox(name))
        try file.close()
      }
      for applet in applets.split(whereSeparator: \.isWhitespace) { try tree.symlink(target: "busybox", at: "bin/\(applet)") }
      try tree.setMode("tmp", 0o1777)
      try tree.writeAtomically(Array("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\n".utf8), to: "etc/passwd", durable: false)
      try tree.writeAtomically(Array("root:x:0:\napp:x:1000:\nextra:x:2000:app\n".utf8), to: "etc/group", durable: false)
      if let program = effectiveUserProgram(architecture) {
        try tree.writeAtomically(program, to: "bin/euid", mode: 0o755, durable: false)
        try tree.setMode("bin/euid", 0o4755)
      }
      try tree.setTimes("etc", accessed: 1_600_000_000_000_000_000, modified: 1_600_000_000_000_000_000)
      return root
    }

    /// Ends with its effective user id as status: setuid root and run by another, with 0.
    private static func effectiveUserProgram(_ architecture: String) -> [UInt8]? {
      let foreign = ForeignArchitecture.named(architecture)
      func words(_ instructions: [UInt32], flags: UInt32 = 0) -> [UInt8]? {
        foreign?.elf(instructions.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }, flags: flags)
      }
      // geteuid, and its answer to exit
      switch architecture {
      case "amd64": return foreign?.elf([0xb8, 0x6b, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc7, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05])
      case "386": return foreign?.elf([0xb8, 0xc9, 0, 0, 0, 0xcd, 0x80, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80])
      case "s390x": return foreign?.elf([0x0a, 0xc9, 0x0a, 0x01])
      case "arm64": return words([0xd280_15e8, 0xd400_0001, 0xd280_0ba8, 0xd400_0001])
      case "arm": return words([0xe3a0_70c9, 0xef00_0000, 0xe3a0_7001, 0xef00_0000], flags: 0x0500_0000)
      case "riscv64": return words([0x0af0_0893, 0x0000_0073, 0x05d0_0893, 0x0000_0073], flags: 4)
      case "ppc64le": return words([0x3800_0031, 0x4400_0002, 0x3800_0001, 0x4400_0002], flags: 2)
      case "mips64le": return words([0x2402_13f1, 0x0000_000c, 0x0040_2025, 0x2402_13c2, 0x0000_000c], flags: 0x8000_0000)
      default: return nil
      }
    }

    /// Gets what a child of this process, which perhaps could not, will want.
    static func fetchPackages(_ architectures: [String] = ["amd64"]) async throws {
      for architecture in architectures { if let name = debian[architecture] { _ = try await busybox(name) } }
    }

    private static func busybox(_ debianName: String) async throws -> [UInt8] {
      let cache = packages
      let binary = "\(cache)/busybox-\(debianName)"
      if let bytes = try? Files.read(binary, limit: 16 << 20) { return bytes }
      // apt locks a folder of lists, and does not wait.
      let lists = "\(cache)/lists-\(debianName)"
      try Files.makeDirectories(lists + "/partial")
      let options = [
        "APT::Architecture=\(debianName)", "APT::Architectures=\(debianName)", "Dir::State::Lists=\(lists)", "Dir::State::status=/dev/null",
        "Acquire::Languages=none", "APT::Sandbox::User=root",
      ].flatMap { ["-o", $0] }
      _ = try await Processes.run("apt-get", ["-qq"] + options + ["update"], limit: 16 << 20)
      let place = try Files.makeTemporaryDirectory(in: cache, prefix: "deb-")
      defer { try? Files.removeTree(place) }
      let got = try await Processes.run("apt-get", ["-qq"] + options + ["download", "busybox-static:\(debianName)"], workingDirectory: place, limit: 16 << 20)
      let deb = try #require(try Directory.open(place).entries().first { $0.name.hasSuffix(".deb") }, "apt-get download: \(got.errorText)")
      let extracted = try await Processes.run("dpkg-deb", ["-x", "\(place)/\(deb.name)", place + "/x"])
      try #require(extracted.succeeded, "dpkg-deb: \(extracted.errorText)")
      let bytes = ["bin/busybox", "usr/bin/busybox"].compactMap { try? Files.read("\(place)/x/\($0)", limit: 16 << 20) }.first ?? []
      try #require(!bytes.isEmpty)
      try Files.writeAtomically(bytes, to: binary, mode: 0o755)
      return bytes
    }

    private static let counter = Atomic<Int>(0)

    /// A writable root over the platform's, and its upper directory.
    static func writable(_ platform: Platform = .current) async throws -> (plan: MountPlan, upper: Directory, path: String) {
      let path = own + "/step-\(counter.add(1, ordering: .relaxed).newValue)"
      try Files.makeDirectories(path + "/upper")
      try Files.makeDirectories(path + "/work")
      let plan = MountPlan.overlay(lowers: [try await root(platform)], upper: path + "/upper", work: path + "/work", userXattr: HostFacts.inUserNamespace)
      return (plan, try Directory.open(path + "/upper"), path)
    }

    struct Ran: Sendable, CustomStringConvertible {
      var exit: StepExit
      var output: String
      var errors: String
      var description: String { "\(exit) out: \(output) err: \(errors)" }
    }

    static func run(_ spec: ProcessSpec, root: MountPlan, onOutput: @escaping @Sendable (StepOutput) -> Void = { _ in }) async throws -> Ran {
      let collected = Mutex<(out: [UInt8], err: [UInt8])>(([], []))
      let exit = try await executor.get().run(spec, root: root) { output in
        onOutput(output)
        collected.withLock {
          switch output {
          case .standardOutput(let bytes): $0.out += bytes
          case .standardError(let bytes): $0.err += bytes
          }
        }
      }
      return collected.withLock { Ran(exit: exit, output: String(decoding: $0.out, as: UTF8.self), errors: String(decoding: $0.err, as: UTF8.self)) }
    }

    static func shell(
      _ script: String, platform: Platform = .current, change: (inout ProcessSpec) -> Void = { _ in }, root: MountPlan? = nil,
      onOutput: @escaping @Sendable (StepOutput) -> Void = { _ in }
    ) async throws -> Ran {
      var spec = ProcessSpec(arguments: ["/bin/sh", "-c", script], environment: ["PATH=/usr/bin:/bin"], platform: platform)
      change(&spec)
      let plan = if let root { root } else { try await writable(platform).plan }
      return try await run(spec, root: plan, onOutput: onOutput)
    }
  }
#endif
