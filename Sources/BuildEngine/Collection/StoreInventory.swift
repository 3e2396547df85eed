internal import BuildInterface
internal import BuildSnapshots
internal import ContentStore
internal import OCIModel

/// Everything that takes room in a store: records, what of the disk each has, and who stands on whom. Pure; a collector plans with it.
struct StoreInventory: Sendable {
  /// How a record is removed.
  enum Target: Sendable, Hashable {
    /// It is not.
    case fixed
    case ref(String)
    case cacheMount(key: String, instance: Int64)
    case download(String)
    case blobs
  }
  struct Record: Sendable {
    var usage: UsageRecord
    var target: Target
    /// Indices of contents.
    var holds: [Int] = []
    /// Index of the record it stands on.
    var parent: Int?
    /// Of its last use among all uses.
    var order: Int64 = 0
  }
  enum Content: Hashable, Sendable {
    case blob(Digest)
    case snapshot(Int64)
    case overhead(String)
  }
  struct Image: Sendable {
    var name: String
    var descriptor: Descriptor
    /// All that it is made of, as far as it is here.
    var blobs: [Digest]
  }
  struct Download: Sendable {
    var request: String
    var digest: Digest
  }
  struct Facts: Sendable {
    var snapshots = SnapshotInventory()
    var blobs: [StoredBlob] = []
    var images: [Image] = []
    /// Blobs that leases of live processes name.
    var pinned: Set<Digest> = []
    var downloads: [Download] = []
    var overhead: [(name: String, size: Int64)] = []
    /// Cache directories that steps have, by their snapshots.
    var mountsInUse: Set<Int64> = []
  }

  private(set) var records: [Record] = []
  private(set) var contents: [(content: Content, size: Int64)] = []
  private var indices: [Content: Int] = [:]

  var total: Int64 { contents.reduce(0) { $0 + $1.size } }
  /// Records with the sizes that add up to the total.
  var usage: [UsageRecord] { records.map(\.usage) }

  init(_ facts: Facts) {
    let blobRows = Dictionary(facts.blobs.map { ($0.digest, $0) }) { $1 }
    for blob in facts.blobs { add(.blob(blob.digest), blob.size) }
    for snapshot in facts.snapshots.snapshots { add(.snapshot(snapshot.id), snapshot.size ?? 0) }
    for item in facts.overhead { add(.overhead(item.name), item.size) }
    addImages(facts.images)
    addRefs(facts.snapshots.refs, imageBlobs: Set(facts.images.flatMap(\.blobs)))
    addMounts(facts)
    addDownloads(facts.downloads, blobRows)
    addRest(facts, blobRows)
    attribute()
  }

  private mutating func add(_ content: Content, _ size: Int64) {
    indices[content] = contents.count
    contents.append((content, size))
  }
  private func held(_ contents: [Content]) -> [Int] { contents.compactMap { indices[$0] } }

  /// Of one digest one record, under its first name.
  private mutating func addImages(_ images: [Image]) {
    var names: [Digest: [String]] = [:]
    for image in images { names[image.descriptor.digest, default: []].append(image.name) }
    var seen = Set<Digest>()
    for image in images where seen.insert(image.descriptor.digest).inserted {
      let usage = UsageRecord(
        id: image.name, type: "image", inUse: true, description: "image \(names[image.descriptor.digest, default: []].joined(separator: ", ")) \(image.descriptor.digest)")
      records.append(Record(usage: usage, target: .fixed, holds: held(image.blobs.map { .blob($0) })))
    }
  }

  private mutating func addRefs(_ refs: [SnapshotInventory.Ref], imageBlobs: Set<Digest>) {
    let base = records.count
    let places = Dictionary(refs.enumerated().map { ($1.id, base + $0) }) { $1 }
    for ref in refs {
      let usage = UsageRecord(
        id: ref.id, parents: ref.parent.map { [$0] } ?? [], type: ref.type, created: Timestamp(nanosecondsSinceEpoch: ref.created),
        lastUsed: Timestamp(nanosecondsSinceEpoch: ref.lastUsed), usageCount: ref.uses, mutable: ref.isBeingWritten, inUse: ref.isClaimed,
        shared: ref.blobs.contains(where: imageBlobs.contains), description: ref.description)
      records.append(
        Record(
          usage: usage, target: .ref(ref.id), holds: held(ref.snapshots.map { .snapshot($0) } + ref.blobs.map { .blob($0) }), parent: ref.parent.flatMap { places[$0] },
          order: ref.order))
    }
    // What a live build has needs all that it stands on.
    for start in base..<records.count where records[start].usage.inUse {
      var next = records[start].parent
      while let parent = next, !records[parent].usage.inUse {
        records[parent].usage.inUse = true
        next = records[parent].parent
      }
    }
  }

  private mutating func addMounts(_ facts: Facts) {
    for mount in facts.snapshots.mounts {
      let usage = UsageRecord(
        id: "\(mount.name)#\(mount.snapshot)", type: (mount.isSynced ? RecordType.localSource : .cacheMount).rawValue, created: Timestamp(nanosecondsSinceEpoch: mount.created),
        lastUsed: Timestamp(nanosecondsSinceEpoch: mount.lastUsed), usageCount: mount.uses, mutable: true, inUse: facts.mountsInUse.contains(mount.snapshot),
        description: mount.isSynced ? "local source for \(mount.name)" : "cached mount \(mount.name)")
      records.append(Record(usage: usage, target: .cacheMount(key: mount.key, instance: mount.instance), holds: held([.snapshot(mount.snapshot)]), order: mount.order))
    }
  }

  private mutating func addDownloads(_ downloads: [Download], _ rows: [Digest: StoredBlob]) {
    for download in downloads {
      guard let row = rows[download.digest] else { continue }
      records.append(
        Record(usage: usage(row, id: "\(download.digest.hex.prefix(25))", description: "a file that ADD fetched"), target: .download(download.request), holds: held([.blob(download.digest)]), order: row.order))
    }
  }

  private func usage(_ row: StoredBlob, id: String, type: String = "regular", description: String) -> UsageRecord {
    UsageRecord(
      id: id, type: type, created: Timestamp(nanosecondsSinceEpoch: row.created), lastUsed: Timestamp(nanosecondsSinceEpoch: row.lastUsed), description: description)
  }

  /// Documents up to this size are one record.
  private static let small: Int64 = 1 << 20

  /// Snapshots and blobs that nothing names, and what the store needs for itself.
  private mutating func addRest(_ facts: Facts, _ rows: [Digest: StoredBlob]) {
    let named = Set(records.flatMap(\.holds))
    let pinned = facts.blobs.filter { facts.pinned.contains($0.digest) }
    if !pinned.isEmpty {
      let usage = UsageRecord(id: Self.runningBuilds, type: "internal", inUse: true, description: "content that running builds are working with")
      records.append(Record(usage: usage, target: .fixed, holds: held(pinned.map { .blob($0.digest) })))
    }
    let free = facts.blobs.filter { blob in !facts.pinned.contains(blob.digest) && indices[.blob(blob.digest)].map { !named.contains($0) } ?? false }
    if let newest = free.filter({ $0.size <= Self.small }).max(by: { $0.order < $1.order }) {
      let documents = free.filter { $0.size <= Self.small }
      let what = usage(newest, id: "documents", type: "internal", description: "\(documents.count) manifests and configs of base images")
      records.append(Record(usage: what, target: .blobs, holds: held(documents.map { .blob($0.digest) }), order: newest.order))
    }
    for blob in free where blob.size > Self.small {
      let what = usage(blob, id: "\(blob.digest.hex.prefix(25))", description: "content that nothing refers to: \(blob.digest)")
      records.append(Record(usage: what, target: .blobs, holds: held([.blob(blob.digest)]), order: blob.order))
    }
    let snapshots = facts.snapshots.snapshots.compactMap { indices[.snapshot($0.id)] }.filter { !named.contains($0) }
    if !snapshots.isEmpty {
      let what = UsageRecord(id: "unfinished", type: "internal", mutable: true, inUse: true, description: "directories that are being written or removed")
      records.append(Record(usage: what, target: .fixed, holds: snapshots))
    }
    for item in facts.overhead {
      let what = UsageRecord(id: item.name, type: "internal", mutable: true, inUse: true, description: Self.overheadWords[item.name] ?? "the store's own")
      records.append(Record(usage: what, target: .fixed, holds: held([.overhead(item.name)])))
    }
  }

  private static let runningBuilds = "running-builds"
  private static let overheadWords = [
    "manifold.db": "the store's database and its log", "ingest": "content that is not whole yet", "run": "scratch of running steps", "locks": "the store's locks",
    "directories": "the store's directories",
  ]

  /// What several have is counted where it keeps others from giving it up: for images, then for what is in use, then for the first.
  private mutating func attribute() {
    var counted = Set<Int>()
    func rank(_ record: Record) -> Int { !record.usage.inUse ? 3 : record.usage.id == Self.runningBuilds ? 2 : record.target == .fixed ? 0 : 1 }
    for wanted in 0...3 {
      for i in records.indices where rank(records[i]) == wanted {
        records[i].usage.size = records[i].holds.filter { counted.insert($0).inserted }.reduce(0) { $0 + contents[$1].size }
      }
    }
  }

  // MARK: - Plans

  struct Plan: Sendable {
    /// Indices of records, in the order in which they go.
    var remove: [Int] = []
    /// What is left then.
    var total: Int64
  }

  /// What a rule takes away: as much as it must, the least recently used first, and nothing that another stands on before that one.
  func plan(_ rule: CollectionRule, free: Int64, now: Int64, without gone: Set<Int> = []) -> Plan {
    var holders = [Int](repeating: 0, count: contents.count)
    var children = [Int](repeating: 0, count: records.count)
    for (i, record) in records.enumerated() where !gone.contains(i) {
      for content in record.holds { holders[content] += 1 }
      if let parent = record.parent { children[parent] += 1 }
    }
    var plan = Plan(total: contents.indices.reduce(0) { $0 + (holders[$1] > 0 ? contents[$1].size : 0) })
    let keep = rule.keep(total: plan.total, free: free)
    if let keep, plan.total <= keep { return plan }
    func isCandidate(_ i: Int) -> Bool {
      let record = records[i]
      return record.target != .fixed && !record.usage.inUse && children[i] == 0 && !gone.contains(i) && rule.matches(record.usage, now: now)
    }
    var queue = RecordQueue(records.indices.filter(isCandidate).map { (records[$0].order, $0) })
    while let i = queue.popLeast() {
      if let keep, plan.total <= keep { break }
      plan.remove.append(i)
      for content in records[i].holds {
        holders[content] -= 1
        if holders[content] == 0 { plan.total -= contents[content].size }
      }
      if let parent = records[i].parent {
        children[parent] -= 1
        if isCandidate(parent) { queue.insert((records[parent].order, parent)) }
      }
    }
    return plan
  }

  /// Those that keep the most from being given up, the largest first.
  func needs(_ count: Int) -> [UsageRecord] {
    Array(usage.filter { $0.inUse && $0.size > 0 }.sorted { ($1.size, $0.id) < ($0.size, $1.id) }.prefix(count))
  }

  /// Blobs of records.
  func blobs(of removed: [Int]) -> [Digest] {
    var seen = Set<Int>()
    return removed.flatMap { records[$0].holds }.filter { seen.insert($0).inserted }.compactMap { if case .blob(let digest) = contents[$0].content { digest } else { nil } }
  }
}

/// Those to be removed, the least recently used first: a binary heap.
private struct RecordQueue {
  private var heap: [(order: Int64, index: Int)]
  init(_ items: [(Int64, Int)]) {
    // A sorted array is a heap.
    heap = items.map { (order: $0.0, index: $0.1) }.sorted { ($0.order, $0.index) < ($1.order, $1.index) }
  }
  private func less(_ a: Int, _ b: Int) -> Bool { (heap[a].order, heap[a].index) < (heap[b].order, heap[b].index) }

  mutating func insert(_ item: (Int64, Int)) {
    heap.append((order: item.0, index: item.1))
    var i = heap.count - 1
    while i > 0, less(i, (i - 1) / 2) {
      heap.swapAt(i, (i - 1) / 2)
      i = (i - 1) / 2
    }
  }

  mutating func popLeast() -> Int? {
    guard let least = heap.first else { return nil }
    heap.swapAt(0, heap.count - 1)
    heap.removeLast()
    var i = 0
    while true {
      var smallest = i
      for child in [2 * i + 1, 2 * i + 2] where child < heap.count && less(child, smallest) { smallest = child }
      if smallest == i { return least.index }
      heap.swapAt(i, smallest)
      i = smallest
    }
  }
}
