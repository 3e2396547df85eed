package import BuildInterface
package import HostOS
package import OCIModel
package import PathPatterns

/// How a directory takes files.
package struct ReceiveOptions: Sendable {
  package var limits = FileSyncLimits()
  /// Every file is asked for.
  package var comparesNothing = false
  /// What is there and is not sent stays.
  package var keepsOthers = false
  /// To whom everything belongs; nil: as it is sent.
  package var owner: (uid: UInt32, gid: UInt32)?
  /// Only what matches comes; everything else is listed. nil: all comes.
  package var metadataOnlyExcept: PatternList?
  package var hash: (@Sendable (FileEntry) -> DigestHasher)?
  package init() {}
}

/// The end that wants files (fsutil's receive.go): compares what it is told of with what a directory has, asks for what differs, and removes what there is no more. Every path is
/// checked and looked up beneath the directory's descriptor without following a link; a file appears under its name when it is whole. Used by one thread; blocks.
package final class FileReceiver {
  /// Where everything that was told of without content is listed.
  static let metadataName = ".fsutil-metadata"

  /// A file that was asked for.
  private struct Wanted {
    var entry: FileEntry
    /// The bytes of the directory's part of the path.
    var parent: Int
    var replaces: Bool
    var content = ReceivedContent()
  }
  private struct Link {
    var entry: FileEntry
    var present: Bool
  }

  private let options: ReceiveOptions
  private let reply: (FilePacket) -> Void
  private let tree: ReceivedTree
  private var order: EntryOrder
  private var levels: [ReceivedTree.Level]
  private var nextID: UInt32 = 0
  private var announced: Int64 = 0
  private var wanted: [UInt32: Wanted] = [:]
  private var outstanding = 0
  private var openFiles = 0
  private var links: [Link] = []
  private var times: [(path: [UInt8], modified: Int64)] = []
  private var isAllTold = false
  private var hasFinished = false
  private var metadata: MetadataList?
  /// The other end has said that all is done: what comes after it does not count.
  package private(set) var isDone = false
  /// Files whose content came, with their hashes where hashes are wanted.
  package private(set) var received: [UpdatedDirectory.File] = []
  package var entries: Int { order.entries }

  package init(_ directory: Directory, _ options: ReceiveOptions, reply: @escaping (FilePacket) -> Void) throws {
    (self.options, self.reply) = (options, reply)
    order = EntryOrder(options.limits)
    tree = ReceivedTree(directory, options)
    levels = [try tree.rootLevel()]
    if options.metadataOnlyExcept != nil { metadata = try MetadataList(in: directory) }
  }

  /// Takes the next packet. After an error nothing more is taken, and `abandon` clears up.
  package func take(_ packet: FilePacket) throws {
    if isDone { return }
    switch packet {
    case .entry(let entry): try take(entry)
    case .endOfEntries:
      guard !isAllTold else { throw FileSyncError(.violation, "the list of files ends twice") }
      isAllTold = true
      try leave(levels.count)
      try finishIfReady()
    case .data(let id, let bytes): try take(bytes, of: id)
    case .finish:
      guard hasFinished else { throw FileSyncError(.violation, "the other end finished before all files came") }
      isDone = true
    case .failure(let text): throw FileSyncError(.peer, text.isEmpty ? "the other end failed" : text)
    case .request: throw FileSyncError(.violation, "the end that has the files asks for one")
    }
  }

  /// The other end says nothing more.
  package func end() throws {
    if !isDone { throw FileSyncError(.ended, "the connection ended before all files came") }
  }

  /// Removes what is not whole. What is, stays.
  package func abandon() {
    for item in wanted.values { item.content.abandon(tree, Array(item.entry.path[..<item.parent])) }
    wanted = [:]
    metadata?.abandon()
  }

  // MARK: Entries

  private func take(_ given: FileEntry) throws {
    guard !isAllTold else { throw FileSyncError(.violation, "\(FileSyncError.shown(given.path)) comes after the end of the list of files") }
    let id = nextID
    nextID += 1
    let (left, name) = try order.next(given.path)
    try leave(left)
    var entry = given
    if let owner = options.owner { (entry.uid, entry.gid) = (owner.uid, owner.gid) }
    try check(entry)
    if let metadata, let patterns = options.metadataOnlyExcept {
      if order.depth == 0, name == Array(Self.metadataName.utf8) { return }
      try metadata.append(given)
      guard patterns.matches(PathText.decode(entry.path)) else {
        // A directory is made when something in it comes.
        if entry.mode & GoFileMode.directory != 0 {
          order.enter(entry.path)
          levels.append(ReceivedTree.Level(path: entry.path, unmade: entry))
        }
        return
      }
      try makeLevels()
    }
    try place(entry, name, id)
  }

  /// The directories above that were only told of.
  private func makeLevels() throws {
    for index in levels.indices {
      guard let entry = levels[index].unmade else { continue }
      levels[index] = try makeDirectory(entry, in: index - 1)
    }
  }

  private func makeDirectory(_ entry: FileEntry, in parent: Int) throws -> ReceivedTree.Level {
    let name = tree.name(entry.path)
    let present = try tree.advance(&levels[parent], to: name)
    times.append((entry.path, entry.modified))
    return try tree.makeDirectory(entry, name, present, in: levels[parent])
  }

  private func place(_ entry: FileEntry, _ name: [UInt8], _ id: UInt32) throws {
    let top = levels.count - 1
    if entry.mode & GoFileMode.directory != 0 {
      let level = try makeDirectory(entry, in: top)
      levels.append(level)
      order.enter(entry.path)
      return
    }
    var present = try tree.advance(&levels[top], to: name)
    if let status = present, status.kind == .directory {
      try tree.remove(name, in: levels[top])
      present = nil
    }
    if entry.mode & GoFileMode.kinds != 0 { return try tree.makeSpecial(entry, name, present, in: levels[top]) }
    if !entry.linkTarget.isEmpty {
      guard EntryOrder.precedes(entry.linkTarget, entry.path) else { throw Self.badLink(entry) }
      return links.append(Link(entry: entry, present: present != nil))
    }
    if !options.comparesNothing, let present, tree.isSame(present, entry) { return }
    try request(entry, name, id, replaces: present != nil)
  }

  private func request(_ entry: FileEntry, _ name: [UInt8], _ id: UInt32, replaces: Bool) throws {
    let parent = entry.path.count == name.count ? 0 : entry.path.count - name.count - 1
    var item = Wanted(entry: entry, parent: parent, replaces: replaces)
    // Nothing has to come of an empty file.
    if entry.size == 0 { return try complete(&item) }
    outstanding += Self.cost(entry)
    if outstanding > options.limits.outstanding { throw FileSyncError(.limit, "too many files are outstanding at once: their names alone take more than \(options.limits.outstanding) bytes") }
    wanted[id] = item
    reply(.request(id))
  }

  private static func cost(_ entry: FileEntry) -> Int { 256 + entry.path.count + entry.attributes.reduce(0) { $0 + $1.name.count + $1.value.count + 32 } }

  private func check(_ entry: FileEntry) throws {
    guard entry.size >= 0 else { throw FileSyncError(.violation, "\(FileSyncError.shown(entry.path)) has a size of \(entry.size)") }
    guard entry.linkTarget.count <= options.limits.path, !entry.linkTarget.contains(0) else { throw FileSyncError(.violation, "\(FileSyncError.shown(entry.path)) is a link to no possible path") }
    guard entry.mode & (GoFileMode.kinds | GoFileMode.directory) == 0 else { return }
    let (sum, overflow) = announced.addingReportingOverflow(entry.size)
    guard !overflow, sum <= options.limits.content else { throw FileSyncError(.limit, "files of more than \(options.limits.content) bytes together") }
    announced = sum
  }

  /// What these directories have and was not told of is removed.
  private func leave(_ count: Int) throws {
    for _ in 0..<count {
      guard var level = levels.popLast() else { return }
      if level.unmade == nil { try tree.finish(&level) }
    }
  }

  // MARK: Content

  private func take(_ bytes: [UInt8], of id: UInt32) throws {
    guard var item = wanted.removeValue(forKey: id) else { throw FileSyncError(.violation, "content that was not asked for (file \(id))") }
    if bytes.isEmpty {
      outstanding -= Self.cost(item.entry)
      if item.content.isOpen { openFiles -= 1 }
      do { try complete(&item) } catch {
        item.content.abandon(tree, Array(item.entry.path[..<item.parent]))
        throw error
      }
      return try finishIfReady()
    }
    let wasOpen = item.content.isOpen
    defer { wanted[id] = item }
    if let hash = options.hash, item.content.hasher == nil { item.content.hasher = hash(item.entry) }
    try item.content.append(bytes, of: item.entry, in: tree, parent: item.parent)
    if item.content.isOpen, !wasOpen {
      openFiles += 1
      if openFiles > options.limits.openFiles { throw FileSyncError(.limit, "more than \(options.limits.openFiles) files come at once") }
    }
  }

  private func complete(_ item: inout Wanted) throws {
    guard item.content.count == item.entry.size else {
      throw FileSyncError(
        .changed, "\(FileSyncError.shown(item.entry.path)): \(item.entry.size) bytes were announced and \(item.content.count) came: it cannot be read there, or it changed meanwhile")
    }
    // What is said of a file that is not quite as it was sent would be wrong: it is read again.
    guard try tree.write(item.entry, &item.content, parent: item.parent, replaces: item.replaces), let hash = options.hash else { return }
    let hasher = item.content.hasher ?? hash(item.entry)
    received.append(UpdatedDirectory.File(path: item.entry.path, digest: hasher.finish()))
  }

  private func finishIfReady() throws {
    guard isAllTold, wanted.isEmpty, !hasFinished else { return }
    hasFinished = true
    for link in links { try tree.link(link.entry, present: link.present) }
    try metadata?.finish()
    for (path, modified) in times { try tree.setTime(path, modified) }
    reply(.finish)
  }

  static func badLink(_ entry: FileEntry) -> FileSyncError {
    FileSyncError(.violation, "\(FileSyncError.shown(entry.path)) is a link to \(FileSyncError.shown(entry.linkTarget)), which is no file told of before it")
  }
}
