import GRDB
package import HostOS
package import OCIModel

/// What tells one state of a file from another without reading it.
package struct FileIdentity: Sendable, Hashable {
  package var device: UInt64
  package var inode: UInt64
  package var size: Int64
  /// Nanoseconds since 1970.
  package var mtime: Int64
  package var ctime: Int64

  package init(_ status: FileStatus) {
    (device, inode, size, mtime, ctime) = (status.device, status.inode, status.size, status.mtime, status.ctime)
  }
}

/// Hashes of files, remembered from build to build.
///
/// A file that is written twice within one tick of its filesystem's clock looks the same before and after the second write: so a hash is
/// remembered only if the file had been left alone for two seconds when the hashing began.
package struct FileHashCache: Sendable {
  private let store: ContentStore
  private let kind: String

  /// - Parameter kind: what was hashed, and how: caches of different kinds know nothing of one another.
  package init(_ store: ContentStore, kind: String) { (self.store, self.kind) = (store, kind) }

  /// Nanoseconds a file must have been left alone.
  package static let settling: Int64 = 2_000_000_000
  /// Hashes are forgotten after half a year, lest those of files long gone pile up.
  private static let lifetime: Int64 = 180 * 86_400_000_000_000
  private static let pruneInterval: Int64 = 7 * 86_400_000_000_000

  static let migrations = [
    StoreMigration(
      "file-hashes", 1,
      sql: """
        CREATE TABLE file_hash (kind TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
          ctime INTEGER NOT NULL, digest TEXT NOT NULL, recorded INTEGER NOT NULL, PRIMARY KEY (kind, device, inode)) WITHOUT ROWID;
        CREATE TABLE file_hash_pruned (at INTEGER NOT NULL);
        INSERT INTO file_hash_pruned VALUES (0);
        """)
  ]

  /// The hashes that are known, in the files' order.
  package func lookup(_ files: [FileIdentity]) async throws -> [Digest?] {
    if files.isEmpty { return [] }
    return try await store.read { db in try find(db, files) }
  }
  /// As `lookup`. Blocks; call through Blocking.run.
  package func lookupBlocking(_ files: [FileIdentity]) throws -> [Digest?] {
    files.isEmpty ? [] : try store.readBlocking { db in try find(db, files) }
  }

  /// Remembers hashes. `began` is the time, in nanoseconds since 1970, read before the first byte of the first of them was; files changed less than
  /// two seconds before are left out.
  package func record(_ hashes: [(file: FileIdentity, digest: Digest)], began: Int64) async throws {
    let settled = Self.settled(hashes, began)
    if settled.isEmpty { return }
    try await store.write { db in try put(db, settled, began) }
  }
  /// As `record`. Blocks; call through Blocking.run.
  package func recordBlocking(_ hashes: [(file: FileIdentity, digest: Digest)], began: Int64) throws {
    let settled = Self.settled(hashes, began)
    if !settled.isEmpty { try store.writeBlocking { db in try put(db, settled, began) } }
  }

  private static func settled(_ hashes: [(file: FileIdentity, digest: Digest)], _ began: Int64) -> [(file: FileIdentity, digest: Digest)] {
    hashes.filter { max($0.file.mtime, $0.file.ctime) <= began - settling }
  }

  private func find(_ db: Database, _ files: [FileIdentity]) throws -> [Digest?] {
    let statement = try db.cachedStatement(
      sql: "SELECT digest FROM file_hash WHERE kind = ? AND device = ? AND inode = ? AND size = ? AND mtime = ? AND ctime = ?")
    return try files.map { file in
      let found = try String.fetchOne(
        statement, arguments: [kind, Int64(bitPattern: file.device), Int64(bitPattern: file.inode), file.size, file.mtime, file.ctime])
      return found.flatMap { Digest($0) }
    }
  }

  private func put(_ db: Database, _ hashes: [(file: FileIdentity, digest: Digest)], _ now: Int64) throws {
    let statement = try db.cachedStatement(sql: "INSERT OR REPLACE INTO file_hash VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
    for (file, digest) in hashes {
      try statement.execute(arguments: [
        kind, Int64(bitPattern: file.device), Int64(bitPattern: file.inode), file.size, file.mtime, file.ctime, digest.description, now,
      ])
    }
    if try Int64.fetchOne(db, sql: "SELECT at FROM file_hash_pruned") ?? 0 < now - Self.pruneInterval {
      try db.execute(sql: "DELETE FROM file_hash WHERE recorded < ?", arguments: [now - Self.lifetime])
      try db.execute(sql: "UPDATE file_hash_pruned SET at = ?", arguments: [now])
    }
  }
}
