import CHostOS
import OCIModel

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Turns changes, given in order, into entries (containerd's ChangeWriter).
final class ChangeWriter {
  private let options: LayerDiffer
  private let root: OpenFile
  private let tar: TarWriter
  /// Directories that are in the archive.
  private var written: Set<ByteString> = []
  private struct Inode: Hashable { let device: UInt64; let inode: UInt64 }
  /// Files with several names: the one that is in the archive, or those seen before any had to be.
  private var sources: [Inode: ByteString] = [:]
  private var waiting: [Inode: [ByteString]] = [:]

  init(_ options: LayerDiffer, root: OpenFile, _ tar: TarWriter) { (self.options, self.root, self.tar) = (options, root, tar) }

  func delete(_ path: ByteString) throws {
    try refuseReserved(path)
    try includeParents(path)
    try writeMark(path.parent.appending(ByteString(Whiteout.prefix.bytes + path.lastComponent.bytes)))
  }

  func opaque(_ path: ByteString) throws { try writeMark(path.appending(Whiteout.opaque)) }

  private func writeMark(_ path: ByteString) throws {
    var entry = TarEntry(path: path, mode: 0)
    if let latest = options.latest { entry.clampTimes(to: latest) }
    try tar.begin(entry, style: .compact)
  }

  /// Added or modified; or unmodified but one of a file's several names, which matters when another of them is changed.
  func change(_ item: TreeItem, unmodified: Bool, attributes names: [String]? = nil) throws {
    guard var entry = try item.entry() else { return }
    try refuseReserved(item.path)
    if options.times == .seconds { entry.modified.nanoseconds = 0 }
    if let latest = options.latest { entry.clampTimes(to: latest) }
    var others: [ByteString] = []
    if item.status.links > 1, !item.status.isKind(.directory) {
      let inode = Inode(device: item.status.device, inode: item.status.inode)
      if let source = sources[inode] {
        (entry.kind, entry.linkTarget, entry.size) = (.hardLink, source, 0)
      } else if unmodified {
        waiting[inode, default: []].append(item.path)
        return
      } else {
        sources[inode] = item.path
        others = waiting.removeValue(forKey: inode) ?? []
      }
    } else if unmodified {
      return
    }
    entry.xattrs = try item.attributes(options.attributes, among: names)
    try includeParents(item.path)
    if entry.kind == .directory { written.insert(item.path) }
    try tar.begin(entry)
    if entry.kind == .file, entry.size > 0 { try tar.writeContent(of: item.open()) }
    for other in others {
      (entry.path, entry.kind, entry.linkTarget, entry.size) = (other, .hardLink, item.path, 0)
      try includeParents(other)
      try tar.begin(entry)
    }
  }

  /// In a layer such a name means something else.
  private func refuseReserved(_ path: ByteString) throws {
    if path.lastComponent.hasPrefix(Whiteout.prefix) {
      throw LayerArchiveError(.unrepresentable, "no layer can hold a name that begins with \".wh.\": it would delete what is below", path: path)
    }
  }

  private func includeParents(_ path: ByteString) throws {
    let parent = path.parent
    guard !parent.isEmpty, written.insert(parent).inserted else { return }
    let components = parent.components
    var holder = root
    for name in components.dropLast() {
      holder = OpenFile(try LayerArchiveError.check(name.withCString { hostos_openat(holder.fd, $0, hostos_o_path | O_DIRECTORY | O_NOFOLLOW, 0) }, "open", parent))
    }
    guard let name = components.last else { return }
    var status = hostos_stat()
    try LayerArchiveError.check(name.withCString { hostos_stat_name(holder.fd, $0, &status) }, "look up", parent)
    try change(TreeItem(parent: holder, name: name, path: parent, status: status), unmodified: false)
  }
}
