package import OCIModel

/// What the OCI runtime is told: the runtime-spec's config.json as BuildKit writes it for its runc worker (containerd's default spec without /run,
/// Moby's seccomp profile, hosts and resolv.conf mounted), fitted to where it runs.
package struct RuntimeSpec: Sendable {
  package struct Mount: Sendable, Equatable {
    package var destination: String
    package var type: String
    package var source: String
    package var options: [String]
    package init(_ destination: String, type: String, source: String, _ options: [String]) {
      self.destination = destination
      self.type = type
      self.source = source
      self.options = options
    }
  }

  /// The circumstances that change what a runtime can do.
  package struct Surroundings: Sendable, Equatable {
    /// Go's name of the machine's own architecture.
    package var architecture: String
    /// The container's processes are in a user namespace: mounts of the kernel's filesystems are restricted.
    package var inUserNamespace: Bool
    /// Whether group 5 (tty) exists there.
    package var hasTTYGroup: Bool
    /// Control groups version 2 alone: the container sees its own.
    package var hasUnifiedCgroups: Bool
    package var hasSeccomp: Bool
    /// Something denies device files: else a step may not make them.
    package var deniesDevices: Bool
    /// Where the runtime (and no control group manager of ours) puts its control groups; nil for none at all.
    package var cgroupsPath: String?
    package init(
      architecture: String, inUserNamespace: Bool, hasTTYGroup: Bool = true, hasUnifiedCgroups: Bool, hasSeccomp: Bool = true,
      deniesDevices: Bool, cgroupsPath: String? = nil
    ) {
      self.architecture = architecture
      self.inUserNamespace = inUserNamespace
      self.hasTTYGroup = hasTTYGroup
      self.hasUnifiedCgroups = hasUnifiedCgroups
      self.hasSeccomp = hasSeccomp
      self.deniesDevices = deniesDevices
      self.cgroupsPath = cgroupsPath
    }
  }

  package var process: ProcessSpec
  package var user: ProcessUser
  package var rootPath: String
  package var hostsPath: String
  package var resolverPath: String
  /// The step's own mounts, resolved to paths.
  package var mounts: [Mount]
  package var terminal: Bool
  /// Rows and columns that a terminal starts with.
  package var terminalSize: (rows: UInt16, columns: UInt16)?
  package var surroundings: Surroundings
  /// What devices bring, but for variables and mounts.
  var devices = ContainerEdits()
  var apparmorProfile: String?

  package init(
    process: ProcessSpec, user: ProcessUser, rootPath: String, hostsPath: String, resolverPath: String, mounts: [Mount], terminal: Bool = false,
    surroundings: Surroundings
  ) {
    self.process = process
    self.user = user
    self.rootPath = rootPath
    self.hostsPath = hostsPath
    self.resolverPath = resolverPath
    self.mounts = mounts
    self.terminal = terminal
    self.surroundings = surroundings
  }

  /// containerd's default set.
  package static let capabilities = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
  ]
  static let maskedPaths = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi",
  ]
  static let readOnlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  static let limitNames: Set<String> = [
    "AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK",
  ]

  /// Throws `ExecutorError.invalidStep`.
  package func json() throws -> JSONValue {
    var linux = JSONObject()
    if let path = surroundings.cgroupsPath {
      linux["cgroupsPath"] = .string(path)
      var resources = process.resources.specification
      resources["devices"] =
        process.isInsecure
        ? [["allow": true, "type": "c", "access": "rwm"], ["allow": true, "type": "b", "access": "rwm"]]
        : .array([["allow": false, "access": "rwm"]] + devices.rules.map { .object($0) })
      linux["resources"] = .object(resources)
    }
    linux["namespaces"] = .array(namespaces.map { ["type": .string($0)] })
    let nodes = (process.isInsecure && !surroundings.inUserNamespace ? Privileges.devices : []) + devices.nodes.map { .object($0) }
    if !nodes.isEmpty { linux["devices"] = .array(nodes) }
    if surroundings.hasSeccomp, !process.isInsecure, let profile = Seccomp.profile(architecture: surroundings.architecture) { linux["seccomp"] = profile }
    linux["maskedPaths"] = .array(process.isInsecure ? [] : Self.maskedPaths.map { .string($0) })
    linux["readonlyPaths"] = .array(process.isInsecure ? [] : Self.readOnlyPaths.map { .string($0) })
    var hooks = JSONObject()
    for hook in devices.hooks { hooks[hook.name] = .array((hooks[hook.name]?.arrayValue ?? []) + [hook.json]) }
    var out: JSONValue = [
      "ociVersion": "1.0.2", "process": try processJSON(), "root": ["path": .string(rootPath), "readonly": .bool(process.readOnlyRoot)],
      "hostname": .string(process.hostname.flatMap { $0.isEmpty ? nil : $0 } ?? HostFiles.defaultHostname),
      "mounts": .array(
        allMounts.map { mount in
          [
            "destination": .string(mount.destination), "type": .string(mount.type), "source": .string(mount.source),
            "options": .array(mount.options.map { .string($0) }),
          ]
        }), "linux": .object(linux),
    ]
    if !hooks.isEmpty, var object = out.objectValue {
      object["hooks"] = .object(hooks)
      out = .object(object)
    }
    return out
  }

  private var namespaces: [String] {
    ["pid", "ipc", "uts", "mount"] + (process.network == .none ? ["network"] : []) + (surroundings.hasUnifiedCgroups ? ["cgroup"] : [])
  }

  private func processJSON() throws -> JSONValue {
    guard !process.arguments.isEmpty else { throw ExecutorError(.invalidStep, "a step without a command") }
    let texts = process.arguments + process.environment + [process.workingDirectory]
    if texts.contains(where: { $0.utf8.contains(0) }) { throw ExecutorError(.invalidStep, "a command, variable or directory that contains a NUL byte") }
    let names = process.isInsecure ? Privileges.capabilities : Self.capabilities.filter { surroundings.deniesDevices || $0 != "CAP_MKNOD" }
    let capabilities = names.map { JSONValue.string($0) }
    var sets = JSONObject([("bounding", .array(capabilities)), ("effective", .array(capabilities)), ("permitted", .array(capabilities))])
    if process.isInsecure { (sets["inheritable"], sets["ambient"]) = (.array(capabilities), .array(capabilities)) }
    var object = JSONObject([
      ("terminal", .bool(terminal)),
      (
        "user",
        ["uid": .int(user.uid), "gid": .int(user.gid), "additionalGids": .array(user.additionalGids.map { .int($0) })]
      ),
      ("args", .array(process.arguments.map { .string($0) })),
      ("env", .array(process.environment.map { .string($0) })),
      ("cwd", .string(Self.cleaned(process.workingDirectory))),
      ("capabilities", .object(sets)),
    ])
    if let apparmorProfile { object["apparmorProfile"] = .string(apparmorProfile) }
    if !process.limits.isEmpty { object["rlimits"] = .array(try process.limits.map(Self.limit)) }
    if terminal, let size = terminalSize { object["consoleSize"] = ["height": .int(Int(size.rows)), "width": .int(Int(size.columns))] }
    object["noNewPrivileges"] = false
    return .object(object)
  }

  private static func limit(_ limit: ProcessSpec.Limit) throws -> JSONValue {
    let name = limit.name.uppercased()
    guard limitNames.contains(name) else {
      throw ExecutorError(.invalidStep, "unknown limit \"\(limit.name)\": one of \(limitNames.map { $0.lowercased() }.sorted().joined(separator: ", "))")
    }
    guard limit.hard < 0 || (limit.soft >= 0 && limit.soft <= limit.hard) else {
      throw ExecutorError(.invalidStep, "limit \(limit.name): the soft limit \(limit.soft) is above the hard limit \(limit.hard)")
    }
    return ["type": .string("RLIMIT_" + name), "hard": .int(UInt64(bitPattern: limit.hard)), "soft": .int(UInt64(bitPattern: limit.soft))]
  }

  /// Absolute, without `.`, `..` and doubled slashes.
  package static func cleaned(_ path: String) -> String {
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }

  /// Defaults, then the step's; each destination once, in the place of its first and the form of its last.
  package var allMounts: [Mount] {
    var result: [Mount] = []
    for mount in systemMounts + mounts {
      if let i = result.firstIndex(where: { $0.destination == mount.destination }) { result[i] = mount } else { result.append(mount) }
    }
    return result
  }

  /// Those that every step has, which come first.
  var systemMounts: [Mount] {
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] + (surroundings.hasTTYGroup ? ["gid=5"] : [])
    // sysfs belongs to a network namespace: in a user namespace that shares the host's network it cannot be mounted anew.
    let system = surroundings.inUserNamespace && process.network != .none
      ? Mount("/sys", type: "bind", source: "/sys", ["rbind", "nosuid", "noexec", "nodev", "ro"])
      : Mount("/sys", type: "sysfs", source: "sysfs", ["nosuid", "noexec", "nodev", process.isInsecure && !surroundings.inUserNamespace ? "rw" : "ro"])
    var mounts = [
      Mount("/proc", type: "proc", source: "proc", ["nosuid", "noexec", "nodev"]),
      Mount("/dev", type: "tmpfs", source: "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
      Mount("/dev/pts", type: "devpts", source: "devpts", terminals),
      Mount("/dev/shm", type: "tmpfs", source: "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
      Mount("/dev/mqueue", type: "mqueue", source: "mqueue", ["nosuid", "noexec", "nodev"]), system,
      Mount("/etc/resolv.conf", type: "bind", source: resolverPath, ["nosuid", "noexec", "nodev", "rbind", "ro"]),
      Mount("/etc/hosts", type: "bind", source: hostsPath, ["nosuid", "noexec", "nodev", "rbind", "ro"]),
    ]
    if surroundings.hasUnifiedCgroups { mounts.append(Mount("/sys/fs/cgroup", type: "cgroup", source: "cgroup", [process.isInsecure ? "rw" : "ro", "nosuid", "noexec", "nodev"])) }
    return mounts
  }
}
