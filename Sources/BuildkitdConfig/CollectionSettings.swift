/// One rule of automatic collection, as the file has it (`[[worker.oci.gcpolicy]]`).
package struct CollectionRuleSettings: Sendable, Hashable {
  /// Also what is internal, a frontend's, or an image's too.
  package var all = false
  /// In containerd's filter language; what matches one of them goes. Empty: everything.
  package var filters: [String] = []
  /// Nanoseconds; what was used since is kept.
  package var keepDuration: Int64 = 0
  package var reservedSpace = DiskSpace()
  package var maxUsedSpace = DiskSpace()
  package var minFreeSpace = DiskSpace()
}

/// What `[worker.oci]` says of collection.
package struct CollectionSettings: Sendable, Hashable {
  /// `gc`; nil is true.
  package var isEnabled: Bool?
  /// `gckeepstorage`, the older name of reservedSpace, which counts when none of the three that follow is set.
  package var keepStorage = DiskSpace()
  package var reservedSpace = DiskSpace()
  package var maxUsedSpace = DiskSpace()
  package var minFreeSpace = DiskSpace()
  package var rules: [CollectionRuleSettings] = []

  package init() {}

  private var isUnset: Bool { reservedSpace.isUnset && maxUsedSpace.isUnset && minFreeSpace.isUnset }

  /// One rule with its sizes in bytes.
  package struct Rule: Sendable, Hashable {
    package var all = false
    package var filters: [String] = []
    package var keepDuration: Int64 = 0
    package var reservedSpace: Int64 = 0
    package var maxUsedSpace: Int64 = 0
    package var minFreeSpace: Int64 = 0
  }

  /// The rules that hold on a disk of that size, in their order: those of the file, else BuildKit's four. Nil: nothing is collected by itself.
  package func rules(disk: Int64) -> [Rule]? {
    if isEnabled == false { return nil }
    return (rules.isEmpty ? defaultRules(disk) : rules).map { rule in
      Rule(
        all: rule.all, filters: rule.filters, keepDuration: rule.keepDuration, reservedSpace: rule.reservedSpace.bytes(ofDisk: disk),
        maxUsedSpace: rule.maxUsedSpace.bytes(ofDisk: disk), minFreeSpace: rule.minFreeSpace.bytes(ofDisk: disk))
    }
  }

  private func defaultRules(_ disk: Int64) -> [CollectionRuleSettings] {
    var limits = CollectionRuleSettings()
    (limits.reservedSpace, limits.maxUsedSpace, limits.minFreeSpace) = (reservedSpace, maxUsedSpace, minFreeSpace)
    if isUnset { limits.reservedSpace = keepStorage }
    if isUnset, keepStorage.isUnset {
      func smaller(_ percent: Int64, _ bytes: Int64) -> DiskSpace {
        let share = DiskSpace(percent: percent)
        return share.bytes(ofDisk: disk) > bytes ? DiskSpace(bytes: bytes) : share
      }
      limits.reservedSpace = smaller(10, 10_000_000_000)
      limits.maxUsedSpace = smaller(80, 100_000_000_000)
      limits.minFreeSpace = DiskSpace(percent: 20)
    }
    var sources = CollectionRuleSettings()
    sources.filters = ["type==source.local", "type==exec.cachemount", "type==source.git.checkout"]
    sources.keepDuration = 48 * 3_600_000_000_000
    sources.maxUsedSpace = DiskSpace(bytes: 512_000_000)
    var old = limits, everything = limits
    old.keepDuration = 60 * 24 * 3_600_000_000_000
    everything.all = true
    return [sources, old, limits, everything]
  }

  /// `--oci-worker-gc-keepstorage`: `Reserved[,Free[,Maximum]]` in megabytes. False when the text is something else.
  package mutating func apply(keepStorageFlag text: String) -> Bool {
    if text.isEmpty {
      (reservedSpace, maxUsedSpace, minFreeSpace) = (DiskSpace(), DiskSpace(), DiskSpace())
      return true
    }
    let parts = text.split(separator: ",", maxSplits: 2, omittingEmptySubsequences: false).map { Int64($0) }
    var bytes: [Int64] = []
    for part in parts {
      guard let part else { return false }
      let (product, overflow) = part.multipliedReportingOverflow(by: 1_000_000)
      if overflow { return false }
      bytes.append(product)
    }
    (reservedSpace, minFreeSpace, maxUsedSpace) = (DiskSpace(bytes: bytes[0]), DiskSpace(bytes: bytes.count > 1 ? bytes[1] : 0), DiskSpace(bytes: bytes.count > 2 ? bytes[2] : 0))
    return true
  }
}
