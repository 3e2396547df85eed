import ContentStore
import GRDB
import HostOS
import OCIModel

/// Directories of snapshots.
extension RefStore {
  /// Beneath `snapshots`, relative to it.
  static func name(_ snapshot: Int64) -> String { String(snapshot, radix: 36) }
  func directory(_ snapshot: Int64) -> String { "\(store.root)/\(StoreLayout.snapshots)/\(Self.name(snapshot))" }
  /// The tree, or the layer.
  func tree(_ snapshot: Int64) -> String { directory(snapshot) + "/fs" }
  /// The overlay's own.
  func work(_ snapshot: Int64) -> String { directory(snapshot) + "/work" }

  /// A row for a directory that is to be made. The row comes first, so that no directory is without one.
  func newSnapshot(_ db: Database, form: SnapshotForm, synced: Bool = false) throws -> Int64 {
    try db.execute(
      sql: "INSERT INTO snapshot (state, form, created, holder, boot, synced) VALUES ('new', ?, ?, ?, ?, ?)",
      arguments: [form.rawValue, SnapshotClock.now, holder, ProcessIdentity.current.bootID, synced])
    return db.lastInsertedRowID
  }

  func newSnapshot(form: SnapshotForm) async throws -> Int64 { try await store.write { try self.newSnapshot($0, form: form) } }

  /// Blocks.
  func makeDirectory(_ snapshot: Int64, withWork: Bool = false) throws {
    // What has the name without a row is of a database that was removed.
    try? Files.removeTree(directory(snapshot))
    try Files.makeDirectories(tree(snapshot))
    try Directory.open(tree(snapshot)).setMode(".", 0o755)
    if withWork { try Files.makeDirectories(work(snapshot)) }
  }

  /// The directory holds the content of the ref now. When another has the same content already, that one is taken, and answered.
  func markReady(_ snapshot: Int64, ref: RefRow, form: SnapshotForm) async throws {
    let column = form.isOverlay ? "snapshot" : "flat"
    try await store.write { db in
      let isTaken = try ref.chain.map { try Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM snapshot WHERE chain = ? AND form = ?)", arguments: [$0.description, form.rawValue]) ?? false } ?? true
      try db.execute(sql: "UPDATE snapshot SET state = 'ready', chain = ? WHERE id = ?", arguments: [isTaken ? nil : ref.chain?.description, snapshot])
      try db.execute(sql: "UPDATE ref SET \(column) = ? WHERE id = ?", arguments: [snapshot, ref.id])
      if db.changesCount == 0 { throw Self.notFound(ref.id) }
    }
  }

  /// Removes a snapshot that is ours alone.
  func abandon(_ snapshots: [Int64]) async {
    guard !snapshots.isEmpty else { return }
    try? await uncancelled {
      // Without a row that says ready, they are nothing yet; and a full disk takes no row before they are gone.
      try? await self.removeUnready(snapshots)
      let gone = try await self.store.write { db in try snapshots.filter { try self.condemn(db, $0) } }
      try await self.remove(gone)
    }
  }

  /// Removes the directories of condemned snapshots, then their rows.
  func remove(_ snapshots: [Int64]) async throws {
    guard !snapshots.isEmpty else { return }
    try await Blocking.run { try self.removeBlocking(snapshots) }
  }

  /// The directories of those that are not ready; their rows stay.
  private func removeUnready(_ snapshots: [Int64]) async throws {
    let ready = try await store.read { db in Set(try Int64.fetchAll(db, sql: "SELECT id FROM snapshot WHERE state = 'ready'")) }
    try await Blocking.run { for snapshot in snapshots where !ready.contains(snapshot) { try Files.removeTree(self.directory(snapshot)) } }
  }

  func removeBlocking(_ snapshots: [Int64]) throws {
    for snapshot in snapshots { try Files.removeTree(directory(snapshot)) }
    try store.writeBlocking { db in
      for snapshot in snapshots { try db.execute(sql: "DELETE FROM snapshot WHERE id = ?", arguments: [snapshot]) }
    }
  }

  // MARK: - Mounting

  /// `directories`: the topmost first.
  func plan(_ directories: [String]) -> MountPlan {
    if directories.count == 1 { return .bind(path: directories[0], readOnly: true) }
    return .overlay(lowers: directories, upper: nil, work: nil, userXattr: form == .overlayUser)
  }

  /// The tree, to be read. Blocks.
  func open(_ directories: [String]) throws -> Directory {
    try directories.count == 1 ? Directory.open(directories[0]) : Self.open(plan(directories))
  }

  /// Blocks.
  static func open(_ plan: MountPlan) throws -> Directory {
    if case .bind(let path, false) = plan { return try Directory.open(path) }
    #if os(Linux)
      return try Mounts.open(plan)
    #else
      guard case .bind(let path, _) = plan else { throw SnapshotError(.system, "this system mounts no \(plan)") }
      return try Directory.open(path)
    #endif
  }

  // MARK: - Durability

  /// Waits until all that is ready is on the disk. Until then a snapshot is trusted during this run of the machine only.
  package func flush() async throws {
    try await Blocking.run { try self.flushBlocking(olderThan: .max) }
  }

  func flushBlocking(olderThan limit: Int64) throws {
    let fresh = try store.readBlocking { db in
      try Int64.fetchAll(db, sql: "SELECT id FROM snapshot WHERE synced = 0 AND state = 'ready' AND created < ?", arguments: [limit])
    }
    guard !fresh.isEmpty else { return }
    try FileSystemFacts.sync(store.root)
    try store.writeBlocking { db in
      for id in fresh { try db.execute(sql: "UPDATE snapshot SET synced = 1 WHERE id = ?", arguments: [id]) }
    }
  }

  // MARK: - Leftovers of the dead

  /// The disk is full, and no row can be written: removes the files that dead processes were writing or removing, which nobody trusts whatever the rows say
  /// about their makers. Blocks.
  func makeRoom() throws {
    guard let lock = try store.locks.tryLock("snapshots:sweep") else { return }
    defer { lock.release() }
    let left = try store.readBlocking { db in
      let alive = try holders(db).filter(\.isAlive).map(\.id)
      return try Row.fetchAll(db, sql: "SELECT id, holder FROM snapshot WHERE state <> 'ready'").filter { !alive.contains($0[1]) }.map { $0[0] as Int64 }
    }
    for snapshot in left { try Files.removeTree(directory(snapshot)) }
  }

  private static let quiet: Int64 = 60_000_000_000

  /// Removes what processes that are gone have left, and what may have been lost when the machine stopped. Blocks.
  package func sweep() throws {
    guard let lock = try store.locks.tryLock("snapshots:sweep") else { return }
    defer { lock.release() }
    // Listed before the rows are read: a directory seen here had its row before.
    let names = try Directory.open("\(store.root)/\(StoreLayout.snapshots)").entries().map(\.name)
    let gone = try store.writeBlocking { db in
      try sweepHolders(db)
      return try condemnLeftovers(db)
    }
    try removeBlocking(gone)
    let known = try store.readBlocking { Set(try Int64.fetchAll($0, sql: "SELECT id FROM snapshot").map(Self.name)) }
    for name in names where !known.contains(name) {
      let path = "\(store.root)/\(StoreLayout.snapshots)/\(name)"
      // Another store may be trying overlay mounts in a directory of another kind of name.
      if Int64(name, radix: 36) == nil, let status = try? Files.status(path), SnapshotClock.now - status.mtime < Self.quiet { continue }
      try Files.removeTree(path)
    }
    // By now the system has written it anyhow: this costs nothing and outlives a power failure from here on.
    try flushBlocking(olderThan: SnapshotClock.now - Self.quiet)
  }

  private func sweepHolders(_ db: Database) throws {
    for holder in try holders(db) where !holder.isAlive { try db.execute(sql: "DELETE FROM snapshot_holder WHERE id = ?", arguments: [holder.id]) }
  }

  private func holders(_ db: Database) throws -> [(id: String, isAlive: Bool)] {
    try Row.fetchAll(db, sql: "SELECT id, pid, start, boot, namespace FROM snapshot_holder").map { row in
      let who = ProcessIdentity(
        pid: row[1], startTime: UInt64(bitPattern: row[2] as Int64), bootID: row[3], pidNamespace: UInt64(bitPattern: row[4] as Int64))
      return (row[0], who.mayBeAlive)
    }
  }

  /// Deletes refs that nobody needs, or that are of no use; answers snapshots to be removed.
  func collectUnneeded(_ db: Database) throws -> [Int64] {
    try forgetContentless(db)
    return try collect(
      db,
      String.fetchAll(
        db, sql: "SELECT id FROM ref WHERE durable = 0 AND NOT EXISTS (SELECT 1 FROM ref_claim WHERE ref = id) AND NOT EXISTS (SELECT 1 FROM ref child WHERE child.parent = ref.id)"))
  }

  /// Refs whose only content was lost, and all that stands on them, are results no more.
  func forgetContentless(_ db: Database) throws {
    try db.execute(
      sql: """
        WITH RECURSIVE lost(id) AS (
          SELECT id FROM ref WHERE snapshot IS NULL AND flat IS NULL AND NOT EXISTS (SELECT 1 FROM ref_blob WHERE ref = id AND compression NOT LIKE 'variant %')
            AND NOT EXISTS (SELECT 1 FROM ref_claim WHERE ref_claim.ref = ref.id)
          UNION SELECT ref.id FROM lost JOIN ref ON ref.parent = lost.id WHERE ref.flat IS NULL)
        UPDATE ref SET durable = 0 WHERE durable = 1 AND id IN (SELECT id FROM lost)
        """)
  }

  private func condemnLeftovers(_ db: Database) throws -> [Int64] {
    let boot = ProcessIdentity.current.bootID
    // The machine stopped before it was on the disk.
    for id in try Int64.fetchAll(db, sql: "SELECT id FROM snapshot WHERE synced = 0 AND state = 'ready' AND boot <> ?", arguments: [boot]) {
      try db.execute(sql: "UPDATE ref SET snapshot = NULL WHERE snapshot = ?", arguments: [id])
      try db.execute(sql: "UPDATE ref SET flat = NULL WHERE flat = ?", arguments: [id])
    }
    var gone = try collectUnneeded(db)
    // Being made or removed by nobody who lives; or ready, and of no use.
    let rest = try Int64.fetchAll(
      db,
      sql: """
        SELECT id FROM snapshot s WHERE NOT EXISTS (SELECT 1 FROM ref WHERE snapshot = s.id OR flat = s.id) AND NOT EXISTS (SELECT 1 FROM cache_mount WHERE snapshot = s.id)
          AND (state = 'ready' OR NOT EXISTS (SELECT 1 FROM snapshot_holder h WHERE h.id = s.holder))
        """)
    for id in rest where !gone.contains(id) { if try condemn(db, id) { gone.append(id) } }
    return gone
  }
}
