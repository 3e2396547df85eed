package import GRDB
import HostOS
package import OCIModel

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// A process's claim on content that nothing else refers to yet. Garbage collection takes nothing that a live process's lease names. A store names in a lease of
/// its own all blobs that it wrote, or would have written were they not there (`ContentStore.keep`), so others need one only for what they found otherwise.
package struct Lease: Sendable {
  package let id: String
  private let store: ContentStore

  static let migrations = [
    StoreMigration(
      "leases", 1,
      sql: """
        CREATE TABLE lease (id TEXT PRIMARY KEY, label TEXT NOT NULL, created INTEGER NOT NULL,
          pid INTEGER NOT NULL, start INTEGER NOT NULL, boot TEXT NOT NULL, namespace INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE lease_item (lease TEXT NOT NULL REFERENCES lease(id) ON DELETE CASCADE, kind TEXT NOT NULL, item TEXT NOT NULL,
          PRIMARY KEY (lease, kind, item)) WITHOUT ROWID;
        """),
    StoreMigration("leases", 2, sql: "CREATE INDEX lease_item_item ON lease_item (kind, item);"),
  ]

  fileprivate init(_ store: ContentStore, label: String) async throws {
    self.store = store
    let id = String(UInt64.random(in: .min ... .max), radix: 36) + String(UInt64.random(in: .min ... .max), radix: 36)
    self.id = id
    let me = ProcessIdentity.current
    try await store.write { db in
      try db.execute(
        sql: "INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?)",
        arguments: [id, label, StoreClock.now, me.pid, Int64(bitPattern: me.startTime), me.bootID, Int64(bitPattern: me.pidNamespace)])
    }
  }

  /// Names blobs that must stay.
  package func pin(_ digests: [Digest]) async throws { try await pin("blob", digests.map(\.description)) }

  /// Names other things that must stay: `kind` is the word their owner knows them by.
  package func pin(_ kind: String, _ items: [String]) async throws {
    guard !items.isEmpty else { return }
    let id = id
    try await store.write { db in
      let statement = try db.cachedStatement(sql: "INSERT OR IGNORE INTO lease_item VALUES (?, ?, ?)")
      for item in items { try statement.execute(arguments: [id, kind, item]) }
    }
  }

  package func release() async throws {
    let id = id
    try await store.write { try $0.execute(sql: "DELETE FROM lease WHERE id = ?", arguments: [id]) }
  }

  /// What live leases name of a kind. Leases of the dead are swept when a store opens.
  package static func pinned(_ db: Database, _ kind: String) throws -> Set<String> {
    try String.fetchSet(db, sql: "SELECT item FROM lease_item WHERE kind = ?", arguments: [kind])
  }
}

extension ContentStore {
  package func lease(_ label: String) async throws -> Lease { try await Lease(self, label: label) }

  /// Holds a lease while `body` runs.
  package func withLease<T: Sendable>(_ label: String, _ body: (Lease) async throws -> T) async throws -> T {
    let lease = try await lease(label)
    let result: T
    do { result = try await body(lease) } catch {
      await release(lease)
      throw error
    }
    await release(lease)
    return result
  }

  /// Also when the task is cancelled; one that cannot be released (a full disk) is swept when its process is gone.
  private func release(_ lease: Lease) async { await Task { try? await lease.release() }.value }

  // MARK: - Leftovers of the dead

  /// Partial downloads are kept this long for another try.
  private static let partialLifetime: Int64 = 86_400_000_000_000

  /// Removes what processes that are gone have left: unfinished content, leases. Blocks.
  package func sweep() throws {
    for entry in try StoreError.wrapping("cannot list \(root)/\(StoreLayout.ingest)", root: root, { try directory.entries(StoreLayout.ingest) }) {
      let path = "\(StoreLayout.ingest)/\(entry.name)"
      // Another sweeper may be faster: what is gone is gone.
      if let owner = IngestName.owner(entry.name) {
        if !owner.mayBeAlive { try? directory.unlink(path) }
      } else if let digest = IngestName.partialDigest(entry.name), isOld(path), let lock = try? locks.tryLock("ingest:\(digest)") {
        if isOld(path) { try? directory.unlink(path) }
        lock.release()
      }
    }
    let dead = try readBlocking { db in
      try Row.fetchAll(db, sql: "SELECT id, pid, start, boot, namespace FROM lease").filter { row in
        !ProcessIdentity(
          pid: row[1], startTime: UInt64(bitPattern: row[2] as Int64), bootID: row[3], pidNamespace: UInt64(bitPattern: row[4] as Int64)
        ).mayBeAlive
      }.map { $0[0] as String }
    }
    guard !dead.isEmpty else { return }
    try writeBlocking { db in for id in dead { try db.execute(sql: "DELETE FROM lease WHERE id = ?", arguments: [id]) } }
  }

  private func isOld(_ path: String) -> Bool {
    guard let status = try? directory.statusIfPresent(path) else { return false }
    // One from the future is of a clock that was wrong.
    let age = StoreClock.now - status.mtime
    return age > Self.partialLifetime || age < -Self.partialLifetime
  }
}

enum StoreClock {
  /// Nanoseconds since 1970.
  static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
