package import ContentStore
internal import GRDB
package import HostOS

/// A directory of ours that is kept equal to a client's, from build to build: who has it has it alone, until `release` or the last reference. A record of the type `source.local`.
package final class SyncedDirectory: Sendable {
  /// Of its keys among those of cache directories.
  static let prefix = "source.local/"
  /// Absolute.
  package let path: String
  /// A file beside it for what its owner remembers of its files; gone with it.
  package let notes: String
  private let refs: RefStore
  private let key: String
  private let instance: Int64
  private let lock: FileLock

  init(refs: RefStore, key: String, instance: Int64, snapshot: Int64, lock: FileLock) {
    (self.refs, self.key, self.instance, self.lock) = (refs, key, instance, lock)
    path = refs.tree(snapshot)
    notes = refs.directory(snapshot) + "/notes"
  }

  package func release() { lock.release() }

  /// Gives it back for good.
  package func discard() async {
    lock.release()
    _ = try? await refs.dropCacheMount(key: key, instance: instance)
  }
}

extension RefStore {
  /// The directory of a key, or another one where somebody has that. What was written before the machine started anew may be no more than names, so such a one begins empty.
  package func syncedDirectory(key given: String, name: String) async throws -> SyncedDirectory {
    let key = SyncedDirectory.prefix + given
    let (lock, instance, snapshot, boot) = try await store.locks.withLock("cache:\(key)") { () -> (FileLock, Int64, Int64, String) in
      let known = try await store.read { db in
        try Row.fetchAll(db, sql: "SELECT instance, snapshot, boot FROM cache_mount WHERE key = ? ORDER BY instance", arguments: [key]).map {
          (instance: $0[0] as Int64, snapshot: $0[1] as Int64, boot: $0[2] as String)
        }
      }
      for item in known {
        if let lock = try store.locks.tryLock(Self.lockName(key, item.instance)) { return (lock, item.instance, item.snapshot, item.boot) }
      }
      let instance = (known.last?.instance ?? -1) + 1
      let lock = try await store.locks.lock(Self.lockName(key, instance))
      return (lock, instance, try await makeInstance(key, instance, name: name, base: nil), HostFacts.bootID)
    }
    do {
      let isThere = try await store.write { db in
        try db.execute(
          sql: "UPDATE cache_mount SET last_used = ?, uses = uses + 1, used = ?, changed = 1, boot = ? WHERE snapshot = ?",
          arguments: [SnapshotClock.now, try UseOrder.next(db), boot == HostFacts.bootID ? boot : "", snapshot])
        return db.changesCount > 0
      }
      let directory = SyncedDirectory(refs: self, key: key, instance: instance, snapshot: snapshot, lock: lock)
      if !isThere {
        // It was pruned meanwhile.
        lock.release()
        return try await syncedDirectory(key: given, name: name)
      }
      if boot != HostFacts.bootID { try await empty(directory, snapshot) }
      return directory
    } catch {
      lock.release()
      throw error
    }
  }

  private func empty(_ directory: SyncedDirectory, _ snapshot: Int64) async throws {
    try await Blocking.run {
      try Directory.open(directory.path).removeContents()
      try? Files.removeTree(directory.notes)
    }
    try await store.write { try $0.execute(sql: "UPDATE cache_mount SET boot = ? WHERE snapshot = ?", arguments: [HostFacts.bootID, snapshot]) }
  }
}
