@testable import BuildEngine
import BuildInterface
@testable import BuildSnapshots
@testable import ContentStore
import OCIModel
import Testing

/// The policy, as tables: what goes, in which order, and what never does.
@Suite struct CollectionTests {
  private func digest(_ name: String) -> Digest { .sha256(of: name) }
  private func ref(
    _ id: String, on parent: String? = nil, order: Int64, snapshot: Int64? = nil, blobs: [String] = [], claimed: Bool = false, type: String = "regular", lastUsed: Int64 = 0
  ) -> SnapshotInventory.Ref {
    SnapshotInventory.Ref(
      id: id, parent: parent, snapshots: snapshot.map { [$0] } ?? [], blobs: blobs.map(digest), isClaimed: claimed, isBeingWritten: false, created: 0, lastUsed: lastUsed,
      order: order, uses: 1, description: id, type: type)
  }
  private func blob(_ name: String, _ size: Int64, order: Int64 = 0) -> StoredBlob { StoredBlob(digest: digest(name), size: size, created: 0, lastUsed: 0, order: order) }
  private func image(_ name: String, _ blobs: [String]) -> StoreInventory.Image {
    .init(name: name, descriptor: Descriptor(mediaType: .ociIndex, of: Array(name.utf8)), blobs: blobs.map(digest))
  }
  private func snapshots(_ sizes: [Int64]) -> [SnapshotInventory.Snapshot] { sizes.enumerated().map { .init(id: Int64($0), isReady: true, size: $1) } }
  private func ids(_ plan: StoreInventory.Plan, _ inventory: StoreInventory) -> [String] { plan.remove.map { inventory.records[$0].usage.id } }
  private let everything = CollectionRule(all: true)
  private func cap(_ bytes: Int64) -> CollectionRule { CollectionRule(all: true, limits: SpaceLimits(maxUsed: bytes)) }

  @Test func theLeastRecentlyUsedGoesFirstAndLeavesBeforeWhatTheyStandOn() {
    var facts = StoreInventory.Facts()
    facts.snapshots = SnapshotInventory(
      refs: [
        ref("base", order: 1, snapshot: 0), ref("old", on: "base", order: 2, snapshot: 1), ref("new", on: "base", order: 5, snapshot: 2), ref("other", order: 3, snapshot: 3),
      ], snapshots: snapshots([100, 10, 10, 10]))
    let inventory = StoreInventory(facts)
    #expect(inventory.total == 130)
    for (limit, expected) in [(130, []), (129, ["old"]), (120, ["old"]), (119, ["old", "other"]), (110, ["old", "other"]), (109, ["old", "other", "new"]), (99, ["old", "other", "new", "base"]), (0, ["old", "other", "new", "base"])] as [(Int64, [String])] {
      let plan = inventory.plan(limit == 0 ? everything : cap(limit), free: 0, now: 0)
      #expect(ids(plan, inventory) == expected, "\(limit)")
    }
  }

  @Test func whatALiveBuildHasStaysWithAllThatItStandsOn() {
    var facts = StoreInventory.Facts()
    facts.snapshots = SnapshotInventory(
      refs: [ref("base", order: 1, snapshot: 0), ref("step", on: "base", order: 2, snapshot: 1, claimed: true), ref("free", on: "step", order: 3, snapshot: 2)],
      snapshots: snapshots([100, 10, 1]))
    facts.blobs = [blob("pinned", 7), blob("loose", 2 << 20)]
    facts.pinned = [digest("pinned")]
    let inventory = StoreInventory(facts)
    let plan = inventory.plan(everything, free: 0, now: 0)
    #expect(ids(plan, inventory) == [digest("loose").hex.prefix(25).description, "free"])
    #expect(plan.total == 117)
    #expect(inventory.usage.filter(\.inUse).map(\.id).sorted() == ["base", "running-builds", "step"])
    #expect(inventory.needs(2).map(\.id) == ["base", "step"])
  }

  @Test func imagesStayAndWhatTheyHaveIsCountedOnce() {
    var facts = StoreInventory.Facts()
    facts.images = [image("a:latest", ["index", "layer"]), image("b:latest", ["layer", "gone"])]
    facts.blobs = [blob("index", 1), blob("layer", 50), blob("own", 20)]
    facts.snapshots = SnapshotInventory(
      refs: [ref("shared", order: 1, snapshot: 0, blobs: ["layer"]), ref("private", order: 2, snapshot: 1, blobs: ["own"])], snapshots: snapshots([100, 100]))
    facts.overhead = [("directories", 3)]
    let inventory = StoreInventory(facts)
    #expect(inventory.total == 274 && inventory.usage.reduce(0) { $0 + $1.size } == 274)
    let sizes = Dictionary(inventory.usage.map { ($0.id, $0.size) }) { $1 }
    #expect(sizes == ["a:latest": 51, "b:latest": 0, "shared": 100, "private": 120, "directories": 3])
    #expect(inventory.usage.filter(\.shared).map(\.id) == ["shared"])
    // Without -a, cache that an image has too stays.
    #expect(ids(inventory.plan(CollectionRule(), free: 0, now: 0), inventory) == ["private"])
    let all = inventory.plan(everything, free: 0, now: 0)
    #expect(ids(all, inventory) == ["shared", "private"] && all.total == 54)
    #expect(Set(inventory.blobs(of: all.remove)) == [digest("layer"), digest("own")])
  }

  @Test func contentThatTwoHaveGoesWithTheSecond() {
    var facts = StoreInventory.Facts()
    facts.blobs = [blob("layer", 50)]
    facts.snapshots = SnapshotInventory(refs: [ref("one", order: 1, snapshot: 0, blobs: ["layer"]), ref("two", order: 2, snapshot: 0, blobs: ["layer"])], snapshots: snapshots([100]))
    let inventory = StoreInventory(facts)
    #expect(inventory.usage.map(\.size) == [150, 0])
    #expect(ids(inventory.plan(cap(149), free: 0, now: 0), inventory) == ["one", "two"])
  }

  @Test func rulesChooseByTypeAgeAndFilter() throws {
    let hour: Int64 = 3_600_000_000_000
    var facts = StoreInventory.Facts()
    facts.snapshots = SnapshotInventory(
      refs: [ref("old", order: 1, snapshot: 0, lastUsed: 0), ref("new", order: 2, snapshot: 1, lastUsed: 99 * hour), ref("future", order: 0, snapshot: 2, lastUsed: 500 * hour), ref("inside", order: 3, snapshot: 3, type: "internal")],
      mounts: [.init(key: "k", instance: 0, snapshot: 4, name: "/root/.cache", created: 0, lastUsed: 0, order: 4, uses: 3), .init(key: "h", instance: 0, snapshot: 5, name: "held", created: 0, lastUsed: 0, order: 5, uses: 1)],
      snapshots: snapshots([1, 1, 1, 1, 1, 1]))
    facts.mountsInUse = [5]
    let inventory = StoreInventory(facts)
    func plan(_ rule: CollectionRule) -> [String] { ids(inventory.plan(rule, free: 0, now: 100 * hour), inventory) }
    #expect(plan(CollectionRule()) == ["future", "old", "new", "/root/.cache#4"])
    #expect(plan(CollectionRule(keepDuration: 48 * hour)) == ["old", "/root/.cache#4"])
    #expect(plan(CollectionRule(all: true, keepDuration: 48 * hour)) == ["old", "inside", "/root/.cache#4"])
    #expect(plan(CollectionRule(filter: try RecordFilter.usage(["type==exec.cachemount"]))) == ["/root/.cache#4"])
    var filter = UsageFilter()
    try filter.add("type", .notEqual("exec.cachemount"))
    try filter.add("id", .matches("^(new|o)"))
    #expect(plan(CollectionRule(filter: filter)) == ["old", "new"])
  }

  /// BuildKit's `calculateKeepBytes`.
  @Test(arguments: [
    (SpaceLimits(), nil),
    (SpaceLimits(maxUsed: 50), 50),
    (SpaceLimits(reserved: 70, maxUsed: 50), 70),
    (SpaceLimits(reserved: 70), 70),
    (SpaceLimits(minFree: 10), 100),
    (SpaceLimits(minFree: 50), 70),
    (SpaceLimits(maxUsed: 60, minFree: 50), 60),
    (SpaceLimits(maxUsed: 80, minFree: 50), 70),
    (SpaceLimits(reserved: 90, maxUsed: 80, minFree: 50), 90),
    (SpaceLimits(minFree: 1000), 0),
  ] as [(SpaceLimits, Int64?)]) func keepsWhatBuildKitKeeps(_ limits: SpaceLimits, _ expected: Int64?) {
    #expect(CollectionRule(limits: limits).keep(total: 100, free: 20) == expected)
  }

  @Test func theLimitOfADisk() throws {
    #expect(try CollectionPolicy(.none, disk: 1) == nil)
    let large = try #require(try CollectionPolicy(.automatic, disk: 1 << 40))
    #expect(large.beforeStep?.limits == SpaceLimits(reserved: 10_000_000_000, maxUsed: 100_000_000_000, minFree: 205_000_000_000) && large.hardLimit == 820_000_000_000)
    // A small disk is the user's to fill.
    let small = try #require(try CollectionPolicy(.automatic, disk: 64 << 20))
    #expect(small.beforeStep?.keep(total: 60 << 20, free: 0) == 1_000_000_000)
    #expect(try #require(try CollectionPolicy(.bytes(5), disk: 100)).hardLimit == 5)
    #expect(try #require(try CollectionPolicy(.percent(25), disk: 1000)).beforeStep?.limits.maxUsed == 250)
  }

  @Test func aDaemonsRules() throws {
    let notes = [
      CollectionNote(filters: ["type==source.local", "type==exec.cachemount,id~=x"], keepDuration: 5, limits: SpaceLimits(maxUsed: 7)),
      CollectionNote(all: true, limits: SpaceLimits(reserved: 1, maxUsed: 2, minFree: 3)),
    ]
    let policy = try #require(try CollectionPolicy(.rules(notes), disk: 1 << 40))
    #expect(policy.rules.map(\.filters) == notes.map(\.filters) && policy.rules.map(\.all) == [false, true] && policy.rules.map(\.threshold) == [7, 2])
    #expect(policy.beforeStep?.limits == SpaceLimits(reserved: 1, minFree: 3) && policy.hardLimit == .max)
    let of = { (type: String, id: String) in policy.rules[0].matches(UsageRecord(id: id, type: type), now: 100) }
    #expect(of("source.local", "a") && of("exec.cachemount", "x") && !of("exec.cachemount", "a") && !of("regular", "x"))
    #expect(try CollectionPolicy(.rules([]), disk: 1) == nil)
    #expect(throws: BuildError.self) { try CollectionPolicy(.rules([CollectionNote(filters: ["type=x"])]), disk: 1) }
    #expect(throws: BuildError.self) { try CollectionPolicy(.rules([CollectionNote(filters: ["colour==x"])]), disk: 1) }
    #expect([SpaceLimits(), SpaceLimits(minFree: 3), SpaceLimits(reserved: 4), SpaceLimits(reserved: 9, maxUsed: 4)].map { CollectionRule(limits: $0).threshold } == [0, .max, 4, 9])
  }

  @Test func aLongChainIsPlannedInNoTime() {
    let count = 20_000
    var facts = StoreInventory.Facts()
    facts.snapshots = SnapshotInventory(
      refs: (0..<count).map { ref("r\($0)", on: $0 > 0 ? "r\($0 - 1)" : nil, order: Int64($0), snapshot: Int64($0)) }, snapshots: snapshots(Array(repeating: 1, count: count)))
    let inventory = StoreInventory(facts)
    let plan = inventory.plan(cap(10), free: 0, now: 0)
    #expect(plan.remove.count == count - 10 && plan.total == 10)
  }
}
