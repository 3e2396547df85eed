package import OCIModel

/// `[log]`, and the older `debug` and `trace`.
package struct LogSettings: Sendable, Hashable {
  package enum Format: String, Sendable, Hashable, CaseIterable { case text, json }
  package enum Level: String, Sendable, Hashable, CaseIterable { case panic, fatal, error, warn, info, debug, trace }
  package var format: Format?
  /// What is said in the file; `debug` and `trace` of older files count when there is none.
  package var level: Level?
}

/// `[grpc]`
package struct ListenerSettings: Sendable, Hashable {
  package var addresses: [String] = []
  /// For profilers; nothing of ours listens there.
  package var debugAddress: String?
  /// Owner of unix sockets; nil is this process's.
  package var uid: UInt32?
  package var gid: UInt32?
  package var tls = TLSFiles()
}

/// `[grpc.tls]`: files in PEM.
package struct TLSFiles: Sendable, Hashable {
  package var certificate: String?
  package var key: String?
  /// Who signs clients' certificates; with it every client needs one.
  package var clientAuthority: String?
}

/// `[cdi]`
package struct CDISettings: Sendable, Hashable {
  package var isDisabled = false
  /// Nil: the default places (`BuildkitdDefaults.cdiDirectories`).
  package var specDirectories: [String]?
  /// Devices, or classes of them, that builds may use without being allowed to.
  package var autoAllowed: [String] = []
}

/// `[dns]`: what a step's resolv.conf says instead of the machine's.
package struct DNSSettings: Sendable, Hashable {
  package var nameservers: [String] = []
  package var options: [String] = []
  package var searchDomains: [String] = []
}

/// `[history]`
package struct HistorySettings: Sendable, Hashable {
  /// Nanoseconds; 0 is BuildKit's default of 48 hours.
  package var maxAge: Int64 = 0
  /// 0 is BuildKit's default of 50.
  package var maxEntries: Int = 0
}

/// `[frontend."dockerfile.v0"]` and `[frontend."gateway.v0"]`
package struct FrontendSettings: Sendable, Hashable {
  package var dockerfileEnabled = true
  package var gatewayEnabled = true
  /// Repositories, without tag, whose images may be frontends; empty: all.
  package var allowedRepositories: [String] = []
}

/// `[system]`
package struct SystemSettings: Sendable, Hashable {
  /// How long what is known of emulated platforms holds, in nanoseconds; nil is the engine's own choice.
  package var platformsCacheMaxAge: Int64?
  /// Connections to one registry at a time.
  package var maxRegistryConcurrency: Int?
}

/// The network of steps: `networkMode` and what belongs to it.
package struct NetworkSettings: Sendable, Hashable {
  package enum Mode: String, Sendable, Hashable, CaseIterable { case auto, host, cni, bridge }
  package var mode: Mode?
  package var cniConfigPath: String?
  package var cniBinaryPath: String?
  /// Network namespaces kept ready.
  package var cniPoolSize = 0
  package var bridgeName: String?
  package var bridgeSubnet: String?
}

/// `[worker.oci]`
package struct WorkerSettings: Sendable, Hashable {
  /// Nil is auto.
  package var isEnabled: Bool?
  package var labels: [String: String] = [:]
  /// The platforms that are offered, instead of those that were found; nil: those found.
  package var platforms: [Platform]?
  package var snapshotter: String?
  package var isRootless = false
  package var noProcessSandbox = false
  package var collection = CollectionSettings()
  package var network = NetworkSettings()
  /// The OCI runtime, by name or path.
  package var binary: String?
  package var proxySnapshotterPath: String?
  package var defaultCgroupParent: String?
  package var apparmorProfile: String?
  package var usesSELinux = false
  /// Steps at once; 0 is the engine's own choice.
  package var maxParallelism = 0
}

/// What holds where neither the file nor a flag says anything: buildkitd's own places.
package enum BuildkitdDefaults {
  package static let configPath = "/etc/buildkit/buildkitd.toml"
  package static let root = "/var/lib/buildkit"
  package static let address = "unix:///run/buildkit/buildkitd.sock"
  package static let traceSocket = "/run/buildkit/otel-grpc.sock"
  package static let provenanceDirectory = "/etc/buildkit/provenance.d"
  package static let cniConfigPath = "/etc/buildkit/cni.json"
  package static let cniBinaryPath = "/opt/cni/bin"
  package static let bridgeName = "buildkit0"
  package static let bridgeSubnet = "10.10.0.0/16"
  package static let cdiDirectories = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"]

  /// An ordinary user's places, by the XDG variables and HOME.
  package static func userConfigFolder(_ environment: [String: String]) -> String {
    if let folder = environment["XDG_CONFIG_HOME"], !folder.isEmpty { return folder + "/buildkit" }
    if let home = environment["HOME"], !home.isEmpty { return home + "/.config/buildkit" }
    return "/etc/buildkit"
  }
  package static func userRoot(_ environment: [String: String]) -> String {
    if let folder = environment["XDG_DATA_HOME"]?.split(separator: ":").first { return folder + "/buildkit" }
    if let home = environment["HOME"], !home.isEmpty { return home + "/.local/share/buildkit" }
    return root
  }
  package static func userAddress(_ environment: [String: String]) -> String {
    environment["XDG_RUNTIME_DIR"]?.split(separator: ":").first.map { "unix://\($0)/buildkit/buildkitd.sock" } ?? address
  }
  package static func userTraceSocket(_ environment: [String: String]) -> String {
    environment["XDG_RUNTIME_DIR"]?.split(separator: ":").first.map { "\($0)/buildkit/otel-grpc.sock" } ?? traceSocket
  }
}
