import ContentStore
import GRDB
package import HostOS
import OCIModel
import Synchronization

/// A handle of a tree that does not change any more. It counts: the tree stays while there are handles. Dropping one without `release` does the same, a little later.
package final class ImmutableRef: Sendable {
  package let id: String
  package let refs: RefStore
  let providers: [Digest: any LayerProvider]
  private let released = Atomic<Bool>(false)
  /// The directories, the topmost first; a claimed ref keeps them.
  private let ready: Mutex<[String]?>

  /// Takes over one count.
  init(_ refs: RefStore, id: String, providers: [Digest: any LayerProvider], directories: [String]? = nil) {
    (self.refs, self.id, self.providers) = (refs, id, providers)
    ready = Mutex(directories)
  }

  deinit {
    if released.load(ordering: .acquiring) { return }
    let (refs, id) = (refs, id)
    Task { await refs.unclaim(id) }
  }

  package func clone() -> ImmutableRef { providing([:]) }

  /// A handle with more sources of layers.
  func providing(_ more: [Digest: any LayerProvider]) -> ImmutableRef {
    let isClaimed = refs.claimAgain(id)
    let made = ImmutableRef(refs, id: id, providers: more.isEmpty ? providers : providers.merging(more) { $1 }, directories: ready.withLock { $0 })
    // Of a handle that was released comes one that was.
    if !isClaimed { made.released.store(true, ordering: .releasing) }
    return made
  }

  package func release() async {
    if released.exchange(true, ordering: .acquiringAndReleasing) { return }
    await refs.unclaim(id)
  }

  private func checkUse() throws {
    if released.load(ordering: .acquiring) { throw SnapshotError(.ended, "the handle of \(id) was released before", ref: id) }
  }

  /// Downloads and unpacks what is missing of the chain: its layers at once, and each once among all tasks and processes.
  package func prepare() async throws { _ = try await directories() }

  /// Whether `prepare` would have nothing to do.
  package var isPrepared: Bool { ready.withLock { $0 != nil } }

  func directories() async throws -> [String] {
    try checkUse()
    if let known = ready.withLock({ $0 }) { return known }
    let found = try await Unpacking(refs, id: id, providers: providers).directories()
    ready.withLock { $0 = found }
    return found
  }

  /// To be read. Valid while there is a handle.
  package func mountPlan() async throws -> MountPlan { refs.plan(try await directories()) }

  /// The tree open, mounted nowhere. It ends with the last reference to it, and outlives the handle.
  package func open() async throws -> Directory {
    let directories = try await directories()
    let refs = refs
    return try await Blocking.run { try refs.open(directories) }
  }

  /// Runs `body`, which may block, on the tree.
  package func withMounted<T: Sendable>(_ body: @escaping @Sendable (Directory) throws -> T) async throws -> T {
    let directories = try await directories()
    let refs = refs
    return try await Blocking.run { try body(try refs.open(directories)) }
  }
}

/// A tree being written, by one user at a time, over an immutable one. It becomes immutable by `commit` or goes by `discard`; dropped without either it is discarded.
package final class MutableRef: Sendable {
  package let id: String
  package let refs: RefStore
  /// Of what it stands on, the topmost first; none in plain form, where the tree is whole.
  let below: [String]
  let snapshot: Int64
  let providers: [Digest: any LayerProvider]
  private let ended = Atomic<Bool>(false)

  init(_ refs: RefStore, id: String, snapshot: Int64, below: [String], providers: [Digest: any LayerProvider]) {
    (self.refs, self.id, self.snapshot, self.below, self.providers) = (refs, id, snapshot, below, providers)
  }

  deinit {
    if ended.load(ordering: .acquiring) { return }
    let (refs, id, snapshot) = (refs, id, snapshot)
    Task { await refs.discard(id, snapshot) }
  }

  private var plan: MountPlan {
    if below.isEmpty { return .bind(path: refs.tree(snapshot), readOnly: false) }
    // Not trusted before its commit: what a step wants on the disk need not be.
    return .overlay(lowers: below, upper: refs.tree(snapshot), work: refs.work(snapshot), userXattr: refs.form == .overlayUser, volatile: true)
  }

  private func checkUse() throws {
    if ended.load(ordering: .acquiring) { throw SnapshotError(.ended, "\(id) was committed or discarded before", ref: id) }
  }

  /// To be written, mounted in one place at a time.
  package func mountPlan() async throws -> MountPlan {
    try checkUse()
    return plan
  }

  /// The tree open, mounted nowhere. No reference may be left at `commit`.
  package func open() async throws -> Directory {
    try checkUse()
    let plan = plan
    return try await Blocking.run { try RefStore.open(plan) }
  }

  /// Runs `body`, which may block, on the tree.
  package func withMounted<T: Sendable>(_ body: @escaping @Sendable (Directory) throws -> T) async throws -> T {
    try checkUse()
    let plan = plan
    return try await Blocking.run { try body(try RefStore.open(plan)) }
  }

  /// What was written to it takes so much of the disk just now.
  package func currentUsage() async -> Int64 {
    let (refs, snapshot) = (refs, snapshot)
    return (try? await Blocking.run { refs.currentUsage(snapshot) }) ?? 0
  }

  /// Nothing is written to it any more. Ends the handle; after an error it is discarded.
  package func commit() async throws -> ImmutableRef {
    if ended.exchange(true, ordering: .acquiringAndReleasing) { throw SnapshotError(.ended, "\(id) was committed or discarded before", ref: id) }
    let (refs, id, snapshot) = (refs, id, snapshot)
    do {
      if !below.isEmpty { try await Blocking.run { try Files.removeTree(refs.work(snapshot)) } }
      try await refs.store.write { db in
        try db.execute(sql: "UPDATE snapshot SET state = 'ready' WHERE id = ? AND state = 'new'", arguments: [snapshot])
        if db.changesCount == 0 { throw RefStore.notFound(id) }
      }
    } catch {
      await refs.discard(id, snapshot)
      throw error
    }
    return ImmutableRef(refs, id: id, providers: providers, directories: [refs.tree(snapshot)] + below)
  }

  /// Removes what was written. After `commit` it does nothing.
  package func discard() async {
    if ended.exchange(true, ordering: .acquiringAndReleasing) { return }
    await refs.discard(id, snapshot)
  }
}

extension RefStore {
  /// Gives up what was being written. Its files go first: no row says that they may be trusted, and where they have filled the disk no row can be written
  /// before they are gone.
  func discard(_ id: String, _ snapshot: Int64) async {
    try? await uncancelled { try await Blocking.run { try Files.removeTree(self.directory(snapshot)) } }
    await unclaim(id)
  }

  /// A new tree over `parent`, which is lent, prepared and kept as long as it is needed; nil: an empty one.
  package func newMutable(parent: ImmutableRef?, description: String, recordType: RecordType = .regular) async throws -> MutableRef {
    let below = try await parent?.directories() ?? []
    let isOverlay = form.isOverlay && !below.isEmpty
    let (id, parentID, form) = (Self.freshID(), parent?.id, form)
    let snapshot = try await store.write { db in
      let snapshot = try self.newSnapshot(db, form: form)
      try self.insert(db, id, parentID, description: description, recordType: recordType)
      try db.execute(sql: "UPDATE ref SET \(form.isOverlay ? "snapshot" : "flat") = ? WHERE id = ?", arguments: [snapshot, id])
      try self.claim(db, id)
      return snapshot
    }
    do {
      try await blocking { isCancelled in
        try self.makeDirectory(snapshot, withWork: isOverlay)
        guard let top = below.first else { return }
        let tree = try Directory.open(self.tree(snapshot))
        // In an overlay it is the uppermost root that shows.
        if isOverlay { return try TreeCopy.copyMetadata(from: Directory.open(top), to: tree) }
        try TreeCopy(from: self.open(below), to: tree, isCancelled: isCancelled).copy()
      }
    } catch {
      await discard(id, snapshot)
      throw (error as? HostError).map { SnapshotError(.system, "cannot make a snapshot for \(description)", ref: id, cause: $0) } ?? error
    }
    return MutableRef(self, id: id, snapshot: snapshot, below: isOverlay ? below : [], providers: parent?.providers ?? [:])
  }

  /// The layer of `ref`, put on another tree, which is lent and prepared: a row and no files. The caller knows that whoever made the layer there would have made the same here.
  /// nil where trees are whole copies.
  package func layer(like ref: ImmutableRef, on parent: ImmutableRef?, description: String) async throws -> ImmutableRef? {
    guard form.isOverlay else { return nil }
    let below = try await parent?.directories() ?? []
    let (like, id, parentID, form) = (ref.id, Self.freshID(), parent?.id, form)
    let snapshot = try await store.write { db -> Int64? in
      guard let row = try RefRow.chain(db, like).last, row.parent != parentID, let snapshot = row.layerSnapshot(form) else { return nil }
      try self.insert(db, id, parentID, description: description, recordType: .regular)
      try db.execute(sql: "UPDATE ref SET snapshot = ? WHERE id = ?", arguments: [snapshot, id])
      try self.claim(db, id)
      return snapshot
    }
    guard let snapshot else { return ref.clone() }
    return ImmutableRef(self, id: id, providers: parent?.providers ?? [:], directories: [tree(snapshot)] + below)
  }
}
