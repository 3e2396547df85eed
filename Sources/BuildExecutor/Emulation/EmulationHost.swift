#if os(Linux)
  import Binaries
  import CHostOS
  import HostOS
  import OCIModel

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  extension Emulation.Host {
    /// This machine. `qemuDirectory` is looked in before PATH.
    static func current(server: SupervisorServer, scratch: String, qemuDirectory: String?) -> Emulation.Host {
      let kernel = HostFacts.kernel
      let find: @Sendable (String) -> String? = { name in
        if name.contains("/") { return Processes.executablePath(name) }
        return qemuDirectory.flatMap { Processes.executablePath($0 + "/" + name) } ?? Processes.executablePath(name)
      }
      return Emulation.Host(
        platform: platform, amd64Level: amd64Level(cpuinfo: Files.text("/proc/cpuinfo", limit: 16 << 20) ?? ""), kernel: (kernel.major, kernel.minor),
        entries: entries,
        runs: { program in (try? await Blocking.run { try tryProgram(program, scratch: scratch, alone: false) }) ?? false },
        runsAlone: { program in (try? await Blocking.run { try tryProgram(program, scratch: scratch, alone: true) }) ?? false },
        find: find, isStatic: isStatic,
        version: version,
        tryPrivate: { line in
          do { return try await tryPrivate(line, server: server, scratch: scratch) } catch { return "\(error)" }
        })
    }

    /// The machine's, which is not always what this program was compiled for: a 32-bit program may run on a 64-bit kernel.
    private static var platform: Platform { Platform.current }

    static func amd64Level(cpuinfo: String) -> Int {
      guard let line = cpuinfo.split(separator: "\n").first(where: { $0.hasPrefix("flags") }) else { return 1 }
      let flags = Set(line.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == ":" }))
      let levels: [[Substring]] = [
        ["cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"], ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"],
        ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
      ]
      return 1 + levels.prefix { $0.allSatisfy(flags.contains) }.count
    }

    /// The table at /proc/sys/fs/binfmt_misc. Its entries count though it may not be mounted: real root looks at it in a mount of his own. (In a
    /// user namespace that would make a new, empty table, and hide the host's.)
    @Sendable static func entries() -> [BinfmtEntry] {
      let place = "/proc/sys/fs/binfmt_misc"
      var table: Directory?
      if Files.exists(place + "/status") {
        table = try? Directory.open(place)
      } else if HostFacts.isRoot, !HostFacts.inUserNamespace {
        let fd = manifold_open_filesystem("binfmt_misc")
        table = fd < 0 ? nil : Directory(Descriptor(owning: fd))
      }
      func text(_ name: String) -> String? { (try? table?.read(name, limit: 64 << 10)).map { String(decoding: $0, as: UTF8.self) } }
      guard let table, text("status")?.hasPrefix("enabled") == true else { return [] }
      return ((try? table.entries()) ?? []).filter { $0.name != "register" && $0.name != "status" }.compactMap { entry in
        text(entry.name).flatMap { BinfmtEntry(name: entry.name, text: $0) }
      }
    }

    private static func tryProgram(_ program: [UInt8], scratch: String, alone: Bool) throws -> Bool {
      let directory = try Files.makeTemporaryDirectory(in: scratch, prefix: "trial-")
      defer { try? Files.removeTree(directory) }
      let path = directory + "/program"
      let file = try Descriptor.open(path, flags: [.writeOnly, .create, .exclusive], mode: 0o755)
      try file.write(program)
      try file.close()
      return (alone ? manifold_try_program_alone(directory, "/program") : manifold_try_program(path)) == 0
    }

    /// An ELF file of this machine's own kind that needs no interpreter.
    @Sendable static func isStatic(_ path: String) -> Bool {
      guard let file = try? Descriptor.open(path, flags: .readOnly) else { return false }
      let elf = try? ELFBinary { offset, count in
        var bytes = [UInt8](repeating: 0, count: count)
        let n = try bytes.withUnsafeMutableBytes { try file.readFully(into: $0, at: Int64(offset)) }
        return Array(bytes.prefix(n))
      }
      guard let elf, elf.isStatic else { return false }
      return elf.platform?.architecture == Platform.current.architecture
    }

    /// `qemu-aarch64 version 7.2.22 (Debian …)`
    @Sendable static func version(_ path: String) async -> String? {
      guard let output = try? await Processes.run(path, ["--version"], limit: 64 << 10), output.succeeded else { return nil }
      let words = output.outputText.split(whereSeparator: \.isWhitespace)
      guard let i = words.firstIndex(of: "version"), i + 1 < words.count else { return nil }
      return String(words[i + 1])
    }

    /// A user namespace, a binfmt_misc in it and the registration, in a supervisor that then ends.
    private static func tryPrivate(_ line: String, server: SupervisorServer, scratch: String) async throws -> String? {
      let control = try await Blocking.run {
        var plan = SupervisorPlan(scratch: scratch)
        plan.newUserNamespace()
        plan.register(line)
        plan.probe()
        let null = try Descriptor.open("/dev/null", flags: .readWrite)
        return try server.start(plan, input: null, output: null, error: null)
      }
      let watch = StepWatch(control: control, output: nil, error: nil) { _ in }
      let outcome = try await DedicatedThread.run { watch.follow() }
      if let failure = outcome.failure { return explain(failure) }
      return outcome.code == 0 ? nil : "the supervisor ended early"
    }

    static func explain(_ failure: (what: String, errno: Int32)) -> String {
      let text = "\(failure.what): \(String(cString: strerror(failure.errno)))"
      if failure.what.hasPrefix("mount binfmt_misc"), failure.errno == ENODEV { return text + " (the kernel has no binfmt_misc: modprobe binfmt_misc)" }
      if failure.what.hasPrefix("make a user namespace") {
        return text + " (user namespaces are not allowed here: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
      }
      if failure.what.hasPrefix("mount /proc") { return text + " (parts of /proc are hidden, as Docker does: run with --security-opt systempaths=unconfined)" }
      return text
    }
  }
#endif
