package import OCIModel
import Synchronization

/// How programs of each platform run on this machine, found out at most once for each.
///
/// In this order: natively (also 386 on amd64 and arm on arm64 where the processor can); by what the host has registered with binfmt_misc, when the
/// interpreter can be reached inside a container and is told the programs' names and credentials (P and C); by QEMU registered in a binfmt_misc
/// private to the container, which needs no privilege but Linux 6.7; by a lesser registration of the host's; else not at all. The host's own table
/// is never changed.
package final class Emulation: Sendable {
  package struct Interpreter: Sendable, Hashable {
    package var path: String
    /// QEMU's, as `7.2.22`; nil when it would not say.
    package var version: String?
    /// As shown: `QEMU 7.2.22`.
    package var description: String { version.map { "QEMU \($0)" } ?? path }
    package init(path: String, version: String?) {
      self.path = path
      self.version = version
    }
  }

  package enum Support: Sendable, Hashable {
    case native
    /// `mounted`: the interpreter must be mounted in the container, at its own path.
    case hostRegistered(Interpreter, mounted: Bool)
    case privateRegistration(Interpreter, line: String)
    /// Why, and the command that mends it (empty where nothing does).
    case impossible(reason: String, mend: String)

    package var isEmulated: Bool {
      switch self {
      case .hostRegistered, .privateRegistration: true
      case .native, .impossible: false
      }
    }
  }

  /// What is asked of the machine; tests answer for other machines.
  package struct Host: Sendable {
    package var platform: Platform
    /// `1` to `4` of amd64, by the processor's features.
    package var amd64Level: Int
    package var kernel: (major: Int, minor: Int)
    /// The entries of the table that counts for this process's programs.
    package var entries: @Sendable () -> [BinfmtEntry]
    /// Runs a program, given as its bytes; whether it ended with status 0.
    package var runs: @Sendable ([UInt8]) async -> Bool
    /// The same in a root directory that holds no other file.
    package var runsAlone: @Sendable ([UInt8]) async -> Bool
    /// Absolute path of a program by name.
    package var find: @Sendable (String) -> String?
    /// Whether the file starts on this machine without any other file.
    package var isStatic: @Sendable (String) -> Bool
    package var version: @Sendable (String) async -> String?
    /// Tries a private registration for real; the reason why it cannot be, or nil.
    package var tryPrivate: @Sendable (_ line: String) async -> String?

    package init(
      platform: Platform, amd64Level: Int = 1, kernel: (major: Int, minor: Int), entries: @escaping @Sendable () -> [BinfmtEntry],
      runs: @escaping @Sendable ([UInt8]) async -> Bool, runsAlone: @escaping @Sendable ([UInt8]) async -> Bool, find: @escaping @Sendable (String) -> String?, isStatic: @escaping @Sendable (String) -> Bool,
      version: @escaping @Sendable (String) async -> String?, tryPrivate: @escaping @Sendable (String) async -> String?
    ) {
      self.platform = platform
      self.amd64Level = amd64Level
      self.kernel = kernel
      self.entries = entries
      self.runs = runs
      self.runsAlone = runsAlone
      self.find = find
      self.isStatic = isStatic
      self.version = version
      self.tryPrivate = tryPrivate
    }
  }

  private let host: Host
  private let known = Mutex<[Platform: Task<Support, Never>]>([:])
  /// What earlier processes found out.
  private let recall: @Sendable (Platform) -> Support?
  private let record: @Sendable (Platform, Support) -> Void
  /// Why nothing at all runs here.
  private let obstacle: String?

  package init(
    host: Host, obstacle: String? = nil, recall: @escaping @Sendable (Platform) -> Support? = { _ in nil }, record: @escaping @Sendable (Platform, Support) -> Void = { _, _ in }
  ) {
    (self.host, self.obstacle, self.recall, self.record) = (host, obstacle, recall, record)
  }

  package var hostPlatform: Platform { host.platform }

  /// For each of the platforms, how its programs run here.
  package func plan(for platforms: [Platform]) async -> [Platform: Support] {
    var result: [Platform: Support] = [:]
    await withTaskGroup(of: (Platform, Support).self) { group in
      for platform in Set(platforms) { group.addTask { (platform, await self.support(for: platform)) } }
      for await (platform, support) in group { result[platform] = support }
    }
    return result
  }

  package func support(for platform: Platform) async -> Support {
    var key = platform.normalized
    key.osVersion = ""
    key.osFeatures = []
    let wanted = key
    let task = known.withLock { known in
      if let task = known[wanted] { return task }
      // Not the caller's task: his cancellation is not everyone's.
      let task = Task.detached {
        if let obstacle = self.obstacle { return Support.impossible(reason: obstacle, mend: "") }
        if wanted == self.host.platform.normalized { return Support.native }
        if let support = self.recall(wanted) { return support }
        let support = await self.find(wanted)
        self.record(wanted, support)
        return support
      }
      known[wanted] = task
      return task
    }
    return await task.value
  }

  private func find(_ platform: Platform) async -> Support {
    guard platform.os == host.platform.os else {
      return .impossible(reason: "\(platform) programs do not run on \(host.platform.os)", mend: "")
    }
    if let native = await native(platform) { return native }
    guard let architecture = ForeignArchitecture.named(platform.architecture) else {
      return .impossible(reason: "\(platform): no emulator is known for architecture \(platform.architecture)", mend: "")
    }
    let registered = await registered(architecture)
    if let registered, registered.isComplete { return registered.support }
    let own = await registeredPrivately(platform, architecture)
    if case .impossible = own, let registered { return registered.support }
    return own
  }

  /// Without emulation, or impossible though the architecture is the machine's own.
  private func native(_ platform: Platform) async -> Support? {
    let (wanted, own) = (platform.architecture, host.platform.architecture)
    if wanted == own {
      if wanted == "amd64", let level = Int(platform.variant.drop { $0 == "v" }), level > host.amd64Level {
        return .impossible(
          reason: "\(platform): this machine's processor offers amd64/v\(host.amd64Level) at most", mend: "")
      }
      if wanted == "arm", let level = Int(platform.variant.drop { $0 == "v" }), level > Int(host.platform.variant.drop { $0 == "v" }) ?? 7 {
        return .impossible(reason: "\(platform): this machine's processor is arm/\(host.platform.variant)", mend: "")
      }
      return .native
    }
    // The 32-bit sibling, unless the kernel or the processor leaves it out.
    guard (own == "amd64" && wanted == "386") || (own == "arm64" && wanted == "arm"), let trial = ForeignArchitecture.named(wanted)?.trialProgram else { return nil }
    // An emulator may run the trial too; then it is no native support.
    if host.entries().contains(where: { $0.matches(trial) }) { return nil }
    return await host.runs(trial) ? .native : nil
  }

  /// What the host has registered, if containers can use it. Complete: with P, without which busybox's applets do not know their name, and C, without
  /// which setuid programs are none.
  private func registered(_ architecture: ForeignArchitecture) async -> (support: Support, isComplete: Bool)? {
    let trial = architecture.trialProgram
    guard let entry = host.entries().first(where: { $0.matches(architecture.magic) }) else {
      // The table may count though it cannot be seen: in a container it is seldom mounted.
      guard let trial, await host.runsAlone(trial) else { return nil }
      return (.hostRegistered(Interpreter(path: "the host's emulator", version: nil), mounted: false), false)
    }
    // The table that is mounted need not be the one that counts in this user namespace.
    if let trial, await !(entry.isFixed ? host.runsAlone : host.runs)(trial) { return nil }
    let interpreter = Interpreter(path: entry.interpreter, version: await host.version(entry.interpreter))
    let isComplete = entry.flags.contains("P") && entry.flags.contains("C")
    if entry.isFixed { return (.hostRegistered(interpreter, mounted: false), isComplete) }
    guard host.find(entry.interpreter) != nil, host.isStatic(entry.interpreter) else { return nil }
    return (.hostRegistered(interpreter, mounted: true), isComplete)
  }

  private func registeredPrivately(_ platform: Platform, _ architecture: ForeignArchitecture) async -> Support {
    let package = "sudo apt-get install qemu-user-static (Fedora: sudo dnf install qemu-user-static)"
    let register = "sudo apt-get install qemu-user-static binfmt-support, or: docker run --privileged --rm tonistiigi/binfmt --install \(architecture.name)"
    let names = ["qemu-\(architecture.qemuName)-static", "qemu-\(architecture.qemuName)", "buildkit-qemu-\(architecture.qemuName)"]
    let found = names.compactMap(host.find)
    guard let path = found.first(where: host.isStatic) else {
      let why = found.first.map { "\($0) is dynamically linked, so that it cannot start inside an image" } ?? "\(names[0]) was not found in PATH or MANIFOLD_QEMU"
      return .impossible(reason: "\(platform) is not native to this \(host.platform) machine, and \(why)", mend: package)
    }
    guard let line = architecture.registration(interpreter: path) else {
      return .impossible(reason: "\(platform): the path of \(path) is too long for the kernel's table", mend: package)
    }
    guard (host.kernel.major, host.kernel.minor) >= (6, 7) else {
      return .impossible(
        reason: "\(platform): the host has no emulator registered for \(architecture.name), and a private registration needs Linux 6.7 (this is \(host.kernel.major).\(host.kernel.minor))",
        mend: register)
    }
    async let version = host.version(path)
    if let reason = await host.tryPrivate(line) {
      _ = await version
      return .impossible(reason: "\(platform): the host has no emulator registered for \(architecture.name), and a private registration failed: \(reason)", mend: register)
    }
    return .privateRegistration(Interpreter(path: path, version: await version), line: line)
  }
}
