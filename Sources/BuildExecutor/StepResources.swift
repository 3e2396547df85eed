internal import OCIModel

/// What a step may use at most, by control groups; LLB's LinuxResources. Zero and empty are unlimited.
package struct StepResources: Sendable, Hashable {
  /// Bytes.
  package var memory: Int64
  /// Bytes of memory and swap together; -1 is unlimited.
  package var memorySwap: Int64
  package var cpuShares: UInt64
  /// Microseconds.
  package var cpuPeriod: UInt64
  package var cpuQuota: Int64
  /// As `0-3,5`.
  package var cpusetCPUs: String
  package var cpusetMems: String

  package init(
    memory: Int64 = 0, memorySwap: Int64 = 0, cpuShares: UInt64 = 0, cpuPeriod: UInt64 = 0, cpuQuota: Int64 = 0, cpusetCPUs: String = "", cpusetMems: String = ""
  ) {
    (self.memory, self.memorySwap, self.cpuShares, self.cpuPeriod, self.cpuQuota) = (memory, memorySwap, cpuShares, cpuPeriod, cpuQuota)
    (self.cpusetCPUs, self.cpusetMems) = (cpusetCPUs, cpusetMems)
  }

  package var isEmpty: Bool { self == StepResources() }

  /// The controllers that are needed.
  var controllers: [String] {
    var out: [String] = []
    if memory != 0 || memorySwap != 0 { out.append("memory") }
    if cpuShares != 0 || cpuPeriod != 0 || cpuQuota != 0 { out.append("cpu") }
    if !cpusetCPUs.isEmpty || !cpusetMems.isEmpty { out.append("cpuset") }
    return out
  }

  struct Setting: Sendable, Equatable {
    var file: String
    var value: String
    init(_ file: String, _ value: String) { (self.file, self.value) = (file, value) }
  }

  /// In the order in which they must be written. `parent` tells a file of the group above.
  func settings(_ controller: String, unified: Bool, parent: (String) -> String?) -> [Setting] {
    switch (controller, unified) {
    case ("memory", true):
      var out = memory != 0 ? [Setting("memory.max", String(memory))] : []
      if memorySwap < 0 { out.append(Setting("memory.swap.max", "max")) }
      // There it is the swap alone.
      if memorySwap > 0 { out.append(Setting("memory.swap.max", String(max(0, memorySwap - memory)))) }
      return out
    case ("memory", false):
      var out = memory != 0 ? [Setting("memory.limit_in_bytes", String(memory))] : []
      if memorySwap > 0 { out.append(Setting("memory.memsw.limit_in_bytes", String(memorySwap))) }
      return out
    case ("cpu", true):
      // The runtime specification's conversion of 2…262144 to 1…10000.
      var out = cpuShares != 0 ? [Setting("cpu.weight", String(1 + (min(max(cpuShares, 2), 262_144) - 2) * 9999 / 262_142))] : []
      if cpuQuota != 0 || cpuPeriod != 0 { out.append(Setting("cpu.max", "\(cpuQuota > 0 ? String(cpuQuota) : "max") \(cpuPeriod > 0 ? cpuPeriod : 100_000)")) }
      return out
    case ("cpu", false):
      var out = cpuShares != 0 ? [Setting("cpu.shares", String(cpuShares))] : []
      if cpuPeriod != 0 { out.append(Setting("cpu.cfs_period_us", String(cpuPeriod))) }
      if cpuQuota != 0 { out.append(Setting("cpu.cfs_quota_us", String(cpuQuota))) }
      return out
    case ("cpuset", _):
      // In version 1 a group without both takes no process.
      let (cpus, mems) = unified ? (cpusetCPUs, cpusetMems) : (cpusetCPUs.isEmpty ? parent("cpuset.cpus") ?? "" : cpusetCPUs, cpusetMems.isEmpty ? parent("cpuset.mems") ?? "" : cpusetMems)
      return [Setting("cpuset.cpus", cpus), Setting("cpuset.mems", mems)].filter { !$0.value.isEmpty }
    default: return []
    }
  }

  /// The runtime specification's `resources`, for a runtime that makes the groups itself.
  var specification: JSONObject {
    var out = JSONObject()
    var memory = JSONObject(), cpu = JSONObject()
    if self.memory != 0 { memory["limit"] = .int(self.memory) }
    if memorySwap != 0 { memory["swap"] = .int(memorySwap) }
    if cpuShares != 0 { cpu["shares"] = .int(cpuShares) }
    if cpuPeriod != 0 { cpu["period"] = .int(cpuPeriod) }
    if cpuQuota != 0 { cpu["quota"] = .int(cpuQuota) }
    if !cpusetCPUs.isEmpty { cpu["cpus"] = .string(cpusetCPUs) }
    if !cpusetMems.isEmpty { cpu["mems"] = .string(cpusetMems) }
    if self.memory != 0 || memorySwap != 0 { out["memory"] = .object(memory) }
    if !controllers.filter({ $0 != "memory" }).isEmpty { out["cpu"] = .object(cpu) }
    return out
  }
}
