import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension Directory {
  /// Whether openat2 works here: not before Linux 5.6, nor where an old seccomp profile refuses what it does not know.
  static let kernelResolves: Bool = {
    let fd = hostos_openat2(AT_FDCWD, "/", hostos_o_path | O_DIRECTORY, 0, UInt64(HOSTOS_RESOLVE_IN_ROOT))
    if fd >= 0 { close(fd) }
    return fd >= 0
  }()

  func resolve(_ path: String, flags: Int32, mode: UInt32, follow: Follow) throws -> Descriptor {
    if walks { return try walk(path, flags: flags, mode: mode, follow: follow) }
    let relative = Directory.relative(path)
    let how = follow == .inRoot ? HOSTOS_RESOLVE_IN_ROOT | HOSTOS_RESOLVE_NO_MAGICLINKS : HOSTOS_RESOLVE_BENEATH | HOSTOS_RESOLVE_NO_SYMLINKS
    let fd = try withPath(relative, "open") { name in with { hostos_openat2($0, name, flags, mode, UInt64(how)) } }
    if fd == -EXDEV { throw HostError(.escapes, errno: EXDEV, operation: "open", path: path, message: "the path leads out of its directory") }
    return Descriptor(owning: try checked(fd, "open", path))
  }

  static func relative(_ path: String) -> String {
    guard let first = path.utf8.first else { return "." }
    if first != UInt8(ascii: "/") { return path }
    let rest = path.utf8.drop { $0 == UInt8(ascii: "/") }
    return rest.isEmpty ? "." : String(Substring(rest))
  }

  /// As many links in a row as the kernel follows.
  fileprivate static var mostLinks: Int { 40 }

  /// The state of a step-by-step resolution: the directories entered, and what is left to enter.
  private struct Walk {
    var entered: [Directory]
    /// Reversed, so that the next one is the last.
    var pending: [Substring]
    var links = 0
    var top: Directory { entered[entered.count - 1] }

    mutating func push(_ path: String) { pending += path.split(separator: "/").reversed() }

    mutating func followed(_ target: String, path: String) throws {
      links += 1
      if links > Directory.mostLinks { throw HostError(errno: ELOOP, operation: "open", path: path) }
      if target.utf8.first == UInt8(ascii: "/") { entered.removeSubrange(1...) }
      push(target)
    }
  }

  private func walk(_ path: String, flags: Int32, mode: UInt32, follow: Follow) throws -> Descriptor {
    if path.utf8.count > 4096 { throw HostError(errno: ENAMETOOLONG, operation: "open", path: path) }
    var walk = Walk(entered: [self], pending: [])
    walk.push(path)
    let wantsDirectory = path.utf8.last == UInt8(ascii: "/")
    while let component = walk.pending.popLast() {
      if component == "." { continue }
      if component == ".." {
        if walk.entered.count > 1 { walk.entered.removeLast() } else if follow == .none {
          throw HostError(.escapes, operation: "open", path: path, message: "the path leads out of its directory")
        }
        continue
      }
      let name = String(component)
      let isLast = walk.pending.isEmpty
      if isLast, !wantsDirectory {
        if let fd = try openLast(walk.top, name, flags: flags, mode: mode, follow: follow, path: path) { return fd }
      } else if let next = try enter(walk.top, name, path: path) {
        walk.entered.append(next)
        continue
      }
      // A symbolic link.
      if follow == .none { throw HostError(errno: ELOOP, operation: "open", path: path) }
      try walk.followed(try Directory.readLink(walk.top, name, path), path: path)
    }
    let fd = walk.top.with { hostos_openat($0, ".", flags & ~(O_CREAT | O_EXCL), 0) }
    return Descriptor(owning: try checked(fd, "open", path))
  }

  /// The directory of that name, or nil when it is a symbolic link.
  private func enter(_ directory: Directory, _ name: String, path: String) throws -> Directory? {
    let fd = try withPath(name, "open") { name in directory.with { hostos_openat($0, name, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) } }
    if fd >= 0 { return Directory(descriptor: Descriptor(owning: fd), walks: walks) }
    if fd == -ELOOP || fd == -ENOTDIR, try isLink(directory, name) { return nil }
    throw HostError(errno: -fd, operation: "open", path: path)
  }

  /// Opens the last component, or answers nil when it is a symbolic link to be followed.
  private func openLast(_ directory: Directory, _ name: String, flags: Int32, mode: UInt32, follow: Follow, path: String) throws -> Descriptor? {
    let fd = try withPath(name, "open") { name in directory.with { hostos_openat($0, name, flags | O_NOFOLLOW, mode) } }
    let asksForLink = flags & O_NOFOLLOW != 0
    if fd >= 0 {
      let descriptor = Descriptor(owning: fd)
      // Opened for its place only, a link opens itself.
      if !asksForLink, flags & hostos_o_path == hostos_o_path, hostos_o_path != O_RDONLY, try descriptor.status().kind == .symbolicLink { return nil }
      return descriptor
    }
    if !asksForLink, fd == -ELOOP || fd == -ENOTDIR || (fd == -EEXIST && flags & O_EXCL == 0), try isLink(directory, name) { return nil }
    throw HostError(errno: -fd, operation: "open", path: path)
  }

  private func isLink(_ directory: Directory, _ name: String) throws -> Bool {
    var s = hostos_stat()
    let result = try withPath(name, "stat") { name in directory.with { hostos_stat($0, name, 0, &s) } }
    return result == 0 && FileStatus(s).kind == .symbolicLink
  }

  /// The path that `path` comes to when every symbolic link in it, the last included, is resolved beneath this directory: without leading slash,
  /// "" for the directory itself. What does not exist stays as written.
  package func canonicalPath(of path: String) throws -> String {
    var names: [String] = []
    // As many as `names` exist, and one for the start.
    var walk = Walk(entered: [self], pending: [])
    walk.push(path)
    while let component = walk.pending.popLast() {
      if component == "." { continue }
      if component == ".." {
        if walk.entered.count == names.count + 1, walk.entered.count > 1 { walk.entered.removeLast() }
        if !names.isEmpty { names.removeLast() }
        continue
      }
      let name = String(component)
      guard walk.entered.count == names.count + 1, let status = try walk.top.statusIfPresent(name) else {
        names.append(name)
        continue
      }
      switch status.kind {
      case .symbolicLink:
        let target = try Directory.readLink(walk.top, name, path)
        try walk.followed(target, path: path)
        if target.utf8.first == UInt8(ascii: "/") { names = [] }
      case .directory:
        walk.entered.append(try walk.top.openDirectory(name, follow: .none))
        names.append(name)
      default:
        names.append(name)
      }
    }
    return names.joined(separator: "/")
  }
}
