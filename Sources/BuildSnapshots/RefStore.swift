package import ContentStore
import GRDB
import HostOS
import LayerArchive
package import OCIModel
import Synchronization

/// Brings the blob of a layer into the store, from wherever the build that needs it gets it.
package protocol LayerProvider: Sendable {
  /// Returns when the blob is in the store, verified.
  func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore) async throws
}

/// Trees of files as chains of layers, of which nothing is downloaded or unpacked before it is needed.
///
/// Any number of processes, and of ref stores in one, share a root. A ref is claimed by those who have handles of it; what nobody claims, no cache record points at
/// and no other ref stands on is removed, at once, or by the next store that opens when its process was killed. Work on one layer is done once
/// among all of them, under a lock on its name.
package final class RefStore: Sendable {
  package enum Snapshotter: Sendable {
    /// Overlay mounts where they work, else whole copies.
    case automatic
    /// Whole copies.
    case plain
  }

  package static var migrations: [StoreMigration] { SnapshotTables.migrations }

  package let store: ContentStore
  package let notices = SnapshotNotices()
  /// The form of the snapshots made here.
  let form: SnapshotForm
  /// Whether trees are whole copies.
  package var isPlain: Bool { form == .plain }
  /// Why overlay mounts are not used; nil when they are, or were not asked for.
  package let overlayProblem: String?
  /// Whoever claims, in the rows.
  let holder: String
  let unpacking: AsyncLimiter
  /// Handles in this process by ref; changed to and from nothing inside write transactions alone, so that the row says the same.
  let handles = Mutex<[String: Int]>([:])
  private let closed = Atomic<Bool>(false)

  private init(store: ContentStore, form: SnapshotForm, problem: String?, holder: String) {
    (self.store, self.form, overlayProblem, self.holder) = (store, form, problem, holder)
    unpacking = AsyncLimiter(max(2, HostFacts.cores))
  }

  /// `store` was opened with `RefStore.migrations`. Sweeps what dead processes have left.
  package static func open(store: ContentStore, snapshotter: Snapshotter = .automatic) async throws -> RefStore {
    try await Blocking.run { try openBlocking(store, snapshotter) }
  }

  private static func openBlocking(_ store: ContentStore, _ snapshotter: Snapshotter) throws -> RefStore {
    // A limit that has no meaning must not pass for another.
    _ = try DecompressionLimits.fromEnvironment.get()
    let directory = store.root + "/" + StoreLayout.snapshots
    do { try Files.makeDirectories(directory, mode: 0o700) } catch { throw SnapshotError(.system, "cannot make \(directory)", cause: error) }
    var form = SnapshotForm.plain
    var problem: String?
    #if os(Linux)
      if snapshotter == .automatic {
        switch OverlaySupport.probe(in: directory) {
        case .works(let userXattr): form = userXattr ? .overlayUser : .overlay
        case .impossible(let reason): problem = reason
        }
      }
    #endif
    let holder = String(UInt64.random(in: .min ... .max), radix: 36) + String(UInt64.random(in: .min ... .max), radix: 36)
    let refs = RefStore(store: store, form: form, problem: problem, holder: holder)
    do { try refs.signIn() } catch let error as StoreError where error.code == .noSpace {
      try refs.makeRoom()
      try refs.signIn()
    }
    try refs.sweep()
    return refs
  }

  private func signIn() throws {
    let me = ProcessIdentity.current
    try store.writeBlocking { db in
      try db.execute(
        sql: "INSERT INTO snapshot_holder VALUES (?, ?, ?, ?, ?)",
        arguments: [holder, me.pid, Int64(bitPattern: me.startTime), me.bootID, Int64(bitPattern: me.pidNamespace)])
    }
  }

  /// Gives up all claims, removes what then nobody needs, and waits until the rest is on the disk. Handles are of no use after it.
  package func close() async throws {
    if closed.exchange(true, ordering: .acquiringAndReleasing) { return }
    try await uncancelled {
      let holder = self.holder
      let gone = try await self.store.write { db in
        let mine = try String.fetchAll(db, sql: "SELECT ref FROM ref_claim WHERE holder = ?", arguments: [holder])
        try db.execute(sql: "DELETE FROM ref_claim WHERE holder = ?", arguments: [holder])
        return try self.collect(db, mine)
      }
      try await self.remove(gone)
      // After the removal, so that what goes is not written first. What is new is measured while the disk works.
      async let measured: Void = Blocking.run { try self.measure() }
      try await self.flush()
      try? await measured
      try await self.store.write { try $0.execute(sql: "DELETE FROM snapshot_holder WHERE id = ?", arguments: [holder]) }
    }
  }

  // MARK: - Making refs

  /// A layer that is on another machine. `parent` is lent. The same blobs in the same order are the same ref.
  package func layer(parent: ImmutableRef?, descriptor: OCIModel.Descriptor, diffID: Digest, provider: any LayerProvider) async throws -> ImmutableRef {
    try await layers(on: parent, [(descriptor, diffID)], provider: provider)
  }

  /// What is known of a layer beside its content.
  package struct LayerFacts: Sendable {
    package var description: String
    package var created: Timestamp?
    package init(description: String, created: Timestamp? = nil) { (self.description, self.created) = (description, created) }
  }

  /// Several layers, the bottommost first, in one transaction; answers the topmost. There is at least one. `facts`: for each layer, or none.
  package func layers(
    on parent: ImmutableRef?, _ layers: [(descriptor: OCIModel.Descriptor, diffID: Digest)], provider: any LayerProvider, facts: [LayerFacts] = [], system: LayerSystem = .common
  ) async throws -> ImmutableRef {
    guard !layers.isEmpty else { throw SnapshotError(.notFound, "a chain of no layers is no ref") }
    var providers = parent?.providers ?? [:]
    for layer in layers { providers[layer.descriptor.digest] = provider }
    return try await self.layers(on: parent, layers, providers: providers, facts: facts, systems: layers.map { _ in system })
  }

  /// The same of layers that are in the store, or that `providers` know. `systems`: for each layer.
  func layers(
    on parent: ImmutableRef?, _ layers: [(descriptor: OCIModel.Descriptor, diffID: Digest)], providers: [Digest: any LayerProvider], facts: [LayerFacts], systems: [LayerSystem]
  ) async throws -> ImmutableRef {
    let parentID = parent?.id
    let id = try await store.write { db in
      var (below, chain, blobs) = (parentID, nil as Digest?, nil as String?)
      if let parentID {
        guard let row = try Row.fetchOne(db, sql: "SELECT chain, blob_chain FROM ref WHERE id = ?", arguments: [parentID]) else { throw Self.notFound(parentID) }
        chain = (row[0] as String?).flatMap { Digest($0) }
        blobs = (row[1] as String?) ?? "ref:\(parentID)"
      }
      for (i, (descriptor, diffID)) in layers.enumerated() {
        let system = i < systems.count ? systems[i] : .common
        chain = below == nil ? ChainID.of(nil, diffID, system) : chain.map { ChainID.of($0, diffID, system) }
        let key = ChainID.blobs(blobs, descriptor.digest, diffID, system)
        let facts = i < facts.count ? facts[i] : LayerFacts(description: "pulled layer \(descriptor.digest)")
        below = try self.layerRow(db, below, descriptor, diffID, chain: chain, blobChain: key, facts, system)
        blobs = key.description
      }
      let id = below ?? ""
      try self.claim(db, id)
      try self.noteUse(db, id)
      return id
    }
    return ImmutableRef(self, id: id, providers: providers)
  }

  private func layerRow(
    _ db: Database, _ parent: String?, _ descriptor: OCIModel.Descriptor, _ diffID: Digest, chain: Digest?, blobChain: Digest, _ facts: LayerFacts, _ system: LayerSystem
  ) throws -> String {
    let known = try db.cachedStatement(sql: "SELECT id FROM ref WHERE blob_chain = ?")
    if let id = try String.fetchOne(known, arguments: [blobChain.description]) { return id }
    let id = Self.freshID()
    try insert(db, id, parent, diffID: diffID, chain: chain, blobChain: blobChain, description: facts.description, recordType: .regular, system: system)
    if let created = facts.created { try db.execute(sql: "UPDATE ref SET created = ? WHERE id = ?", arguments: [created.nanosecondsSinceEpoch, id]) }
    try BlobRow.add(db, ref: id, compression: .init(mediaType: descriptor.mediaType) ?? .none, descriptor: descriptor)
    try adopt(db, id)
    return id
  }

  func insert(
    _ db: Database, _ id: String, _ parent: String?, diffID: Digest? = nil, chain: Digest? = nil, blobChain: Digest? = nil, description: String, recordType: RecordType,
    system: LayerSystem? = nil
  ) throws {
    let now = SnapshotClock.now
    // What is made on a Windows image is a layer of one.
    try db.execute(
      sql: """
        INSERT INTO ref (id, parent, diff_id, chain, blob_chain, durable, created, last_used, uses, description, record_type, used, system)
          VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?6, 1, ?7, ?8, ?9, coalesce(?10, (SELECT system FROM ref WHERE id = ?2), 0))
        """,
      arguments: [
        id, parent, diffID?.description, chain?.description, blobChain?.description, now, description, recordType.rawValue, try UseOrder.next(db), system?.rawValue,
      ])
  }

  /// Takes a snapshot of the same content, made for another ref.
  func adopt(_ db: Database, _ id: String) throws {
    for (column, forms) in [("snapshot", "form <> 'plain'"), ("flat", "form = 'plain'")] {
      try db.execute(
        sql: """
          UPDATE ref SET \(column) = (SELECT s.id FROM snapshot s WHERE s.chain = ref.chain AND s.state = 'ready' AND s.\(forms)) WHERE id = ? AND chain IS NOT NULL AND \(column) IS NULL
          """, arguments: [id])
    }
  }

  static func freshID() -> String {
    let digits = Array("abcdefghijklmnopqrstuvwxyz0123456789")
    return String((0..<25).map { _ in digits[Int.random(in: 0..<digits.count)] })
  }

  static func notFound(_ id: String) -> SnapshotError { SnapshotError(.notFound, "there is no snapshot \(id) (any more)", ref: id) }

  // MARK: - Refs of cache records

  /// The ref by its id, for a cache record that points at it; nil when a layer's content is neither here nor to be had from those that `providers` names
  /// for the blobs that are missing.
  package func ref(_ id: String, providers: ([Digest]) -> [Digest: any LayerProvider] = { _ in [:] }) async throws -> ImmutableRef? {
    let found = try await store.write { db -> ([RefRow], [String: [BlobRow]])? in
      let rows = try RefRow.chain(db, id)
      guard !rows.isEmpty else { return nil }
      try self.claim(db, id)
      try self.noteUse(db, id)
      return (rows, try BlobRow.all(db, rows.map(\.id)))
    }
    guard let (rows, blobs) = found else { return nil }
    // The claim is the handle's from here on, or given back.
    do {
      if let providers = try await sources(rows, blobs, providers) { return ImmutableRef(self, id: id, providers: providers) }
    } catch {
      await unclaim(id)
      throw error
    }
    await unclaim(id)
    return nil
  }

  /// Who provides the blobs that are not here; nil when the chain cannot be had.
  private func sources(
    _ rows: [RefRow], _ blobs: [String: [BlobRow]], _ providers: ([Digest]) -> [Digest: any LayerProvider]
  ) async throws -> [Digest: any LayerProvider]? {
    let needed = Unpacking.missing(rows, form: form).map { rows[$0].id }
    let all = rows.flatMap { blobs[$0.id] ?? [] }.map(\.descriptor.digest)
    let absent = try await Blocking.run { all.filter { !self.store.contains($0) } }
    let had = absent.isEmpty ? [:] : providers(absent)
    let isAbsent = Set(absent)
    for id in needed {
      let layer = blobs[id] ?? []
      if !layer.contains(where: { !isAbsent.contains($0.descriptor.digest) || had[$0.descriptor.digest] != nil }) {
        return nil
      }
    }
    return had
  }

  private func noteUse(_ db: Database, _ id: String) throws {
    try db.cachedStatement(sql: "UPDATE ref SET last_used = ?, uses = uses + 1, used = ? WHERE id = ?")
      .execute(arguments: [SnapshotClock.now, try UseOrder.next(db), id])
  }

  package func exists(_ id: String) async throws -> Bool {
    try await store.read { try Bool.fetchOne($0, sql: "SELECT EXISTS (SELECT 1 FROM ref WHERE id = ?)", arguments: [id]) ?? false }
  }

  /// A cache record points at it: it stays when its handles and this process are gone.
  package func retain(_ ref: ImmutableRef) async throws {
    let id = ref.id
    try await store.write { db in
      try db.execute(sql: "UPDATE ref SET durable = 1, last_used = ?, used = ? WHERE id = ?", arguments: [SnapshotClock.now, try UseOrder.next(db), id])
      if db.changesCount == 0 { throw Self.notFound(id) }
    }
  }

  /// No cache record points at them any more: what nobody else needs is removed.
  package func forget(_ ids: [String]) async throws {
    let gone = try await store.write { db in
      for id in ids { try db.execute(sql: "UPDATE ref SET durable = 0 WHERE id = ?", arguments: [id]) }
      return try self.collect(db, ids)
    }
    try await remove(gone)
  }

  // MARK: - Claims

  /// Counts one handle more. Inside a write transaction.
  func claim(_ db: Database, _ id: String) throws {
    if handles.withLock({ $0[id] ?? 0 }) == 0 {
      try db.execute(sql: "INSERT OR IGNORE INTO ref_claim VALUES (?, ?)", arguments: [id, holder])
    }
    handles.withLock { $0[id, default: 0] += 1 }
  }

  /// For whoever has a handle already; false when there is none any more.
  func claimAgain(_ id: String) -> Bool {
    handles.withLock { handles in
      guard let count = handles[id] else { return false }
      handles[id] = count + 1
      return true
    }
  }

  /// Counts one handle less, and removes the ref with the last one unless others need it.
  func unclaim(_ id: String) async {
    let isLast = handles.withLock { handles in
      guard let count = handles[id], count > 1 else { return true }
      handles[id] = count - 1
      return false
    }
    guard isLast, !closed.load(ordering: .acquiring) else { return }
    // What cannot be removed now (a full disk) is swept when this process is gone.
    try? await uncancelled {
      let gone = try await self.store.write { db -> [Int64] in
        let left = self.handles.withLock { handles in
          let left = (handles[id] ?? 1) - 1
          handles[id] = left > 0 ? left : nil
          return left
        }
        if left > 0 { return [] }
        try db.execute(sql: "DELETE FROM ref_claim WHERE ref = ? AND holder = ?", arguments: [id, self.holder])
        return try self.collect(db, [id])
      }
      try await self.remove(gone)
    }
  }

  /// Deletes those of the refs that nobody needs, then what they stood on. Answers the snapshots to be removed, which are this store's to remove.
  func collect(_ db: Database, _ ids: [String]) throws -> [Int64] {
    var queue = ids
    var gone: [Int64] = []
    let needed = try db.cachedStatement(
      sql: """
        SELECT parent, snapshot, flat FROM ref WHERE id = ?1 AND durable = 0 AND NOT EXISTS (SELECT 1 FROM ref_claim WHERE ref = ?1)
          AND NOT EXISTS (SELECT 1 FROM ref child WHERE child.parent = ?1)
        """)
    while let id = queue.popLast() {
      guard let row = try Row.fetchOne(needed, arguments: [id]) else { continue }
      try db.execute(sql: "DELETE FROM ref WHERE id = ?", arguments: [id])
      if let parent = row[0] as String? { queue.append(parent) }
      gone += [row[1] as Int64?, row[2] as Int64?].compactMap { $0 }
    }
    return try gone.filter { try condemn(db, $0) }
  }

  /// Marks a snapshot as ours to remove unless something refers to it.
  func condemn(_ db: Database, _ snapshot: Int64) throws -> Bool {
    try db.execute(
      sql: """
        UPDATE snapshot SET state = 'removing', holder = ?2, chain = NULL WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM ref WHERE snapshot = ?1 OR flat = ?1)
          AND NOT EXISTS (SELECT 1 FROM cache_mount WHERE snapshot = ?1)
        """, arguments: [snapshot, holder])
    return db.changesCount > 0
  }
}

/// Runs `body` to its end though the task is cancelled: what was begun must be undone.
func uncancelled<T: Sendable>(_ body: @escaping @Sendable () async throws -> T) async throws -> T { try await Task { try await body() }.value }

/// Runs blocking work that asks now and then whether the task was cancelled.
func blocking<T: Sendable>(_ body: @escaping @Sendable (_ isCancelled: @escaping @Sendable () -> Bool) throws -> T) async throws -> T {
  let flag = CancelFlag()
  return try await withTaskCancellationHandler {
    try await Blocking.run { try body { flag.isSet } }
  } onCancel: {
    flag.set()
  }
}

private final class CancelFlag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}

/// So many at once; the rest wait in order.
package final class AsyncLimiter: Sendable {
  private struct State {
    var free: Int
    var next: UInt64 = 0
    var waiting: [(id: UInt64, continuation: CheckedContinuation<Void, Never>)] = []
  }
  private let state: Mutex<State>
  package init(_ count: Int) { state = Mutex(State(free: count)) }

  package func run<T: Sendable>(_ body: () async throws -> T) async throws -> T {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let admitted = state.withLock { state in
        if state.free > 0 {
          state.free -= 1
          return true
        }
        state.next += 1
        state.waiting.append((state.next, continuation))
        return false
      }
      if admitted { continuation.resume() }
    }
    defer {
      let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
        if state.waiting.isEmpty {
          state.free += 1
          return nil
        }
        return state.waiting.removeFirst().continuation
      }
      next?.resume()
    }
    // Those who wait cannot be called off; they leave as soon as it is their turn.
    try Task.checkCancellation()
    return try await body()
  }
}
