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

/// Entries becoming files.
extension ApplySession {
  func makeDirectory(_ entry: TarEntry, _ name: ByteString, _ parent: TreeNode) throws {
    let path = parent.path.appending(name)
    var existed = false, replaced = false
    var code = name.withCString { SystemCalls.makeDirectory(parent.fd, $0, 0o700) }
    if code == -EEXIST {
      var status = hostos_stat()
      try LayerArchiveError.check(name.withCString { hostos_stat_name(parent.fd, $0, &status) }, "look up", path)
      existed = status.isKind(.directory)
      replaced = !existed
      code = 0
      if replaced {
        try remove(name, in: parent)
        code = name.withCString { SystemCalls.makeDirectory(parent.fd, $0, 0o700) }
      }
    }
    try LayerArchiveError.check(code, "make the directory", path)
    let fd = try LayerArchiveError.check(name.withCString { hostos_openat(parent.fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }, "open", path)
    let directory = OpenFile(fd)
    // Something of this layer (a whiteout, a file) stood here, so nothing of the layers below does any more.
    if replaced, overlay, name.withCString({ cursor.mayShowThrough(parent, $0) }) {
      try cursor.setOpaque(TreeNode(upper: directory, lower: nil, path: path))
      cursor.invalidate()
    }
    if existed { try removeXattrs(directory.fd, keeping: entry.xattrs, path) }
    try setMetadata(entry, directory.fd, "", path, kind: .directory)
    let times = ApplySession.times(entry)
    implicitParents.remove(path)
    directories[path] = DirectoryState(accessed: times.accessed, modified: times.modified, mode: canIgnoreModes || entry.mode & 0o700 == 0o700 ? nil : entry.mode & 0o7777)
  }

  func makeFile(_ entry: TarEntry, _ name: ByteString, _ parent: TreeNode, _ reader: TarReader, _ isCancelled: () -> Bool) throws {
    let path = parent.path.appending(name)
    try checkSize(of: entry, path)
    let fd = try replacing(name, in: parent, "make the file") { hostos_openat(parent.fd, $0, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600) }
    let file = OpenFile(fd)
    var end: Int64 = 0
    while let chunk = try reader.nextChunk() {
      if isCancelled() { throw CancellationError() }
      try LayerArchiveError.check(SystemCalls.write(file.fd, chunk.bytes, at: chunk.offset), "write", path)
      end = chunk.offset + Int64(chunk.bytes.count)
      result.contentBytes += Int64(chunk.bytes.count)
    }
    if end < entry.size { try LayerArchiveError.check(SystemCalls.truncate(file.fd, entry.size), "set the size", path) }
    try setMetadata(entry, file.fd, "", path, kind: .file)
  }

  /// A hole takes no room here, and all of its size wherever the file is copied, hashed or archived.
  private func checkSize(of entry: TarEntry, _ path: ByteString) throws {
    let (total, overflow) = result.fileBytes.addingReportingOverflow(entry.size)
    result.fileBytes = overflow ? .max : total
    let stored = entry.sparse?.reduce(0) { $0 + $1.length } ?? entry.size
    try options.decompressionLimits.check(result.fileBytes, from: result.contentBytes + stored, path: path)
  }

  func makeSymbolicLink(_ entry: TarEntry, _ name: ByteString, _ parent: TreeNode) throws {
    let path = parent.path.appending(name)
    if entry.linkTarget.isEmpty { throw LayerArchiveError(.invalidEntry, "a symbolic link to nothing", path: path) }
    try checkNUL(entry.linkTarget, path)
    _ = try replacing(name, in: parent, "make the symbolic link") { name in entry.linkTarget.withCString { SystemCalls.makeSymbolicLink($0, parent.fd, name) } }
    try name.withCString { try setMetadata(entry, parent.fd, $0, path, kind: .symbolicLink) }
  }

  func makeNode(_ entry: TarEntry, _ name: ByteString, _ parent: TreeNode) throws {
    let path = parent.path.appending(name)
    let kind: ModeKind = entry.kind == .fifo ? .fifo : entry.kind == .blockDevice ? .blockDevice : .characterDevice
    var (major, minor): (UInt32, UInt32) = (0, 0)
    if kind != .fifo {
      guard let a = UInt32(exactly: entry.deviceMajor), let b = UInt32(exactly: entry.deviceMinor), a < 1 << 12, b < 1 << 20 else {
        throw LayerArchiveError(.invalidEntry, "the device number \(entry.deviceMajor):\(entry.deviceMinor) is out of range", path: path)
      }
      (major, minor) = (a, b)
    }
    // Under a name that nothing else has, first: when it may not be made, what is there stays.
    let fresh: ByteString = ".wh..wh.manifold-node"
    let code = fresh.withCString { hostos_mknod(parent.fd, $0, kind.rawValue | 0o600, major, minor) }
    if code == -EPERM, kind != .fifo {
      result.skippedDeviceCount += 1
      if result.skippedDevices.count < 100 { result.skippedDevices.append(path) }
      return
    }
    try LayerArchiveError.check(code, "make the device", path)
    var renamed = fresh.withCString { fresh in name.withCString { hostos_rename(parent.fd, fresh, parent.fd, $0, 0) } }
    if renamed == -EISDIR || renamed == -EEXIST || renamed == -ENOTEMPTY {
      try remove(name, in: parent)
      renamed = fresh.withCString { fresh in name.withCString { hostos_rename(parent.fd, fresh, parent.fd, $0, 0) } }
    }
    try LayerArchiveError.check(renamed, "make the device", path)
    try name.withCString { try setMetadata(entry, parent.fd, $0, path, kind: kind) }
  }

  func makeHardLink(_ entry: TarEntry, _ name: ByteString, _ parent: TreeNode) throws {
    let path = parent.path.appending(name)
    try checkNUL(entry.linkTarget, path)
    let components = ApplySession.cleaned(entry.linkTarget)
    func missing() -> LayerArchiveError { LayerArchiveError(.missingLinkTarget, "the hard link's target \(entry.linkTarget) is not there", path: path) }
    guard let targetName = components.last else { throw missing() }
    guard let holder = try cursor.directory(components.dropLast(), missing: .answerNil) else {
      if case .later = lower { throw LayerArchiveError(.needsLowerView, "its hard link's target \(entry.linkTarget) may be in the layers below", path: path) }
      throw missing()
    }
    guard holder.path != parent.path || targetName != name else { throw LayerArchiveError(.invalidEntry, "a hard link to itself", path: path) }
    var status = hostos_stat()
    let code = targetName.withCString { hostos_stat_name(holder.fd, $0, &status) }
    if code == -ENOENT {
      guard overlay else { throw missing() }
      if case .later = lower, !Whiteout.isOpaque(holder.fd) {
        throw LayerArchiveError(.needsLowerView, "its hard link's target \(entry.linkTarget) may be in the layers below", path: path)
      }
      guard try copyUp(targetName, holder, &status) else { throw missing() }
    } else {
      try LayerArchiveError.check(code, "look up \(entry.linkTarget) for", path)
      if overlay, Whiteout.isWhiteout(status) { throw missing() }
    }
    if status.isKind(.directory) { throw LayerArchiveError(.invalidEntry, "a hard link to the directory \(entry.linkTarget)", path: path) }
    do {
      _ = try replacing(name, in: parent, "make the hard link") { name in targetName.withCString { SystemCalls.link(holder.fd, $0, parent.fd, name) } }
    } catch let error as LayerArchiveError where error.errno == ENOENT { throw missing() }
    let kind = ModeKind(rawValue: status.mode & 0o170000) ?? .file
    try name.withCString { try setMetadata(entry, parent.fd, $0, path, kind: kind) }
  }

  private func checkNUL(_ text: ByteString, _ path: ByteString) throws {
    if text.containsNUL { throw LayerArchiveError(.invalidEntry, "its link's target contains a NUL", path: path) }
  }

  // MARK: copying up

  /// Brings a file of the lower view into the tree, as an overlay does before it links it. False: there is none.
  private func copyUp(_ name: ByteString, _ node: TreeNode, _ status: inout hostos_stat) throws -> Bool {
    guard let below = node.lower else { return false }
    let path = node.path.appending(name)
    let code = name.withCString { hostos_stat_name(below.fd, $0, &status) }
    if code == -ENOENT { return false }
    try LayerArchiveError.check(code, "look up below", path)
    if status.isKind(.directory) { return true }
    try note(node)
    let from = status
    try name.withCString { name in
      switch ModeKind(rawValue: from.mode & 0o170000) {
      case .file:
        let source = OpenFile(try LayerArchiveError.check(hostos_openat(below.fd, name, O_RDONLY | O_NOFOLLOW, 0), "open below", path))
        let copy = OpenFile(try LayerArchiveError.check(hostos_openat(node.fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600), "make the file", path))
        try copyContent(source.fd, copy.fd, Int64(clamping: from.size), path)
        try copyMetadata(source.fd, from, copy.fd, path)
        try LayerArchiveError.check(hostos_set_times(copy.fd, "", from.atime_ns, from.mtime_ns), "set the times", path)
        return
      case .symbolicLink:
        let (target, code) = SystemCalls.readLink(below.fd, name)
        try LayerArchiveError.check(code, "read the link below", path)
        try LayerArchiveError.check(ByteString(target).withCString { SystemCalls.makeSymbolicLink($0, node.fd, name) }, "make the symbolic link", path)
      case .characterDevice, .blockDevice, .fifo:
        try LayerArchiveError.check(hostos_mknod(node.fd, name, from.mode, from.rdev_major, from.rdev_minor), "make the device", path)
        try LayerArchiveError.check(hostos_chmod(node.fd, name, from.mode & 0o7777), "set the mode", path)
      default: throw LayerArchiveError(.invalidEntry, "a hard link to a socket", path: path)
      }
      try setOwner(from.uid, from.gid, node.fd, name, path)
      if !from.isKind(.symbolicLink) { try LayerArchiveError.check(hostos_chmod(node.fd, name, from.mode & 0o7777), "set the mode", path) }
      try LayerArchiveError.check(hostos_set_times(node.fd, name, from.atime_ns, from.mtime_ns), "set the times", path)
    }
    return true
  }

  private func copyContent(_ from: Int32, _ to: Int32, _ size: Int64, _ path: ByteString) throws {
    if size == 0 || hostos_reflink(from, to) == 0 { return }
    try LayerArchiveError.check(SystemCalls.truncate(to, size), "set the size", path)
    var (offset, start, end): (Int64, Int64, Int64) = (0, 0, 0)
    while offset < size, hostos_next_data(from, offset, size, &start, &end) == 1 {
      let copied = try LayerArchiveError.check(hostos_copy_range(from, to, start, end - start), "copy", path)
      if copied < end - start { throw LayerArchiveError(.changedWhileRead, "it became shorter while it was copied", path: path) }
      offset = end
    }
  }
}
