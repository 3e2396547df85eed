internal import BuildInterface
internal import HostOS
internal import Synchronization

/// The trees of an output as they are sent to a client: each in a folder of its platform, or all in one, with their attestations beside them.
final class SentTree: FileTree {
  struct Part: Sendable {
    /// nil: at the top.
    var folder: String?
    var tree: Directory?
    var attestations: TreeAttestations
  }
  private let parts: [Part]
  /// All modification times, in nanoseconds since 1970; nil: the files' own.
  private let modified: Int64?
  private let flag: CancelFlag
  private let files = Mutex<[[UInt8]: [UInt8]]>([:])

  init(_ parts: [Part], modified: Int64?, _ flag: CancelFlag) { (self.parts, self.modified, self.flag) = (parts, modified, flag) }

  func walk(_ body: (FileEntry) throws -> Void) throws {
    try withoutActuallyEscaping(body) { try walk(SentTreeWalk(modified: modified, flag, $0), $0) }
  }

  private func walk(_ walk: SentTreeWalk, _ body: (FileEntry) throws -> Void) throws {
    guard parts.contains(where: { $0.folder != nil }) else {
      return try walk.directory(sources(parts, at: []), attested(parts, at: []), path: [])
    }
    for part in parts.sorted(by: { PathText.precedes($0.folder ?? "", $1.folder ?? "") }) {
      let path = PathText.bytes(part.folder ?? "")
      try body(FileEntry(path: path, mode: GoMode.directory | 0o755, modified: modified ?? 0))
      try walk.directory(sources([part], at: path), attested([part], at: path), path: path)
    }
  }

  private func sources(_ parts: [Part], at path: [UInt8]) -> [SentTreeWalk.Source] {
    parts.compactMap { part in part.tree.map { SentTreeWalk.Source(root: $0, prefix: path, directory: $0) } }
  }

  private func attested(_ parts: [Part], at path: [UInt8]) throws -> [(name: String, size: Int)] {
    try parts.flatMap { part in
      try part.attestations.files(of: part.tree, isCancelled: { flag.isSet }).map { name, bytes in
        let whole = SentTreeWalk.join(path, PathText.bytes(name))
        files.withLock { $0[whole] = bytes }
        return (name, bytes.count)
      }
    }
  }

  func read(_ path: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    if let bytes = files.withLock({ $0[path] }) { return try bytes.withUnsafeBytes(body) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { buffer.deallocate() }
    let file = try open(path)
    while true {
      if flag.isSet { throw CancellationError() }
      let count = try file.read(into: buffer)
      if count == 0 { return }
      try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
  }

  private func open(_ path: [UInt8]) throws -> Descriptor {
    let text = PathText.decode(path)
    for part in parts {
      guard let tree = part.tree else { continue }
      var inner = text
      if let folder = part.folder {
        guard text.utf8.starts(with: (folder + "/").utf8) else { continue }
        inner = String(Substring(text.utf8.dropFirst(folder.utf8.count + 1)))
      }
      do {
        return try tree.openFile(inner, flags: [.readOnly, .noFollow, .nonBlocking], follow: .none)
      } catch let error as HostError where [.notFound, .notDirectory, .escapes].contains(error.code) { continue }
    }
    throw HostError(.notFound, operation: "open", path: text, message: "the file is in no tree of this output")
  }
}

/// Modes as Go's os.FileMode has them.
enum GoMode {
  static let directory: UInt32 = 1 << 31
  static func of(_ status: FileStatus) -> UInt32 {
    var mode = status.mode & 0o777
    if status.mode & 0o4000 != 0 { mode |= 1 << 23 }
    if status.mode & 0o2000 != 0 { mode |= 1 << 22 }
    if status.mode & 0o1000 != 0 { mode |= 1 << 20 }
    switch status.kind {
    case .directory: mode |= directory
    case .symbolicLink: mode |= 1 << 27
    case .blockDevice: mode |= 1 << 26
    case .characterDevice: mode |= 1 << 26 | 1 << 21
    case .fifo: mode |= 1 << 25
    // Sent as an empty file, as the peers do it.
    case .socket, .regular, .unknown: break
    }
    return mode
  }
}

private final class SentTreeWalk {
  struct Source {
    var root: Directory
    /// Where the root's entries appear.
    var prefix: [UInt8]
    var directory: Directory
  }
  private struct Inode: Hashable { let device: UInt64; let inode: UInt64 }
  private let modified: Int64?
  private let flag: CancelFlag
  private let body: (FileEntry) throws -> Void
  private var linked: [Inode: [UInt8]] = [:]

  init(modified: Int64?, _ flag: CancelFlag, _ body: @escaping (FileEntry) throws -> Void) { (self.modified, self.flag, self.body) = (modified, flag, body) }

  static func join(_ path: [UInt8], _ name: [UInt8]) -> [UInt8] { path.isEmpty ? name : path + [UInt8(ascii: "/")] + name }

  /// The same folder of several trees as one, and files that are in none.
  func directory(_ sources: [Source], _ extra: [(name: String, size: Int)], path: [UInt8], depth: Int = 0) throws {
    guard depth < 2048 else { throw HostError(.nameTooLong, operation: "send", path: PathText.decode(path), message: "directories are nested deeper than 2048") }
    var names: [[UInt8]: (name: String, sources: [Source], size: Int?)] = [:]
    for source in sources {
      for entry in try source.directory.entries() { names[PathText.bytes(entry.name), default: (entry.name, [], nil)].sources.append(source) }
    }
    for (name, size) in extra { names[PathText.bytes(name)] = (name, [], size) }
    for (bytes, item) in names.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
      if flag.isSet { throw CancellationError() }
      let here = Self.join(path, bytes)
      if let size = item.size {
        try body(FileEntry(path: here, mode: 0o600, size: Int64(size), modified: modified ?? HostClock.now / 1_000_000_000 * 1_000_000_000))
        continue
      }
      try send(item.name, item.sources, here, depth)
    }
  }

  private func send(_ name: String, _ sources: [Source], _ path: [UInt8], _ depth: Int) throws {
    guard let first = sources.first else { return }
    let status = try first.directory.status(name)
    try body(try entry(name, status, in: first.directory, path))
    guard status.kind == .directory else { return }
    let inner = try sources.compactMap { source -> Source? in
      guard try source.directory.status(name).kind == .directory else { return nil }
      return Source(root: source.root, prefix: source.prefix, directory: try source.directory.openDirectory(name, follow: .none))
    }
    try directory(inner, [], path: path, depth: depth + 1)
  }

  private func entry(_ name: String, _ status: FileStatus, in directory: Directory, _ path: [UInt8]) throws -> FileEntry {
    var entry = FileEntry(path: path, mode: GoMode.of(status), uid: status.uid, gid: status.gid, modified: modified ?? status.mtime)
    if status.kind == .characterDevice || status.kind == .blockDevice { (entry.deviceMajor, entry.deviceMinor) = (Int64(status.rdev.major), Int64(status.rdev.minor)) }
    for attribute in try directory.xattrNames(name) where !attribute.hasPrefix("trusted.overlay.") && !attribute.hasPrefix("user.overlay.") {
      if let value = try? directory.xattr(name, attribute) { entry.attributes.append(.init(name: PathText.bytes(attribute), value: value)) }
    }
    if status.kind == .directory { return entry }
    if status.links > 1, status.kind != .symbolicLink {
      let inode = Inode(device: status.device, inode: status.inode)
      if let first = linked[inode] { entry.linkTarget = first; return entry }
      linked[inode] = path
    }
    entry.size = status.size
    if status.kind == .symbolicLink { entry.linkTarget = PathText.bytes(try directory.readLink(name)) }
    return entry
  }
}
