internal import BuildInterface
internal import HostOS
internal import OCIModel

/// The directory beneath which received files are put. Entries of a directory are met in order, as they come, so that what was not sent is known when the next comes.
final class ReceivedTree {
  struct Present {
    var bytes: [UInt8]
    var name: String
  }
  /// A directory on the way down.
  struct Level {
    var path: [UInt8]
    /// What was in it; sorted.
    var present: [Present] = []
    var next = 0
    /// Not made yet.
    var unmade: FileEntry?
    init(path: [UInt8], unmade: FileEntry? = nil) { (self.path, self.unmade) = (path, unmade) }
  }
  private struct Inode: Hashable { let device: UInt64; let inode: UInt64 }

  private let root: Directory
  private let options: ReceiveOptions
  private var linked: Set<Inode> = []
  /// The directories used last.
  private var held: [(path: [UInt8], directory: Directory)] = []
  private var nextHeld = 0

  init(_ root: Directory, _ options: ReceiveOptions) { (self.root, self.options) = (root, options) }

  func rootLevel() throws -> Level { try list(Level(path: []), root) }

  private func list(_ empty: Level, _ directory: Directory) throws -> Level {
    var level = empty
    if options.keepsOthers { return level }
    level.present = try directory.entries().map { Present(bytes: PathText.bytes($0.name), name: $0.name) }.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
    return level
  }

  func name(_ path: [UInt8]) -> [UInt8] { path.lastIndex(of: UInt8(ascii: "/")).map { Array(path[($0 + 1)...]) } ?? path }

  func directory(_ path: [UInt8]) throws -> Directory {
    if path.isEmpty { return root }
    if let found = held.first(where: { $0.path == path }) { return found.directory }
    let directory = try root.openDirectory(PathText.decode(path), follow: .none)
    if held.count < 8 { held.append((path, directory)) } else { held[nextHeld] = (path, directory) }
    nextHeld = (nextHeld + 1) % 8
    return directory
  }

  // MARK: What was there

  /// Removes what lies before a name, and answers what there is by that name.
  func advance(_ level: inout Level, to name: [UInt8]) throws -> FileStatus? {
    if options.keepsOthers { return try directory(level.path).statusIfPresent(PathText.decode(name)) }
    while level.next < level.present.count {
      let present = level.present[level.next]
      if present.bytes == name {
        level.next += 1
        return try directory(level.path).statusIfPresent(present.name)
      }
      if !present.bytes.lexicographicallyPrecedes(name) { return nil }
      try remove(present.bytes, in: level)
      level.next += 1
    }
    return nil
  }

  func finish(_ level: inout Level) throws {
    while level.next < level.present.count {
      try remove(level.present[level.next].bytes, in: level)
      level.next += 1
    }
  }

  func remove(_ name: [UInt8], in level: Level) throws {
    // A directory that goes must not be found again under its path.
    held.removeAll()
    nextHeld = 0
    try directory(level.path).removeTree(PathText.decode(name))
  }

  /// Whether a regular file looks as it did when it came (fsutil's comparison by metadata); files that were one and are no more do not.
  func isSame(_ status: FileStatus, _ entry: FileEntry) -> Bool {
    guard status.kind == .regular, status.size == entry.size, isSameMetadata(status, entry) else { return false }
    return status.links < 2 || linked.insert(Inode(device: status.device, inode: status.inode)).inserted
  }

  private func isSameMetadata(_ status: FileStatus, _ entry: FileEntry) -> Bool {
    status.mtime == entry.modified && status.uid == entry.uid && status.gid == entry.gid
      && (status.kind == .symbolicLink || status.permissions == GoFileMode.permissions(entry.mode))
  }

  // MARK: What comes

  func makeDirectory(_ entry: FileEntry, _ name: [UInt8], _ present: FileStatus?, in parent: Level) throws -> Level {
    let directory = try directory(parent.path), text = PathText.decode(name)
    let empty = Level(path: entry.path)
    if let present, present.kind == .directory {
      if present.permissions != GoFileMode.permissions(entry.mode) || present.uid != entry.uid || present.gid != entry.gid { try setMetadata(entry, text, directory) }
      return try list(empty, self.directory(entry.path))
    }
    if present != nil { try directory.unlink(text) }
    try directory.makeDirectory(text, mode: 0o700)
    try setMetadata(entry, text, directory)
    return empty
  }

  func makeSpecial(_ entry: FileEntry, _ name: [UInt8], _ present: FileStatus?, in level: Level) throws {
    let directory = try directory(level.path), text = PathText.decode(name)
    let kind = try kind(entry), isLink = kind == .symbolicLink
    let device = DeviceNumber(major: UInt32(truncatingIfNeeded: entry.deviceMajor), minor: UInt32(truncatingIfNeeded: entry.deviceMinor))
    if let present, present.kind == kind, isSameMetadata(present, entry), !options.comparesNothing {
      if isLink ? PathText.bytes(try directory.readLink(text)) == entry.linkTarget : present.rdev == device { return }
    }
    let place = present == nil ? text : Self.temporaryName()
    do {
      if isLink {
        try directory.symlink(target: PathText.decode(entry.linkTarget), at: place)
      } else {
        try directory.makeNode(place, kind: kind, mode: 0o600, device: device)
      }
      try setMetadata(entry, place, directory)
      try setTime(entry, place, directory)
      if present != nil { try directory.rename(place, to: text) }
    } catch {
      if present != nil { try? directory.unlink(place) }
      throw error
    }
  }

  private func kind(_ entry: FileEntry) throws -> FileKind {
    switch entry.mode & GoFileMode.kinds {
    case GoFileMode.symbolicLink:
      if entry.linkTarget.isEmpty { throw FileSyncError(.violation, "\(FileSyncError.shown(entry.path)) is a link to no possible path") }
      return .symbolicLink
    case GoFileMode.fifo: return .fifo
    case GoFileMode.device: return .blockDevice
    case GoFileMode.device | GoFileMode.characterDevice: return .characterDevice
    default: throw FileSyncError(.violation, "\(FileSyncError.shown(entry.path)) is of no kind that there is (mode \(String(entry.mode, radix: 8)))")
    }
  }

  /// A file whose content is here: written at once, or as its temporary that was being written. Answers whether it has all its attributes.
  func write(_ entry: FileEntry, _ content: inout ReceivedContent, parent: Int, replaces: Bool) throws -> Bool {
    let directory = try directory(Array(entry.path[..<parent])), text = PathText.decode(name(entry.path))
    let place = content.temporary ?? (replaces ? Self.temporaryName() : text)
    do {
      let file = try content.file ?? create(place, directory)
      try content.flush(to: file)
      try file.setOwner(uid: entry.uid, gid: entry.gid)
      try file.setMode(GoFileMode.permissions(entry.mode))
      let isComplete = setAttributes(entry, place, directory)
      // Last: by its time a file is known to be whole.
      try file.setTimes(accessed: nil, modified: entry.modified)
      try file.close()
      content.file = nil
      if place != text { try directory.rename(place, to: text) }
      content.temporary = nil
      return isComplete
    } catch {
      try? directory.unlink(place)
      throw error
    }
  }

  func create(_ name: String, _ directory: Directory) throws -> HostOS.Descriptor {
    try directory.openFile(name, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o600, follow: .none)
  }

  static func temporaryName() -> String { ".tmp.\(String(UInt64.random(in: .min ... .max), radix: 36))" }

  /// One more name of a file.
  func link(_ entry: FileEntry, present: Bool) throws {
    let from = PathText.decode(entry.linkTarget), to = PathText.decode(entry.path)
    guard let target = try root.statusIfPresent(from), target.kind != .directory, target.kind != .symbolicLink else { throw FileReceiver.badLink(entry) }
    if present, let old = try root.statusIfPresent(to) {
      if old.device == target.device, old.inode == target.inode { return }
      try root.unlink(to)
    }
    try root.hardlink(from: from, to: to)
  }

  /// After the owner, a change of which takes capabilities away. False when the filesystem or the user cannot have one, which is left out, as with the peers.
  private func setAttributes(_ entry: FileEntry, _ name: String, _ directory: Directory) -> Bool {
    var isComplete = true
    for attribute in entry.attributes {
      do { try directory.setXattr(name, PathText.decode(attribute.name), attribute.value) } catch { isComplete = false }
    }
    return isComplete
  }

  private func setMetadata(_ entry: FileEntry, _ name: String, _ directory: Directory) throws {
    defer { _ = setAttributes(entry, name, directory) }
    try directory.setOwner(name, uid: entry.uid, gid: entry.gid)
    if entry.mode & GoFileMode.symbolicLink == 0 { try directory.setMode(name, GoFileMode.permissions(entry.mode)) }
  }

  private func setTime(_ entry: FileEntry, _ name: String, _ directory: Directory) throws { try directory.setTimes(name, accessed: nil, modified: entry.modified) }

  /// Of a directory, when nothing is put into it any more.
  func setTime(_ path: [UInt8], _ modified: Int64) throws {
    let text = PathText.decode(path)
    if try root.status(text).mtime != modified { try root.setTimes(text, accessed: nil, modified: modified) }
  }
}

/// The content of a file as it comes: a small one is held until it is whole, a large one is written to a file under another name.
struct ReceivedContent {
  private static let small = 64 << 10
  private(set) var count: Int64 = 0
  var hasher: DigestHasher?
  private var held: [UInt8] = []
  fileprivate(set) var file: HostOS.Descriptor?
  fileprivate(set) var temporary: String?

  var isOpen: Bool { file != nil }

  mutating func append(_ bytes: [UInt8], of entry: FileEntry, in tree: ReceivedTree, parent: Int) throws {
    count += Int64(bytes.count)
    guard count <= entry.size else {
      throw FileSyncError(.changed, "\(FileSyncError.shown(entry.path)): \(entry.size) bytes were announced and more come: it changed while it was being sent")
    }
    hasher?.update(bytes)
    if let file { return try file.write(bytes) }
    if held.isEmpty { held = bytes } else { held += bytes }
    if held.count < Self.small || count == entry.size && entry.size <= 2 * Self.small { return }
    let name = ReceivedTree.temporaryName()
    let file = try tree.create(name, tree.directory(Array(entry.path[..<parent])))
    (self.file, temporary) = (file, name)
    try flush(to: file)
  }

  mutating func flush(to file: HostOS.Descriptor) throws {
    if held.isEmpty { return }
    try file.write(held)
    held = []
  }

  func abandon(_ tree: ReceivedTree, _ parent: [UInt8]) {
    if let temporary { try? tree.directory(parent).unlink(temporary) }
  }
}

/// Everything that was told of, each with its length before it (four bytes, the lowest first) and in the form of the protocol.
final class MetadataList {
  private let directory: Directory
  private let temporary = ReceivedTree.temporaryName()
  private let file: HostOS.Descriptor
  private var held: [UInt8] = []

  init(in directory: Directory) throws {
    self.directory = directory
    file = try directory.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o644, follow: .none)
  }

  func append(_ entry: FileEntry) throws {
    let bytes = FilePacketCoding.encode(entry)
    for shift in [0, 8, 16, 24] { held.append(UInt8(truncatingIfNeeded: bytes.count >> shift)) }
    held += bytes
    if held.count >= 64 << 10 { try flush() }
  }

  private func flush() throws {
    try file.write(held)
    held.removeAll(keepingCapacity: true)
  }

  func finish() throws {
    try flush()
    try file.setMode(0o644)
    try file.close()
    try directory.rename(temporary, to: FileReceiver.metadataName)
  }

  func abandon() { try? directory.unlink(temporary) }
}
