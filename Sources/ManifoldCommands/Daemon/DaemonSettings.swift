internal import BuildInterface
internal import BuildkitdConfig
internal import HostOS
package import OCIModel

/// How a daemon is to serve and its engine to work: the file's values, and over them the flags'.
package struct DaemonSettings: Sendable {
  package var engine: EngineSettings
  package var addresses: [String]
  /// PEM files; empty for none.
  package var certificate = ""
  package var key = ""
  package var clientAuthority = ""
  package var group: String?
  package var allowsPlaintext = false
  package var entitlements: Set<String> = []
  package var labels: [String: String] = [:]
  package var platforms: [Platform] = []
  package var maxBuilds = 100
  /// Seconds.
  package var stopTimeout = 30.0
  package var logLevel = "info"
  package var logsJSON = false
  /// To be said at the start.
  package var notices: [String] = []

  init(_ flags: DaemonFlags, _ facts: CommandFacts, isRoot: Bool, file: BuildkitdFile = BuildkitdFile()) throws {
    let file = try DaemonSettings.merged(flags, over: file, facts)
    engine = EngineSettings(root: file.root, insecureRegistries: Set(flags.list("insecure-registry") ?? []))
    engine.daemon = file
    addresses = flags.list("addr") ?? (file.grpc.addresses.isEmpty ? [DaemonSettings.defaultAddress(facts.environment, isRoot: isRoot)] : file.grpc.addresses)
    certificate = flags.text("tlscert").map(facts.absolute) ?? file.grpc.tls.certificate ?? ""
    key = flags.text("tlskey").map(facts.absolute) ?? file.grpc.tls.key ?? ""
    clientAuthority = flags.text("tlscacert").map(facts.absolute) ?? file.grpc.tls.clientAuthority ?? ""
    group = flags.text("group") ?? file.grpc.gid.map { "\($0)" }
    allowsPlaintext = flags.flag("insecure-listen") ?? false
    try setEntitlements(flags.list("allow-insecure-entitlement") ?? file.entitlements)
    labels = file.worker.labels
    for label in flags.list("oci-worker-labels") ?? [] {
      guard let equals = label.firstIndex(of: "="), equals != label.startIndex else { throw BuildError.usage("--oci-worker-labels \(label): expected name=value") }
      labels[String(label[..<equals])] = String(label[label.index(after: equals)...])
    }
    for platform in flags.list("oci-worker-platform") ?? [] {
      do { platforms.append(try Platform(parsing: platform).normalized) } catch { throw BuildError.usage("--oci-worker-platform \(platform): \(error)") }
    }
    if platforms.isEmpty { platforms = (file.worker.platforms ?? []).map(\.normalized) }
    if let number = try flags.number("max-builds") {
      guard number > 0 else { throw BuildError.usage("--max-builds 0: the daemon would build nothing") }
      maxBuilds = number
    }
    if let text = flags.text("stop-timeout") {
      guard let duration = GoDuration.parse(text), duration >= 0 else { throw BuildError.usage("--stop-timeout \(text): expected a duration, such as 30s or 5m") }
      stopTimeout = Double(duration) / 1e9
    }
    if let worker = flags.text("oci-worker"), worker != "auto", TruthWord.parse(worker) == false {
      throw BuildError.usage("--oci-worker=false: there is no other worker here")
    }
    logLevel =
      flags.flag("trace") == true ? "trace" : flags.flag("debug") == true ? "debug" : flags.text("log-level") ?? facts.environment["BUILDKITD_LOG_LEVEL"] ?? file.log.level?.rawValue ?? "info"
    switch flags.text("log-format") ?? file.log.format?.rawValue ?? "text" {
    case "text": break
    case "json": logsJSON = true
    case let other: throw BuildError.usage("--log-format \(other): there are text and json")
    }
    if certificate.isEmpty != key.isEmpty { throw BuildError.usage("--tlscert and --tlskey belong together") }
    if !clientAuthority.isEmpty, certificate.isEmpty { throw BuildError.usage("--tlscacert needs --tlscert and --tlskey") }
    notices = file.notices + flags.notices
  }

  /// The file that is named, which must be there; else MANIFOLD_CONFIG's; else the first that there is of buildkitd's own place and ours. Blocks. Throws `ConfigError`.
  static func file(_ flags: DaemonFlags, _ facts: CommandFacts, isRoot: Bool) throws -> BuildkitdFile {
    if let named = flags.text("config") ?? facts.environment["MANIFOLD_CONFIG"].flatMap({ $0.isEmpty ? nil : $0 }) { return try BuildkitdFile(reading: facts.absolute(named)) }
    let peers = isRoot ? BuildkitdDefaults.configPath : BuildkitdDefaults.userConfigFolder(facts.environment) + "/buildkitd.toml"
    let places = [peers, BuildkitdFile.defaultPath(facts.environment)].compactMap { $0 }
    return try places.first(where: Files.exists).map { try BuildkitdFile(reading: $0) } ?? BuildkitdFile()
  }

  /// What the engine is to go by: flags win. Throws what the file asks for and is not done here.
  private static func merged(_ flags: DaemonFlags, over file: BuildkitdFile, _ facts: CommandFacts) throws -> BuildkitdFile {
    var file = file
    if let refusal = file.refusals.first { throw refusal }
    if let root = flags.text("root") { file.root = facts.absolute(root) }
    if let number = try flags.number("oci-max-parallelism") { file.worker.maxParallelism = number }
    if let isOn = flags.flag("oci-worker-gc") { file.worker.collection.isEnabled = isOn }
    if let text = flags.text("oci-worker-gc-keepstorage") {
      let sizes = text.split(separator: ",", omittingEmptySubsequences: false).map { Int64($0) }
      guard sizes.count <= 3, !sizes.contains(nil), sizes.allSatisfy({ $0.map { $0 >= 0 && $0 < 1 << 40 } ?? false }) else {
        throw BuildError.usage("--oci-worker-gc-keepstorage \(text): expected one to three numbers of megabytes, such as 10000 or 10000,20000,50000")
      }
      func space(_ index: Int) -> DiskSpace { DiskSpace(bytes: index < sizes.count ? (sizes[index] ?? 0) * 1_000_000 : 0) }
      (file.worker.collection.reservedSpace, file.worker.collection.minFreeSpace, file.worker.collection.maxUsedSpace) = (space(0), space(1), space(2))
    }
    if let program = flags.text("oci-worker-binary") { file.worker.binary = program }
    if let mode = flags.text("oci-worker-net") {
      guard let mode = NetworkSettings.Mode(rawValue: mode) else { throw BuildError.usage("--oci-worker-net \(mode): there are auto, host, cni and bridge") }
      file.worker.network.mode = mode
    }
    if let path = flags.text("oci-cni-config-path") { file.worker.network.cniConfigPath = facts.absolute(path) }
    if let path = flags.text("oci-cni-binary-dir") { file.worker.network.cniBinaryPath = facts.absolute(path) }
    if let number = try flags.number("oci-cni-pool-size") { file.worker.network.cniPoolSize = number }
    if let isOff = flags.flag("cdi-disabled") { file.cdi.isDisabled = isOff }
    if let folders = flags.list("cdi-spec-dir") { file.cdi.specDirectories = folders.map(facts.absolute) }
    if let profile = flags.text("oci-worker-apparmor-profile") { file.worker.apparmorProfile = profile }
    if flags.flag("oci-worker-selinux") == true { throw BuildError(.unimplemented, .usage, "--oci-worker-selinux: this daemon gives steps no labels of SELinux") }
    return file
  }

  private mutating func setEntitlements(_ names: [String]) throws {
    for name in names {
      guard ["network.host", "security.insecure", "device"].contains(name) || name.hasPrefix("device=") else {
        throw BuildError.usage("--allow-insecure-entitlement \(name): there are network.host, security.insecure and device")
      }
      entitlements.insert(name)
    }
  }

  /// Where buildctl looks.
  static func defaultAddress(_ environment: [String: String], isRoot: Bool) -> String {
    if !isRoot, let folder = environment["XDG_RUNTIME_DIR"], folder.hasPrefix("/") { return "unix://\(folder)/buildkit/buildkitd.sock" }
    return "unix:///run/buildkit/buildkitd.sock"
  }
}
