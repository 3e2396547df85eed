internal import BuildSolver
internal import ContentStore
internal import GRDB
internal import OCIModel

/// Cache keys in the store's database: links and results as BuildKit's bbolt storage has them (solver/bboltcachestorage).
/// Shared by all processes on one root.
struct SQLiteCacheKeyStorage: CacheKeyStorage {
  let store: ContentStore

  static let migration = StoreMigration(
    "solver-cache", 1,
    sql: """
        CREATE TABLE cache_result (key TEXT NOT NULL, id TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (key, id)) WITHOUT ROWID;
        CREATE INDEX cache_result_id ON cache_result (id);
        CREATE TABLE cache_link (
          source TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, digest TEXT NOT NULL, selector TEXT NOT NULL, target TEXT NOT NULL,
          PRIMARY KEY (source, input, output, digest, selector, target)) WITHOUT ROWID;
        CREATE INDEX cache_link_target ON cache_link (target);
        """)

  func exists(_ key: String) async throws -> Bool {
    try await store.read { db in try SQLiteCacheKeyStorage.exists(key, db) }
  }

  private static func exists(_ key: String, _ db: Database) throws -> Bool {
    try Bool.fetchOne(
      db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM cache_result WHERE key = ?1) OR EXISTS (SELECT 1 FROM cache_link WHERE source = ?1)"),
      arguments: [key]) ?? false
  }

  func targets(of links: [(from: String, link: CacheLink)]) async throws -> [[String]] {
    try await store.read { db in
      let statement = try db.cachedStatement(
        sql: "SELECT target FROM cache_link WHERE source = ? AND input = ? AND output = ? AND digest = ? AND selector = ?")
      return try links.map { from, link in
        try String.fetchAll(statement, arguments: [from, link.input, link.output, link.digest.description, link.selector?.description ?? ""])
      }
    }
  }

  func results(of key: String) async throws -> [CacheResult] {
    try await store.read { db in
      try Row.fetchAll(db.cachedStatement(sql: "SELECT id, created FROM cache_result WHERE key = ?"), arguments: [key]).map { row in
        CacheResult(id: row[0], createdAt: Timestamp(nanosecondsSinceEpoch: row[1]))
      }
    }
  }

  func apply(_ changes: [CacheChange]) async throws {
    // A client's directory has a key of this one build: rows by it would only pile up.
    let changes = changes.filter { change in
      switch change {
      case .addResult(let key, _): !CacheKey.isOfOneBuild(key)
      case .addLink(let from, _, _): !CacheKey.isOfOneBuild(from)
      case .release: true
      }
    }
    if changes.isEmpty { return }
    try await store.write { db in
      for change in changes {
        switch change {
        case .addResult(let key, let result):
          try db.cachedStatement(sql: "INSERT OR REPLACE INTO cache_result (key, id, created) VALUES (?, ?, ?)")
            .execute(arguments: [key, result.id, result.createdAt.nanosecondsSinceEpoch])
        case .addLink(let from, let link, let to):
          try db.cachedStatement(sql: "INSERT OR IGNORE INTO cache_link (source, input, output, digest, selector, target) VALUES (?, ?, ?, ?, ?, ?)")
            .execute(arguments: [from, link.input, link.output, link.digest.description, link.selector?.description ?? "", to])
        case .release(let result): try SQLiteCacheKeyStorage.release(result, db)
        }
      }
    }
  }

  /// A key without results and links leads nowhere: the links to it go too, and so on up.
  static func release(_ result: String, _ db: Database) throws {
    var keys = try String.fetchAll(db, sql: "SELECT key FROM cache_result WHERE id = ?", arguments: [result])
    try db.execute(sql: "DELETE FROM cache_result WHERE id = ?", arguments: [result])
    while let key = keys.popLast() {
      if try exists(key, db) { continue }
      keys += try String.fetchAll(db, sql: "SELECT DISTINCT source FROM cache_link WHERE target = ?", arguments: [key])
      try db.execute(sql: "DELETE FROM cache_link WHERE target = ?", arguments: [key])
    }
  }

  func keys() async throws -> [String] {
    try await store.read { db in
      try String.fetchAll(db, sql: "SELECT key FROM cache_result UNION SELECT source FROM cache_link UNION SELECT target FROM cache_link")
    }
  }

  func keys(withResult id: String) async throws -> [String] {
    try await store.read { db in
      try String.fetchAll(db.cachedStatement(sql: "SELECT key FROM cache_result WHERE id = ? ORDER BY key"), arguments: [id])
    }
  }

  func backlinks(of key: String) async throws -> [CacheBacklink] {
    try await store.read { db in
      try Row.fetchAll(
        db.cachedStatement(sql: "SELECT source, input, output, digest, selector FROM cache_link WHERE target = ? ORDER BY source"), arguments: [key]
      ).map { row in
        let selector: String = row[4]
        return CacheBacklink(from: row[0], CacheLink(input: row[1], output: row[2], digest: CacheDigest(stored: row[3]), selector: Digest(selector)))
      }
    }
  }
}
