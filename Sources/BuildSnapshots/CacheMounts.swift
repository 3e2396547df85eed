import ContentStore
import GRDB
package import HostOS
import OCIModel

/// Who may use a cache directory at once (Dockerfile `RUN --mount=type=cache,sharing=`).
package enum CacheSharing: String, Sendable, Codable {
  /// Everyone.
  case shared
  /// One at a time; others get a directory of their own.
  case `private`
  /// One at a time; others wait.
  case locked
}

/// A directory that steps keep things in from build to build. Held until `release`, or the last reference.
package final class CacheMountRef: Sendable {
  package let id: String
  private let path: String
  private let lock: FileLock

  init(id: String, path: String, lock: FileLock) { (self.id, self.path, self.lock) = (id, path, lock) }

  package func mountPlan() async throws -> MountPlan { .bind(path: path, readOnly: false) }
  package func release() async { lock.release() }
}

extension RefStore {
  /// The cache directory of this name; a new one begins as a copy of `base`, which is lent, and caches over different bases are different ones. Who has an instance
  /// holds a lock on it, shared or not, that ends with its process.
  package func cacheMount(id: String, sharing: CacheSharing, base: ImmutableRef? = nil, onWait: (@Sendable () -> Void)? = nil) async throws -> CacheMountRef {
    // No step names a client's directory.
    let id = id.hasPrefix(SyncedDirectory.prefix) ? "exec/" + id : id
    let key = base.map { "\(id):\($0.id)" } ?? id
    let isShared = sharing == .shared
    // One looks for an instance at a time, so that two who find none make one.
    let held = try await store.locks.withLock("cache:\(key)") { () -> (FileLock, Int64)? in
      let known = try await store.read { db in
        try Row.fetchAll(db, sql: "SELECT instance, snapshot FROM cache_mount WHERE key = ? ORDER BY instance", arguments: [key]).map { (instance: $0[0] as Int64, snapshot: $0[1] as Int64) }
      }
      for (instance, snapshot) in known {
        if let lock = try store.locks.tryLock(Self.lockName(key, instance), shared: isShared) { return (lock, snapshot) }
      }
      if sharing == .locked, !known.isEmpty { return nil }
      let instance = (known.last?.instance ?? -1) + 1
      let lock = try await store.locks.lock(Self.lockName(key, instance), shared: isShared)
      return (lock, try await makeInstance(key, instance, name: id, base: base))
    }
    if let (lock, snapshot) = held {
      if let mount = try await use(id, lock, snapshot) { return mount }
      // It was pruned meanwhile.
      return try await cacheMount(id: id, sharing: sharing, base: base, onWait: onWait)
    }
    if let mount = try await waitForInstance(key, id, onWait) { return mount }
    return try await cacheMount(id: id, sharing: sharing, base: base, onWait: onWait)
  }

  /// Removes the cache directories of this name: those over trees, or that over none. Those in use stay.
  package func clearCacheMounts(id: String, onTrees: Bool) async throws {
    let known = try await store.read { db in
      try Row.fetchAll(db, sql: "SELECT key, instance FROM cache_mount WHERE name = ?", arguments: [id]).map { row in (key: row[0] as String, instance: row[1] as Int64) }
    }
    for mount in known where (mount.key != id) == onTrees { _ = try await dropCacheMount(key: mount.key, instance: mount.instance) }
  }

  static func lockName(_ key: String, _ instance: Int64) -> String { "cache:\(instance):\(key)" }

  /// Until the first of them is free; nil when it is gone by then.
  private func waitForInstance(_ key: String, _ id: String, _ onWait: (@Sendable () -> Void)?) async throws -> CacheMountRef? {
    guard let first = try await store.read({ try Int64.fetchOne($0, sql: "SELECT min(instance) FROM cache_mount WHERE key = ?", arguments: [key]) }) else { return nil }
    let lock = try await store.locks.lock(Self.lockName(key, first), onWait: onWait)
    let snapshot = try await store.read { try Int64.fetchOne($0, sql: "SELECT snapshot FROM cache_mount WHERE key = ? AND instance = ?", arguments: [key, first]) }
    guard let snapshot else {
      lock.release()
      return nil
    }
    return try await use(id, lock, snapshot)
  }

  /// Nil when it was removed before it was locked.
  private func use(_ id: String, _ lock: FileLock, _ snapshot: Int64) async throws -> CacheMountRef? {
    do {
      let isThere = try await store.write { db in
        try db.execute(
          sql: "UPDATE cache_mount SET last_used = ?, uses = uses + 1, used = ?, changed = 1 WHERE snapshot = ?",
          arguments: [SnapshotClock.now, try UseOrder.next(db), snapshot])
        return db.changesCount > 0
      }
      if isThere { return CacheMountRef(id: id, path: tree(snapshot), lock: lock) }
      lock.release()
      return nil
    } catch {
      lock.release()
      throw error
    }
  }

  /// A directory of its own, and no overlay: several may have it mounted.
  func makeInstance(_ key: String, _ instance: Int64, name: String, base: ImmutableRef?) async throws -> Int64 {
    let below = try await base?.directories() ?? []
    // It changes without end: nobody takes its content for more than it finds.
    let snapshot = try await store.write { try self.newSnapshot($0, form: .plain, synced: true) }
    do {
      try await blocking { isCancelled in
        try self.makeDirectory(snapshot)
        if !below.isEmpty { try TreeCopy(from: self.open(below), to: Directory.open(self.tree(snapshot)), isCancelled: isCancelled).copy() }
      }
      try await store.write { db in
        let now = SnapshotClock.now
        try db.execute(sql: "UPDATE snapshot SET state = 'ready' WHERE id = ?", arguments: [snapshot])
        try db.execute(
          sql: "INSERT INTO cache_mount (key, instance, snapshot, name, created, last_used, uses) VALUES (?, ?, ?, ?, ?, ?, 0)", arguments: [key, instance, snapshot, name, now, now])
      }
    } catch {
      await abandon([snapshot])
      throw error
    }
    return snapshot
  }
}
