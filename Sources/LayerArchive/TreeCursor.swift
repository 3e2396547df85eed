import CHostOS
package import HostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What the layers below look like to a layer applied in overlay form.
package enum LowerView: Sendable {
  /// There are none.
  case none
  /// They are here, merged: a mounted overlay, or the one layer's directory.
  case view(Directory)
  /// They are not there yet (layers are unpacked in parallel). Parents that the archive does not name are made with defaults and listed in
  /// `ApplyResult.implicitParents`, for `LayerApplier.reconcile`; what cannot be done without seeing them throws `needsLowerView`.
  case later
}

/// A directory of the tree being written, with what of the lower view shows through it.
final class TreeNode {
  let upper: OpenFile
  let lower: OpenFile?
  /// From the root, without links; empty for the root.
  let path: ByteString
  /// Something of the tree (an opaque mark, a removed whiteout) hides all that the layers below have here, seen or not.
  let hidesBelow: Bool
  init(upper: OpenFile, lower: OpenFile?, path: ByteString, hidesBelow: Bool = false) {
    (self.upper, self.lower, self.path, self.hidesBelow) = (upper, lower, path, hidesBelow)
  }
  var fd: Int32 { upper.fd }
}

/// Finds directories of a tree by paths from a stranger: component by component from the root's descriptor, links resolved inside the root as after chroot, no
/// name ever handed to the kernel with a slash in it. In overlay form a component that the tree does not have is looked up in the lower view,
/// and a directory found there is made in the tree with its metadata, as the overlay itself would copy it up.
final class TreeCursor {
  /// Deeper paths are refused: a descriptor is held for each component.
  static let maximumDepth = 256
  static let maximumLinks = 255

  private let root: OpenFile
  private let lower: LowerView
  private let overlay: Bool
  /// Called before something is made or removed in a directory on the way: its times are to stay.
  var changing: (TreeNode) throws -> Void = { _ in }
  /// Called for each directory made on the way.
  var made: (TreeNode, _ from: hostos_stat?) throws -> Void = { _, _ in }
  /// The nodes along `names`, the root first; valid while those names are plain directories.
  private var stack: [TreeNode]
  private var names: [ByteString] = []
  private let opaqueAttribute: String

  init(root: Directory, overlay: Bool, userXattr: Bool, lower: LowerView) throws {
    (self.lower, self.overlay) = (lower, overlay)
    opaqueAttribute = Whiteout.opaqueAttribute(userXattr: userXattr)
    self.root = try TreeCursor.reopen(root)
    var below: OpenFile?
    if overlay, case .view(let directory) = lower { below = try TreeCursor.reopen(directory) }
    stack = [TreeNode(upper: self.root, lower: below, path: ByteString())]
  }

  private static func reopen(_ directory: Directory) throws -> OpenFile {
    let fd = withExtendedLifetime(directory) { hostos_openat(directory.descriptor.raw, ".", hostos_o_path | O_DIRECTORY, 0) }
    return OpenFile(try LayerArchiveError.check(fd, "open the root", "."))
  }

  var rootNode: TreeNode { stack[0] }

  /// Directories on the way were removed, replaced or made opaque: nothing held is true any more.
  func invalidate() {
    stack.removeLast(stack.count - 1)
    names = []
  }

  enum Missing { case make, answerNil }

  /// The directory that the components lead to. Something on the way that is neither a directory nor a link to one is an error.
  func directory(_ components: ArraySlice<ByteString>, missing: Missing) throws -> TreeNode? {
    guard components.count <= TreeCursor.maximumDepth else {
      throw LayerArchiveError(.limit, "deeper than \(TreeCursor.maximumDepth) directories", path: components.reduce(ByteString()) { $0.appending($1) })
    }
    // What the last path had in common with this one is still open.
    var common = 0
    for (a, b) in zip(names, components) { if a == b { common += 1 } else { break } }
    stack.removeLast(stack.count - 1 - common)
    names.removeLast(names.count - common)
    var walk = stack
    var literal = true
    var pending = Array(components.dropFirst(common).reversed())
    var links = 0
    while let name = pending.popLast() {
      guard walk.count <= TreeCursor.maximumDepth else { throw LayerArchiveError(.limit, "deeper than \(TreeCursor.maximumDepth) directories", path: walk[walk.count - 1].path) }
      if name == ".." {
        if walk.count > 1 { walk.removeLast() }
        continue
      }
      switch try step(walk[walk.count - 1], name, missing) {
      case .directory(let node):
        walk.append(node)
        if literal {
          stack.append(node)
          names.append(name)
        }
      case .link(let target):
        links += 1
        guard links <= TreeCursor.maximumLinks else { throw LayerArchiveError(.invalidEntry, "too many symbolic links on the way", path: walk[walk.count - 1].path.appending(name)) }
        literal = false
        if target.bytes.first == 0x2f { walk.removeLast(walk.count - 1) }
        pending.append(contentsOf: target.components.reversed())
      case .nothing: return nil
      }
    }
    return walk[walk.count - 1]
  }

  private enum Step { case directory(TreeNode), link(ByteString), nothing }

  private func step(_ node: TreeNode, _ name: ByteString, _ missing: Missing) throws -> Step {
    let path = node.path.appending(name)
    return try name.withCString { name in
      let fd = hostos_openat(node.fd, name, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0)
      if fd >= 0 { return .directory(child(node, OpenFile(fd), name, path)) }
      if fd == -ENOENT { return try stepBelow(node, name, path, missing) }
      guard fd == -ENOTDIR || fd == -ELOOP else { throw LayerArchiveError.system(-fd, "open", path) }
      var status = hostos_stat()
      try LayerArchiveError.check(hostos_stat_name(node.fd, name, &status), "look up", path)
      if status.isKind(.symbolicLink) { return .link(try TreeCursor.link(node.fd, name, path)) }
      guard overlay, Whiteout.isWhiteout(status) else { throw LayerArchiveError(.invalidEntry, "what lies on the way is not a directory", path: path) }
      // Deleted by this layer, and now it has something in it again: a new directory that shows nothing of the old.
      guard missing == .make else { return .nothing }
      try changing(node)
      try LayerArchiveError.check(SystemCalls.unlink(node.fd, name), "remove the whiteout", path)
      let made = try makeDirectory(node, name, path, from: nil, lower: nil, hidesBelow: true)
      try setOpaque(made)
      return .directory(made)
    }
  }

  /// The tree has no such name; perhaps the lower view has.
  private func stepBelow(_ node: TreeNode, _ name: UnsafePointer<CChar>, _ path: ByteString, _ missing: Missing) throws -> Step {
    if overlay, let below = node.lower {
      var status = hostos_stat()
      let code = hostos_stat_name(below.fd, name, &status)
      if code == 0 {
        if status.isKind(.symbolicLink) { return .link(try TreeCursor.link(below.fd, name, path)) }
        guard status.isKind(.directory) else { throw LayerArchiveError(.invalidEntry, "what lies on the way is not a directory", path: path) }
        let fd = try LayerArchiveError.check(hostos_openat(below.fd, name, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0), "open below", path)
        return .directory(try makeDirectory(node, name, path, from: status, lower: OpenFile(fd)))
      }
      if code != -ENOENT { throw LayerArchiveError.system(-code, "look up below", path) }
    }
    if missing == .answerNil { return .nothing }
    return .directory(try makeDirectory(node, name, path, from: nil, lower: nil))
  }

  private func makeDirectory(_ node: TreeNode, _ name: UnsafePointer<CChar>, _ path: ByteString, from: hostos_stat?, lower: OpenFile?, hidesBelow: Bool = false) throws -> TreeNode {
    try changing(node)
    try LayerArchiveError.check(SystemCalls.makeDirectory(node.fd, name, 0o755), "make the directory", path)
    let fd = try LayerArchiveError.check(hostos_openat(node.fd, name, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0), "open", path)
    let made = TreeNode(upper: OpenFile(fd), lower: lower, path: path, hidesBelow: hidesBelow || node.hidesBelow)
    try self.made(made, from)
    return made
  }

  private func child(_ node: TreeNode, _ upper: OpenFile, _ name: UnsafePointer<CChar>, _ path: ByteString) -> TreeNode {
    // Without layers below there is nothing to hide.
    if !overlay { return TreeNode(upper: upper, lower: nil, path: path) }
    if case .none = lower { return TreeNode(upper: upper, lower: nil, path: path) }
    let hides = node.hidesBelow || Whiteout.isOpaque(upper.fd)
    var below: OpenFile?
    if !hides, let lower = node.lower {
      let fd = hostos_openat(lower.fd, name, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0)
      if fd >= 0 { below = OpenFile(fd) }
    }
    return TreeNode(upper: upper, lower: below, path: path, hidesBelow: hides)
  }

  func setOpaque(_ node: TreeNode) throws {
    let value: [UInt8] = [UInt8(ascii: "y")]
    let code = value.withUnsafeBytes { hostos_xattr_set(node.fd, "", opaqueAttribute, $0.baseAddress, 1) }
    if code == -EOPNOTSUPP || code == -EPERM {
      throw LayerArchiveError(
        .system, "the filesystem takes no \(opaqueAttribute) here, so it cannot hold layers in overlay form", path: node.path,
        cause: HostError(errno: -code, operation: "set attribute", path: ""))
    }
    try LayerArchiveError.check(code, "mark as opaque", node.path)
  }

  /// Whether the layers below may have a directory of this name that would show through a directory made in the tree.
  func mayShowThrough(_ node: TreeNode, _ name: UnsafePointer<CChar>) -> Bool {
    guard overlay else { return false }
    switch lower {
    case .none: return false
    case .later: return true
    case .view:
      var status = hostos_stat()
      return node.lower.map { hostos_stat_name($0.fd, name, &status) == 0 } ?? false
    }
  }

  private static func link(_ fd: Int32, _ name: UnsafePointer<CChar>, _ path: ByteString) throws -> ByteString {
    let (bytes, code) = SystemCalls.readLink(fd, name)
    try LayerArchiveError.check(code, "read the link", path)
    return ByteString(bytes)
  }
}

/// Status of a name, never followed.
func hostos_stat_name(_ fd: Int32, _ name: UnsafePointer<CChar>, _ out: inout hostos_stat) -> Int32 { hostos_stat(fd, name, 0, &out) }
