internal import HostOS
internal import OCIModel
internal import Synchronization

/// A tree of files that a step reads: a mounted snapshot, or a directory of the client read in place. Paths are relative
/// to its root, without a leading slash ("" is the root), and none of their parents is a symlink: `TreePaths.resolve` makes
/// such a path. Names that are not UTF-8 travel as HostOS's `PathText` writes them. All of it blocks; call through Blocking.run.
protocol TreeReader: AnyObject, Sendable {
  /// nil when nothing is there, or it is filtered out. A symlink is not followed.
  func status(_ path: String) throws -> FileStatus?
  /// Names in a directory, sorted by their bytes.
  func children(_ path: String) throws -> [String]
  func readLink(_ path: String) throws -> String
  /// A regular file, for reading.
  func open(_ path: String) throws -> HostOS.Descriptor
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])]
  /// Of a regular file that is open already.
  func xattrs(_ path: String, of file: HostOS.Descriptor) throws -> [(name: String, value: [UInt8])]
  /// What stands for the root directory itself in a content key; nil means its own metadata does.
  var rootDigest: Digest? { get }
  /// Whether the numbers of device files count. The peers leave them out of snapshots' keys (a slip that has become the form), and
  /// count them in what a client sends.
  var deviceNumbersCount: Bool { get }
  /// Whether files keep their capabilities when they are copied out of it. A client's do not, as little as their owners.
  var carriesCapabilities: Bool { get }
  /// Hashes of unchanged files from earlier builds, where that is safe to use.
  var rememberedHashes: (any RememberedHashes)? { get }
}

extension TreeReader {
  var deviceNumbersCount: Bool { false }
  var carriesCapabilities: Bool { true }
  func xattrs(_ path: String, of file: HostOS.Descriptor) throws -> [(name: String, value: [UInt8])] { try xattrs(path) }
}

/// Hashes of files by identity and times (ContentStore's `FileHashCache`). Many at a time: each call is a transaction.
protocol RememberedHashes: Sendable {
  /// In the files' order.
  func lookup(_ files: [FileStatus]) throws -> [Digest?]
  /// `began`: the time, in nanoseconds since 1970, before the first byte of the first file was read.
  func remember(_ hashes: [(file: FileStatus, digest: Digest)], began: Int64) throws
}

/// A tree that does not have what a step asks of it.
struct TreeError: Error, CustomStringConvertible {
  enum Code: Sendable { case notFound, invalid, changed }
  var code: Code
  var description: String
  /// What was perhaps meant.
  var suggestion: String?
  init(_ code: Code, _ description: String, suggestion: String? = nil) {
    self.code = code
    self.description = description
    self.suggestion = suggestion
  }
  init(_ description: String) { self.init(.invalid, description) }
}

/// A directory of this machine as a tree, whole: a mounted snapshot.
final class MountedTree: TreeReader {
  let root: Directory
  private let folders: FolderCache

  init(_ root: Directory) {
    self.root = root
    folders = FolderCache(root, follow: .inRoot)
  }

  var rootDigest: Digest? { nil }
  var rememberedHashes: (any RememberedHashes)? { nil }

  private func at<Value>(_ path: String, _ body: (Directory, String) throws -> Value) throws -> Value {
    let (directory, name) = try folders.place(path)
    return try body(directory, name)
  }

  func status(_ path: String) throws -> FileStatus? {
    do { return try at(path) { try $0.statusIfPresent($1) } } catch let error as HostError where error.code == .notFound || error.code == .notDirectory { return nil }
  }
  func children(_ path: String) throws -> [String] { TreePaths.sorted(try folders.folder(path).entries().map(\.name)) }
  func readLink(_ path: String) throws -> String { try at(path) { try $0.readLink($1) } }
  func open(_ path: String) throws -> HostOS.Descriptor { try at(path) { try $0.openFile($1, flags: [.readOnly, .nonBlocking], follow: .none) } }
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])] { try at(path) { try $0.attributes(of: $1) } }
  func xattrs(_ path: String, of file: HostOS.Descriptor) throws -> [(name: String, value: [UInt8])] { try file.attributes() }
}

extension Directory {
  /// All extended attributes that can be read.
  func attributes(of path: String) throws -> [(name: String, value: [UInt8])] {
    var found: [(name: String, value: [UInt8])] = []
    // One that is listed and cannot be read counts as absent, as for the peers.
    for name in try xattrNames(path) { if let value = try? xattr(path, name) { found.append((name, value)) } }
    return found
  }
}

/// No files at all: scratch.
final class EmptyTree: TreeReader {
  var rootDigest: Digest? { Digest.sha256(of: "") }
  var rememberedHashes: (any RememberedHashes)? { nil }
  func status(_ path: String) throws -> FileStatus? { nil }
  func children(_ path: String) throws -> [String] { [] }
  func readLink(_ path: String) throws -> String { throw TreeError(.notFound, "/\(path): no such file or directory") }
  func open(_ path: String) throws -> HostOS.Descriptor { throw TreeError(.notFound, "/\(path): no such file or directory") }
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])] { [] }
}
