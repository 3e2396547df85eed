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

    struct Group: Sendable {
      let parent: Directory
      let name: String
      /// The supervisor does it too; this is for what never got that far.
      func remove() { try? parent.removeDirectory(name) }
    }

    private let parent: Directory
    private let place: Place
    private let counter = Atomic<UInt64>(0)
    private static let prefix = "manifold-step-"

    /// nil where this process may not make control groups, or needs none: in a user namespace nobody can make a device file.
    init?() {
      guard !HostFacts.inUserNamespace, HostFacts.isRoot, let mounts = Files.text("/proc/self/mountinfo"), let own = Files.text("/proc/self/cgroup"),
        let place = Self.place(mounts: mounts, own: own), let parent = try? Directory.open(place.path)
      else { return nil }
      self.place = place
      self.parent = parent
      sweep()
      guard let trial = try? make() else { return nil }
      trial.remove()
    }

    func make() throws -> Group {
      let identity = ProcessIdentity.current
      let name = "\(Self.prefix)\(identity.pid)-\(identity.startTime)-\(counter.add(1, ordering: .relaxed).newValue)"
      try parent.makeDirectory(name)
      let group = Group(parent: parent, name: name)
      do {
        if place.isUnified {
          let directory = try parent.openFile(name, flags: [.readOnly, .directory])
          let result = withExtendedLifetime(directory) { manifold_device_policy($0.raw) }
          if result < 0 { throw HostError(errno: -result, operation: "attach device policy", path: name) }
        } else {
          try parent.openFile("\(name)/devices.deny", flags: .writeOnly).write("a")
          let allow = try parent.openFile("\(name)/devices.allow", flags: .writeOnly)
          // What this process may not do itself it cannot allow: then it stays forbidden.
          for rule in Self.rules { try? allow.write(rule) }
        }
      } catch {
        group.remove()
        throw error
      }
      return group
    }

    /// Making nodes is free; null, zero, full, random, urandom, tty, ptmx and pseudo-terminals can be used.
    static let rules = ["c *:* m", "b *:* m"] + ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*"].map { "c \($0) rwm" }

    /// Groups of programs that were killed before they could remove them.
    private func sweep() {
      for entry in (try? parent.entries()) ?? [] where entry.name.hasPrefix(Self.prefix) {
        let numbers = entry.name.dropFirst(Self.prefix.count).split(separator: "-").compactMap { UInt64($0) }
        guard numbers.count == 3, numbers[0] <= UInt64(Int32.max) else { continue }
        if ProcessIdentity.startTime(of: Int32(numbers[0])) != numbers[1] { try? parent.removeDirectory(entry.name) }
      }
    }

    /// The directory of this process's group in the hierarchy that knows devices.
    static func place(mounts: String, own: String) -> Place? {
      for line in mounts.split(separator: "\n").reversed() {
        let fields = line.split(separator: " ")
        guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3 else { continue }
        let kind = fields[dash + 1], options = fields[dash + 3].split(separator: ",")
        let isUnified = kind == "cgroup2" && fields[4] == "/sys/fs/cgroup"
        guard isUnified || (kind == "cgroup" && options.contains("devices")) else { continue }
        for group in own.split(separator: "\n") {
          let parts = group.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
          guard parts.count == 3, isUnified ? parts[0] == "0" : parts[1].split(separator: ",").contains("devices") else { continue }
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
