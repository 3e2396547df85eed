import HostOS

/// Copies a tree: content (reflinked or copied in the kernel), owners, modes, times to the nanosecond, attributes, devices, hard links. Blocks.
final class TreeCopy {
  private struct Inode: Hashable { let device: UInt64, inode: UInt64 }
  static let deepest = 400

  private let source: Directory
  private let target: Directory
  private let isCancelled: () -> Bool
  /// Where files with several names are in the copy.
  private var linked: [Inode: String] = [:]

  init(from source: Directory, to target: Directory, isCancelled: @escaping () -> Bool) {
    (self.source, self.target, self.isCancelled) = (source, target, isCancelled)
  }

  /// Into the directory, which is empty; its own metadata becomes the source's.
  func copy() throws {
    try copyEntries(source, target, path: "", depth: 0)
    try Self.copyMetadata(from: source, to: target)
  }

  private func copyEntries(_ from: Directory, _ to: Directory, path: String, depth: Int) throws {
    if depth > Self.deepest { throw SnapshotError(.system, "cannot copy a tree deeper than \(Self.deepest) directories: \(path)") }
    for entry in try from.entries() {
      if isCancelled() { throw CancellationError() }
      let name = entry.name
      let status = try from.status(name)
      let here = path.isEmpty ? name : path + "/" + name
      switch status.kind {
      case .directory:
        try to.makeDirectory(name, mode: 0o700)
        let (below, made) = (try from.openDirectory(name, follow: .none), try to.openDirectory(name, follow: .none))
        try copyEntries(below, made, path: here, depth: depth + 1)
        try Self.copyMetadata(from: below, to: made)
      case .socket, .unknown: continue
      default:
        let inode = Inode(device: status.device, inode: status.inode)
        if status.links > 1, let first = linked[inode] {
          try target.hardlink(from: first, to: here)
          continue
        }
        if status.links > 1 { linked[inode] = here }
        try copyEntry(from, to, name, status)
      }
    }
  }

  private func copyEntry(_ from: Directory, _ to: Directory, _ name: String, _ status: FileStatus) throws {
    switch status.kind {
    case .regular:
      let reader = try from.openFile(name, flags: [.readOnly, .noFollow], follow: .none)
      let writer = try to.openFile(name, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o600, follow: .none)
      try reader.copyContents(to: writer, size: status.size)
    case .symbolicLink: try to.symlink(target: from.readLink(name), at: name)
    default: try to.makeNode(name, kind: status.kind, mode: 0o600, device: status.rdev)
    }
    try Self.copyMetadata(name, status, from: from, to: to)
  }

  static func copyMetadata(from: Directory, to: Directory) throws {
    try copyMetadata(".", try from.status("."), from: from, to: to)
  }

  /// The owner before the mode and the attributes, which a change of it takes away; the times last.
  private static func copyMetadata(_ name: String, _ status: FileStatus, from: Directory, to: Directory) throws {
    let made = try to.status(name)
    if made.uid != status.uid || made.gid != status.gid { try to.setOwner(name, uid: status.uid, gid: status.gid) }
    for attribute in try from.xattrNames(name) where !attribute.contains(".overlay.") {
      guard let value = try from.xattr(name, attribute) else { continue }
      do { try to.setXattr(name, attribute, value) } catch let error as HostError where error.code == .notSupported || error.code == .permission {}
    }
    if status.kind != .symbolicLink { try to.setMode(name, status.permissions) }
    try to.setTimes(name, accessed: status.atime, modified: status.mtime)
  }
}
