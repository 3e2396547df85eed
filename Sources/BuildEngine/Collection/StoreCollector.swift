package import BuildInterface
internal import BuildSnapshots
internal import ContentStore
internal import GRDB
internal import HostOS
package import OCIModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// Keeps the store within its limit, and says what takes room in it. What an image or a live build of any process needs stays: collected is a ref that nobody
/// claims and nothing stands on, with the cache records that lead to it; a cache directory that no step has; a blob that no ref, image, download or lease names.
final class StoreCollector: Sendable {
  let store: ContentStore
  let refs: RefStore
  let policy: CollectionPolicy?
  /// One task of this process looks and collects at a time.
  private let gate = AsyncLimiter(1)
  private let closures = Mutex<[Digest: [Digest]]>([:])
  /// The total at which nothing more could be removed, though free space was short.
  private let futile = Mutex<Int64>(-1)

  /// Throws `BuildError` for rules that cannot be read.
  init(store: ContentStore, refs: RefStore, limit: StoreLimit) throws {
    self.store = store
    self.refs = refs
    // Without a word about the disk nothing is done by itself.
    policy = try (try? FileSystemFacts.of(store.root)).flatMap { try CollectionPolicy(limit, disk: Int64(clamping: $0.totalBytes)) }
  }

  static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  // MARK: - Within the limit

  private struct Space {
    var total: Int64
    var free: Int64
  }

  /// Before a step writes anything: room is made where the limit is passed. Throws where what cannot be removed passes it. Costs a look at the filesystem, or a few
  /// sums in the database.
  func beforeStep() async throws {
    guard let policy, let rule = policy.beforeStep else { return }
    try await gate.run {
      let limits = rule.limits
      guard let space = try await self.space(beyond: SpaceLimits(maxUsed: rule.threshold, minFree: limits.minFree)) else { return }
      var left = space
      if let keep = rule.keep(total: space.total, free: space.free), space.total > keep,
        limits.maxUsed > 0 && space.total > limits.maxUsed || self.futile.withLock({ $0 != space.total })
      {
        _ = try await self.collect([rule]) { _ in }
        left = try await Blocking.run { try self.measured() }
        self.futile.withLock { $0 = left.total }
      }
      if left.total > policy.hardLimit { throw try await self.tooFull(left.total, policy.hardLimit) }
    }
  }

  /// When a build has ended, and nothing holds its results but the cache: the whole policy. Failing at this harms no build.
  func afterBuild() async {
    guard let policy else { return }
    try? await gate.run {
      guard let space = try await self.space(beyond: SpaceLimits(maxUsed: policy.rules.map(\.threshold).min() ?? 0, minFree: policy.rules.map(\.limits.minFree).max() ?? 0))
      else { return }
      let isDue = policy.rules.contains { rule in rule.keep(total: space.total, free: space.free).map { space.total > $0 } ?? true }
      if isDue, self.futile.withLock({ $0 != space.total }) { _ = try await self.collect(policy.rules) { _ in } }
    }
  }

  /// Nil when the whole disk holds less than the limit, and enough of it is free: then nothing needs to be added up.
  private func space(beyond limits: SpaceLimits) async throws -> Space? {
    try await Blocking.run {
      let disk = try FileSystemFacts.of(self.store.root)
      let free = Int64(clamping: disk.availableBytes)
      if Int64(clamping: disk.totalBytes) - free <= limits.maxUsed, free >= limits.minFree { return nil }
      return try self.measured()
    }
  }

  /// Blocks.
  private func measured() throws -> Space {
    try refs.measure()
    let known = try store.readBlocking { db in try StoredBlob.total(db) + SnapshotInventory.total(db) }
    return Space(total: known + (try store.overhead().reduce(0) { $0 + $1.size }), free: Int64(clamping: try FileSystemFacts.of(store.root).availableBytes))
  }

  private func tooFull(_ total: Int64, _ limit: Int64) async throws -> BuildError {
    let inventory = try await inventory()
    let needs = inventory.needs(5).map { record in
      let what = record.type == "image" ? "image \(record.id)" : record.description.isEmpty ? record.id : "\(record.id) (\(record.description.prefix(60)))"
      return "  \(ByteCount.text(record.size))  \(what)"
    }
    return BuildError(
      .resourceExhausted, .build,
      "the store at \(store.root) has \(ByteCount.text(total)), more than its limit of \(ByteCount.text(limit)), and none of it can be removed: images and running builds need it:\n"
        + needs.joined(separator: "\n"),
      suggestion: "Remove images that are not needed any more (manifold rmi NAME), wait for other builds to end, or give the store more room: --store-limit or MANIFOLD_STORE_LIMIT.")
  }

  // MARK: - Inventory

  /// What there is. `exact`: what steps are writing just now is measured too.
  func inventory(exact: Bool = false) async throws -> StoreInventory { StoreInventory(try await facts(exact: exact)) }

  private func facts(exact: Bool) async throws -> StoreInventory.Facts {
    try await Blocking.run {
      if exact { try self.store.reconcileBlobs() }
      try self.refs.measure(everything: exact)
      var facts = try self.store.readBlocking { db in
        StoreInventory.Facts(
          snapshots: try SnapshotInventory.read(db), blobs: try StoredBlob.all(db),
          images: try ContentStore.images(db).map { StoreInventory.Image(name: $0.name, descriptor: $0.descriptor, blobs: []) },
          pinned: Set(try Lease.pinned(db, "blob").compactMap { Digest($0) }),
          downloads: try Row.fetchAll(db, sql: "SELECT request, digest FROM http_source").compactMap { row in
            Digest(row[1] as String).map { StoreInventory.Download(request: row[0], digest: $0) }
          })
      }
      for i in facts.images.indices { facts.images[i].blobs = self.blobs(of: facts.images[i].descriptor) }
      if exact { self.store.shortenLog() }
      facts.overhead = try self.store.overhead()
      facts.mountsInUse = Set(facts.snapshots.mounts.filter { self.refs.isInUse($0) }.map(\.snapshot))
      if exact {
        let sizes = Dictionary(try self.store.blobFiles().map { ($0.digest, $0.size) }) { $1 }
        for i in facts.blobs.indices { facts.blobs[i].size = sizes[facts.blobs[i].digest] ?? 0 }
        for i in facts.snapshots.snapshots.indices where !facts.snapshots.snapshots[i].isReady {
          facts.snapshots.snapshots[i].size = self.refs.currentUsage(facts.snapshots.snapshots[i].id)
        }
      }
      return facts
    }
  }

  /// An image's whole closure; it never changes, but for what was missing. Blocks.
  func blobs(of image: OCIModel.Descriptor) -> [Digest] {
    if let known = closures.withLock({ $0[image.digest] }) { return known }
    // A damaged image keeps what can be told of it.
    guard let closure = try? store.closure(of: image) else { return [image.digest] }
    let all = (closure.documents + closure.blobs).map(\.digest)
    if closure.missing.isEmpty { closures.withLock { $0[image.digest] = all } }
    return all
  }

  // MARK: - Collection

  /// Applies rules in turn. `removed` is told of each record that is gone.
  @discardableResult
  func collect(_ rules: [CollectionRule], removed: @escaping @Sendable (UsageRecord) -> Void) async throws -> [UsageRecord] {
    // One process at a time; those who wait find the work done.
    try await store.locks.withLock("store:collect") {
      try await Blocking.run {
        try self.store.sweep()
        try self.store.reconcileBlobs()
        try self.refs.sweep()
      }
      let facts = try await self.facts(exact: false)
      let inventory = StoreInventory(facts)
      let free = Int64(clamping: try FileSystemFacts.of(self.store.root).availableBytes)
      var gone = Set<Int>()
      var order: [Int] = []
      for rule in rules {
        let plan = inventory.plan(rule, free: free + order.reduce(0) { $0 + inventory.records[$1].usage.size }, now: Self.now, without: gone)
        gone.formUnion(plan.remove)
        order += plan.remove
      }
      if order.isEmpty { return [] }
      return try await self.remove(order, of: inventory, images: Set(facts.images.map { "\($0.name) \($0.descriptor.digest)" }), needed: Set(facts.images.flatMap(\.blobs)), removed)
    }
  }

  private func remove(
    _ order: [Int], of inventory: StoreInventory, images: Set<String>, needed: Set<Digest>, _ removed: @escaping @Sendable (UsageRecord) -> Void
  ) async throws -> [UsageRecord] {
    var isGone = Set<Int>()
    let ids = order.compactMap { i -> String? in if case .ref(let id) = inventory.records[i].target { id } else { nil } }
    let dropped = Set(try await refs.drop(ids) { db, id in try SQLiteCacheKeyStorage.release(id, db) })
    for i in order {
      switch inventory.records[i].target {
      case .fixed, .blobs: break
      case .ref(let id): if dropped.contains(id) { isGone.insert(i) }
      case .cacheMount(let key, let instance): if try await refs.dropCacheMount(key: key, instance: instance) { isGone.insert(i) }
      case .download(let request):
        try await store.write { try $0.execute(sql: "DELETE FROM http_source WHERE request = ?", arguments: [request]) }
        isGone.insert(i)
      }
    }
    let loose = order.filter { inventory.records[$0].target == .blobs }
    let candidates = inventory.blobs(of: Array(isGone) + loose).filter { !needed.contains($0) }
    let store = store
    let freed = try await Blocking.run {
      try Set(store.removeBlobs(candidates) { db, digest in
        // Named meanwhile: what an image that is new is made of, nobody here knows.
        let current = try Set(ContentStore.images(db).map { "\($0.name) \($0.descriptor.digest)" })
        return try !current.isSubset(of: images) || Self.isNeeded(db, digest)
      })
    }
    isGone.formUnion(loose.filter { inventory.blobs(of: [$0]).contains(where: freed.contains) })
    let records = order.filter(isGone.contains).map { inventory.records[$0].usage }
    for record in records { removed(record) }
    return records
  }
}

extension StoreCollector {
  /// By a layer or a download.
  static func isNeeded(_ db: Database, _ blob: Digest) throws -> Bool {
    try SnapshotInventory.needs(db, blob)
      || Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM http_source WHERE digest = ?)", arguments: [blob.description]) ?? true
  }

  /// Takes a name away, and what was there for that image alone. False when nothing has the name.
  func removeImage(_ reference: Reference) async throws -> Bool {
    guard let image = try await LocalImages(store).untag(reference) else { return false }
    let store = store
    _ = try await Blocking.run {
      let rest = try store.readBlocking { try ContentStore.images($0) }
      let names = Set(rest.map { "\($0.name) \($0.descriptor.digest)" })
      let needed = Set(rest.flatMap { self.blobs(of: $0.descriptor) })
      return try store.removeBlobs(self.blobs(of: image.descriptor).filter { !needed.contains($0) }) { db, digest in
        let current = try Set(ContentStore.images(db).map { "\($0.name) \($0.descriptor.digest)" })
        return try !current.isSubset(of: names) || Self.isNeeded(db, digest)
      }
    }
    return true
  }
}

/// Bytes in units of 1000, as Docker shows them.
enum ByteCount {
  static func text(_ bytes: Int64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    var value = Double(bytes), unit = 0
    while value >= 1000, unit < units.count - 1 { (value, unit) = (value / 1000, unit + 1) }
    let tenths = Int64((value * 10).rounded())
    return (unit == 0 || value >= 99.95 ? "\(Int64(value.rounded()))" : "\(tenths / 10).\(tenths % 10)") + units[unit]
  }
}

extension Engine {
  /// What takes room in the store; the sizes add up to what is on the disk.
  package func diskUsage() async throws -> [UsageRecord] { try await collector.inventory(exact: true).usage }

  /// Removes cache. `removed` is told of each record.
  package func prune(_ request: PruneRequest, removed: @escaping @Sendable (UsageRecord) -> Void) async throws -> [UsageRecord] {
    let rule = CollectionRule(all: request.all, filter: request.filter, keepDuration: request.keepDuration, limits: request.limits)
    do { return try await collector.collect([rule], removed: removed) } catch { throw ErrorTranslation.buildError(error) }
  }

  /// Takes a name away from an image; its content goes with its last name. False when nothing has the name.
  package func removeImage(_ reference: Reference) async throws -> Bool { try await collector.removeImage(reference) }
}
