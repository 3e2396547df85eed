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

/// One layer being applied.
final class ApplySession {
  let options: LayerApplier
  let cursor: TreeCursor
  let overlay: Bool
  let userXattr: Bool
  let lower: LowerView
  let hasWhiteouts: Bool
  var result = ApplyResult()
  /// Directories' times (and modes that would lock us out), to be set when nothing is put in them any more.
  var directories: [ByteString: DirectoryState] = [:]
  /// Plain form: what this layer has put there, parents included, which an opaque whiteout must leave.
  var unpacked: Set<ByteString> = []
  /// `ApplyResult.implicitParents`; one that the archive names later is none any more.
  var implicitParents: Set<ByteString> = []
  let canIgnoreModes = geteuid() == 0 || OwnerRecords.need == .alone

  struct DirectoryState {
    var accessed: Int64
    var modified: Int64
    var mode: UInt32?
  }

  init(_ options: LayerApplier, _ root: Directory) throws {
    self.options = options
    switch options.form {
    case .overlay(let userXattr, let lower): (overlay, self.userXattr, self.lower) = (true, userXattr, lower)
    case .plain, .archive: (overlay, userXattr, lower) = (false, false, .none)
    }
    if case .archive = options.form { hasWhiteouts = false } else { hasWhiteouts = true }
    cursor = try TreeCursor(root: root, overlay: overlay, userXattr: userXattr, lower: lower)
    cursor.changing = { [unowned self] in try note($0) }
    cursor.made = { [unowned self] in try parentMade($0, from: $1) }
    // In an overlay it is the uppermost root that shows.
    let node = cursor.rootNode
    if case .later = lower { implicitParents.insert(ByteString()) }
    if let below = node.lower {
      var status = hostos_stat()
      try LayerArchiveError.check(hostos_stat_name(below.fd, "", &status), "look up", ".")
      try copyMetadata(of: below.fd, status, to: node)
    } else {
      try note(node)
    }
  }

  /// Applies one entry; reads its content.
  func apply(_ entry: TarEntry, _ reader: TarReader, _ isCancelled: () -> Bool) throws {
    let components = ApplySession.cleaned(entry.path)
    guard let name = components.last else { return }
    let parents = components.dropLast()
    if hasWhiteouts, name.hasPrefix(Whiteout.prefix) { return try whiteOut(name, parents) }
    if case .other(let flag) = entry.kind {
      throw LayerArchiveError(.unsupported, "an entry of type '\(Unicode.Scalar(flag).escaped(asASCII: true))', which layers never have", path: entry.path)
    }
    if case .globalHeader = entry.kind { return }
    // What Linux calls a deletion in an overlay is one, whoever made the archive.
    if overlay, entry.kind == .characterDevice, entry.deviceMajor == 0, entry.deviceMinor == 0 {
      guard let parent = try cursor.directory(parents, missing: .make) else { return }
      return try hide(name, in: parent)
    }
    guard let parent = try cursor.directory(parents, missing: .make) else { return }
    try note(parent)
    switch entry.kind {
    case .directory: try makeDirectory(entry, name, parent)
    case .file: try makeFile(entry, name, parent, reader, isCancelled)
    case .symbolicLink: try makeSymbolicLink(entry, name, parent)
    case .hardLink: try makeHardLink(entry, name, parent)
    case .characterDevice, .blockDevice, .fifo: try makeNode(entry, name, parent)
    case .other, .globalHeader: break
    }
    markUnpacked(parent.path.appending(name))
  }

  /// Lexically, as containerd: "a/../b" is "b" and what leads above the root stays at it.
  static func cleaned(_ path: ByteString) -> [ByteString] {
    var out: [ByteString] = []
    for part in path.components { if part == ".." { _ = out.popLast() } else { out.append(part) } }
    return out
  }

  private func markUnpacked(_ path: ByteString) {
    if overlay { return }
    var path = path
    while !path.isEmpty, unpacked.insert(path).inserted { path = path.parent }
  }

  // MARK: directories on the way

  /// A directory that the archive has not named (yet).
  private func parentMade(_ node: TreeNode, from status: hostos_stat?) throws {
    if let status, let below = node.lower { return try copyMetadata(of: below.fd, status, to: node) }
    try LayerArchiveError.check(hostos_chmod(node.fd, "", 0o755), "set the mode", node.path)
    if case .archive = options.form { return }
    // A time that is the same on every machine.
    directories[node.path] = DirectoryState(accessed: 0, modified: 0)
    if case .later = lower, !node.hidesBelow { implicitParents.insert(node.path) }
  }

  /// Remembers the times of a directory that was there before, to give them back. Somebody's tar changes them, as any unpacking does.
  func note(_ node: TreeNode) throws {
    if case .archive = options.form { return }
    if directories[node.path] != nil { return }
    var status = hostos_stat()
    try LayerArchiveError.check(hostos_stat_name(node.fd, "", &status), "look up", node.path)
    directories[node.path] = DirectoryState(accessed: status.atime_ns, modified: status.mtime_ns)
  }

  /// Sets what had to wait. Directories that are gone by now are none of our business.
  func finish() throws {
    for path in directories.keys.sorted() {
      guard let state = directories[path], let node = try existing(path) else { continue }
      try LayerArchiveError.check(hostos_set_times(node.fd, "", state.accessed, state.modified), "set the times", path)
    }
    // Modes last, the deepest first: they may lock us out.
    for path in directories.keys.sorted(by: >) {
      guard let mode = directories[path]?.mode, let node = try existing(path) else { continue }
      try LayerArchiveError.check(hostos_chmod(node.fd, "", mode), "set the mode", path)
    }
    result.implicitParents = implicitParents.sorted()
  }

  private func existing(_ path: ByteString) throws -> TreeNode? {
    do {
      let node = try cursor.directory(path.components[...], missing: .answerNil)
      return node?.path == path ? node : nil
    } catch let error as LayerArchiveError where error.code == .invalidEntry { return nil }
  }

  /// What was put into a directory before it was hidden stays in the one of the layers below, so opaque marks do not count here.
  func reconcile(_ path: ByteString) throws {
    guard let node = try existing(path), let view = cursor.rootNode.lower, let name = path.lastComponent.isEmpty ? nil : path.lastComponent else { return }
    var holder = view
    for part in path.parent.components {
      let fd = part.withCString { hostos_openat(holder.fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }
      // Whether that matters shows when it is itself one of these directories.
      if fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP { return }
      holder = OpenFile(try LayerArchiveError.check(fd, "open below", path))
    }
    var below = hostos_stat()
    let found = name.withCString { hostos_stat_name(holder.fd, $0, &below) }
    if found == -ENOENT { return }
    try LayerArchiveError.check(found, "look up below", path)
    guard below.isKind(.directory) else {
      throw LayerArchiveError(.needsLowerView, "it is no directory in the layers below, so the layer must be applied with them in view", path: path)
    }
    let from = OpenFile(try LayerArchiveError.check(name.withCString { hostos_openat(holder.fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }, "open below", path))
    try copyMetadata(of: from.fd, below, to: node)
  }

  // MARK: removing

  /// Removes what has the name. Answers whether something of this tree was there.
  @discardableResult
  func remove(_ name: ByteString, in parent: TreeNode) throws -> Bool {
    let path = parent.path.appending(name)
    let code = name.withCString { SystemCalls.unlink(parent.fd, $0) }
    if code == 0 { return true }
    if code == -ENOENT { return false }
    // Linux says EISDIR for a directory, POSIX EPERM.
    guard code == -EISDIR || code == -EPERM else { throw LayerArchiveError.system(-code, "remove", path) }
    cursor.invalidate()
    do {
      let fd = try LayerArchiveError.check(hostos_openat(parent.fd, ".", hostos_o_path | O_DIRECTORY, 0), "open", parent.path)
      try Directory(Descriptor(owning: fd)).removeTree(name.text)
    } catch let error as HostError { throw LayerArchiveError(.system, "cannot remove", path: path, cause: error) }
    return true
  }

  /// Makes something under a name; when the name is taken, removes what has it and tries again.
  func replacing(_ name: ByteString, in parent: TreeNode, _ operation: String, _ make: (UnsafePointer<CChar>) -> Int32) throws -> Int32 {
    var code = name.withCString(make)
    if code == -EEXIST || code == -EISDIR {
      try remove(name, in: parent)
      code = name.withCString(make)
    }
    return try LayerArchiveError.check(code, operation, parent.path.appending(name))
  }

  // MARK: whiteouts

  private func whiteOut(_ name: ByteString, _ parents: ArraySlice<ByteString>) throws {
    // Where there is nothing there is nothing to delete, unless we cannot know yet.
    let missing: TreeCursor.Missing = if case .later = lower { .make } else { .answerNil }
    if name == Whiteout.opaque {
      if let parent = try cursor.directory(parents, missing: missing) { try makeOpaque(parent) }
      return
    }
    if name.hasPrefix(Whiteout.metaPrefix) { return }
    let hidden = ByteString(Array(name.bytes.dropFirst(Whiteout.prefix.count)))
    guard !hidden.isEmpty, hidden != ".", hidden != ".." else {
      throw LayerArchiveError(.invalidEntry, "a whiteout that names nothing", path: parents.reduce(ByteString()) { $0.appending($1) }.appending(name))
    }
    guard let parent = try cursor.directory(parents, missing: missing) else { return }
    try hide(hidden, in: parent)
  }

  /// Hides what the layers below have under the name; what this layer has stays.
  private func hide(_ name: ByteString, in parent: TreeNode) throws {
    let path = parent.path.appending(name)
    try note(parent)
    guard overlay else {
      guard unpacked.contains(path) else {
        try remove(name, in: parent)
        return
      }
      return try removeNotUnpacked(name, in: parent)
    }
    var status = hostos_stat()
    let code = name.withCString { hostos_stat_name(parent.fd, $0, &status) }
    if code == 0 {
      guard status.isKind(.directory) else { return }
      let fd = try LayerArchiveError.check(name.withCString { hostos_openat(parent.fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }, "open", path)
      cursor.invalidate()
      return try cursor.setOpaque(TreeNode(upper: OpenFile(fd), lower: nil, path: path))
    }
    guard code == -ENOENT else { throw LayerArchiveError.system(-code, "look up", path) }
    guard name.withCString({ cursor.mayShowThrough(parent, $0) }) else { return }
    try makeWhiteout(name, in: parent)
  }

  private func makeWhiteout(_ name: ByteString, in parent: TreeNode) throws {
    let path = parent.path.appending(name)
    let code = name.withCString { hostos_mknod(parent.fd, $0, ModeKind.characterDevice.rawValue, 0, 0) }
    if code == -EPERM {
      throw LayerArchiveError(
        .system, "the kernel does not let us make a whiteout (Linux 5.8 and later do, in a user namespace too); use the plain-copy snapshotter", path: path,
        cause: HostError(errno: EPERM, operation: "mknod", path: ""))
    }
    try LayerArchiveError.check(code, "make the whiteout", path)
  }

  private func makeOpaque(_ node: TreeNode) throws {
    try note(node)
    guard overlay else { return try removeNotUnpacked(in: node) }
    if node.path.isEmpty { return try hideRoot(node) }
    if case .view = lower, node.lower == nil { return }
    if case .none = lower { return }
    try cursor.setOpaque(node)
    cursor.invalidate()
  }

  /// Overlay merges roots whatever marks they carry: everything below is hidden by name instead.
  private func hideRoot(_ node: TreeNode) throws {
    switch lower {
    case .none: return
    case .later: throw LayerArchiveError(.needsLowerView, "an opaque root cannot be applied without the layers below")
    case .view: break
    }
    guard let below = node.lower else { return }
    for name in try DirectoryNames.read(below.fd, node.path) { try hide(name, in: node) }
  }

  private func removeNotUnpacked(_ name: ByteString, in parent: TreeNode) throws {
    let path = parent.path.appending(name)
    let fd = name.withCString { hostos_openat(parent.fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }
    if fd == -ENOTDIR || fd == -ELOOP || fd == -ENOENT { return }
    try removeNotUnpacked(in: TreeNode(upper: OpenFile(try LayerArchiveError.check(fd, "open", path)), lower: nil, path: path))
  }

  /// Recursion goes into what this layer has put there alone: no deeper than `TreeCursor.maximumDepth`.
  private func removeNotUnpacked(in node: TreeNode) throws {
    try note(node)
    for name in try DirectoryNames.read(node.fd, node.path) {
      if unpacked.contains(node.path.appending(name)) { try removeNotUnpacked(name, in: node) } else { try remove(name, in: node) }
    }
  }
}
