internal import BuildInterface
internal import OCIModel

/// When something goes, and how much of it: one rule of a policy (BuildKit's gcpolicy). Pure.
struct CollectionRule: Sendable {
  /// Also what is internal, a frontend's, or an image's too.
  var all = false
  var filter = UsageFilter()
  /// Of these types only; empty for all.
  var types: Set<String> = []
  /// Nanoseconds.
  var keepDuration: Int64 = 0
  var limits = SpaceLimits()

  func matches(_ record: UsageRecord, now: Int64) -> Bool {
    if !all, record.type == "internal" || record.type == "frontend" || record.shared { return false }
    if !types.isEmpty, !types.contains(record.type) { return false }
    // What was used in the future was used just now, by a clock that was wrong.
    if keepDuration > 0, let used = record.lastUsed?.nanosecondsSinceEpoch, now - used < keepDuration { return false }
    return filter.matches(record)
  }

  /// How much may stay; nil when everything that matches goes.
  func keep(total: Int64, free: Int64) -> Int64? {
    if limits.isUnset { return nil }
    var keep = limits.maxUsed
    let excess = limits.minFree - free
    if limits.minFree > 0, excess > 0 {
      keep = keep == 0 ? total - excess : min(keep, total - excess)
    } else if keep == 0 {
      // Only free space is asked for, and there is enough; or nothing but a reserve is.
      keep = limits.minFree > 0 ? total : 0
    }
    return max(keep, limits.reserved)
  }
}

/// What a store does by itself.
struct CollectionPolicy: Sendable {
  /// Applied in order when a build ends.
  var rules: [CollectionRule]
  /// Before each step: the least recently used goes, whatever it is.
  var beforeStep: CollectionRule
  /// What cannot be removed may take so much, and no build goes on above it.
  var hardLimit: Int64

  private static let hour: Int64 = 3_600_000_000_000
  private static let sources: Set<String> = ["source.local", "exec.cachemount", "source.git.checkout"]

  /// Nil: nothing is removed by itself. `disk`: the size of the one that holds the store.
  init?(_ limit: StoreLimit, disk: Int64) {
    let limits: SpaceLimits
    switch limit {
    case .none: return nil
    case .automatic:
      // BuildKit's numbers: it keeps 10 % of the disk or 10 GB in any case, takes up to 80 % or 100 GB, and leaves 20 % free.
      limits = SpaceLimits(
        reserved: min(Self.share(disk, 10), 10_000_000_000), maxUsed: min(Self.share(disk, 80), 100_000_000_000), minFree: Self.share(disk, 20))
      // Images are the user's own: only the disk bounds them.
      hardLimit = Self.share(disk, 80)
    case .bytes(let bytes):
      limits = SpaceLimits(maxUsed: bytes)
      hardLimit = bytes
    case .percent(let percent):
      let bytes = max(1, disk / 100 * percent)
      limits = SpaceLimits(maxUsed: bytes)
      hardLimit = bytes
    }
    beforeStep = CollectionRule(all: true, limits: limits)
    rules = [
      CollectionRule(types: Self.sources, keepDuration: 48 * Self.hour, limits: SpaceLimits(maxUsed: 512_000_000)),
      CollectionRule(keepDuration: 60 * 24 * Self.hour, limits: limits),
      beforeStep,
    ]
  }

  /// Rounded up to whole gigabytes, so that a small disk is the user's to fill.
  private static func share(_ disk: Int64, _ percent: Int64) -> Int64 { (disk / 100 * percent / (1 << 30) + 1) * 1_000_000_000 }
}
