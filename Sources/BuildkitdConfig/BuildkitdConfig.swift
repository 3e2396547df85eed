internal import HostOS
internal import OCIModel
package import OCIRegistry
internal import TOMLKit

/// A `buildkitd.toml`, as BuildKit's daemon has them. Paths that are not absolute begin at the file's folder.
package struct BuildkitdFile: Sendable, Hashable {
  /// Where builds are kept; nil is the default.
  package var root: String?
  /// `insecure-entitlements`: what clients may ask for (`network.host`, `security.insecure`, `device`, `device=NAME`).
  package var entitlements: [String] = []
  package var log = LogSettings()
  package var grpc = ListenerSettings()
  /// `[otel]` socketPath.
  package var traceSocket: String?
  package var cdi = CDISettings()
  package var worker = WorkerSettings()
  /// By host, as references name it (`docker.io`).
  package var registries: [String: RegistryHostSettings] = [:]
  package var dns: DNSSettings?
  package var history = HistorySettings()
  package var frontends = FrontendSettings()
  package var system = SystemSettings()
  /// Where files are that are added to builds' provenance; nil is the default.
  package var provenanceDirectory: String?
  /// What the file says and has no meaning here: a daemon says so when it starts.
  package var notices: [String] = []
  /// What the file asks for and a daemon of ours does not do, though to build without it would be wrong: it does not start then.
  package var refusals: [ConfigError] = []

  static let limit = 1 << 20

  package init() {}

  /// `path` is for messages, and its folder is where paths in the file begin that are not absolute. Throws `ConfigError`.
  package init(parsing text: String, path: String) throws {
    let document: TOMLTable
    do { document = try TOMLTable(string: text) } catch let error as TOMLParseError {
      throw ConfigError(.syntax, path: path, line: Int(error.source.begin.line), "\(error.description.prefix(300))")
    }
    let top = TableReader(document, ConfigPlaces(path: path, lines: KeyLines(text)))
    try readRoot(top)
    if let section = try top.table("log") { try readLog(section) }
    if let section = try top.table("grpc") { try readListeners(section) }
    if let section = try top.table("otel") {
      traceSocket = try section.string("socketPath")
      try section.finish()
    }
    if let section = try top.table("cdi") { try readDevices(section) }
    if let section = try top.table("worker") { try readWorkers(section) }
    if let section = try top.table("registry") { registries = try RegistrySections(section).registries }
    if let section = try top.table("dns") { try readDNS(section) }
    if let section = try top.table("history") {
      history.maxAge = try section.duration("maxAge") ?? 0
      history.maxEntries = try section.int("maxEntries", least: .min) ?? 0
      try section.finish()
    }
    if let section = try top.table("frontend") { try readFrontends(section) }
    if let section = try top.table("system") {
      system.platformsCacheMaxAge = try section.duration("platformsCacheMaxAge")
      system.maxRegistryConcurrency = try section.int("maxRegistryConcurrency", least: 1)
      try section.finish()
    }
    // Sections that BuildKit's own examples have and only its cache at GitHub reads.
    for name in ["cache", "ghacache"] where top.passOver(name) { notices.append("\(path): [\(name)] is about the cache of GitHub Actions, which this daemon has not, and is ignored") }
    if top.passOver("gc") { notices.append("\(path): [gc] has no meaning, here as in BuildKit; collection is set in [worker.oci]") }
    try top.finish()
  }

  /// Blocks. Throws `ConfigError`.
  package init(reading path: String) throws {
    let bytes: [UInt8]
    do { bytes = try Files.read(path, limit: Self.limit) } catch let error as HostError {
      if (try? Files.status(path))?.kind == .directory {
        throw ConfigError(.unreadable, path: path, "is a folder, and --config names a file, buildkitd.toml (Docker's own folder is named by DOCKER_CONFIG)")
      }
      throw ConfigError(.unreadable, path: path, "cannot read this configuration: \(error)")
    }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw ConfigError(.syntax, path: path, "is not text in UTF-8") }
    try self.init(parsing: text, path: path)
  }

  /// The file that applies when none is named: the first that is there of the person's own and the machine's. Blocks.
  package static func defaultPath(_ environment: [String: String]) -> String? {
    var places: [String] = []
    if let folder = environment["XDG_CONFIG_HOME"], folder.hasPrefix("/") { places.append(folder) } else if let home = environment["HOME"], !home.isEmpty { places.append(home + "/.config") }
    return (places + ["/etc"]).map { $0 + "/manifold/buildkitd.toml" }.first(where: Files.exists)
  }
}

// MARK: - Sections

extension BuildkitdFile {
  private mutating func readRoot(_ top: TableReader) throws {
    if try top.bool("debug") == true { log.level = .debug }
    if try top.bool("trace") == true { log.level = .trace }
    root = try top.string("root").flatMap { $0.isEmpty ? nil : top.file.absolute($0) }
    entitlements = try top.strings("insecure-entitlements") ?? []
    for name in entitlements where !["network.host", "security.insecure", "device"].contains(name) && !name.hasPrefix("device=") {
      throw top.error("insecure-entitlements", "there is no entitlement \"\(name)\"; there are network.host, security.insecure and device")
    }
    // It promises that no step reaches the network around a proxy: silence would break that.
    if try top.bool("proxyNetwork") == true { refusals.append(top.error("proxyNetwork", "proxyNetwork = true is not supported: this daemon cannot keep the steps of builds from reaching the network directly")) }
    provenanceDirectory = try top.string("provenanceEnvDir").flatMap { $0.isEmpty ? nil : top.file.absolute($0) }
  }

  private mutating func readLog(_ section: TableReader) throws {
    if let text = try section.string("format"), !text.isEmpty {
      guard let format = LogSettings.Format(rawValue: text) else { throw section.error("format", "the log's format is \"text\" or \"json\", not \"\(text)\"") }
      log.format = format
    }
    if let text = try section.string("level"), !text.isEmpty {
      guard let level = LogSettings.Level(named: text) else { throw section.error("level", "there is no log level \"\(text)\"; there are \(LogSettings.Level.allCases.map(\.rawValue).joined(separator: ", "))") }
      log.level = level
    }
    try section.finish()
  }

  private mutating func readListeners(_ section: TableReader) throws {
    grpc.addresses = try section.strings("address") ?? []
    grpc.debugAddress = try section.string("debugAddress").flatMap { $0.isEmpty ? nil : $0 }
    if grpc.debugAddress != nil { notices.append("\(section.file.path): [grpc] debugAddress is for profilers of Go programs, and is ignored") }
    grpc.uid = try section.int("uid").map { UInt32(clamping: $0) }
    grpc.gid = try section.int("gid").map { UInt32(clamping: $0) }
    if section.passOver("securityDescriptor") { notices.append("\(section.file.path): [grpc] securityDescriptor is for Windows, and is ignored") }
    if let tls = try section.table("tls") {
      func file(_ key: String) throws -> String? { try tls.string(key).flatMap { $0.isEmpty ? nil : section.file.absolute($0) } }
      grpc.tls = TLSFiles(certificate: try file("cert"), key: try file("key"), clientAuthority: try file("ca"))
      try tls.finish()
    }
    try section.finish()
  }

  private mutating func readDevices(_ section: TableReader) throws {
    cdi.isDisabled = try section.bool("disabled") ?? false
    cdi.specDirectories = try section.strings("specDirs").flatMap { $0.isEmpty ? nil : $0.map(section.file.absolute) }
    cdi.autoAllowed = try section.strings("autoAllowed") ?? []
    try section.finish()
  }

  private mutating func readDNS(_ section: TableReader) throws {
    let file = section
    dns = DNSSettings(
      nameservers: try file.strings("nameservers") ?? [], options: try file.strings("options") ?? [], searchDomains: try file.strings("searchDomains") ?? [])
    for (key, words) in [("nameservers", dns?.nameservers), ("options", dns?.options), ("searchDomains", dns?.searchDomains)] {
      // They become lines of a file.
      if let wrong = words?.first(where: { $0.contains(where: { $0.isWhitespace || $0 == "\0" }) }) { throw file.error(key, "\"\(wrong)\" has a blank in it, and cannot be in a resolv.conf") }
    }
    try section.finish()
  }

  private mutating func readFrontends(_ section: TableReader) throws {
    if let table = try section.table("dockerfile.v0") {
      frontends.dockerfileEnabled = try table.bool("enabled") ?? true
      try table.finish()
    }
    if let table = try section.table("gateway.v0") {
      frontends.gatewayEnabled = try table.bool("enabled") ?? true
      frontends.allowedRepositories = try table.strings("allowedRepositories") ?? []
      for name in frontends.allowedRepositories where (try? Reference(parsing: name)) == nil { throw table.error("allowedRepositories", "\"\(name)\" is not a repository's name") }
      try table.finish()
    }
    try section.finish()
  }
}

extension LogSettings.Level {
  /// `warning` is warn.
  package init?(named text: String) { self.init(rawValue: text.lowercased() == "warning" ? "warn" : text.lowercased()) }
}
