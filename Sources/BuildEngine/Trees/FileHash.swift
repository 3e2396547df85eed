internal import HostOS
internal import OCIModel

/// The digest BuildKit gives a file: of a header in Docker's old tarsum form, without a name and without times, and the
/// content (cache/contenthash/filehash.go and tarsum.go).
enum FileHash {
  /// `linkTarget` is a symlink's. Names are hashed by the directory, not here.
  static func header(
    _ status: FileStatus, linkTarget: String, xattrs: [(name: String, value: [UInt8])], deviceNumbersCount: Bool = false, into hasher: inout DigestHasher
  ) {
    // A symlink's own mode differs between systems and means nothing.
    let permissions = (status.kind == .symbolicLink ? 0o777 : status.mode & 0o777) | status.mode & 0o7000
    let type: String, size: Int64
    switch status.kind {
    case .directory: (type, size) = ("5", 0)
    case .symbolicLink: (type, size) = ("2", 0)
    case .characterDevice: (type, size) = ("3", 0)
    case .blockDevice: (type, size) = ("4", 0)
    case .fifo: (type, size) = ("6", 0)
    // A socket has no type of its own there: it counts as a regular file of its size.
    case .regular, .socket, .unknown: (type, size) = ("0", status.size)
    }
    let isDevice = status.kind == .characterDevice || status.kind == .blockDevice
    let device = deviceNumbersCount && isDevice ? status.rdev : DeviceNumber(major: 0, minor: 0)
    hasher.update("namemode\(permissions)uid\(status.uid)gid\(status.gid)size\(size)typeflag\(type)linkname")
    hasher.update(PathText.bytes(linkTarget))
    hasher.update("unamegnamedevmajor\(device.major)devminor\(device.minor)")
    if xattrs.isEmpty { return }
    let counted = xattrs.filter { counts($0.name) }.map { (name: PathText.bytes($0.name), value: $0.value) }
    for (name, value) in counted.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }) {
      hasher.update(name)
      hasher.update(value)
    }
  }

  private static func counts(_ name: String) -> Bool {
    name == "security.capability" || !(name.hasPrefix("security.") || name.hasPrefix("system."))
  }

  /// Of what is at `path`, read now. Throws `TreeError` when a file is not what `status` says any more.
  static func digest(_ path: String, status: FileStatus, in tree: any TreeReader) throws -> Digest {
    var hasher = DigestHasher()
    let link = status.kind == .symbolicLink ? try tree.readLink(path) : ""
    // One open file answers for its attributes and its content.
    let file = status.kind == .regular && status.size > 0 ? try tree.open(path) : nil
    header(status, linkTarget: link, xattrs: try file.map { try tree.xattrs(path, of: $0) } ?? tree.xattrs(path), deviceNumbersCount: tree.deviceNumbersCount, into: &hasher)
    if let file {
      let size = min(Int(clamping: status.size), 256 << 10)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
      defer { buffer.deallocate() }
      var count: Int64 = 0
      while true {
        let n = try file.read(into: buffer)
        if n == 0 { break }
        count += Int64(n)
        if count > status.size { break }
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
      }
      let after = try file.status()
      guard count == status.size, after.kind == .regular, after.mtime == status.mtime, after.ctime == status.ctime else {
        throw TreeError(.changed, "\"/\(path)\" changed while the build was reading it: run the build again when nothing writes to it")
      }
    }
    return hasher.finish()
  }
}
