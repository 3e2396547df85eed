import GRDB
package import OCIModel

/// What pushes leave behind: half-sent blobs, and the repositories that content can be had from.
enum PushRecords {
  static let migrations = [
    StoreMigration(
      "pushes", 1,
      sql: """
        CREATE TABLE upload (repository TEXT NOT NULL, digest TEXT NOT NULL, location TEXT NOT NULL, offset INTEGER NOT NULL, updated INTEGER NOT NULL,
          PRIMARY KEY (repository, digest)) WITHOUT ROWID;
        CREATE TABLE blob_origin (digest TEXT NOT NULL, repository TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (digest, repository)) WITHOUT ROWID;
        """)
  ]

  /// Registries forget sessions after a week; distribution's default.
  static let uploadLifetime: Int64 = 7 * 86400 * 1_000_000_000
  static let originLifetime: Int64 = 90 * 86400 * 1_000_000_000
  /// Places remembered of one blob.
  static let originLimit = 8
}

extension ContentStore {
  /// The upload session of a blob to a repository that a push left unfinished.
  package func upload(of digest: String, to repository: String) async throws -> (location: String, offset: Int64)? {
    try await read { db in
      try Row.fetchOne(
        db, sql: "SELECT location, offset FROM upload WHERE repository = ? AND digest = ? AND updated > ?",
        arguments: [repository, digest, StoreClock.now - PushRecords.uploadLifetime]
      ).map { ($0[0], $0[1]) }
    }
  }

  package func noteUpload(of digest: String, to repository: String, location: String, offset: Int64) async throws {
    try await write { db in
      try db.execute(sql: "DELETE FROM upload WHERE updated <= ?", arguments: [StoreClock.now - PushRecords.uploadLifetime])
      try db.execute(sql: "INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?)", arguments: [repository, digest, location, offset, StoreClock.now])
    }
  }

  package func endUpload(of digest: String, to repository: String) async throws {
    try await write { try $0.execute(sql: "DELETE FROM upload WHERE repository = ? AND digest = ?", arguments: [repository, digest]) }
  }

  /// Remembers that a repository has (or had) these blobs: from there they can be mounted, or fetched when they are not here.
  package func noteOrigin(_ repository: Reference, of digests: [Digest]) async throws {
    guard !digests.isEmpty else { return }
    let name = repository.repository.name
    try await write { db in
      try db.execute(sql: "DELETE FROM blob_origin WHERE used <= ?", arguments: [StoreClock.now - PushRecords.originLifetime])
      let statement = try db.cachedStatement(sql: "INSERT OR REPLACE INTO blob_origin VALUES (?, ?, ?)")
      for digest in digests {
        try statement.execute(arguments: [digest.description, name, StoreClock.now])
        try db.execute(
          sql: "DELETE FROM blob_origin WHERE digest = ?1 AND repository NOT IN (SELECT repository FROM blob_origin WHERE digest = ?1 ORDER BY used DESC LIMIT ?2)",
          arguments: [digest.description, PushRecords.originLimit])
      }
    }
  }

  /// The repositories that a blob was seen in, the latest first.
  package func origins(of digest: Digest) async throws -> [Reference] {
    try await read { db in
      try String.fetchAll(db, sql: "SELECT repository FROM blob_origin WHERE digest = ? ORDER BY used DESC", arguments: [digest.description]).compactMap { try? Reference(parsing: $0) }
    }
  }
}
