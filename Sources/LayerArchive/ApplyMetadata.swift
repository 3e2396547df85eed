import CHostOS
import HostOS
import OCIModel

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Owners, attributes, modes and times, in the order that keeps each: a change of owner takes setuid bits and capabilities away, so it is first.
extension ApplySession {
  /// As containerd bounds them: before 1970, or beyond what 64 bits of nanoseconds hold, is 1970. The access time is not before the modification time.
  static func times(_ entry: TarEntry) -> (accessed: Int64, modified: Int64) {
    func bounded(_ time: Timestamp) -> Int64 {
      let value = time.nanosecondsSinceEpoch
      return value < 0 || value == .max ? 0 : value
    }
    return (bounded(max(entry.accessed ?? entry.modified, entry.modified)), bounded(entry.modified))
  }

  /// Of `name` beneath `fd`, or of `fd` itself when it is "". A directory's times come at the end.
  func setMetadata(_ entry: TarEntry, _ fd: Int32, _ name: UnsafePointer<CChar>, _ path: ByteString, kind: ModeKind) throws {
    switch options.ownership {
    case .ignore: break
    case .fixed(let uid, let gid): try setOwner(uid, gid, fd, name, path)
    case .preserve:
      guard let uid = UInt32(exactly: entry.uid), let gid = UInt32(exactly: entry.gid), uid != .max, gid != .max else {
        throw LayerArchiveError(.invalidEntry, "the owner \(entry.uid):\(entry.gid) is out of range", path: path)
      }
      try setOwner(uid, gid, fd, name, path)
    }
    if !entry.xattrs.isEmpty {
      for key in entry.xattrs.keys.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) { try setXattr(key, entry.xattrs[key] ?? [], fd, name, path, kind) }
    }
    // Links have no mode of their own.
    if kind != .symbolicLink {
      var mode = entry.mode & 0o7777
      if kind == .directory, !canIgnoreModes { mode |= 0o700 }
      try LayerArchiveError.check(hostos_chmod(fd, name, mode), "set the mode", path)
    }
    if kind == .directory { return }
    let times = ApplySession.times(entry)
    try LayerArchiveError.check(hostos_set_times(fd, name, times.accessed, times.modified), "set the times", path)
  }

  func setOwner(_ uid: UInt32, _ gid: UInt32, _ fd: Int32, _ name: UnsafePointer<CChar>, _ path: ByteString) throws {
    if case .ignore = options.ownership { return }
    let code = hostos_chown(fd, name, uid, gid)
    if code == -EINVAL {
      throw LayerArchiveError(
        .unmappedOwner, "it belongs to \(uid):\(gid), and this user namespace has no such ids; give the user more of them in /etc/subuid and /etc/subgid", path: path,
        cause: HostError(errno: EINVAL, operation: "chown", path: ""))
    }
    try LayerArchiveError.check(code, "give it to \(uid):\(gid)", path)
  }

  private func skip(_ attribute: String, _ path: ByteString) {
    result.skippedXattrCount += 1
    if result.skippedXattrs.count < 100 { result.skippedXattrs.append(ApplyResult.SkippedXattr(path: path, name: attribute)) }
  }

  private func setXattr(_ attribute: String, _ value: [UInt8], _ fd: Int32, _ name: UnsafePointer<CChar>, _ path: ByteString, _ kind: ModeKind) throws {
    // An archive must not speak to the overlay (or to whatever else trusts "trusted").
    if attribute.hasPrefix("trusted.") || attribute.hasPrefix("user.overlay.") { return skip(attribute, path) }
    if attribute.utf8.contains(0) || attribute.isEmpty { throw LayerArchiveError(.invalidEntry, "an extended attribute that has no name", path: path) }
    let code = value.withUnsafeBytes { hostos_xattr_set(fd, name, attribute, $0.baseAddress, $0.count) }
    if code == 0 { return }
    if code == -EOPNOTSUPP || code == -EPERM && mayBeRefused(attribute, kind) { return skip(attribute, path) }
    throw LayerArchiveError.system(-code, "set the extended attribute \(attribute) of", path)
  }

  private func mayBeRefused(_ attribute: String, _ kind: ModeKind) -> Bool {
    // user.* is for files and directories alone.
    if attribute.hasPrefix("user.") { return kind != .file && kind != .directory }
    // Capabilities work in a user namespace, so refusing them is an error, unless owners do not count either. security.selinux and the like belong to the host's root.
    guard attribute == "security.capability" else { return true }
    if case .ignore = options.ownership { return true }
    return false
  }

  // MARK: copying metadata up

  /// Gives `node`, a directory just made, what the directory below has.
  func copyMetadata(of below: Int32, _ status: hostos_stat, to node: TreeNode) throws {
    try copyMetadata(below, status, node.fd, node.path)
    directories[node.path] = DirectoryState(accessed: status.atime_ns, modified: status.mtime_ns)
  }

  func copyMetadata(_ from: Int32, _ status: hostos_stat, _ to: Int32, _ path: ByteString) throws {
    try setOwner(status.uid, status.gid, to, "", path)
    for name in try Xattrs.names(from, "", path) where !name.hasPrefix("trusted.") && !name.hasPrefix("user.overlay.") {
      guard let value = try Xattrs.value(from, "", name, path) else { continue }
      try setXattr(name, value, to, "", path, ModeKind(rawValue: status.mode & 0o170000) ?? .file)
    }
    try LayerArchiveError.check(hostos_chmod(to, "", status.mode & 0o7777), "set the mode", path)
  }

  /// An entry says all of a directory's attributes: what else it had goes. Overlay's own stay.
  func removeXattrs(_ fd: Int32, keeping kept: [String: [UInt8]], _ path: ByteString) throws {
    for name in try Xattrs.names(fd, "", path) where kept[name] == nil && !name.hasPrefix("trusted.") && !name.hasPrefix("user.overlay.") {
      let code = hostos_xattr_remove(fd, "", name)
      // The system's own (labels, mostly) are not an archive's to remove.
      if code < 0, code != -hostos_no_attribute, name.hasPrefix("user.") || name == "security.capability" {
        throw LayerArchiveError.system(-code, "remove the extended attribute \(name) of", path)
      }
    }
  }
}

/// Extended attributes of `name` beneath a descriptor, or of the descriptor itself when it is "". A filesystem that has none has none.
enum Xattrs {
  static func names(_ fd: Int32, _ name: UnsafePointer<CChar>, _ path: ByteString) throws -> [String] {
    let bytes = try read("list the extended attributes of", path) { hostos_xattr_list(fd, name, $0?.assumingMemoryBound(to: CChar.self), $1) }
    guard let bytes, !bytes.isEmpty else { return [] }
    return bytes.split(separator: 0).compactMap { String(validating: $0, as: UTF8.self) }
  }

  static func value(_ fd: Int32, _ name: UnsafePointer<CChar>, _ attribute: String, _ path: ByteString) throws -> [UInt8]? {
    try read("read the extended attribute \(attribute) of", path) { hostos_xattr_get(fd, name, attribute, $0, $1) }
  }

  private static func read(_ operation: @autoclosure () -> String, _ path: ByteString, _ call: (UnsafeMutableRawPointer?, Int) -> Int) throws -> [UInt8]? {
    // Nearly always there are none.
    let first = withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer -> (Int, [UInt8]) in
      let n = call(buffer.baseAddress, 256)
      return (n, n > 0 ? Array(buffer[..<n]) : [])
    }
    if first.0 >= 0 { return first.1 }
    var code = Int32(-first.0)
    if code == ERANGE {
      let buffer = IOBuffer(1 << 17)
      let n = call(buffer.base, 1 << 17)
      if n >= 0 { return Array(buffer.all[..<n]) }
      code = Int32(-n)
    }
    if code == hostos_no_attribute || code == EOPNOTSUPP { return nil }
    throw LayerArchiveError.system(code, operation(), path)
  }
}

/// A directory's names in the order of their bytes.
enum DirectoryNames {
  static func read(_ fd: Int32, _ path: ByteString) throws -> [ByteString] {
    var names: [ByteString] = []
    let code = withUnsafeMutablePointer(to: &names) { pointer in
      hostos_entries(
        fd,
        { context, name, length, _, _ in
          guard let context, let name else { return 1 }
          context.assumingMemoryBound(to: [ByteString].self).pointee.append(ByteString(Array(UnsafeRawBufferPointer(start: name, count: length))))
          return 0
        }, pointer)
    }
    try LayerArchiveError.check(code, "read the directory", path)
    return names.sorted()
  }
}
