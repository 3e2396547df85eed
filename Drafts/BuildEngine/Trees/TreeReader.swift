internal import HostOS
internal import OCIModel
internal import PathPatterns

/// A tree of files that a step reads: a mounted snapshot, or a directory of the client read in place. Paths are relative
/// to its root, without a leading slash ("" is the root), and none of their parents is a symlink: `TreePaths.resolve` makes
/// such a path. All of it blocks; call through Blocking.run.
protocol TreeReader: AnyObject, Sendable {
  /// nil when nothing is there, or it is filtered out. A symlink is not followed.
  func status(_ path: String) throws -> FileStatus?
  /// Names in a directory, sorted by their bytes.
  func children(_ path: String) throws -> [String]
  func readLink(_ path: String) throws -> String
  func open(_ path: String) throws -> Descriptor
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])]
  /// What stands for the root directory itself in a content key; nil means its own metadata does.
  var rootDigest: Digest? { get }
  /// Hashes of unchanged files from earlier builds, where that is safe to use.
  var rememberedHashes: (any RememberedHashes)? { get }
}

/// Hashes of files by identity and times (see ContentStore's file-hash table).
protocol RememberedHashes: Sendable {
  func lookup(_ status: FileStatus) -> Digest?
  func remember(_ status: FileStatus, _ digest: Digest)
}

/// Resolution of paths inside a tree: symlinks stay inside, as after chroot.
enum TreePaths {
  static let maximumLinks = 255

  /// "" for the root; no slashes at either end, no "." and "..".
  static func clean(_ path: String) -> String {
    var out: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part == ".." { _ = out.popLast() } else { out.append(part) }
    }
    return out.joined(separator: "/")
  }

  static func join(_ a: String, _ b: String) -> String { a.isEmpty ? b : b.isEmpty ? a : a + "/" + b }
  static func parent(_ path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
    return String(path[..<slash])
  }
  static func name(_ path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
    return String(path[path.utf8.index(after: slash)...])
  }

  /// The path with every symlinked parent resolved, and the last component too if `followLast`. Components that do not
  /// exist are kept as they are. Throws when more than `maximumLinks` links are on the way.
  static func resolve(_ path: String, in tree: any TreeReader, followLast: Bool) throws -> String {
    var remaining = Array(clean(path).split(separator: "/").map(String.init).reversed())
    var current = ""
    var links = 0
    while let part = remaining.popLast() {
      if part == "." || part.isEmpty { continue }
      if part == ".." { current = parent(current); continue }
      let next = join(current, part)
      guard let status = try tree.status(next), status.kind == .symbolicLink, followLast || !remaining.isEmpty else {
        current = next
        continue
      }
      links += 1
      guard links <= maximumLinks else { throw TreeError("too many symbolic links in \"/\(path)\"") }
      let target = try tree.readLink(next)
      if target.hasPrefix("/") { current = "" }
      remaining += target.split(separator: "/").map(String.init).reversed()
    }
    return current
  }
}

/// A tree that does not have what a step asks of it.
struct TreeError: Error, CustomStringConvertible {
  enum Code: Sendable { case notFound, invalid }
  var code: Code
  var description: String
  init(_ code: Code = .invalid, _ description: String) {
    self.code = code
    self.description = description
  }
}

/// A directory of this machine as a tree, whole: a mounted snapshot.
final class MountedTree: TreeReader {
  let root: Directory
  init(_ root: Directory) { self.root = root }

  var rootDigest: Digest? { nil }
  var rememberedHashes: (any RememberedHashes)? { nil }
  func status(_ path: String) throws -> FileStatus? { try root.statusIfPresent(path.isEmpty ? "." : path) }
  func children(_ path: String) throws -> [String] {
    try root.entries(path.isEmpty ? "." : path).map(\.name).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
  func readLink(_ path: String) throws -> String { try root.readLink(path) }
  func open(_ path: String) throws -> Descriptor { try root.openFile(path, flags: .readOnly, follow: .none) }
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])] {
    let path = path.isEmpty ? "." : path
    return try root.xattrs(path).map { ($0, try root.xattr($0, of: path) ?? []) }
  }
}

/// No files at all: scratch.
final class EmptyTree: TreeReader {
  var rootDigest: Digest? { Digest.sha256(of: "") }
  var rememberedHashes: (any RememberedHashes)? { nil }
  func status(_ path: String) throws -> FileStatus? { nil }
  func children(_ path: String) throws -> [String] { [] }
  func readLink(_ path: String) throws -> String { throw TreeError(.notFound, "/\(path): no such file or directory") }
  func open(_ path: String) throws -> Descriptor { throw TreeError(.notFound, "/\(path): no such file or directory") }
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])] { [] }
}
