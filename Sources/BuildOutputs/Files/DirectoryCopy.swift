internal import HostOS

/// Copies a tree into a directory of the client, as BuildKit's client receives one: what is there and not in the tree stays, what is in the tree replaces
/// what is there, each file in one step; everything belongs to the client's user. No symbolic link of the destination is followed: it is replaced.
/// Blocks; call through Blocking.run.
struct DirectoryCopy: Sendable {
  /// All modification times, in nanoseconds since 1970; nil: the files' own.
  var modified: Int64?
  var owner: (uid: UInt32, gid: UInt32) = OwnerRecords.need == .alone ? (0, 0) : (HostFacts.userID, HostFacts.groupID)

  /// Returns the sockets, which cannot be copied.
  func copy(_ source: Directory, into destination: Directory, copied: @escaping (Int64) -> Void, isCancelled: @escaping () -> Bool) throws -> [String] {
    let walk = DirectoryCopyWalk(self, destination, copied, isCancelled)
    try walk.directory(source, destination, "", depth: 0)
    return walk.skipped
  }

  /// Makes a directory beneath `destination`, or takes the one that is there.
  func directory(_ name: String, in destination: Directory) throws -> Directory {
    try DirectoryCopyWalk.makeDirectory(name, in: destination)
    return try destination.openDirectory(name, follow: .none)
  }

  /// The mode and time of the directories of the platforms.
  func finish(_ name: String, in destination: Directory) throws {
    try destination.setMode(name, 0o755)
    if let modified { try destination.setTimes(name, accessed: modified, modified: modified) }
  }

  /// The paths of all that is no directory.
  static func files(_ source: Directory, isCancelled: () -> Bool) throws -> [String] {
    var out: [String] = []
    var rest: [(Directory, String)] = [(source, "")]
    while let (directory, path) = rest.popLast() {
      if isCancelled() { throw CancellationError() }
      for entry in try directory.entries() {
        let here = path.isEmpty ? entry.name : path + "/" + entry.name
        if try directory.status(entry.name).kind == .directory { rest.append((try directory.openDirectory(entry.name, follow: .none), here)) } else { out.append(here) }
      }
    }
    return out
  }
}

private final class DirectoryCopyWalk {
  private let options: DirectoryCopy
  private let root: Directory
  private let copied: (Int64) -> Void
  private let isCancelled: () -> Bool
  private struct Inode: Hashable { let device: UInt64; let inode: UInt64 }
  private var linked: [Inode: String] = [:]
  private(set) var skipped: [String] = []

  init(_ options: DirectoryCopy, _ root: Directory, _ copied: @escaping (Int64) -> Void, _ isCancelled: @escaping () -> Bool) {
    (self.options, self.root, self.copied, self.isCancelled) = (options, root, copied, isCancelled)
  }

  func directory(_ from: Directory, _ to: Directory, _ path: String, depth: Int) throws {
    guard depth < 2048 else { throw HostError(.nameTooLong, operation: "copy", path: path, message: "directories are nested deeper than 2048") }
    for entry in try from.entries().sorted(by: { $0.name < $1.name }) {
      if isCancelled() { throw CancellationError() }
      let here = path.isEmpty ? entry.name : path + "/" + entry.name
      do { try item(entry.name, from, to, here, depth: depth) } catch var error as HostError {
        error.path = here
        throw error
      }
    }
  }

  private func item(_ name: String, _ from: Directory, _ to: Directory, _ path: String, depth: Int) throws {
    let status = try from.status(name)
    if status.kind == .directory {
      try Self.makeDirectory(name, in: to)
      try directory(from.openDirectory(name, follow: .none), to.openDirectory(name, follow: .none), path, depth: depth + 1)
      // Last: what is put into a directory changes its time, and may be forbidden by its mode.
      return try metadata(name, status, from: from, named: name, to: to)
    }
    let inode = Inode(device: status.device, inode: status.inode)
    let temporary = ".tmp.\(String(UInt64.random(in: .min ... .max), radix: 36))"
    do {
      if status.links > 1, let first = linked[inode] {
        try root.hardlink(from: first, to: path.dropLastComponent(adding: temporary))
      } else {
        guard try make(temporary, status, from, name, to) else { return skipped.append(path) }
        try metadata(temporary, status, from: from, named: name, to: to)
      }
      if try to.statusIfPresent(name)?.kind == .directory { try to.removeTree(name) }
      try to.rename(temporary, to: name)
      // Renaming one name of a file over another name of it does nothing, and leaves both.
      if try to.statusIfPresent(temporary) != nil { try to.unlink(temporary) }
    } catch {
      try? to.unlink(temporary)
      throw error
    }
    if status.links > 1 { linked[inode] = linked[inode] ?? path }
  }

  private func make(_ temporary: String, _ status: FileStatus, _ from: Directory, _ name: String, _ to: Directory) throws -> Bool {
    switch status.kind {
    case .regular:
      let file = try to.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o600, follow: .none)
      try from.openFile(name, flags: [.readOnly, .noFollow], follow: .none).copyContents(to: file, size: status.size)
      try file.close()
      copied(status.size)
    case .symbolicLink: try to.symlink(target: from.readLink(name), at: temporary)
    case .characterDevice, .blockDevice, .fifo: try to.makeNode(temporary, kind: status.kind, mode: 0o600, device: status.rdev)
    case .socket, .unknown, .directory: return false
    }
    return true
  }

  /// Owner first: a change of owner takes setuid bits and capabilities away.
  private func metadata(_ name: String, _ status: FileStatus, from: Directory, named original: String, to: Directory) throws {
    try to.setOwner(name, uid: options.owner.uid, gid: options.owner.gid)
    if status.kind != .symbolicLink { try to.setDiskMode(name, status.permissions) }
    for attribute in try from.xattrNames(original) where !attribute.hasPrefix("trusted.overlay.") && !attribute.hasPrefix("user.overlay.") {
      // As with the peers, attributes that the destination's filesystem or user cannot have are left out.
      guard let value = try from.xattr(original, attribute) else { continue }
      try? to.setXattr(name, attribute, value)
    }
    try to.setTimes(name, accessed: nil, modified: options.modified ?? status.mtime)
  }

  /// A directory of the destination stays, with what is in it; anything else gives way.
  static func makeDirectory(_ name: String, in destination: Directory) throws {
    if let status = try destination.statusIfPresent(name) {
      if status.kind == .directory {
        // One that its owner may not write to (an earlier output of the same): its mode is set again afterwards.
        if status.permissions & 0o700 != 0o700 { try? destination.setDiskMode(name, status.permissions | 0o700) }
        return
      }
      try destination.unlink(name)
    }
    try destination.makeDirectory(name, mode: 0o700)
  }
}

extension String {
  fileprivate func dropLastComponent(adding name: String) -> String {
    guard let slash = utf8.lastIndex(of: 0x2f) else { return name }
    return self[...slash] + name
  }
}
