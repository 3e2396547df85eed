package import GRDB
import HostOS
package import OCIModel
import Synchronization

/// What the database knows of a blob: how much of the disk it takes, and when it was last used. A file without a row is counted when a collector finds it; a row
/// without a file is of a process that was killed between the two.
package struct StoredBlob: Sendable {
  package var digest: Digest
  /// On the disk.
  package var size: Int64
  /// Nanoseconds since 1970, by the clock of the day.
  package var created: Int64
  package var lastUsed: Int64
  /// Grows with every use of anything, whatever the clock does.
  package var order: Int64

  static let migrations = [
    StoreMigration(
      "blobs", 1,
      sql: """
        CREATE TABLE blob (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE use_order (last INTEGER NOT NULL);
        INSERT INTO use_order VALUES (0);
        """)
  ]

  package static func all(_ db: Database) throws -> [StoredBlob] {
    try Row.fetchAll(db, sql: "SELECT digest, size, created, last_used, used FROM blob ORDER BY digest").compactMap { row in
      Digest(row[0] as String).map { StoredBlob(digest: $0, size: row[1], created: row[2], lastUsed: row[3], order: row[4]) }
    }
  }

  /// On the disk, of all.
  package static func total(_ db: Database) throws -> Int64 { try Int64.fetchOne(db, sql: "SELECT sum(size) FROM blob") ?? 0 }
}

/// Which use came before which, though clocks jump.
package enum UseOrder {
  /// Of a use that is made now. Inside a write transaction.
  package static func next(_ db: Database) throws -> Int64 {
    try db.cachedStatement(sql: "UPDATE use_order SET last = last + 1").execute()
    return try Int64.fetchOne(db.cachedStatement(sql: "SELECT last FROM use_order")) ?? 0
  }
}

/// The lease of an open store.
final class StoreSession: Sendable {
  let id = "session-" + String(UInt64.random(in: .min ... .max), radix: 36) + String(UInt64.random(in: .min ... .max), radix: 36)
  private let kept = Mutex<Set<Digest>>([])

  func lacking(_ digests: [Digest]) -> [Digest] { kept.withLock { kept in digests.filter { !kept.contains($0) } } }
  func note(_ digests: [Digest]) { kept.withLock { $0.formUnion(digests) } }
  var isUsed: Bool { kept.withLock { !$0.isEmpty } }
}

extension ContentStore {
  /// Says that this process relies on blobs, here or yet to come: until the store is closed or the process is gone no collector takes them. Asked before looking
  /// whether they are here, this makes the answer last.
  package func keep(_ digests: [Digest]) async throws {
    let new = session.lacking(digests)
    if new.isEmpty { return }
    try await write { db in for digest in new { try self.name(db, digest) } }
    session.note(new)
  }
  /// As `keep`. Blocks.
  package func keepBlocking(_ digests: [Digest]) throws {
    let new = session.lacking(digests)
    if new.isEmpty { return }
    try writeBlocking { db in for digest in new { try name(db, digest) } }
    session.note(new)
  }

  /// A blob that is written, and about to get its name. Blocks.
  func take(_ digest: Digest, size: Int64) throws {
    try writeBlocking { db in
      let now = StoreClock.now
      try db.cachedStatement(sql: "INSERT INTO blob VALUES (?1, ?2, ?3, ?3, 0) ON CONFLICT (digest) DO UPDATE SET size = excluded.size")
        .execute(arguments: [digest.description, size, now])
      try name(db, digest)
    }
    session.note([digest])
  }

  private func name(_ db: Database, _ digest: Digest) throws {
    let me = ProcessIdentity.current
    try db.cachedStatement(sql: "INSERT OR IGNORE INTO lease VALUES (?, 'session', ?, ?, ?, ?, ?)").execute(
      arguments: [session.id, StoreClock.now, me.pid, Int64(bitPattern: me.startTime), me.bootID, Int64(bitPattern: me.pidNamespace)])
    try db.cachedStatement(sql: "INSERT OR IGNORE INTO lease_item VALUES (?, 'blob', ?)").execute(arguments: [session.id, digest.description])
    try db.cachedStatement(sql: "UPDATE blob SET last_used = ?, used = ? WHERE digest = ?")
      .execute(arguments: [StoreClock.now, try UseOrder.next(db), digest.description])
  }

  /// Best effort: the lease of a process that is gone is swept. Blocks.
  func endSession() {
    guard session.isUsed else { return }
    let id = session.id
    try? writeBlocking { try $0.execute(sql: "DELETE FROM lease WHERE id = ?", arguments: [id]) }
  }

  // MARK: - Collection

  /// Makes rows and files agree: blobs that an older program wrote get rows, and rows that a killed process wrote too early go. Blocks.
  package func reconcileBlobs() throws {
    let files = try blobFiles()
    let known = try readBlocking { try String.fetchSet($0, sql: "SELECT digest FROM blob") }
    let new = files.filter { !known.contains($0.digest.description) }
    let stale = known.subtracting(files.map(\.digest.description))
    if new.isEmpty, stale.isEmpty { return }
    try writeBlocking { db in
      let now = StoreClock.now
      for file in new { try db.execute(sql: "INSERT OR IGNORE INTO blob VALUES (?1, ?2, ?3, ?3, 0)", arguments: [file.digest.description, file.size, now]) }
      for text in stale {
        // Whoever names it in a lease is about to give the file its name, or has done so by now.
        guard let digest = Digest(text), !contains(digest) else { continue }
        try db.execute(sql: "DELETE FROM blob WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM lease_item WHERE kind = 'blob' AND item = ?1)", arguments: [text])
      }
    }
  }

  func countFirstBlobs() throws {
    if try !readBlocking({ try Bool.fetchOne($0, sql: "SELECT EXISTS (SELECT 1 FROM blob)") ?? false }) { try reconcileBlobs() }
  }

  /// The files that have a digest's name, and their sizes on the disk. Blocks.
  package func blobFiles() throws -> [(digest: Digest, size: Int64)] {
    try StoreError.wrapping("cannot list the store's blobs", root: root) {
      var out: [(digest: Digest, size: Int64)] = []
      for algorithm in Digest.Algorithm.allCases {
        let folder = "\(StoreLayout.blobs)/\(algorithm.rawValue)"
        for entry in try directory.entries(folder) {
          guard let digest = Digest("\(algorithm.rawValue):\(entry.name)"), let status = try directory.statusIfPresent("\(folder)/\(entry.name)") else { continue }
          out.append((digest, status.allocated))
        }
      }
      return out
    }
  }

  /// Removes those of the blobs that no live process's lease names and that `isNeeded`, which is asked inside the transaction, does not know of. Answers what was
  /// removed. Blocks.
  package func removeBlobs(_ digests: [Digest], unless isNeeded: (Database, Digest) throws -> Bool) throws -> [Digest] {
    var removed: [Digest] = []
    var rest = digests[...]
    while !rest.isEmpty {
      try Task.checkCancellation()
      let some = rest.prefix(32)
      rest = rest.dropFirst(32)
      removed += try removeSome(Array(some), isNeeded)
    }
    return removed
  }

  /// Files lose their names inside the transaction, which excludes whoever is about to name them in a lease; their bytes go after it.
  private func removeSome(_ digests: [Digest], _ isNeeded: (Database, Digest) throws -> Bool) throws -> [Digest] {
    var moved: [(digest: Digest, path: String)] = []
    do {
      let gone = try writeBlocking { db in
        try digests.filter { digest in
          let isPinned = try Bool.fetchOne(
            db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM lease_item WHERE kind = 'blob' AND item = ?)"), arguments: [digest.description]) ?? true
          if try isPinned || isNeeded(db, digest) { return false }
          let path = "\(StoreLayout.ingest)/\(IngestName.fresh())"
          if try directory.statusIfPresent(StoreLayout.blob(digest)) != nil {
            try directory.rename(StoreLayout.blob(digest), to: path)
            moved.append((digest, path))
          }
          try db.execute(sql: "DELETE FROM blob WHERE digest = ?", arguments: [digest.description])
          return true
        }
      }
      for (_, path) in moved { try? directory.unlink(path) }
      return gone
    } catch {
      for (digest, path) in moved { try? directory.rename(path, to: StoreLayout.blob(digest)) }
      throw error
    }
  }

  /// On the disk: what is neither a blob nor a snapshot (the database and its log, unfinished content, locks, steps' scratch, directories). A look at a
  /// few files. Blocks.
  package func overhead() throws -> [(name: String, size: Int64)] {
    var out: [(String, Int64)] = []
    var directories: Int64 = try Files.status(root).allocated
    for entry in try StoreError.wrapping("cannot list \(root)", root: root, { try directory.entries() }) {
      guard let status = try directory.statusIfPresent(entry.name) else { continue }
      switch entry.name {
      case StoreLayout.snapshots: directories += status.allocated
      case StoreLayout.blobs:
        directories += status.allocated
        for algorithm in Digest.Algorithm.allCases { directories += try directory.statusIfPresent("\(entry.name)/\(algorithm.rawValue)")?.allocated ?? 0 }
      default:
        // Others make and remove files there all the time.
        guard let size = try? Files.usage("\(root)/\(entry.name)").bytes else { continue }
        out.append((entry.name.hasPrefix(StoreLayout.database) ? StoreLayout.database : entry.name, size))
      }
    }
    let sums = Dictionary(out + [("directories", directories)], uniquingKeysWith: +)
    return sums.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  /// The images' names and what each stands for. Inside a transaction.
  package static func images(_ db: Database) throws -> [(name: String, descriptor: OCIModel.Descriptor)] {
    try Row.fetchAll(db, sql: "SELECT name, tag, descriptor FROM image ORDER BY name, tag").map { row in
      (try LocalImages.reference(row[0], row[1]).familiar, try OCIModel.Descriptor(json: JSONValue(parsing: row[2] as String)))
    }
  }
}

extension ContentStore {
  // MARK: - Verification

  /// Removes a blob that is damaged, whoever names it. Blocks.
  package func discardBlob(_ digest: Digest) throws {
    try writeBlocking { db in
      try directory.unlink(StoreLayout.blob(digest))
      try db.execute(sql: "DELETE FROM blob WHERE digest = ?", arguments: [digest.description])
    }
  }

  /// What lies among the blobs and is none: absolute paths. Blocks.
  package func strangers() throws -> [String] {
    var out: [String] = []
    for entry in try directory.entries(StoreLayout.blobs) where Digest.Algorithm(rawValue: entry.name) == nil { out.append("\(root)/\(StoreLayout.blobs)/\(entry.name)") }
    for algorithm in Digest.Algorithm.allCases {
      let folder = "\(StoreLayout.blobs)/\(algorithm.rawValue)"
      for entry in try directory.entries(folder) where entry.kind != .regular || Digest("\(algorithm.rawValue):\(entry.name)") == nil { out.append("\(root)/\(folder)/\(entry.name)") }
    }
    return out
  }
}
