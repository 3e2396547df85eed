package import OCIModel

/// A directory of a client that is behind a connection: what a build needs of it is copied into a directory of ours, and brought up to date there by the next build.
package protocol RemoteDirectory: Sendable {
  /// What stands for the client's directories: sessions with one key have the same ones, so that what one sent is a base for what the next sends. Empty when the client says nothing.
  var sharedKey: String { get }
  /// Makes a directory of ours equal to the client's under a filter; only what differs comes over the connection. After an error or a cancellation every file that is there is whole,
  /// but they are not all of one moment.
  func update(_ update: DirectoryUpdate) async throws -> UpdatedDirectory
}

/// Which of a directory's files are wanted; nil is a list that nobody gave.
package struct DirectoryFilter: Sendable, Hashable {
  package var includePatterns: [String]?
  package var excludePatterns: [String]?
  package var followPaths: [String]?
  package init(includePatterns: [String]? = nil, excludePatterns: [String]? = nil, followPaths: [String]? = nil) {
    (self.includePatterns, self.excludePatterns, self.followPaths) = (includePatterns, excludePatterns, followPaths)
  }
}

/// How a directory of ours becomes like a client's.
package struct DirectoryUpdate: Sendable {
  /// The open directory; borrowed, and nobody else changes anything beneath it meanwhile.
  package var directory: Int32
  package var filter: DirectoryFilter
  /// Every file is asked for, whether it looks unchanged or not (`local.differ=none`).
  package var comparesNothing = false
  /// Files are listed in `.fsutil-metadata`, and only those that match one of the patterns come (`local.metadatatransfer`); nil: all come.
  package var metadataOnlyExcept: [String]?
  /// Begins the hash of a file's content; nil when nobody wants any.
  package var hash: (@Sendable (FileEntry) -> DigestHasher)?
  /// Told how many bytes came so far.
  package var progress: @Sendable (Int64) -> Void

  package init(
    directory: Int32, filter: DirectoryFilter, hash: (@Sendable (FileEntry) -> DigestHasher)? = nil, progress: @escaping @Sendable (Int64) -> Void = { _ in }
  ) {
    (self.directory, self.filter, self.hash, self.progress) = (directory, filter, hash, progress)
  }
}

/// What came of an update.
package struct UpdatedDirectory: Sendable {
  package struct File: Sendable {
    package var path: [UInt8]
    package var digest: Digest
    package init(path: [UInt8], digest: Digest) { (self.path, self.digest) = (path, digest) }
  }
  /// The files whose content came over the connection, with their hashes.
  package var received: [File] = []
  /// Everything that the client told of.
  package var entries = 0
  package init() {}
}

/// An entry of a tree of files on its way between client and build, as BuildKit's file protocol describes it. Names are bytes, as on the disk.
package struct FileEntry: Sendable, Hashable {
  package struct Attribute: Sendable, Hashable {
    package var name: [UInt8]
    package var value: [UInt8]
    package init(name: [UInt8], value: [UInt8]) { (self.name, self.value) = (name, value) }
  }
  /// From the root, with no slash at either end.
  package var path: [UInt8]
  /// Go's os.FileMode.
  package var mode: UInt32
  package var uid: UInt32
  package var gid: UInt32
  package var size: Int64
  /// Nanoseconds since 1970.
  package var modified: Int64
  /// Of a symbolic link: where it leads. Of a regular file: the path of an earlier entry that is the same file.
  package var linkTarget: [UInt8]
  package var deviceMajor: Int64
  package var deviceMinor: Int64
  package var attributes: [Attribute]

  package init(
    path: [UInt8] = [], mode: UInt32 = 0, uid: UInt32 = 0, gid: UInt32 = 0, size: Int64 = 0, modified: Int64 = 0, linkTarget: [UInt8] = [], deviceMajor: Int64 = 0,
    deviceMinor: Int64 = 0, attributes: [Attribute] = []
  ) {
    (self.path, self.mode, self.uid, self.gid, self.size, self.modified) = (path, mode, uid, gid, size, modified)
    (self.linkTarget, self.deviceMajor, self.deviceMinor, self.attributes) = (linkTarget, deviceMajor, deviceMinor, attributes)
  }
}

/// A tree of files to be sent. All of it blocks.
package protocol FileTree: Sendable {
  /// Every entry but the root, directories before what is in them, the entries of a directory in the order of their names' bytes.
  func walk(_ body: (FileEntry) throws -> Void) throws
  /// The content of a regular file that `walk` told of, piece by piece.
  func read(_ path: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Void) throws
}

/// A client that takes an output over a connection.
package protocol RemoteExport: Sendable {
  /// Sends one stream of bytes, which `write` writes on a thread that may block; `answers` are what the client is told of it. Returns when the client has it all, or false when it says
  /// that it has the same already. Throws `BuildError` when the client fails or goes.
  func sendArchive(_ answers: [String: String], _ write: @escaping @Sendable (any ExportSink) throws -> Void) async throws -> Bool
  /// Sends files; those that the client has beside them stay, unless the tree `replaces` all that is there.
  func sendFiles(_ tree: any FileTree, replaces: Bool, progress: @escaping @Sendable (Int64) -> Void) async throws
}

/// Takes bytes until the client has room for them no more, then waits; throws when nobody takes them.
package protocol ExportSink: AnyObject {
  func write(_ bytes: UnsafeRawBufferPointer) throws
}
