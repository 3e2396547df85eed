package import BuildInterface
package import BuildKitProto

enum UsageMessages {
  static func record(_ record: UsageRecord) -> Moby_Buildkit_V1_UsageRecord {
    var out = Moby_Buildkit_V1_UsageRecord()
    out.id = record.id
    out.mutable = record.mutable
    out.inUse = record.inUse
    out.size = record.size
    out.createdAt = StatusMessages.time(record.created)
    if let used = record.lastUsed { out.lastUsedAt = StatusMessages.time(used) }
    out.usageCount = record.usageCount
    out.description_p = record.description
    out.recordType = record.type
    out.shared = record.shared
    out.parents = record.parents
    return out
  }

  static func pruneRequest(_ wire: Moby_Buildkit_V1_PruneRequest) throws -> PruneRequest {
    for (value, name) in [(wire.keepDuration, "keepDuration"), (wire.reservedSpace, "reservedSpace"), (wire.maxUsedSpace, "maxUsedSpace"), (wire.minFreeSpace, "minFreeSpace")] where value < 0 {
      throw BuildError(.invalidArgument, .usage, "prune: \(name) is negative")
    }
    return PruneRequest(
      all: wire.all, filter: try RecordFilter.usage(wire.filter), keepDuration: wire.keepDuration,
      limits: SpaceLimits(reserved: wire.reservedSpace, maxUsed: wire.maxUsedSpace, minFree: wire.minFreeSpace))
  }
}
