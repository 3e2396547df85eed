package import ContentStore
package import GRDB
import HostOS
package import OCIModel

/// What there is of refs, cache directories and snapshots, all of one moment: what a collector plans with.
package struct SnapshotInventory: Sendable {
  package struct Ref: Sendable {
    package var id: String
    package var parent: String?
    package var snapshots: [Int64]
    package var blobs: [Digest]
    /// Somebody has a handle, or is writing it.
    package var isClaimed: Bool
    package var isBeingWritten: Bool
    /// Nanoseconds since 1970.
    package var created: Int64
    package var lastUsed: Int64
    /// See `UseOrder`.
    package var order: Int64
    package var uses: Int64
    package var description: String
    package var type: String
  }
  package struct Mount: Sendable {
    package var key: String
    package var instance: Int64
    package var snapshot: Int64
    package var name: String
    package var created: Int64
    package var lastUsed: Int64
    package var order: Int64
    package var uses: Int64
    /// A copy of a client's directory, and not what steps keep things in.
    package var isSynced: Bool { key.hasPrefix(SyncedDirectory.prefix) }
  }
  package struct Snapshot: Sendable {
    package var id: Int64
    package var isReady: Bool
    /// On the disk; nil until it is measured.
    package var size: Int64?
  }
  package var refs: [Ref]
  package var mounts: [Mount]
  package var snapshots: [Snapshot]
  package init(refs: [Ref] = [], mounts: [Mount] = [], snapshots: [Snapshot] = []) { (self.refs, self.mounts, self.snapshots) = (refs, mounts, snapshots) }

  package static func read(_ db: Database) throws -> SnapshotInventory {
    var blobs: [String: [Digest]] = [:]
    for row in try Row.fetchAll(db, sql: "SELECT ref, digest FROM ref_blob ORDER BY ref, position") {
      if let digest = Digest(row[1] as String) { blobs[row[0], default: []].append(digest) }
    }
    let claimed = try String.fetchSet(db, sql: "SELECT ref FROM ref_claim")
    let unready = try Set(Int64.fetchAll(db, sql: "SELECT id FROM snapshot WHERE state = 'new'"))
    let refs = try Row.fetchAll(
      db, sql: "SELECT id, parent, snapshot, flat, created, last_used, used, uses, description, record_type FROM ref ORDER BY id"
    ).map { row in
      let id: String = row[0]
      let snapshots = [row[2] as Int64?, row[3] as Int64?].compactMap { $0 }
      return Ref(
        id: id, parent: row[1], snapshots: snapshots, blobs: blobs[id] ?? [], isClaimed: claimed.contains(id), isBeingWritten: snapshots.contains(where: unready.contains),
        created: row[4], lastUsed: row[5], order: row[6], uses: row[7], description: row[8], type: row[9])
    }
    let mounts = try Row.fetchAll(db, sql: "SELECT key, instance, snapshot, name, created, last_used, used, uses FROM cache_mount ORDER BY key, instance").map { row in
      Mount(key: row[0], instance: row[1], snapshot: row[2], name: row[3], created: row[4], lastUsed: row[5], order: row[6], uses: row[7])
    }
    let snapshots = try Row.fetchAll(db, sql: "SELECT id, state, size FROM snapshot ORDER BY id").map { row in
      Snapshot(id: row[0], isReady: row[1] as String == SnapshotState.ready, size: row[2])
    }
    return SnapshotInventory(refs: refs, mounts: mounts, snapshots: snapshots)
  }

  /// On the disk, as far as it is measured.
  package static func total(_ db: Database) throws -> Int64 { try Int64.fetchOne(db, sql: "SELECT sum(size) FROM snapshot") ?? 0 }

  /// Whether a ref has its layer in this blob.
  package static func needs(_ db: Database, _ blob: Digest) throws -> Bool {
    try Bool.fetchOne(db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM ref_blob WHERE digest = ?)"), arguments: [blob.description]) ?? true
  }
}

extension RefStore {
  // MARK: - Sizes

  /// Measures what is not measured yet: a snapshot once in its life, a cache directory again after it was used, but for no more than a twentieth of the time unless
  /// `everything` asks for it. Blocks.
  package func measure(everything: Bool = false) throws {
    struct Unknown { var snapshot: Int64, key: String?, instance: Int64 }
    let now = SnapshotClock.now
    let unknown = try store.readBlocking { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT s.id, NULL, 0, 0, 0, 0 FROM snapshot s WHERE s.size IS NULL AND s.state = 'ready' AND NOT EXISTS (SELECT 1 FROM cache_mount c WHERE c.snapshot = s.id)
          UNION ALL SELECT c.snapshot, c.key, c.instance, c.measured, c.cost, s.size IS NULL FROM cache_mount c JOIN snapshot s ON s.id = c.snapshot WHERE c.changed = 1 OR s.size IS NULL
          """
      ).filter { row in
        // A clock that jumped back makes it due.
        let waited = now - (row[3] as Int64)
        return everything || (row[1] as String?) == nil || (row[5] as Bool) || waited < 0 || waited > 20 * (row[4] as Int64)
      }.map { Unknown(snapshot: $0[0], key: $0[1], instance: $0[2]) }
    }
    guard !unknown.isEmpty else { return }
    for item in unknown {
      guard let key = item.key else {
        // It may be removed meanwhile.
        guard let usage = try? Files.usage(directory(item.snapshot)) else { continue }
        try store.writeBlocking {
          try $0.execute(
            sql: "UPDATE snapshot SET size = ?, fingerprint = ? WHERE id = ? AND state = 'ready'", arguments: [usage.bytes, usage.fingerprint, item.snapshot])
        }
        continue
      }
      // While a step has it, it goes on changing.
      let lock = try store.locks.tryLock(Self.lockName(key, item.instance))
      defer { lock?.release() }
      let clock = ContinuousClock.now
      guard let size = try? Files.usage(directory(item.snapshot)).bytes else { continue }
      let (seconds, attoseconds) = (ContinuousClock.now - clock).components
      let cost = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
      try store.writeBlocking { db in
        try db.execute(sql: "UPDATE snapshot SET size = ? WHERE id = ?", arguments: [size, item.snapshot])
        try db.execute(
          sql: "UPDATE cache_mount SET changed = ?, measured = ?, cost = ? WHERE snapshot = ?", arguments: [lock == nil, SnapshotClock.now, cost, item.snapshot])
      }
    }
  }

  /// What a snapshot that is being written or removed takes just now. Blocks.
  package func currentUsage(_ snapshot: Int64) -> Int64 { (try? Files.usage(directory(snapshot)).bytes) ?? 0 }

  /// Bytes on the disk of one.
  func size(of snapshot: Int64) async throws -> Int64 {
    if let size = try await store.read({ try Int64.fetchOne($0, sql: "SELECT size FROM snapshot WHERE id = ?", arguments: [snapshot]) }) { return size }
    return try await Blocking.run {
      try self.measure()
      return self.currentUsage(snapshot)
    }
  }

  // MARK: - Collection

  /// Takes refs out of the cache, those that stand on others before them: whoever is claimed or stood on by then stays. `release` is told of each inside the
  /// transaction that removes it. Answers the ones that are gone.
  package func drop(_ ids: [String], release: @escaping @Sendable (Database, String) throws -> Void) async throws -> [String] {
    var dropped: [String] = []
    var rest = ids[...]
    while !rest.isEmpty {
      let some = Array(rest.prefix(16))
      rest = rest.dropFirst(16)
      let (gone, snapshots) = try await store.write { db in try self.dropSome(db, some, release) }
      try await remove(snapshots)
      dropped += gone
    }
    return dropped
  }

  private func dropSome(_ db: Database, _ ids: [String], _ release: (Database, String) throws -> Void) throws -> ([String], [Int64]) {
    var gone: [String] = []
    var snapshots: [Int64] = []
    for id in ids {
      let isFree = try Bool.fetchOne(
        db.cachedStatement(
          sql: "SELECT NOT EXISTS (SELECT 1 FROM ref_claim WHERE ref = ?1) AND NOT EXISTS (SELECT 1 FROM ref child WHERE child.parent = ?1) FROM ref WHERE id = ?1"),
        arguments: [id])
      // Nil: it went along with what stood on it.
      if isFree == false { continue }
      if isFree == true {
        try release(db, id)
        try db.execute(sql: "UPDATE ref SET durable = 0 WHERE id = ?", arguments: [id])
        snapshots += try collect(db, [id])
      }
      gone.append(id)
    }
    return (gone, snapshots)
  }

  /// Removes a cache directory; false when a step has it, or somebody is about to take it.
  package func dropCacheMount(key: String, instance: Int64) async throws -> Bool {
    guard let search = try store.locks.tryLock("cache:\(key)") else { return false }
    defer { search.release() }
    guard let lock = try store.locks.tryLock(Self.lockName(key, instance)) else { return false }
    defer { lock.release() }
    let snapshots = try await store.write { db -> [Int64] in
      guard let snapshot = try Int64.fetchOne(db, sql: "SELECT snapshot FROM cache_mount WHERE key = ? AND instance = ?", arguments: [key, instance]) else { return [] }
      try db.execute(sql: "DELETE FROM cache_mount WHERE key = ? AND instance = ?", arguments: [key, instance])
      return try self.condemn(db, snapshot) ? [snapshot] : []
    }
    try await remove(snapshots)
    return true
  }

  // MARK: - Verification

  /// A ready snapshot as its row has it; of a cache directory nothing is known.
  package struct Recorded: Sendable {
    package var snapshot: Int64
    package var fingerprint: Int64?
    package var isCacheMount: Bool
    /// Refs that have it.
    package var description: String
    /// Absolute.
    package var path: String
  }

  package func recorded() async throws -> [Recorded] {
    try await store.read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT s.id, s.fingerprint, EXISTS (SELECT 1 FROM cache_mount c WHERE c.snapshot = s.id),
            coalesce((SELECT description FROM ref WHERE snapshot = s.id OR flat = s.id), (SELECT CASE WHEN key LIKE 'source.local/%' THEN 'local source for ' ELSE 'cached mount ' END || name FROM cache_mount c WHERE c.snapshot = s.id), '')
          FROM snapshot s WHERE s.state = 'ready' ORDER BY s.id
          """
      ).map { Recorded(snapshot: $0[0], fingerprint: $0[1], isCacheMount: $0[2], description: $0[3], path: self.directory($0[0])) }
    }
  }

  /// Whether the snapshot still is what it was when it was recorded.
  package func isRecorded(_ snapshot: Int64) async throws -> Bool {
    try await store.read { try Bool.fetchOne($0, sql: "SELECT EXISTS (SELECT 1 FROM snapshot WHERE id = ? AND state = 'ready')", arguments: [snapshot]) ?? false }
  }

  /// Removes a snapshot that is damaged; what nobody can do without it goes from the cache. False when a live build stands on it.
  package func discardDamaged(_ snapshot: Int64) async throws -> Bool {
    let gone = try await store.write { db -> [Int64]? in
      let isClaimed = try Bool.fetchOne(
        db,
        sql: """
          WITH RECURSIVE above(id) AS (SELECT id FROM ref WHERE snapshot = ?1 OR flat = ?1 UNION SELECT ref.id FROM above JOIN ref ON ref.parent = above.id)
          SELECT EXISTS (SELECT 1 FROM above JOIN ref_claim ON ref_claim.ref = above.id)
          """, arguments: [snapshot]) ?? true
      if isClaimed { return nil }
      try db.execute(sql: "UPDATE ref SET snapshot = NULL WHERE snapshot = ?", arguments: [snapshot])
      try db.execute(sql: "UPDATE ref SET flat = NULL WHERE flat = ?", arguments: [snapshot])
      try db.execute(sql: "DELETE FROM cache_mount WHERE snapshot = ?", arguments: [snapshot])
      var gone = try self.collectUnneeded(db)
      if try self.condemn(db, snapshot) { gone.append(snapshot) }
      return gone
    }
    guard let gone else { return false }
    try await remove(gone)
    return true
  }

  /// Refs that have no content at all, and are not being made.
  package func contentless() async throws -> [(id: String, description: String)] {
    try await store.read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT id, description FROM ref WHERE snapshot IS NULL AND flat IS NULL AND NOT EXISTS (SELECT 1 FROM ref_blob WHERE ref = id AND compression NOT LIKE 'variant %')
            AND NOT EXISTS (SELECT 1 FROM ref_claim WHERE ref_claim.ref = ref.id)
          """
      ).map { ($0[0], $0[1]) }
    }
  }

  /// Takes those out of the cache.
  package func discardContentless() async throws {
    let gone = try await store.write { try self.collectUnneeded($0) }
    try await remove(gone)
  }

  /// Whether a step has the cache directory just now.
  package func isInUse(_ mount: SnapshotInventory.Mount) -> Bool {
    guard let lock = try? store.locks.tryLock(Self.lockName(mount.key, mount.instance)) else { return true }
    lock.release()
    return false
  }
}
