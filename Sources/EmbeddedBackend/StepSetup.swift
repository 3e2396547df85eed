internal import BuildExecutor
package import BuildInterface
internal import BuildkitdConfig
internal import HostOS

/// What a daemon's settings say of steps, tried on this machine: whatever cannot be is an error before the first build, not in one.
struct StepSetup: Sendable {
  var executor: ContainerExecutor.Configuration
  var networks: StepNetworks?
  var notes: [String] = []

  /// Throws `ExecutorError`.
  init(_ file: BuildkitdFile?, scratch: String, records: String, obstacle: String?, environment: [String: String]) async throws {
    executor = .fromEnvironment(scratch: scratch, obstacle: obstacle)
    guard let file else { return }
    let isRoot = HostFacts.isRoot && !HostFacts.inUserNamespace
    if let binary = file.worker.binary {
      _ = try await Blocking.run { try Runtime.find(named: binary) }
      executor.runtime = binary
    }
    if let dns = file.dns {
      for server in dns.nameservers where !HostFiles.isAddress(server) { throw ExecutorError(.invalidStep, "[dns] nameservers: \"\(server)\" is not an address") }
      executor.resolver = HostFiles.Resolver(nameservers: dns.nameservers, options: dns.options, searchDomains: dns.searchDomains)
    }
    if let parent = file.worker.defaultCgroupParent {
      guard isRoot else { throw ExecutorError(.noControlGroup, "[worker.oci] defaultCgroupParent = \"\(parent)\": only root can put steps into another control group") }
      executor.cgroupParent = parent
    }
    if let profile = file.worker.apparmorProfile, profile != "unconfined" {
      guard (Files.text("/sys/module/apparmor/parameters/enabled") ?? "").hasPrefix("Y") else {
        throw ExecutorError(.invalidStep, "[worker.oci] apparmor-profile = \"\(profile)\": this machine has no AppArmor")
      }
      executor.apparmorProfile = profile
    }
    executor.deviceDirectories = file.cdi.isDisabled ? [] : file.cdi.specDirectories ?? BuildkitdDefaults.cdiDirectories
    executor.autoAllowedDevices = file.cdi.autoAllowed
    try await openNetworks(file.worker, records: records, isRoot: isRoot, environment)
  }

  private mutating func openNetworks(_ worker: WorkerSettings, records: String, isRoot: Bool, _ environment: [String: String]) async throws {
    let settings = worker.network
    let configuration = settings.cniConfigPath ?? (isRoot ? BuildkitdDefaults.cniConfigPath : BuildkitdDefaults.userConfigFolder(environment) + "/cni.json")
    let bridge = StepNetworks.Options.Mode.bridge(name: settings.bridgeName ?? BuildkitdDefaults.bridgeName, subnet: settings.bridgeSubnet ?? BuildkitdDefaults.bridgeSubnet)
    let mode: StepNetworks.Options.Mode
    switch settings.mode ?? .auto {
    case .host: return
    case .cni: mode = .file(configuration)
    case .bridge: mode = bridge
    case .auto:
      if !isRoot || worker.isRootless { return }
      if ["1", "t", "T", "true", "TRUE", "True"].contains(environment["BUILDKIT_NETWORK_BRIDGE_AUTO"] ?? "") {
        mode = bridge
      } else if Files.exists(configuration) {
        mode = .file(configuration)
      } else {
        notes.append("steps use the host's network: there is no network configuration at \(configuration) (networkMode = \"auto\")")
        return
      }
    }
    guard isRoot else {
      throw ExecutorError(.network, "[worker.oci] networkMode = \"\((settings.mode ?? .auto).rawValue)\": only root can give steps networks of their own; without root it is \"host\"")
    }
    // Debian and Fedora put the plugins elsewhere.
    let directories = settings.cniBinaryPath.map { [$0] } ?? [BuildkitdDefaults.cniBinaryPath, "/usr/lib/cni", "/usr/libexec/cni"]
    networks = try await StepNetworks.open(.init(mode: mode, directories: directories, poolSize: settings.cniPoolSize, records: records))
  }
}

extension EmbeddedBackend.Options {
  /// What the settings say of collection, else what was given.
  func limit(ofStore root: String) throws -> StoreLimit {
    guard let settings, case .automatic = storeLimit else { return storeLimit }
    let disk = (try? FileSystemFacts.of(root)).map { Int64(clamping: $0.totalBytes) } ?? 0
    guard let rules = settings.worker.collection.rules(disk: disk) else { return .none }
    return .rules(
      rules.map { rule in
        CollectionNote(
          all: rule.all, filters: rule.filters, keepDuration: rule.keepDuration,
          limits: SpaceLimits(reserved: rule.reservedSpace, maxUsed: rule.maxUsedSpace, minFree: rule.minFreeSpace))
      })
  }
}
