internal import HostOS
internal import OCIModel

/// The digest BuildKit gives a file: of a header in Docker's old tarsum form, without a name and without times, and the
/// content (cache/contenthash/filehash.go and tarsum.go).
enum FileHash {
  /// `size` is that of a regular file; others count as 0. Names are hashed by the directory, not here.
  static func header(
    _ status: FileStatus, linkTarget: String, xattrs: [(name: String, value: [UInt8])], into hasher: inout DigestHasher
  ) {
    var mode = status.mode & 0o777
    if status.kind == .symbolicLink { mode = 0o777 }
    mode |= status.mode & 0o7000
    let type: String, size: Int64
    switch status.kind {
    case .regular: (type, size) = ("0", status.size)
    case .directory: (type, size) = ("5", 0)
    case .symbolicLink: (type, size) = ("2", 0)
    case .characterDevice: (type, size) = ("3", 0)
    case .blockDevice: (type, size) = ("4", 0)
    case .fifo: (type, size) = ("6", 0)
    // A socket has no type of its own there: it counts as a regular file of its size.
    default: (type, size) = ("0", status.size)
    }
    let device = status.kind == .characterDevice || status.kind == .blockDevice
    hasher.update("namemode\(mode)uid\(status.uid)gid\(status.gid)size\(size)typeflag\(type)linkname\(linkTarget)unamegname")
    hasher.update("devmajor\(device ? status.deviceMajor : 0)devminor\(device ? status.deviceMinor : 0)")
    for (name, value) in xattrs.filter({ counts($0.name) }).sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
      hasher.update(name)
      hasher.update(value)
    }
  }

  private static func counts(_ name: String) -> Bool {
    name == "security.capability" || !(name.hasPrefix("security.") || name.hasPrefix("system."))
  }

  /// Of the file at `path`, read now. Throws when it changes meanwhile.
  static func digest(_ path: String, status: FileStatus, in tree: any TreeReader) throws -> Digest {
    var hasher = DigestHasher()
    let link = status.kind == .symbolicLink ? try tree.readLink(path) : ""
    header(status, linkTarget: link, xattrs: try tree.xattrs(path), into: &hasher)
    if status.kind == .regular, status.size > 0 {
      let file = try tree.open(path)
      let size = min(Int(clamping: status.size), 256 << 10)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
      defer { buffer.deallocate() }
      while true {
        let n = try file.read(into: buffer)
        if n == 0 { break }
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
      }
    }
    return hasher.finish()
  }
}
