#if os(Linux)
  import CHostOS
  import HostOS
  import OCIModel

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// Everything a step's container needs, made before its supervisor is: mounts held open, places for them, the runtime's specification.
  struct PreparedStep: Sendable {
    let plan: SupervisorPlan
    let killsBefore: UInt64
    private let root: Directory
    private let stubs: MountStubs
    private let removesStubParents: Bool
    private let listeners: [SocketListener]

    /// A mount of the step: what the runtime is told, and whether a directory is mounted.
    private struct Resolved {
      var mount: RuntimeSpec.Mount
      var isDirectory: Bool
    }

    /// Blocks. Throws `ExecutorError`, or HostError.
    init(
      _ spec: ProcessSpec, root rootPlan: MountPlan, support: Emulation.Support, runtime: Runtime, executor: ContainerExecutor, locks: [Descriptor],
      streams: StepStreams, network: Descriptor? = nil
    ) throws {
      var spec = spec
      let edits = try Self.devices(&spec, executor)
      let machine = executor.machine, scratch = executor.configuration.scratch
      var plan = SupervisorPlan(scratch: scratch)
      killsBefore = MachineFacts.killsForMemory()
      removesStubParents = spec.removesStubParents
      let root = try Self.open(rootPlan, what: "the step's root filesystem")
      self.root = root

      var isPrivate = false
      if case .privateRegistration = support { isPrivate = true }
      let inUserNamespace = machine.inUserNamespace || isPrivate
      var user = try UserLookup.resolve(spec.user, in: root)
      user.additionalGids += edits.groups.filter { !user.additionalGids.contains($0) }
      try Self.check(&user, machine)

      plan.directory("s")
      plan.directory("m")
      plan.mount(root, at: "rootfs")
      var listeners: [SocketListener] = []
      let mounts = try Self.mounts(spec, support, &plan, &listeners, inUserNamespace)
      self.listeners = listeners

      let hosts = HostFiles.hosts(hostname: spec.hostname, extra: try Self.checked(spec.extraHosts))

      // runc does not start without control groups; crun does.
      let mountsGroups = runtime.kind == .runc && machine.cgroups == .none
      let groups = mountsGroups ? .v2 : machine.cgroups
      if mountsGroups { plan.mountControlGroups(at: "/sys/fs/cgroup") }
      let runtimeMakesGroups = runtime.kind == .runc && !inUserNamespace
      let hasParent = !spec.cgroupParent.isEmpty && !runtimeMakesGroups
      let opensDevices = spec.isInsecure || !edits.nodes.isEmpty
      let group = runtimeMakesGroups || opensDevices || hasParent ? nil : machine.devices?.next()
      let parents = hasParent ? try ParentCgroups.groups(beneath: spec.cgroupParent, for: spec.resources, name: DeviceCgroups.nextName()) : []
      for parent in parents { plan.cgroup(parent.name, beneath: parent.parent, version: opensDevices ? 0 : parent.deviceVersion, settings: parent.settings) }
      let deniesDevices = spec.isInsecure || group != nil || (!opensDevices && parents.contains { $0.deviceVersion != 0 }) || runtimeMakesGroups || machine.inUserNamespace
      // Without a control group that denies them, device files of the image are dead instead.
      if !deniesDevices { _ = hostos_mount_set(root.descriptor.raw, UInt64(HOSTOS_MOUNT_NODEV), 0) }
      let limits = runtimeMakesGroups || hasParent || spec.resources.isEmpty ? [] : try LimitCgroups.groups(for: spec.resources, name: DeviceCgroups.nextName())
      // A process is in one group of version 2: that which limits it has to deny it devices, too.
      if let group, !(group.version == 2 && limits.contains(where: \.isUnified)) { plan.cgroup(group.name, beneath: group.parent, version: group.version) }
      for limit in limits { plan.cgroup(limit.name, beneath: limit.parent, version: limit.isUnified && group?.version == 2 ? 2 : 0, settings: limit.settings) }

      let id = Self.newID()
      if case .privateRegistration(_, let line) = support {
        plan.newUserNamespace()
        plan.register(line)
      }
      if groups != .v2, !runtimeMakesGroups { plan.hide("/sys/fs/cgroup") }
      if runtimeMakesGroups { for path in Self.runtimeGroups(spec.cgroupParent, id, groups) { plan.removeCgroup(path) } }

      var terminal: Descriptor?
      if case .attached(let input, _, _, terminal: true, _) = streams { terminal = input }
      var process = spec
      if !Self.isWritable(rootPlan) { process.readOnlyRoot = true }
      // Runtimes differ in what they do for a user without an entry: runc, and so BuildKit, takes "/".
      if !process.environment.contains(where: { $0.hasPrefix("HOME=") }) { process.environment.append("HOME=" + UserLookup.home(of: user.uid, in: root)) }
      var specification = RuntimeSpec(
        process: process, user: user, rootPath: scratch + "/rootfs", hostsPath: scratch + "/hosts", resolverPath: scratch + "/resolv.conf",
        mounts: mounts.map(\.mount), terminal: terminal != nil,
        surroundings: RuntimeSpec.Surroundings(
          architecture: Platform.current.architecture, inUserNamespace: inUserNamespace, hasTTYGroup: machine.hasTTYGroup,
          hasUnifiedCgroups: groups == .v2 && machine.hasCgroupNamespaces, hasSeccomp: machine.hasSeccomp,
          deniesDevices: deniesDevices || inUserNamespace, cgroupsPath: runtimeMakesGroups ? Self.runtimeGroup(spec.cgroupParent, id) : nil))

      specification.devices = edits
      specification.apparmorProfile = spec.isInsecure ? nil : executor.configuration.apparmorProfile

      if let network { plan.network(network) }
      var size = winsize()
      if let terminal, ioctl(terminal.raw, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 {
        specification.terminalSize = (size.ws_row, size.ws_col)
      }

      plan.file("hosts", hosts)
      plan.file("resolv.conf", Self.resolverConfiguration(executor.configuration, isolated: network != nil))
      plan.file("config.json", mode: 0o600, try specification.json().encodedString())
      plan.arguments(runtime.arguments(scratch: scratch, id: id))
      for lock in locks { plan.hold(lock) }
      self.plan = plan
      let covered = specification.systemMounts.filter { $0.destination != "/etc/hosts" && $0.destination != "/etc/resolv.conf" }.map(\.destination)
      if !process.readOnlyRoot { try Self.makeSystemDirectories(specification.systemMounts.map(\.destination), in: root) }
      try Self.makeWorkingDirectory(spec, user, in: root, covered: mounts.map(\.mount.destination))
      stubs = try MountStubs(
        in: root, wanted: [("/etc/resolv.conf", false), ("/etc/hosts", false)] + mounts.map { ($0.mount.destination, $0.isDirectory) }, covered: covered)
    }

    /// After the container is gone, or if it never was. Blocks.
    func cleanUp() {
      for listener in listeners { listener.close() }
      stubs.remove(from: root, parents: removesStubParents)
    }

    // MARK: mounts

    private static func open(_ plan: MountPlan, what: String) throws -> Directory {
      do { return try Mounts.open(plan) } catch { throw ExecutorError(.mount, "cannot mount \(what)", cause: error) }
    }

    static func isWritable(_ plan: MountPlan) -> Bool {
      switch plan {
      case .bind(_, let readOnly): !readOnly
      case .overlay(_, let upper, _, _, _): upper != nil
      case .tmpfs: true
      }
    }

    /// Opens the step's mounts. A plan that several mounts share is mounted once: an overlay's upper directory must not be in two.
    private static func mounts(
      _ spec: ProcessSpec, _ support: Emulation.Support, _ plan: inout SupervisorPlan, _ listeners: inout [SocketListener], _ inUserNamespace: Bool
    ) throws -> [Resolved] {
      var wanted = spec.mounts
      if case .hostRegistered(let interpreter, mounted: true) = support {
        wanted.append(ProcessMount(destination: interpreter.path, plan: .bind(path: interpreter.path, readOnly: true), readOnly: true))
      }
      var opened: [MountPlan: (name: String, tree: Directory)] = [:]
      var result: [Resolved] = []
      for (i, mount) in wanted.enumerated() {
        let destination = RuntimeSpec.cleaned(mount.destination)
        if destination == "/" { throw ExecutorError(.invalidStep, "a mount cannot replace the step's root (target \"\(mount.destination)\")") }
        let name: String, tree: Directory, subpath: String
        var options = [mount.readOnly ? "ro" : "rw", "rbind"]
        switch mount.source {
        case .plan(.tmpfs(let size)):
          let limits = ["nosuid"] + (size.map { ["size=\($0)"] } ?? []) + (mount.readOnly ? ["ro"] : [])
          result.append(Resolved(mount: .init(destination, type: "tmpfs", source: "tmpfs", limits), isDirectory: true))
          continue
        case .plan(let source):
          if let known = opened[source] { (name, tree) = known } else {
            (name, tree) = ("s/\(i)", try open(source, what: "\(destination) of the step"))
            plan.mount(tree, at: name)
            opened[source] = (name, tree)
          }
          subpath = mount.subpath
        case .memory(let bytes, let mode, let uid, let gid):
          (name, tree, subpath) = ("s/\(i)", try file(bytes, mode, uid, gid), "data")
          plan.mount(tree, at: name)
          options += ["nodev", "nosuid"] + (mode & 0o111 == 0 ? ["noexec"] : [])
        case .socket(let mode, let uid, let gid, let connected):
          (name, tree, subpath) = ("s/\(i)", try open(.tmpfs(size: 64 << 10), what: "a socket in memory"), "socket")
          let listener = try SocketListener(at: "socket", in: tree, mode: mode & 0o777, uid: uid, gid: gid)
          listener.serve(connected)
          listeners.append(listener)
          plan.mount(tree, at: name)
        }
        let source = try resolve(subpath, in: tree, destination)
        if source.isWhole {
          options = flags(of: tree.descriptor, inUserNamespace, adding: options)
          result.append(Resolved(mount: .init(destination, type: "bind", source: "\(plan.scratch)/\(name)", options), isDirectory: source.isDirectory))
        } else {
          plan.bind(subpath, of: name, at: "m/\(i)")
          options = flags(of: tree.descriptor, inUserNamespace, adding: options)
          result.append(Resolved(mount: .init(destination, type: "bind", source: "\(plan.scratch)/m/\(i)", options), isDirectory: source.isDirectory))
        }
      }
      return result
    }

    private static func resolve(_ subpath: String, in tree: Directory, _ destination: String) throws -> (isWhole: Bool, isDirectory: Bool) {
      do {
        if RuntimeSpec.cleaned(subpath) == "/" { return (true, try tree.descriptor.status().kind == .directory) }
        return (false, try tree.status(subpath, followLast: true).kind == .directory)
      } catch let error as HostError where error.code == .notFound || error.code == .notDirectory {
        throw ExecutorError(.mount, "cannot mount \(destination): the source has no \"\(subpath)\"", cause: error)
      } catch let error as HostError {
        throw ExecutorError(.mount, "cannot mount \(destination)", cause: error)
      }
    }

    /// A filesystem in memory with one file.
    private static func file(_ bytes: [UInt8], _ mode: UInt32, _ uid: UInt32, _ gid: UInt32) throws -> Directory {
      let tree = try open(.tmpfs(size: UInt64(bytes.count) + (256 << 10)), what: "a file in memory")
      let file = try tree.openFile("data", flags: [.writeOnly, .create, .exclusive], mode: 0o600)
      try file.write(bytes)
      try file.setOwner(uid: uid, gid: gid)
      try file.setMode(mode & 0o777)
      return tree
    }

    /// In a user namespace what a mount forbids cannot be allowed again: it must be named when the mount is changed.
    private static func flags(of tree: Descriptor, _ inUserNamespace: Bool, adding options: [String]) -> [String] {
      var facts = statvfs()
      guard inUserNamespace, fstatvfs(tree.raw, &facts) == 0 else { return options }
      let names: [(UInt, String)] = [(2, "nosuid"), (4, "nodev"), (8, "noexec"), (1024, "noatime"), (2048, "nodiratime"), (4096, "relatime")]
      let locked = names.filter { UInt(facts.f_flag) & $0.0 != 0 && !options.contains($0.1) }.map(\.1)
      return options + locked
    }

    // MARK: the rest

    private static func resolverConfiguration(_ configuration: ContainerExecutor.Configuration, isolated: Bool) -> String {
      var text = Files.text(configuration.resolverFile) ?? ""
      if isolated, HostFiles.asksResolved(text), let behind = Files.text(HostFiles.resolvedFile) { text = behind }
      return HostFiles.resolverConfiguration(from: text, instead: configuration.resolver, isolated: isolated)
    }

    /// What the step's devices bring. Variables and mounts are the step's own from here on.
    private static func devices(_ spec: inout ProcessSpec, _ executor: ContainerExecutor) throws -> ContainerEdits {
      if spec.devices.isEmpty { return ContainerEdits() }
      let specs = executor.devices()
      let edits = specs.edits(for: try specs.find(spec.devices))
      for variable in edits.environment {
        let name = variable.prefix { $0 != "=" } + "="
        if let i = spec.environment.firstIndex(where: { $0.hasPrefix(name) }) { spec.environment[i] = variable } else { spec.environment.append(variable) }
      }
      for mount in edits.mounts {
        spec.mounts.append(ProcessMount(destination: mount.containerPath, plan: .bind(path: mount.hostPath, readOnly: mount.options.contains("ro")), readOnly: mount.options.contains("ro")))
      }
      return edits
    }

    /// A user who does not exist in this user namespace can run nothing. Further groups that do not exist are left away.
    private static func check(_ user: inout ProcessUser, _ machine: MachineFacts) throws {
      user.additionalGids.removeAll { !machine.groups.contains($0) && $0 != user.gid }
      if machine.users.contains(user.uid), machine.groups.contains(user.gid) { return }
      let ids = machine.users.count == 1 ? "one id only" : "\(machine.users.count) ids"
      throw ExecutorError(
        .userNotFound,
        "the step is to run as \(user.uid):\(user.gid), and this user namespace has \(ids); mend it with: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER, and a new --root")
    }

    /// Where /proc, /dev and /sys go: they stay, as after BuildKit's runc, with a mode that does not depend on the runtime (crun makes /dev with 01755).
    private static func makeSystemDirectories(_ destinations: [String], in root: Directory) throws {
      for path in destinations.map({ String($0.dropFirst()) }) where !path.contains("/") {
        guard try root.statusIfPresent(path) == nil else { continue }
        try root.makeDirectory(path, mode: 0o755)
        try root.setMode(path, 0o755)
      }
    }

    /// The working directory exists before the step; what is mounted over is the runtime's matter.
    private static func makeWorkingDirectory(_ spec: ProcessSpec, _ user: ProcessUser, in root: Directory, covered: [String]) throws {
      do {
        let path = try root.canonicalPath(of: spec.workingDirectory)
        let covers = try covered.map { try root.canonicalPath(of: $0) }
        if covers.contains(where: { path == $0 || path.hasPrefix($0 + "/") }) { return }
        var at = "", isThere = true
        for part in path.split(separator: "/") {
          at += at.isEmpty ? String(part) : "/" + part
          if isThere, let status = try root.statusIfPresent(at) {
            guard status.kind == .directory else { throw ExecutorError(.workingDirectory, "working directory \(spec.workingDirectory): /\(at) is not a directory") }
            continue
          }
          isThere = false
          try root.makeDirectory(at, mode: 0o755)
          try root.setMode(at, 0o755)
          try root.setOwner(at, uid: user.uid, gid: user.gid)
        }
      } catch let error as HostError {
        throw ExecutorError(.workingDirectory, "failed to create working directory \(spec.workingDirectory)", cause: error)
      }
    }

    private static func checked(_ hosts: [ProcessSpec.ExtraHost]) throws -> [ProcessSpec.ExtraHost] {
      for host in hosts where !HostFiles.isAddress(host.address) || host.name.isEmpty || host.name.contains(where: { $0.isWhitespace || $0 == "\0" }) {
        throw ExecutorError(.invalidStep, "invalid additional host \"\(host.name):\(host.address)\"")
      }
      return hosts
    }

    private static func newID() -> String {
      let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz")
      return String((0..<25).map { _ in letters[Int.random(in: 0..<36)] })
    }

    /// runc's control groups for a container, beneath the one asked for in each hierarchy, or its root, and nothing above them that would stay.
    private static func runtimeGroup(_ parent: String, _ id: String) -> String { RuntimeSpec.cleaned("/\(parent)/manifold-step-\(ProcessIdentity.current.pid)-\(id)") }
    private static func runtimeGroups(_ parent: String, _ id: String, _ mode: CgroupMode) -> [String] {
      let root = "/sys/fs/cgroup"
      if mode == .v2 { return [root + runtimeGroup(parent, id)] }
      let hierarchies = ((try? Directory.open(root).entries()) ?? []).filter { $0.kind == .directory }.map(\.name).sorted()
      return hierarchies.map { "\(root)/\($0)\(runtimeGroup(parent, id))" }
    }
  }
#endif
