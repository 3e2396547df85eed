#if os(Linux)
  import HostOS

  /// `--cgroup-parent`: a step's groups beneath a group that was named, in every hierarchy of control groups that is mounted. Only root.
  enum ParentCgroups {
    struct Group: Sendable {
      var parent: Directory
      var name: String
      /// How device files are denied in this group: 0 not here.
      var deviceVersion: Int32
      var settings: [StepResources.Setting]
    }
    /// One mounted hierarchy.
    struct Hierarchy: Sendable, Equatable {
      var path: String
      var isUnified: Bool
      /// Of version 1; in version 2 all that there are.
      var controllers: [String]
    }

    static func hierarchies(mounts: String) -> [Hierarchy] {
      var found: [Hierarchy] = []
      for line in mounts.split(separator: "\n") {
        let fields = line.split(separator: " ")
        guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3, ["cgroup", "cgroup2"].contains(fields[dash + 1]) else { continue }
        let isUnified = fields[dash + 1] == "cgroup2"
        let hierarchy = Hierarchy(
          path: String(fields[4]), isUnified: isUnified, controllers: isUnified ? [] : fields[dash + 3].split(separator: ",").map(String.init).filter { $0 != "rw" && $0 != "ro" })
        if !found.contains(where: { $0.path == hierarchy.path || (!$0.isUnified && $0.controllers == hierarchy.controllers) }) { found.append(hierarchy) }
      }
      return found
    }

    /// Makes the group that was named where it is missing. Blocks. Throws `ExecutorError.noControlGroup`.
    static func groups(beneath parent: String, for resources: StepResources, name: String) throws -> [Group] {
      let all = hierarchies(mounts: Files.text("/proc/self/mountinfo") ?? "")
      guard !all.isEmpty else { throw ExecutorError(.noControlGroup, "--cgroup-parent \(parent): no control groups are mounted here") }
      if parent.hasSuffix(":") { throw ExecutorError(.noControlGroup, "--cgroup-parent \(parent): groups of systemd are named by their paths here, as in /build.slice") }
      let hasOldDevices = all.contains { $0.controllers.contains("devices") }
      var groups: [Group] = []
      for hierarchy in all {
        let wanted = resources.controllers.filter { hierarchy.isUnified ? !all.flatMap(\.controllers).contains($0) : hierarchy.controllers.contains($0) }
        let place = try make(parent, in: hierarchy, handingOn: wanted)
        var settings = wanted.flatMap { controller in resources.settings(controller, unified: hierarchy.isUnified) { file in text(place, file) } }
        if hierarchy.controllers.contains("cpuset"), !wanted.contains("cpuset") {
          settings = ["cpuset.cpus", "cpuset.mems"].compactMap { file in text(place, file).map { StepResources.Setting(file, $0) } }
        }
        let version: Int32 = hierarchy.isUnified ? (hasOldDevices ? 0 : 2) : hierarchy.controllers.contains("devices") ? 1 : 0
        let directory = try Directory.open(place)
        DeviceCgroups.sweep(directory)
        groups.append(Group(parent: directory, name: name, deviceVersion: version, settings: settings))
      }
      return groups
    }

    private static func text(_ group: String, _ file: String) -> String? { Files.text(group + "/" + file).map { String($0.prefix { !$0.isWhitespace }) } }

    private static func make(_ parent: String, in hierarchy: Hierarchy, handingOn controllers: [String]) throws -> String {
      var path = hierarchy.path
      do {
        for part in RuntimeSpec.cleaned(parent).split(separator: "/") {
          if !controllers.isEmpty, hierarchy.isUnified { try handOn(controllers, path) }
          let above = path
          path += "/" + part
          if !Files.exists(path) { try Files.makeDirectories(path) }
          // In version 1 a group without both takes no process.
          if hierarchy.controllers.contains("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] where text(path, file)?.isEmpty != false {
              if let value = text(above, file), !value.isEmpty { try Descriptor.open(path + "/" + file, flags: .writeOnly).write(value) }
            }
          }
        }
        if !controllers.isEmpty, hierarchy.isUnified { try handOn(controllers, path) }
      } catch let error as HostError {
        throw ExecutorError(.noControlGroup, "--cgroup-parent \(parent): the group \(path) cannot be used", cause: error)
      }
      return path
    }

    private static func handOn(_ controllers: [String], _ group: String) throws {
      try Descriptor.open(group + "/cgroup.subtree_control", flags: .writeOnly).write(controllers.map { "+" + $0 }.joined(separator: " "))
    }
  }
#endif
