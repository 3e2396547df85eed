internal import HostOS
internal import LayerArchive
internal import OCIModel

/// The files of a stranger's tar archive, found once and then read where they lie.
struct ArchiveFiles: Sendable {
  struct File: Sendable {
    var offset: Int64
    var size: Int64
  }
  private enum Member: Sendable { case file(File), link([String]) }

  /// No archive of images has so many files, nor names so long.
  private static let mostFiles = 100_000, longestName = 1024, deepestLink = 16

  let file: HostOS.Descriptor
  private var members: [String: Member] = [:]

  /// `file` is a plain tar archive in a regular file. Throws `ImageToolsError`. Blocks for as long as looking through it takes.
  init(_ file: HostOS.Descriptor, isCancelled: () -> Bool) throws {
    self.file = file
    let size = try file.size
    let reader = TarReader(PositionedSource(file))
    do {
      while let entry = try reader.next() {
        if isCancelled() { throw CancellationError() }
        guard members.count < Self.mostFiles else { throw Self.invalid("it has more than \(Self.mostFiles) files") }
        guard entry.path.count <= Self.longestName, entry.linkTarget.count <= Self.longestName else { throw Self.invalid("a name in it has more than \(Self.longestName) bytes") }
        guard let path = Self.path(entry.path.components.map(\.description), from: []) else { throw Self.invalid("\(entry.path) reaches out of the archive") }
        switch entry.kind {
        case .file:
          guard entry.sparse == nil else { throw Self.invalid("\(entry.path) is sparse") }
          let offset = reader.contentOffset
          guard entry.size <= size - offset else { throw LayerArchiveError(.truncated, "it ends too early", path: entry.path) }
          members[path.joined(separator: "/")] = .file(File(offset: offset, size: entry.size))
        case .symbolicLink:
          let target = entry.linkTarget.bytes.first == 0x2f ? nil : Self.path(entry.linkTarget.components.map(\.description), from: Array(path.dropLast()))
          // Old docker archives have one layer for another's twin.
          if let target { members[path.joined(separator: "/")] = .link(target) }
        case .hardLink:
          if let target = Self.path(entry.linkTarget.components.map(\.description), from: []) { members[path.joined(separator: "/")] = .link(target) }
        case .directory, .characterDevice, .blockDevice, .fifo, .other, .globalHeader: break
        }
      }
    } catch let error as LayerArchiveError { throw Self.invalid("it cannot be read", error) }
    if members.isEmpty { throw Self.invalid("there is no file in it") }
  }

  static func invalid(_ why: String, _ cause: (any Error)? = nil) -> ImageToolsError { ImageToolsError(.invalidArchive, "the archive is not one of images: \(why)", cause: cause) }

  /// nil for a path that leaves the archive.
  private static func path(_ components: [String], from base: [String]) -> [String]? {
    var path = base
    for component in components {
      if component == ".." {
        if path.isEmpty { return nil }
        path.removeLast()
      } else {
        path.append(component)
      }
    }
    return path
  }

  /// The file of a name, links followed within the archive; nil when there is none.
  subscript(name: String) -> File? {
    guard var path = Self.path(name.split(separator: "/").filter { $0 != "." }.map(String.init), from: []) else { return nil }
    for _ in 0..<Self.deepestLink {
      switch members[path.joined(separator: "/")] {
      case .file(let file): return file
      case .link(let target): path = target
      case nil: return nil
      }
    }
    return nil
  }

  /// Throws `ImageToolsError` for one that is missing or has more than `limit` bytes. Blocks.
  func document(_ name: String, limit: Int) throws -> [UInt8] {
    guard let found = self[name] else { throw Self.invalid("it has no file \(name.prefix(200))") }
    guard found.size <= Int64(limit) else { throw Self.invalid("\(name.prefix(200)) has \(found.size) bytes, more than the limit of \(limit)") }
    return try source(found).readToEnd(limit: limit)
  }

  func source(_ found: File) -> PositionedSource { PositionedSource(file, offset: found.offset, count: found.size) }

  // MARK: - As an OCI layout

  func blob(_ digest: Digest) -> File? { self["blobs/\(digest.algorithm.rawValue)/\(digest.hex)"] }

  func size(of digest: Digest) -> Int64? { blob(digest)?.size }

  func bytes(_ digest: Digest, limit: Int) throws -> [UInt8] {
    let bytes = try document("blobs/\(digest.algorithm.rawValue)/\(digest.hex)", limit: limit)
    var hasher = DigestHasher(digest.algorithm)
    hasher.update(bytes)
    guard hasher.finish() == digest else { throw Self.invalid("the file of \(digest) has other content") }
    return bytes
  }
}
