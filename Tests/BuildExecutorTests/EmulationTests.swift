import Binaries
import OCIModel
import Testing

@testable import BuildExecutor

@Suite struct EmulationTests {
  /// Answers of a machine that has what is listed.
  func emulation(
    _ host: String = "linux/amd64", level: Int = 2, kernel: (Int, Int) = (6, 18), entries: [BinfmtEntry] = [], runs: Set<String> = [], programs: Set<String> = [],
    dynamic: Set<String> = [], privateFailure: String? = nil
  ) throws -> Emulation {
    let runnable = runs.compactMap { ForeignArchitecture.named($0)?.trialProgram }
    return Emulation(
      host: .init(
        platform: try Platform(parsing: host), amd64Level: level, kernel: kernel, entries: { entries }, runs: { runnable.contains($0) }, runsAlone: { runnable.contains($0) },
        find: { $0.hasPrefix("/") ? $0 : programs.contains($0) ? "/usr/bin/\($0)" : nil }, isStatic: { !dynamic.contains($0) }, version: { _ in "7.2.22" },
        tryPrivate: { _ in privateFailure }))
  }
  func support(_ emulation: Emulation, _ platform: String) async throws -> Emulation.Support { await emulation.support(for: try Platform(parsing: platform)) }
  func entry(_ architecture: String, flags: String, enabled: Bool = true) throws -> BinfmtEntry {
    let a = try #require(ForeignArchitecture.named(architecture))
    func hex(_ bytes: [UInt8]) -> String { bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
    return try #require(
      BinfmtEntry(
        name: "qemu-\(architecture)",
        text: "\(enabled ? "enabled" : "disabled")\ninterpreter /usr/libexec/qemu-\(architecture)\nflags: \(flags)\noffset 0\nmagic \(hex(a.magic))\nmask \(hex(a.mask))\n"))
  }

  @Test(arguments: [("linux/amd64", true), ("linux/amd64/v2", true), ("linux/amd64/v3", false), ("linux/386", true), ("linux/arm64", false), ("windows/amd64", false)])
  func nativeOnAmd64(platform: String, native: Bool) async throws {
    #expect((try await support(emulation(runs: ["386"]), platform) == .native) == native)
  }
  @Test(arguments: [("linux/arm64", true), ("linux/arm/v7", true), ("linux/arm/v6", true), ("linux/arm/v5", true), ("linux/amd64", false)])
  func nativeOnArm64(platform: String, native: Bool) async throws {
    #expect((try await support(emulation("linux/arm64", runs: ["arm"]), platform) == .native) == native)
  }

  @Test func order() async throws {
    let arm64 = "linux/arm64", interpreter = Emulation.Interpreter(path: "/usr/libexec/qemu-arm64", version: "7.2.22")
    // Registered, fixed and complete: taken. Registered without F and static: mounted. Not usable or not complete: private.
    let fixed = try emulation(entries: [entry("arm64", flags: "POCF")], runs: ["arm64"], programs: ["qemu-aarch64-static"])
    #expect(try await support(fixed, arm64) == .hostRegistered(interpreter, mounted: false))
    let loose = try emulation(entries: [entry("arm64", flags: "POC")], runs: ["arm64"])
    #expect(try await support(loose, arm64) == .hostRegistered(interpreter, mounted: true))
    // Better than nothing.
    let lesser = try emulation(entries: [entry("arm64", flags: "OCF")], runs: ["arm64"])
    #expect(try await support(lesser, arm64) == .hostRegistered(interpreter, mounted: false))
    guard case .hostRegistered(_, mounted: false) = try await support(emulation(runs: ["arm64"]), arm64) else { Issue.record("a table that cannot be seen"); return }
    for unusable in [
      try emulation(entries: [entry("arm64", flags: "OCF")], runs: ["arm64"], programs: ["qemu-aarch64-static"]),
      try emulation(runs: ["arm64"], programs: ["qemu-aarch64-static"]),
      try emulation(entries: [entry("arm64", flags: "POC")], runs: ["arm64"], programs: ["qemu-aarch64-static"], dynamic: ["/usr/libexec/qemu-arm64"]),
      try emulation(entries: [entry("arm64", flags: "F", enabled: false)], runs: ["arm64"], programs: ["qemu-aarch64-static"]),
      // Listed, but the program does not run: the table is another namespace's.
      try emulation(entries: [entry("arm64", flags: "F")], programs: ["qemu-aarch64-static"]),
      try emulation(entries: [entry("arm", flags: "F")], runs: ["arm"], programs: ["qemu-aarch64-static"]),
      try emulation(programs: ["qemu-aarch64-static"]),
    ] {
      guard case .privateRegistration(let found, let line) = try await support(unusable, arm64) else { Issue.record("not private"); continue }
      #expect(found == .init(path: "/usr/bin/qemu-aarch64-static", version: "7.2.22"))
      #expect(found.description == "QEMU 7.2.22")
      #expect(line.hasSuffix(":/usr/bin/qemu-aarch64-static:PCF"))
    }
  }

  @Test func impossible() async throws {
    func reason(_ emulation: Emulation, _ platform: String) async throws -> (String, String) {
      guard case .impossible(let reason, let mend) = try await support(emulation, platform) else { return ("", "") }
      return (reason, mend)
    }
    var (why, mend) = try await reason(emulation(), "linux/s390x")
    #expect(why.contains("linux/s390x") && why.contains("qemu-s390x-static was not found"))
    #expect(mend.contains("apt-get install qemu-user-static"))
    (why, mend) = try await reason(emulation(kernel: (6, 6), programs: ["qemu-s390x-static"]), "linux/s390x")
    #expect(why.contains("Linux 6.7") && why.contains("6.6") && mend.contains("binfmt"))
    (why, mend) = try await reason(emulation(programs: ["qemu-s390x-static"], privateFailure: "mount binfmt_misc: no"), "linux/s390x")
    #expect(why.contains("mount binfmt_misc: no") && mend.contains("s390x"))
    (why, _) = try await reason(emulation(programs: ["qemu-s390x"], dynamic: ["/usr/bin/qemu-s390x"]), "linux/s390x")
    #expect(why.contains("dynamically linked"))
    (why, _) = try await reason(emulation(), "linux/amd64/v4")
    #expect(why.contains("amd64/v2 at most"))
    (why, _) = try await reason(emulation(), "linux/wasm")
    #expect(why.contains("no emulator is known"))
  }

  @Test func magicIsWhatFilesHave() throws {
    for architecture in ForeignArchitecture.all {
      #expect(architecture.magic.count == 20 && architecture.mask.count == 20)
      guard let trial = architecture.trialProgram else { continue }
      let binary = try ELFBinary(parsing: trial)
      #expect(binary.platform?.architecture == architecture.name)
      #expect(binary.isStatic)
      // Exactly its own entry takes it.
      for other in ForeignArchitecture.all { #expect(try entry(other.name, flags: "").matches(trial) == (other.name == architecture.name)) }
    }
    let line = try #require(ForeignArchitecture.named("arm64")?.registration(interpreter: "/q"))
    #expect(line == #":manifold-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff:/q:PCF"#)
    #expect(ForeignArchitecture.named("arm64")?.registration(interpreter: "/a:b")?.hasPrefix("|") == true)
    #expect(ForeignArchitecture.named("arm64")?.registration(interpreter: String(repeating: "x", count: 200)) == nil)
  }

  @Test func hostileEntries() {
    #expect(BinfmtEntry(name: "x", text: "") == nil)
    #expect(BinfmtEntry(name: "x", text: "enabled\ninterpreter /x\nextension .py\n") == nil)
    #expect(BinfmtEntry(name: "x", text: "enabled\ninterpreter /x\nmagic 7f4\n") == nil)
    #expect(BinfmtEntry(name: "x", text: "enabled\ninterpreter /x\noffset 9999\nmagic 7f\n")?.matches([0x7f]) == false)
    #expect(BinfmtEntry(name: "x", text: "enabled\ninterpreter /x\nmagic 7f\nmask ffff\n")?.matches([0x7f]) == false)
  }

  #if os(Linux)
    @Test func processorLevels() {
      let v2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3", v3 = v2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
      for (flags, level) in [("fpu", 1), (v2, 2), (v3, 3), (v3 + " avx512f avx512bw avx512cd avx512dq avx512vl", 4), ("avx avx2", 1)] {
        #expect(Emulation.Host.amd64Level(cpuinfo: "processor\t: 0\nflags\t\t: \(flags)\n") == level)
      }
    }
  #endif
}
