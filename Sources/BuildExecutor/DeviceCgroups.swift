#if os(Linux)
  import CHostOS
  import HostOS
  import Synchronization

  /// The control groups that keep real root in a container from the machine's disks: each step is put in one of its own, in which only harmless
  /// device files open. Everything else about control groups is left as this program found it.
  final class DeviceCgroups: Sendable {
    /// The group this process is in, as a directory, and how rules are given there.
    struct Place: Sendable, Equatable {
      var path: String
      var isUnified: Bool
    }

    /// The name of a group that the supervisor makes.
    struct Group: Sendable {
      let parent: Directory
      let name: String
      let version: Int32
    }

    private let parent: Directory
    private let place: Place
    private static let counter = Atomic<UInt64>(0)
    private static let prefix = "manifold-step-"

    /// nil where this process may not make control groups, or needs none: in a user namespace nobody can make a device file.
    init?() {
      guard !HostFacts.inUserNamespace, HostFacts.isRoot, let mounts = Files.text("/proc/self/mountinfo"), let own = Files.text("/proc/self/cgroup"),
        let place = Self.place(mounts: mounts, own: own), let parent = try? Directory.open(place.path)
      else { return nil }
      self.place = place
      self.parent = parent
      Self.sweep(parent)
      let trial = next()
      guard manifold_device_group(parent.descriptor.raw, trial.name, trial.version) == 0 else { return nil }
      try? parent.removeDirectory(trial.name)
    }

    func next() -> Group { Group(parent: parent, name: Self.nextName(), version: place.isUnified ? 2 : 1) }

    /// A name for groups that tells whose they are.
    static func nextName() -> String {
      prefix + "\(ProcessIdentity.current.pid)-\(ProcessIdentity.current.startTime)-\(counter.add(1, ordering: .relaxed).newValue)"
    }

    /// Groups of programs that were killed before they could remove them.
    static func sweep(_ parent: Directory) {
      for entry in (try? parent.entries()) ?? [] where entry.name.hasPrefix(prefix) {
        let numbers = entry.name.dropFirst(prefix.count).split(separator: "-").compactMap { UInt64($0) }
        guard numbers.count == 3, numbers[0] <= UInt64(Int32.max) else { continue }
        if ProcessIdentity.startTime(of: Int32(numbers[0])) != numbers[1] { try? parent.removeDirectory(entry.name) }
      }
    }

    /// The directory of this process's group in the hierarchy that has a controller (in version 2: may have).
    static func place(mounts: String, own: String, controller: String = "devices") -> Place? {
      // Version 1's own hierarchy is the one that counts where both are mounted.
      func inHierarchy(_ line: Substring) -> Bool { line.split(separator: " ").last?.split(separator: ",").contains(Substring(controller)) == true && line.contains(" - cgroup ") }
      let hasOld = mounts.split(separator: "\n").contains(where: inHierarchy)
      for line in mounts.split(separator: "\n").reversed() {
        let fields = line.split(separator: " ")
        guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3 else { continue }
        let kind = fields[dash + 1], options = fields[dash + 3].split(separator: ",")
        let isUnified = kind == "cgroup2" && fields[4] == "/sys/fs/cgroup" && !hasOld
        guard isUnified || (kind == "cgroup" && options.contains(Substring(controller))) else { continue }
        for group in own.split(separator: "\n") {
          let parts = group.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
          guard parts.count == 3, isUnified ? parts[0] == "0" : parts[1].split(separator: ",").contains(Substring(controller)) else { continue }
          // In a container the mount's root may be the group itself.
          let root = fields[3], path = parts[2]
          let inside = root == "/" ? path : path.hasPrefix(root) ? path.dropFirst(root.count) : nil
          guard let inside, !inside.split(separator: "/").contains("..") else { return nil }
          return Place(path: RuntimeSpec.cleaned(fields[4] + "/" + inside), isUnified: isUnified)
        }
      }
      return nil
    }
  }
#endif
