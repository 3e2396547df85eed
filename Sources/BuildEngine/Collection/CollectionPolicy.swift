package import BuildInterface
internal import OCIModel

/// When something goes, and how much of it: one rule of a policy (BuildKit's gcpolicy). Pure.
struct CollectionRule: Sendable {
  /// Also what is internal, a frontend's, or an image's too.
  var all = false
  var filter = UsageFilter()
  /// What `filter` says, in containerd's words.
  var filters: [String] = []
  /// Nanoseconds.
  var keepDuration: Int64 = 0
  var limits = SpaceLimits()

  func matches(_ record: UsageRecord, now: Int64) -> Bool {
    if !all, record.type == "internal" || record.type == "frontend" || record.shared { return false }
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
  /// Before each step: the least recently used goes, whatever it is; nil: nothing does.
  var beforeStep: CollectionRule?
  /// What cannot be removed may take so much, and no build goes on above it.
  var hardLimit: Int64

  private static let hour: Int64 = 3_600_000_000_000
  private static let sources = ["source.local", "exec.cachemount", "source.git.checkout"].map { "type==\($0)" }

  /// Nil: nothing is removed by itself. `disk`: the size of the one that holds the store. Throws `BuildError` for filters that cannot be read.
  init?(_ limit: StoreLimit, disk: Int64) throws {
    let limits: SpaceLimits
    switch limit {
    case .none: return nil
    case .rules(let notes):
      if notes.isEmpty { return nil }
      rules = try notes.map { note in
        CollectionRule(all: note.all, filter: try RecordFilter.usage(note.filters), filters: note.filters, keepDuration: note.keepDuration, limits: note.limits)
      }
      // Room is made before a step as well where the disk itself is short of what is to stay free.
      let free = rules.filter { $0.all && $0.limits.minFree > 0 && $0.keepDuration == 0 }.last
      beforeStep = free.map { CollectionRule(all: true, filter: $0.filter, limits: SpaceLimits(reserved: $0.limits.reserved, minFree: $0.limits.minFree)) }
      hardLimit = .max
      return
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
    let everything = CollectionRule(all: true, limits: limits)
    beforeStep = everything
    rules = [
      CollectionRule(filter: try RecordFilter.usage(Self.sources), filters: Self.sources, keepDuration: 48 * Self.hour, limits: SpaceLimits(maxUsed: 512_000_000)),
      CollectionRule(keepDuration: 60 * 24 * Self.hour, limits: limits),
      everything,
    ]
  }

  /// Rounded up to whole gigabytes, so that a small disk is the user's to fill.
  private static func share(_ disk: Int64, _ percent: Int64) -> Int64 { (disk / 100 * percent / (1 << 30) + 1) * 1_000_000_000 }
}

extension CollectionRule {
  /// Up to what the store may grow before the rule has anything to do.
  var threshold: Int64 {
    if limits.isUnset { return 0 }
    return limits.maxUsed > 0 ? max(limits.maxUsed, limits.reserved) : limits.minFree > 0 ? .max : limits.reserved
  }
}

extension Engine {
  /// By which the store is kept small, as it is told to clients.
  package var collectionRules: [CollectionNote] {
    (collector.policy?.rules ?? []).map { rule in CollectionNote(all: rule.all, filters: rule.filters, keepDuration: rule.keepDuration, limits: rule.limits) }
  }

  /// Applies the store's rules, as after each build. For daemons that run for long.
  package func collectGarbage() async { await collector.afterBuild() }
}
