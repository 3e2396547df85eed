internal import ContentStore
internal import GRDB
internal import HostOS
internal import OCIModel

/// The files behind a content key, so that a later build can say which of them changed: path and digest, ordered by path.
struct TreeListing: Sendable, Equatable {
  /// Of very many files the key alone is kept.
  static let limit = 250_000
  /// A directory's path ends in a slash; its digest is of its own metadata.
  var entries: [(path: String, digest: [UInt8])]

  init(entries: [(path: String, digest: [UInt8])]) { self.entries = entries.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) } }

  static func == (a: TreeListing, b: TreeListing) -> Bool { a.entries.elementsEqual(b.entries) { $0 == $1 } }

  /// nil when there are too many. Blocks.
  init?(_ hash: ContentHash, _ selectors: [ContentSelector]) throws {
    var entries: [(path: String, digest: [UInt8])] = []
    for selector in selectors.isEmpty ? [ContentSelector(path: "")] : selectors {
      let part = try hash.entries(of: selector)
      if entries.count + part.count > Self.limit { return nil }
      entries += part.map { ($0.path, Array($0.digest.bytes.prefix(Self.digestBytes))) }
    }
    self.init(entries: entries)
  }

  private static let digestBytes = 8

  /// Path, NUL, eight bytes of its digest; again.
  var encoded: [UInt8] {
    var out: [UInt8] = []
    for entry in entries { out += PathText.bytes(entry.path) + [0] + entry.digest }
    return out
  }

  init?(encoded: [UInt8]) {
    var entries: [(path: String, digest: [UInt8])] = []
    var rest = encoded[...]
    while !rest.isEmpty {
      guard let end = rest.firstIndex(of: 0), rest.distance(from: end, to: rest.endIndex) > Self.digestBytes else { return nil }
      entries.append((PathText.decode(Array(rest[..<end])), Array(rest[(end + 1)...].prefix(Self.digestBytes))))
      rest = rest[(end + 1 + Self.digestBytes)...]
    }
    self.entries = entries
  }

  struct Changes: Sendable, Equatable {
    var added: [String] = [], removed: [String] = [], modified: [String] = []
    var isEmpty: Bool { added.isEmpty && removed.isEmpty && modified.isEmpty }
  }

  func changes(from old: TreeListing) -> Changes {
    var out = Changes()
    var (i, j) = (0, 0)
    while i < old.entries.count || j < entries.count {
      if j == entries.count || (i < old.entries.count && old.entries[i].path.utf8.lexicographicallyPrecedes(entries[j].path.utf8)) {
        out.removed.append(old.entries[i].path)
        i += 1
      } else if i == old.entries.count || entries[j].path.utf8.lexicographicallyPrecedes(old.entries[i].path.utf8) {
        out.added.append(entries[j].path)
        j += 1
      } else {
        if old.entries[i].digest != entries[j].digest { out.modified.append(entries[j].path) }
        i += 1
        j += 1
      }
    }
    return out
  }
}

extension ContentHash {
  /// The files that a selector takes, and directories with a slash behind them. Of what was hashed for the key nothing is read again.
  func entries(of selector: ContentSelector) throws -> [(path: String, digest: Digest)] {
    if selector.hasWildcardOrFilters { return try IncludedPaths(self, selector).list().items.map { ($0.path, $0.digest) } }
    let path = try TreePaths.resolve(selector.path, in: tree, followLast: selector.followLinks)
    guard let status = try path.isEmpty ? tree.status("") : tree.status(path) else { return path.isEmpty ? try below("") : [] }
    return status.kind == .directory ? try below(path) : [("/" + path, try file(path, status))]
  }

  private func below(_ root: String) throws -> [(path: String, digest: Digest)] {
    var out: [(path: String, digest: Digest)] = []
    var folders = [root]
    while let folder = folders.popLast() {
      if !folder.isEmpty { out.append(("/" + folder + "/", try header(folder))) }
      for name in try tree.children(folder) {
        let child = TreePaths.join(folder, name)
        guard let status = try tree.status(child) else { continue }
        if status.kind == .directory { folders.append(child) } else { out.append(("/" + child, try file(child, status))) }
      }
    }
    return out
  }
}
