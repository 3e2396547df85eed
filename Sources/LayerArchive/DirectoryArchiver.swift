import CHostOS
package import HostOS
package import OCIModel

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Archives a whole tree (the `tar` output, and the base of `local` ones): its entries without the root's own, each directory before what is in it, names in the order
/// of their bytes. The same tree gives the same bytes. Blocks; call through Blocking.run.
package struct DirectoryArchiver: Sendable {
  /// Which extended attributes; see LayerDiffer.
  package var attributes: LayerDiffer.Attributes
  /// No entry has a later modification time.
  package var latest: Timestamp?
  /// The modification time of all entries, when it is not to be the files' (the peers' tar output under SOURCE_DATE_EPOCH).
  package var modified: Timestamp?
  /// The owner of all entries, when it is not to be the files'.
  package var owner: (uid: UInt32, gid: UInt32)?

  package init(attributes: LayerDiffer.Attributes = .userToo, latest: Timestamp? = nil, modified: Timestamp? = nil, owner: (uid: UInt32, gid: UInt32)? = nil) {
    (self.attributes, self.latest, self.modified, self.owner) = (attributes, latest, modified, owner)
  }

  /// Writes the tree into `tar`, which is not finished: several trees may share an archive under different prefixes ("linux_amd64"; the prefix's own entry
  /// is written too, with mode 0755). A prefix is a relative path without a slash at its end. `root` nil is an
  /// empty tree. `include` leaves out what it answers false for, with all beneath.
  package func archive(
    _ root: Directory?, under prefix: ByteString = "", into tar: TarWriter, include: @escaping (ByteString, FileKind) -> Bool = { _, _ in true },
    isCancelled: @escaping () -> Bool = { false }
  ) throws {
    if !prefix.isEmpty {
      var path = ByteString()
      for part in prefix.components {
        path = path.appending(part)
        try tar.begin(TarEntry(path: path, kind: .directory, mode: 0o755, uid: Int64(owner?.uid ?? 0), gid: Int64(owner?.gid ?? 0), modified: modified ?? latest ?? Timestamp(seconds: 0)))
      }
    }
    guard let root else { return }
    let walk = ArchiveWalk(self, tar, include, isCancelled)
    try walk.directory(DiffWalk.reopen(root), ByteString(), prefix, depth: 0)
  }
}

private final class ArchiveWalk {
  private let options: DirectoryArchiver
  private let tar: TarWriter
  private let include: (ByteString, FileKind) -> Bool
  private let isCancelled: () -> Bool
  private struct Inode: Hashable { let device: UInt64; let inode: UInt64 }
  private var linked: [Inode: ByteString] = [:]

  init(_ options: DirectoryArchiver, _ tar: TarWriter, _ include: @escaping (ByteString, FileKind) -> Bool, _ isCancelled: @escaping () -> Bool) {
    (self.options, self.tar, self.include, self.isCancelled) = (options, tar, include, isCancelled)
  }

  func directory(_ directory: OpenFile, _ path: ByteString, _ prefix: ByteString, depth: Int) throws {
    if depth > DiffWalk.maximumDepth { throw LayerArchiveError(.unrepresentable, "deeper than \(DiffWalk.maximumDepth) directories", path: path) }
    for name in try DirectoryNames.read(directory.fd, path) {
      if isCancelled() { throw CancellationError() }
      let here = path.appending(name)
      var status = hostos_stat()
      try LayerArchiveError.check(name.withCString { hostos_stat_name(directory.fd, $0, &status) }, "look up", here)
      guard include(here, ModeKind.fileKind(status)) else { continue }
      try write(TreeItem(parent: directory, name: name, path: here, status: status), prefix)
      guard status.isKind(.directory) else { continue }
      let fd = try LayerArchiveError.check(name.withCString { hostos_openat(directory.fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }, "open", here)
      try self.directory(OpenFile(fd), here, prefix, depth: depth + 1)
    }
  }

  private func write(_ item: TreeItem, _ prefix: ByteString) throws {
    guard var entry = try item.entry() else { return }
    entry.path = prefix.appending(item.path)
    if let owner = options.owner { (entry.uid, entry.gid) = (Int64(owner.uid), Int64(owner.gid)) }
    if let latest = options.latest { entry.clampTimes(to: latest) }
    if let modified = options.modified { entry.modified = modified }
    if item.status.links > 1, !item.status.isKind(.directory) {
      let inode = Inode(device: item.status.device, inode: item.status.inode)
      if let first = linked[inode] {
        (entry.kind, entry.linkTarget, entry.size) = (.hardLink, first, 0)
      } else {
        linked[inode] = entry.path
      }
    }
    entry.xattrs = try item.attributes(options.attributes)
    try tar.begin(entry, style: .compact)
    if entry.kind == .file, entry.size > 0 { try tar.writeContent(of: item.open()) }
  }
}

extension ModeKind {
  fileprivate static func fileKind(_ status: hostos_stat) -> FileKind {
    switch ModeKind(rawValue: status.mode & 0o170000) {
    case .file: .regular
    case .directory: .directory
    case .symbolicLink: .symbolicLink
    case .characterDevice: .characterDevice
    case .blockDevice: .blockDevice
    case .fifo: .fifo
    case .socket: .socket
    case nil: .unknown
    }
  }
}
