#if os(Linux)
  import HostOS

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// Where control groups that limit steps can be made: beneath this process's own in each of version 1's hierarchies, or in version 2 beneath the nearest
  /// group above it that hands the controllers on (a group with processes in it cannot).
  struct LimitCgroups: Sendable {
    struct Group: Sendable {
      var parent: Directory
      var name: String
      var isUnified: Bool
      var settings: [StepResources.Setting]
    }

    /// One directory and the controllers that it has.
    struct Place: Sendable, Equatable {
      var path: String
      var isUnified: Bool
      var controllers: [String]
    }

    /// What is asked of the system; tests answer for others.
    struct Host: Sendable {
      var mounts: String
      var own: String
      var read: @Sendable (String) -> String?
      var mayWrite: @Sendable (String) -> Bool
      /// Has a group hand on a controller.
      var enable: @Sendable (_ controllers: [String], _ group: String) -> Void

      static var current: Host {
        Host(
          mounts: Files.text("/proc/self/mountinfo") ?? "", own: Files.text("/proc/self/cgroup") ?? "", read: { Files.text($0) },
          mayWrite: { path in path.withCString { access($0, W_OK) == 0 } },
          enable: { controllers, group in
            guard HostFacts.isRoot, !HostFacts.inUserNamespace, let file = try? Descriptor.open(group + "/cgroup.subtree_control", flags: .writeOnly) else { return }
            try? file.write(Array(controllers.map { "+" + $0 }.joined(separator: " ").utf8))
          })
      }
    }

    /// Throws `ExecutorError.noControlGroup`.
    static func places(for controllers: [String], _ host: Host) throws -> [Place] {
      var unified: [String] = []
      var places: [Place] = []
      for controller in controllers {
        guard let place = DeviceCgroups.place(mounts: host.mounts, own: host.own, controller: controller) else {
          throw missing(controller, "no hierarchy of control groups with this controller is mounted")
        }
        if place.isUnified {
          unified.append(controller)
        } else if host.mayWrite(place.path) {
          places.append(Place(path: place.path, isUnified: false, controllers: [controller]))
        } else {
          throw missing(controller, "\(place.path) is not this user's")
        }
      }
      guard !unified.isEmpty, let own = DeviceCgroups.place(mounts: host.mounts, own: host.own, controller: unified[0]) else { return places }
      places.append(Place(path: try above(own.path, unified, host), isUnified: true, controllers: unified))
      return places
    }

    private static func above(_ own: String, _ controllers: [String], _ host: Host) throws -> String {
      let root = "/sys/fs/cgroup"
      func handsOn(_ group: String) -> Bool {
        let given = Set((host.read(group + "/cgroup.subtree_control") ?? "").split(whereSeparator: \.isWhitespace).map(String.init))
        return controllers.allSatisfy(given.contains)
      }
      var group = own
      var why = "no group above \(own) hands the controllers on"
      while true {
        if host.mayWrite(group), host.mayWrite(group + "/cgroup.procs") {
          if handsOn(group) { return group }
          if group != own || group == root {
            host.enable(controllers, group)
            if handsOn(group) { return group }
          }
        } else if handsOn(group) {
          why = "\(group) is not this user's"
        }
        guard group != root, group.hasPrefix(root + "/"), let slash = group.lastIndex(of: "/") else { break }
        group = String(group[..<slash])
      }
      throw missing(controllers.joined(separator: ", "), why)
    }

    private static func missing(_ controllers: String, _ why: String) -> ExecutorError {
      ExecutorError(
        .noControlGroup,
        "steps cannot be limited here: for \(controllers), \(why); run this as root, or in a group that is yours: systemd-run --user --scope -p Delegate=yes manifold …, or leave --resource away")
    }

    /// The groups for one step, of a name that nobody else has.
    static func groups(for resources: StepResources, name: String, _ host: Host = .current) throws -> [Group] {
      try places(for: resources.controllers, host).map { place in
        let settings = place.controllers.flatMap { controller in
          resources.settings(controller, unified: place.isUnified) { file in
            host.read(place.path + "/" + file).map { String($0.prefix { !$0.isWhitespace }) }
          }
        }
        let parent = try Directory.open(place.path)
        DeviceCgroups.sweep(parent)
        return Group(parent: parent, name: name, isUnified: place.isUnified, settings: settings)
      }
    }
  }
#endif
