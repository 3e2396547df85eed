#if os(Linux)
  import CHostOS

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// Mounts, as (mapped) root in a mount namespace of one's own. All of it blocks; call through Blocking.run.
  package enum Mounts {
    /// The tree of a plan, mounted nowhere: no other process sees it, and it ends with the last reference to the answer, a killed process included.
    package static func open(_ plan: MountPlan) throws -> Directory {
      switch plan {
      case .bind(let path, let readOnly):
        do { return Directory(try bindTree(path, readOnly: readOnly)) } catch let error as HostError where error.code == .notSupported {
          return try throughScratch { try mountLegacy(plan, at: $0) }
        }
      case .overlay(let lowers, let upper, let work, let userXattr, let volatile):
        do {
          return Directory(try overlay(lowers: lowers, upper: upper, work: work, userXattr: userXattr, volatile: volatile))
        } catch let error as HostError where error.code == .notSupported || (error.code == .invalid && !hasLowerPlus) {
          return try throughScratch { try mountLegacy(plan, at: $0) }
        }
      case .tmpfs(let size):
        let fd = hostos_tmpfs_open(size ?? 0, 0o755)
        if fd == -ENOSYS { return try throughScratch { try mountLegacy(plan, at: $0) } }
        return Directory(Descriptor(owning: try checked(fd, "mount tmpfs", "")))
      }
    }

    /// Mounts a plan at a directory (or, for the bind of a file, a file) of the host.
    package static func mount(_ plan: MountPlan, at target: String) throws {
      do {
        try attach(try openAttachable(plan), at: target)
      } catch let error as HostError where error.code == .notSupported || (error.code == .invalid && !hasLowerPlus) {
        try mountLegacy(plan, at: target)
      }
    }

    /// Puts a tree from `open`, which was mounted nowhere, at a path beneath a directory ("." for itself), or at a path of the host.
    package static func attach(_ tree: Directory, at path: String, beneath directory: Directory? = nil) throws {
      let result: Int32
      if let directory {
        let target = try directory.openFile(path, flags: .path)
        result = withExtendedLifetime(target) { tree.with { hostos_mount_attach($0, target.raw, "") } }
      } else {
        result = try withPath(path, "mount") { path in tree.with { hostos_mount_attach($0, AT_FDCWD, path) } }
      }
      try checked(result, "mount", path)
    }

    /// A copy of the mount tree at `path`, mounted nowhere.
    package static func bindTree(_ path: String, readOnly: Bool, recursive: Bool = true) throws -> Descriptor {
      let tree = Descriptor(owning: try checked(try withPath(path, "bind") { hostos_bind_open(AT_FDCWD, $0, recursive ? 1 : 0) }, "bind", path))
      try setReadOnly(tree, readOnly, recursive, path)
      return tree
    }

    /// The same for what is at `path` beneath an open directory, resolved inside it.
    package static func bindTree(_ path: String, beneath directory: Directory, readOnly: Bool, recursive: Bool = true) throws -> Descriptor {
      let source = try directory.openFile(path, flags: .path)
      let fd = withExtendedLifetime(source) { hostos_bind_open(source.raw, "", recursive ? 1 : 0) }
      let tree = Descriptor(owning: try checked(fd, "bind", path))
      try setReadOnly(tree, readOnly, recursive, path)
      return tree
    }

    private static func setReadOnly(_ tree: Descriptor, _ readOnly: Bool, _ recursive: Bool, _ path: String) throws {
      guard readOnly else { return }
      try checked(hostos_mount_set(tree.raw, UInt64(HOSTOS_MOUNT_RDONLY), recursive ? 1 : 0), "make read-only", path)
    }

    /// With `detach` a busy mount goes as soon as nobody uses it any more. Nothing mounted there is HostError.invalid.
    package static func unmount(_ path: String, detach: Bool = true) throws {
      try checked(try withPath(path, "unmount") { hostos_unmount($0, detach ? 1 : 0) }, "unmount", path)
    }

    /// Mounts made here no longer show elsewhere; with `slave` those made elsewhere still show here.
    package static func makePrivate(_ path: String = "/", slave: Bool = false) throws {
      try checked(try withPath(path, "make private") { hostos_propagation($0, slave ? 1 : 0) }, "make private", path)
    }

    // MARK: how

    /// "lowerdir+" takes one layer at a time, without a limit on their paths' length together (Linux 6.5).
    static let hasLowerPlus = HostFacts.kernel >= (6, 5)
    /// The kernel's own limit.
    package static let mostLowers = 500

    private static func openAttachable(_ plan: MountPlan) throws -> Directory {
      switch plan {
      case .bind(let path, let readOnly): return Directory(try bindTree(path, readOnly: readOnly))
      case .overlay(let lowers, let upper, let work, let userXattr, let volatile):
        return Directory(try overlay(lowers: lowers, upper: upper, work: work, userXattr: userXattr, volatile: volatile))
      case .tmpfs(let size): return Directory(Descriptor(owning: try checked(hostos_tmpfs_open(size ?? 0, 0o755), "mount tmpfs", "")))
      }
    }

    private static func overlay(lowers: [String], upper: String?, work: String?, userXattr: Bool, volatile: Bool) throws -> Descriptor {
      try checkDepth(lowers)
      if volatile, let work { try? Files.removeTree(work + "/work/incompat") }
      let fd = try withOverlay(lowers, upper, work, userXattr, volatile) { overlay in
        withUnsafePointer(to: overlay) { hostos_overlay_open($0) }
      }
      return Descriptor(owning: try checkedOverlay(fd, upper ?? lowers.first ?? ""))
    }

    private static func checkDepth(_ lowers: [String]) throws {
      if lowers.count > mostLowers {
        throw HostError(.unavailable, operation: "mount overlay", message: "\(lowers.count) layers; the kernel stacks \(mostLowers) at most")
      }
    }

    private static func checkedOverlay(_ result: Int32, _ path: String) throws -> Int32 {
      if result == -ENODEV { throw HostError(.unavailable, errno: ENODEV, operation: "mount overlay", path: path, message: "the kernel has no overlay filesystem (modprobe overlay)") }
      return try checked(result, "mount overlay", path)
    }

    /// Builds the C value; its strings live as long as the call.
    private static func withOverlay<Value>(
      _ lowers: [String], _ upper: String?, _ work: String?, _ userXattr: Bool, _ volatile: Bool, _ body: (hostos_overlay) throws -> Value
    ) throws -> Value {
      let texts = lowers.map { PathText.bytes($0) + [0] } + [upper, work].compactMap { $0 }.map { PathText.bytes($0) + [0] }
      if texts.contains(where: { $0.dropLast().contains(0) }) { throw HostError(.invalid, operation: "mount overlay", message: "a path contains a NUL byte") }
      let arena = UnsafeMutableBufferPointer<CChar>.allocate(capacity: texts.reduce(0) { $0 + $1.count })
      defer { arena.deallocate() }
      var pointers: [UnsafePointer<CChar>?] = []
      var at = 0
      for text in texts {
        pointers.append(UnsafePointer(arena.baseAddress! + at))
        for byte in text {
          arena[at] = CChar(bitPattern: byte)
          at += 1
        }
      }
      return try pointers.withUnsafeBufferPointer { list in
        try body(
          hostos_overlay(
            lowers: list.baseAddress, count: lowers.count, upper: upper == nil ? nil : list[lowers.count],
            work: upper == nil || work == nil ? nil : list[lowers.count + 1], user_xattr: userXattr ? 1 : 0, is_volatile: volatile ? 1 : 0))
      }
    }

    // MARK: kernels without the newer interface

    static func mountLegacy(_ plan: MountPlan, at target: String) throws {
      switch plan {
      case .bind(let path, let readOnly):
        let result = try withPath(path, "bind") { path in try withPath(target, "bind") { hostos_bind_legacy(path, $0, 1, readOnly ? 1 : 0) } }
        try checked(result, "bind", path)
      case .tmpfs(let size):
        let options = size.map { "mode=755,size=\($0)" } ?? "mode=755"
        try checked(try withPath(target, "mount tmpfs") { hostos_mount("tmpfs", $0, "tmpfs", UInt(MS_NOSUID | MS_NODEV), options) }, "mount tmpfs", target)
      case .overlay(let lowers, let upper, let work, let userXattr, let volatile):
        try checkDepth(lowers)
        if volatile, let work { try? Files.removeTree(work + "/work/incompat") }
        // All options share one page: paths are named from their common directory.
        let all = lowers + [upper, work].compactMap { $0 }
        let base = commonDirectory(all)
        func short(_ path: String) -> String { String(path.dropFirst(base == "/" ? 1 : base.count + 1)) }
        let result = try withOverlay(lowers.map(short), upper.map(short), work.map(short), userXattr, volatile) { overlay in
          try withPath(base, "mount overlay") { base in
            try withPath(target, "mount overlay") { target in withUnsafePointer(to: overlay) { hostos_overlay_legacy(base, $0, target) } }
          }
        }
        if result == -E2BIG {
          throw HostError(
            .unavailable, errno: E2BIG, operation: "mount overlay", path: target,
            message: "\(lowers.count) layers do not fit in one mount(2) call; Linux 6.5 or later has no such limit")
        }
        _ = try checkedOverlay(result, target)
      }
    }

    /// The deepest directory above all of the paths, which are absolute.
    static func commonDirectory(_ paths: [String]) -> String {
      var common = paths[0].split(separator: "/").dropLast()
      for path in paths.dropFirst() {
        let parts = path.split(separator: "/").dropLast()
        let same = zip(common, parts).prefix { $0 == $1 }.count
        common = common.prefix(same)
      }
      return "/" + common.joined(separator: "/")
    }

    /// Mounts at a directory that exists for a moment, opens the tree and takes the mount away: it lives on with the descriptor.
    private static func throughScratch(_ body: (String) throws -> Void) throws -> Directory {
      let scratch = try Files.makeTemporaryDirectory()
      defer { _ = try? withPath(scratch, "rmdir") { rmdir($0) } }
      try body(scratch)
      defer { try? unmount(scratch) }
      return try Directory.open(scratch)
    }
  }
#endif
