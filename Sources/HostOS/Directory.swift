import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What a symbolic link on the way means.
package enum Follow: Sendable {
  /// It is resolved inside the directory, as after chroot: absolute targets start there, ".." stops there.
  case inRoot
  /// It is refused (HostError.symbolicLink).
  case none
}

/// A directory held open. Every path is resolved beneath it, by the kernel (openat2) or, where that cannot, step by step: whatever others
/// rename or link meanwhile, nothing outside is reached. Leading slashes of paths mean nothing. An operation on a path never follows its last
/// component unless it says so. All of it blocks; call through Blocking.run.
package struct Directory: Sendable {
  package let descriptor: Descriptor
  /// Resolve step by step though the kernel could (for tests, and where the kernel cannot).
  let walks: Bool

  init(descriptor: Descriptor, walks: Bool) { (self.descriptor, self.walks) = (descriptor, walks) }

  /// A directory from a descriptor of it.
  package init(_ descriptor: Descriptor) { self.init(descriptor: descriptor, walks: !Directory.kernelResolves) }

  /// Opens a directory of the host; symbolic links in `path` are followed.
  package static func open(_ path: String) throws -> Directory { try open(path, walks: !kernelResolves) }

  static func open(_ path: String, walks: Bool) throws -> Directory {
    Directory(descriptor: try Descriptor.open(path, flags: [.path, .directory]), walks: walks)
  }

  /// Runs `body` with the number of the descriptor, kept open meanwhile.
  @inline(__always)
  func with<Value>(_ body: (Int32) throws -> Value) rethrows -> Value {
    try withExtendedLifetime(descriptor) { try body(descriptor.raw) }
  }

  /// A path by which this process (and only it) reaches the directory, for programs and calls that take paths.
  package var procPath: String { "/proc/self/fd/\(descriptor.raw)" }

  // MARK: opening

  package func openFile(_ path: String, flags: OpenFlags = .readOnly, mode: UInt32 = 0o644, follow: Follow = .inRoot) throws -> Descriptor {
    try resolve(path, flags: flags.rawValue, mode: mode, follow: follow)
  }

  package func openDirectory(_ path: String, follow: Follow = .inRoot) throws -> Directory {
    Directory(descriptor: try resolve(path, flags: hostos_o_path | O_DIRECTORY, mode: 0, follow: follow), walks: walks)
  }

  /// The directory that holds the path's last component, and that component: for many operations on one directory's entries.
  /// The name is "." for the directory itself.
  package func parent(of path: String, follow: Follow = .inRoot) throws -> (directory: Directory, name: String) {
    let (head, last) = Directory.split(path)
    if last == "." || last == ".." { return (try openDirectory(path, follow: follow), ".") }
    return (head.isEmpty ? self : try openDirectory(head, follow: follow), last)
  }

  /// Head and last component, without slashes around them. ("", ".") for the directory itself.
  static func split(_ path: String) -> (head: String, last: String) {
    let utf8 = path.utf8
    let slash = UInt8(ascii: "/")
    guard utf8.contains(slash) else { return ("", path.isEmpty ? "." : path) }
    var end = utf8.endIndex
    while end > utf8.startIndex, utf8[utf8.index(before: end)] == slash { end = utf8.index(before: end) }
    if end == utf8.startIndex { return ("", ".") }
    guard let cut = utf8[..<end].lastIndex(of: slash) else { return ("", String(path[..<end])) }
    let last = String(path[utf8.index(after: cut)..<end])
    var headEnd = cut
    while headEnd > utf8.startIndex, utf8[utf8.index(before: headEnd)] == slash { headEnd = utf8.index(before: headEnd) }
    return (String(path[..<headEnd]), last)
  }

  /// Runs `body` on the directory and the name that the path's last component has there.
  private func at<Value>(_ path: String, _ operation: String, _ body: (Int32, UnsafePointer<CChar>) -> Value) throws -> Value where Value: BinaryInteger & SignedNumeric {
    let (directory, name) = try parent(of: path)
    let value = try withPath(name, operation) { name in directory.with { body($0, name) } }
    return try checked(value, operation, path)
  }

  // MARK: asking

  package func status(_ path: String, followLast: Bool = false) throws -> FileStatus {
    var s = hostos_stat()
    let (directory, name) = try parent(of: path)
    let result = try withPath(name, "stat") { name in directory.with { hostos_stat($0, name, 0, &s) } }
    try checked(result, "stat", path)
    let status = FileStatus(s)
    if followLast, status.kind == .symbolicLink { return try openFile(path, flags: .path).status() }
    return status
  }

  /// nil when nothing is there.
  package func statusIfPresent(_ path: String, followLast: Bool = false) throws -> FileStatus? {
    do { return try status(path, followLast: followLast) } catch let error as HostError where error.code == .notFound || error.code == .notDirectory { return nil }
  }

  package func readLink(_ path: String) throws -> String {
    let (directory, name) = try parent(of: path)
    return try Directory.readLink(directory, name, path)
  }

  static func readLink(_ directory: Directory, _ name: String, _ path: String) throws -> String {
    var size = 256
    while true {
      var count = 0
      let bytes = try withPath(name, "readlink") { name in
        [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
          count = directory.with { fd in
            buffer.withMemoryRebound(to: CChar.self) { readlinkat(fd, name, $0.baseAddress!, size) }
          }
          if count < 0 { count = Int(-errno) }
          initialized = max(0, count)
        }
      }
      try checked(count, "readlink", path)
      if count < size { return PathText.decode(bytes) }
      size *= 4
    }
  }

  /// The entries of the directory at `path`, in the filesystem's order.
  package func entries(_ path: String = ".") throws -> [DirectoryEntry] {
    let directory = Directory.split(path) == ("", ".") ? self : try openDirectory(path)
    var found: [DirectoryEntry] = []
    let result = withUnsafeMutablePointer(to: &found) { pointer in
      directory.with { fd in
        hostos_entries(
          fd,
          { context, name, length, type, inode in
            let bytes = UnsafeRawBufferPointer(start: name, count: length).bindMemory(to: UInt8.self)
            context!.assumingMemoryBound(to: [DirectoryEntry].self).pointee
              .append(DirectoryEntry(name: PathText.decode(bytes), kind: FileKind(entryType: type), inode: inode))
            return 0
          }, pointer)
      }
    }
    try checked(result, "read directory", path)
    for index in found.indices.reversed() where found[index].kind == .unknown {
      // What went meanwhile (a process in /proc) is no entry any more.
      if let status = try directory.statusIfPresent(found[index].name) { found[index].kind = status.kind } else { found.remove(at: index) }
    }
    return found
  }

  // MARK: making

  /// The mode is masked by the process's umask; setMode is not.
  package func makeDirectory(_ path: String, mode: UInt32 = 0o755) throws {
    _ = try at(path, "mkdir") { mkdirat($0, $1, mode_t(mode)) == 0 ? 0 : -errno }
  }

  /// Makes what is missing on the way, and answers the directory. A link whose target is missing has the target made.
  @discardableResult
  package func makeDirectories(_ path: String, mode: UInt32 = 0o755) throws -> Directory {
    do { return try openDirectory(path) } catch let error as HostError where error.code == .notFound {}
    var current = self
    for name in try canonicalPath(of: path).split(separator: "/") {
      do { try current.makeDirectory(String(name), mode: mode) } catch let error as HostError where error.code == .exists {}
      current = try current.openDirectory(String(name), follow: .none)
    }
    return current
  }

  package func symlink(target: String, at path: String) throws {
    let (directory, name) = try parent(of: path)
    let result = try withPath(target, "symlink") { target in
      try withPath(name, "symlink") { name in directory.with { symlinkat(target, $0, name) == 0 ? 0 : -errno } }
    }
    try checked(result, "symlink", path)
  }

  /// Both paths are resolved beneath this directory; a symbolic link at `existing` is linked itself.
  package func hardlink(from existing: String, to path: String) throws {
    let (source, sourceName) = try parent(of: existing)
    let (target, targetName) = try parent(of: path)
    let result = try withPath(sourceName, "link") { from in
      try withPath(targetName, "link") { to in source.with { s in target.with { t in linkat(s, from, t, to, 0) == 0 ? 0 : -errno } } }
    }
    try checked(result, "link", path)
  }

  /// A device, FIFO, socket or empty file. Permissions are masked by the umask.
  package func makeNode(_ path: String, kind: FileKind, mode: UInt32, device: DeviceNumber = DeviceNumber(major: 0, minor: 0)) throws {
    _ = try at(path, "mknod") { hostos_mknod($0, $1, kind.typeBits | (mode & 0o7777), device.major, device.minor) }
  }

  package enum RenameMode: Sendable { case replace, noReplace, exchange }

  /// `into` is where the new path is resolved: this directory unless another is given.
  package func rename(_ from: String, to: String, into other: Directory? = nil, mode: RenameMode = .replace) throws {
    let (source, sourceName) = try parent(of: from)
    let (target, targetName) = try (other ?? self).parent(of: to)
    let flags = mode == .replace ? 0 : mode == .noReplace ? UInt32(HOSTOS_RENAME_NOREPLACE) : UInt32(HOSTOS_RENAME_EXCHANGE)
    let result = try withPath(sourceName, "rename") { from in
      try withPath(targetName, "rename") { to in source.with { s in target.with { t in hostos_rename(s, from, t, to, flags) } } }
    }
    try checked(result, "rename", "\(from) to \(to)")
  }

  /// Removes a file that is not a directory.
  package func unlink(_ path: String) throws { _ = try at(path, "unlink") { unlinkat($0, $1, 0) == 0 ? 0 : -errno } }
  package func removeDirectory(_ path: String) throws { _ = try at(path, "rmdir") { unlinkat($0, $1, AT_REMOVEDIR) == 0 ? 0 : -errno } }

  // MARK: changing (the last component is never followed)

  package func setOwner(_ path: String, uid: UInt32, gid: UInt32) throws { _ = try at(path, "chown") { hostos_chown($0, $1, uid, gid) } }
  /// Symbolic links have no mode of their own on Linux: HostError.notSupported.
  package func setMode(_ path: String, _ mode: UInt32) throws { _ = try at(path, "chmod") { hostos_chmod($0, $1, mode & 0o7777) } }
  /// Nanoseconds since 1970; nil leaves a time as it is.
  package func setTimes(_ path: String, accessed: Int64?, modified: Int64?) throws {
    _ = try at(path, "utimens") { hostos_set_times($0, $1, accessed ?? .min, modified ?? .min) }
  }

  /// Waits until the directory's entries are on the disk.
  package func sync() throws {
    let fd = try with { try checked(hostos_openat($0, ".", O_RDONLY | O_DIRECTORY, 0), "open", ".") }
    try Descriptor(owning: fd).sync()
  }
}
