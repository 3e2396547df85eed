internal import OCIModel

extension BuildkitdFile {
  mutating func readWorkers(_ section: TableReader) throws {
    if let table = try section.table("oci") { try readWorker(table) }
    if let table = try section.table("containerd") {
      if try table.bool("enabled") == true { notices.append("\(table.file.path): [worker.containerd] is ignored: this daemon runs steps itself, and needs no containerd") }
      // Not looked into: whatever a containerd needs is no mistake.
      _ = table.names()
    }
    try section.finish()
  }

  private mutating func readWorker(_ table: TableReader) throws {
    func notice(_ text: String) { notices.append("\(table.file.path): [worker.oci] \(text)") }
    func text(_ key: String) throws -> String? { try table.string(key).flatMap { $0.isEmpty ? nil : $0 } }
    worker.isEnabled = try table.bool("enabled")
    worker.labels = try table.labels("labels")
    worker.platforms = try table.strings("platforms").flatMap { list in
      list.isEmpty ? nil : try list.map { text in
        do { return try Platform(parsing: text) } catch let error as OCIError { throw table.error("platforms", "the platform \"\(text)\": \(error.message)") }
      }
    }
    worker.snapshotter = try text("snapshotter")
    if let name = worker.snapshotter, !["auto", "overlayfs", "native"].contains(name) { notice("snapshotter = \"\(name)\" is ignored: this daemon keeps trees its own way") }
    worker.isRootless = try table.bool("rootless") ?? false
    worker.noProcessSandbox = try table.bool("noProcessSandbox") ?? false
    if worker.noProcessSandbox { notice("noProcessSandbox is ignored: steps have a process namespace of their own here too") }
    worker.collection = try Self.collection(table, &notices)
    try readNetwork(table)
    if let names = try text("userRemapUnsupported") { refusals.append(table.error("userRemapUnsupported", "userRemapUnsupported = \"\(names)\" is not supported")) }
    worker.binary = try text("binary")
    worker.proxySnapshotterPath = try text("proxySnapshotterPath")
    if worker.proxySnapshotterPath != nil { notice("proxySnapshotterPath is ignored: this daemon keeps trees its own way") }
    worker.defaultCgroupParent = try text("defaultCgroupParent")
    if table.passOver("stargzSnapshotter") { notice("stargzSnapshotter is ignored: this daemon keeps trees its own way") }
    worker.apparmorProfile = try text("apparmor-profile")
    worker.usesSELinux = try table.bool("selinux") ?? false
    if worker.usesSELinux { refusals.append(table.error("selinux", "selinux = true is not supported: this daemon gives steps no labels of SELinux")) }
    // As for Go: less than one is no limit.
    worker.maxParallelism = max(0, try table.int("max-parallelism", least: .min) ?? 0)
    try table.finish()
  }

  private mutating func readNetwork(_ table: TableReader) throws {
    if let text = try table.string("networkMode"), !text.isEmpty {
      guard let mode = NetworkSettings.Mode(rawValue: text) else {
        throw table.error("networkMode", "there is no networkMode \"\(text)\"; there are \(NetworkSettings.Mode.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      worker.network.mode = mode
    }
    func text(_ key: String) throws -> String? { try table.string(key).flatMap { $0.isEmpty ? nil : $0 } }
    worker.network.cniConfigPath = try text("cniConfigPath").map(table.file.absolute)
    worker.network.cniBinaryPath = try text("cniBinaryPath").map(table.file.absolute)
    worker.network.cniPoolSize = max(0, try table.int("cniPoolSize", least: .min) ?? 0)
    worker.network.bridgeName = try text("bridgeName")
    worker.network.bridgeSubnet = try text("bridgeSubnet")
  }

  private static func collection(_ table: TableReader, _ notices: inout [String]) throws -> CollectionSettings {
    var out = CollectionSettings()
    out.isEnabled = try table.bool("gc")
    out.keepStorage = try table.space("gckeepstorage")
    out.reservedSpace = try table.space("reservedSpace")
    out.maxUsedSpace = try table.space("maxUsedSpace")
    out.minFreeSpace = try table.space("minFreeSpace")
    for entry in try table.tables("gcpolicy") {
      var rule = CollectionRuleSettings()
      rule.all = try entry.bool("all") ?? false
      rule.filters = try entry.strings("filters") ?? []
      rule.keepDuration = try entry.duration("keepDuration") ?? 0
      let keepBytes = try entry.space("keepBytes")
      rule.reservedSpace = try entry.space("reservedSpace")
      if rule.reservedSpace.isUnset { rule.reservedSpace = keepBytes }
      rule.maxUsedSpace = try entry.space("maxUsedSpace")
      rule.minFreeSpace = try entry.space("minFreeSpace")
      try entry.finish()
      out.rules.append(rule)
    }
    return out
  }
}
