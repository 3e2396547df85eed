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

/// Finds changes, in order. Every directory is opened from its parent and no link followed, so a tree can lead nowhere else.
final class DiffWalk {
  /// Two descriptors are held for each level.
  static let maximumDepth = 400

  let root: OpenFile
  private let options: LayerDiffer
  private let changes: ChangeWriter
  private let isCancelled: () -> Bool
  /// False: the layers below are not given, so what an opaque directory or a whiteout hides cannot be looked up.
  private let knowsLower: Bool

  init(_ options: LayerDiffer, new: Directory, knowsLower: Bool = true, _ tar: TarWriter, _ isCancelled: @escaping () -> Bool) throws {
    self.options = options
    self.knowsLower = knowsLower
    self.isCancelled = isCancelled
    root = try DiffWalk.reopen(new)
    changes = ChangeWriter(options, root: root, tar)
  }

  static func reopen(_ directory: Directory) throws -> OpenFile {
    let fd = withExtendedLifetime(directory) { hostos_openat(directory.descriptor.raw, ".", hostos_o_path | O_DIRECTORY, 0) }
    return OpenFile(try LayerArchiveError.check(fd, "open the root", "."))
  }

  private func check(_ depth: Int, _ path: ByteString) throws {
    if isCancelled() { throw CancellationError() }
    if depth > DiffWalk.maximumDepth { throw LayerArchiveError(.unrepresentable, "deeper than \(DiffWalk.maximumDepth) directories", path: path) }
  }

  // MARK: an overlay's upper directory

  func overlay(upper: OpenFile, lower: OpenFile?, path: ByteString, depth: Int) throws {
    for name in try DirectoryNames.read(upper.fd, path) {
      let here = path.appending(name)
      try check(depth, here)
      let new = try status(upper.fd, name, here)
      let old = try lower.flatMap { try statusIfPresent($0.fd, name, here) }
      if Whiteout.isWhiteout(new) {
        if old != nil || !knowsLower { try changes.delete(here) }
        continue
      }
      let node = TreeItem(parent: upper, name: name, path: here, status: new)
      let attributes = try name.withCString { try Xattrs.names(upper.fd, $0, here) }
      try refuseRedirects(attributes, here)
      var same = false
      if let old, let lower { same = try isSame(TreeItem(parent: lower, name: name, path: here, status: old), node) }
      if !same { try changes.change(node, unmodified: false, attributes: attributes) }
      guard new.isKind(.directory) else { continue }
      let child = try open(upper.fd, name, here)
      let below = try old.flatMap { $0.isKind(.directory) ? $0 : nil }.flatMap { _ in try lower.map { try open($0.fd, name, here) } }
      if attributes.contains(where: Whiteout.opaqueAttributes.contains), Whiteout.isOpaque(child.fd) {
        if !knowsLower { try changes.opaque(here) }
        try trees(old: below, new: child, path: here, depth: depth + 1, hidesWhiteouts: true)
      } else {
        try overlay(upper: child, lower: below, path: here, depth: depth + 1)
      }
    }
  }

  private func refuseRedirects(_ attributes: [String], _ path: ByteString) throws {
    for name in attributes where name.hasSuffix(".overlay.redirect") || name.hasSuffix(".overlay.metacopy") {
      throw LayerArchiveError(.unrepresentable, "the overlay was mounted with redirect_dir or metacopy (\(name))", path: path)
    }
  }

  // MARK: two trees

  func trees(old: OpenFile?, new: OpenFile, path: ByteString, depth: Int, hidesWhiteouts: Bool) throws {
    let before = try old.map { try DirectoryNames.read($0.fd, path) } ?? []
    let after = try DirectoryNames.read(new.fd, path)
    var i = 0, j = 0
    while i < before.count || j < after.count {
      if j == after.count || i < before.count && before[i] < after[j] {
        try changes.delete(path.appending(before[i]))
        i += 1
        continue
      }
      let name = after[j]
      let both = i < before.count && before[i] == name
      j += 1
      if both { i += 1 }
      let here = path.appending(name)
      try check(depth, here)
      let status = try status(new.fd, name, here)
      // Under an opaque directory a whiteout hides nothing.
      if hidesWhiteouts, Whiteout.isWhiteout(status) {
        if both { try changes.delete(here) }
        continue
      }
      let node = TreeItem(parent: new, name: name, path: here, status: status)
      var below: OpenFile?
      if both, let old {
        let previous = TreeItem(parent: old, name: name, path: here, status: try self.status(old.fd, name, here))
        if try !isSame(previous, node) {
          try changes.change(node, unmodified: false)
        } else if status.links > 1, !status.isKind(.directory) {
          try changes.change(node, unmodified: true)
        }
        if previous.status.isKind(.directory), status.isKind(.directory) { below = try open(old.fd, name, here) }
      } else {
        try changes.change(node, unmodified: false)
      }
      if status.isKind(.directory) { try trees(old: below, new: open(new.fd, name, here), path: here, depth: depth + 1, hidesWhiteouts: hidesWhiteouts) }
    }
  }

  // MARK: asking

  private func status(_ fd: Int32, _ name: ByteString, _ path: ByteString) throws -> hostos_stat {
    var status = hostos_stat()
    try LayerArchiveError.check(name.withCString { hostos_stat_name(fd, $0, &status) }, "look up", path)
    return status
  }

  private func statusIfPresent(_ fd: Int32, _ name: ByteString, _ path: ByteString) throws -> hostos_stat? {
    var status = hostos_stat()
    let code = name.withCString { hostos_stat_name(fd, $0, &status) }
    if code == -ENOENT || code == -ENOTDIR { return nil }
    try LayerArchiveError.check(code, "look up below", path)
    return status
  }

  private func open(_ fd: Int32, _ name: ByteString, _ path: ByteString) throws -> OpenFile {
    OpenFile(try LayerArchiveError.check(name.withCString { hostos_openat(fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }, "open", path))
  }

  /// Whether nobody changed it.
  private func isSame(_ old: TreeItem, _ new: TreeItem) throws -> Bool {
    let (a, b) = (old.status, new.status)
    if a.device == b.device, a.inode == b.inode { return true }
    guard a.mode == b.mode, a.uid == b.uid, a.gid == b.gid, a.rdev_major == b.rdev_major, a.rdev_minor == b.rdev_minor else { return false }
    if !a.isKind(.directory) {
      guard a.size == b.size, a.mtime_ns == b.mtime_ns else { return false }
    }
    guard try old.attributes(options.attributes) == new.attributes(options.attributes) else { return false }
    if a.isKind(.directory) || a.mtime_ns % 1_000_000_000 != 0 { return true }
    if a.isKind(.symbolicLink) { return try old.linkTarget() == new.linkTarget() }
    return try a.size == 0 || !a.isKind(.file) || hasSameContent(old, new)
  }

  private let left = IOBuffer(1 << 18), right = IOBuffer(1 << 18)

  private func hasSameContent(_ old: TreeItem, _ new: TreeItem) throws -> Bool {
    let a = try old.open(), b = try new.open()
    while true {
      if isCancelled() { throw CancellationError() }
      let n = try fill(a.fd, left, old.path), m = try fill(b.fd, right, new.path)
      if n != m || memcmp(left.base, right.base, n) != 0 { return false }
      if n < left.all.count { return true }
    }
  }

  private func fill(_ fd: Int32, _ buffer: IOBuffer, _ path: ByteString) throws -> Int {
    var done = 0
    while done < buffer.all.count {
      let n = try LayerArchiveError.check(SystemCalls.read(fd, buffer.base + done, buffer.all.count - done), "read", path)
      if n == 0 { break }
      done += n
    }
    return done
  }
}

/// Something in a tree, found.
struct TreeItem {
  let parent: OpenFile
  let name: ByteString
  let path: ByteString
  let status: hostos_stat

  func open() throws -> OpenFile {
    OpenFile(try LayerArchiveError.check(name.withCString { hostos_openat(parent.fd, $0, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0) }, "open", path))
  }

  func linkTarget() throws -> ByteString {
    let (bytes, code) = name.withCString { SystemCalls.readLink(parent.fd, $0) }
    try LayerArchiveError.check(code, "read the link", path)
    return ByteString(bytes)
  }

  /// Those that a layer carries.
  func attributes(_ which: LayerDiffer.Attributes, among names: [String]? = nil) throws -> [String: [UInt8]] {
    try name.withCString { name in
      var out: [String: [UInt8]] = [:]
      for attribute in try names ?? Xattrs.names(parent.fd, name, path) {
        guard attribute == "security.capability" || which == .userToo && attribute.hasPrefix("user.") && !attribute.hasPrefix("user.overlay.") else { continue }
        if let value = try Xattrs.value(parent.fd, name, attribute, path), !value.isEmpty || attribute != "security.capability" { out[attribute] = value }
      }
      return out
    }
  }

  /// The entry for it, without attributes; nil for what layers do not have (sockets).
  func entry() throws -> TarEntry? {
    var entry = TarEntry(
      path: path, mode: status.mode & 0o7777, uid: Int64(status.uid), gid: Int64(status.gid), modified: Timestamp(nanosecondsSinceEpoch: status.mtime_ns))
    switch ModeKind(rawValue: status.mode & 0o170000) {
    case .file: (entry.kind, entry.size) = (.file, Int64(clamping: status.size))
    case .directory: entry.kind = .directory
    case .symbolicLink: (entry.kind, entry.linkTarget) = (.symbolicLink, try linkTarget())
    case .fifo: entry.kind = .fifo
    case .characterDevice, .blockDevice:
      entry.kind = status.isKind(.blockDevice) ? .blockDevice : .characterDevice
      (entry.deviceMajor, entry.deviceMinor) = (Int64(status.rdev_major), Int64(status.rdev_minor))
    case .socket, nil: return nil
    }
    return entry
  }
}
