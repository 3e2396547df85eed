internal import BuildInterface

/// buildkitd's flags, and those of our own: one table for `manifold daemon` and for the program started under the name `buildkitd`.
struct DaemonFlags: Sendable {
  enum Kind: Sendable { case flag, value, list }
  enum Treatment: Sendable, Equatable {
    case used
    /// Taken for buildkitd's sake, and said once when it is given.
    case ignored(String)
    /// Would promise what is not kept.
    case refused(String)
  }
  struct Definition: Sendable {
    var name: String
    var kind: Kind
    var valueName = ""
    var help = ""
    var treatment = Treatment.used
    /// Shown by --help.
    var isShown: Bool { !help.isEmpty }
  }

  private static let ownTrees = "trees are kept this daemon's own way"
  private static let noContainerd = "steps are run by this daemon itself, and it needs no containerd"

  static let table: [Definition] = [
    .init(name: "addr", kind: .list, valueName: "address", help: "Where to listen: unix:///path, tcp://host:port, fd:// (systemd's socket). May be repeated."),
    .init(name: "root", kind: .value, valueName: "dir", help: "Where images, layers and the build cache are kept."),
    .init(name: "config", kind: .value, valueName: "file", help: "A buildkitd.toml. Flags win over it."),
    .init(name: "group", kind: .value, valueName: "group", help: "The group, by name or number, that may use the unix sockets."),
    .init(name: "tlscert", kind: .value, valueName: "file", help: "The daemon's certificate, in PEM."),
    .init(name: "tlskey", kind: .value, valueName: "file", help: "Its key."),
    .init(name: "tlscacert", kind: .value, valueName: "file", help: "Who vouches for clients: only those with a certificate of theirs are served."),
    .init(name: "insecure-listen", kind: .flag, help: "Listen on a TCP address that other machines reach, without TLS."),
    .init(name: "allow-insecure-entitlement", kind: .list, valueName: "name", help: "Let builds ask for network.host, security.insecure or device. May be repeated."),
    .init(name: "oci-max-parallelism", kind: .value, valueName: "n", help: "Steps at once; the machine decides by itself."),
    .init(name: "max-builds", kind: .value, valueName: "n", help: "Builds at once (100); more wait."),
    .init(name: "stop-timeout", kind: .value, valueName: "duration", help: "How long builds may go on when the daemon is told to stop (30s)."),
    .init(name: "oci-worker-platform", kind: .list, valueName: "platform", help: "Platforms to offer instead of those that run here. May be repeated."),
    .init(name: "oci-worker-labels", kind: .list, valueName: "name=value", help: "Labels of this worker. May be repeated."),
    .init(name: "oci-worker-gc", kind: .flag, help: "Remove old cache by itself (on)."),
    .init(name: "oci-worker-gc-keepstorage", kind: .value, valueName: "MB[,MB[,MB]]", help: "What collection keeps, leaves free, and lets the cache have at most."),
    .init(name: "oci-worker-binary", kind: .value, valueName: "program", help: "The OCI runtime: crun or runc."),
    .init(name: "oci-worker-net", kind: .value, valueName: "mode", help: "The network of steps: auto, host, cni or bridge."),
    .init(name: "oci-cni-config-path", kind: .value, valueName: "file", help: "CNI's configuration."),
    .init(name: "oci-cni-binary-dir", kind: .value, valueName: "dir", help: "CNI's plugins."),
    .init(name: "oci-cni-pool-size", kind: .value, valueName: "n", help: "Network namespaces that are kept ready."),
    .init(name: "cdi-disabled", kind: .flag, help: "Give steps no devices by CDI."),
    .init(name: "cdi-spec-dir", kind: .list, valueName: "dir", help: "Where specifications of CDI devices are. May be repeated."),
    .init(name: "otel-socket-path", kind: .value, valueName: "path", treatment: .ignored("steps are given no socket for traces")),
    .init(name: "log-level", kind: .value, valueName: "level", help: "error, warn, info or debug."),
    .init(name: "log-format", kind: .value, valueName: "format", help: "text or json."),
    .init(name: "debug", kind: .flag, help: "As --log-level debug."),
    .init(name: "trace", kind: .flag),
    .init(name: "insecure-registry", kind: .list, valueName: "host[:port]", help: "Talk to this registry without verified TLS, or in plain HTTP. May be repeated."),
    .init(name: "rootless", kind: .flag, treatment: .ignored("without root, everything is set up for it anyway")),
    .init(name: "oci-worker", kind: .value),
    .init(name: "oci-worker-rootless", kind: .flag, treatment: .ignored("without root, everything is set up for it anyway")),
    .init(name: "oci-worker-snapshotter", kind: .value, treatment: .ignored(ownTrees)),
    .init(name: "oci-worker-proxy-snapshotter-path", kind: .value, treatment: .ignored(ownTrees)),
    .init(name: "oci-worker-apparmor-profile", kind: .value),
    .init(name: "oci-worker-selinux", kind: .flag),
    .init(name: "oci-worker-no-process-sandbox", kind: .flag, treatment: .ignored("each step has a process namespace of its own here in any case")),
    .init(name: "proxy-network", kind: .flag, treatment: .refused("steps cannot be kept to a proxy here")),
    .init(name: "debugaddr", kind: .value, treatment: .ignored("there is no profiler to reach")),
    .init(name: "save-cache-debug", kind: .flag, treatment: .ignored("`manifold explain` tells of every build why its steps were taken from the cache or not")),
    .init(name: "containerd-worker", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-addr", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-labels", kind: .list, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-platform", kind: .list, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-namespace", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-runtime", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-net", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-cni-config-path", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-cni-binary-dir", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-cni-pool-size", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-snapshotter", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-apparmor-profile", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-selinux", kind: .flag, treatment: .ignored(noContainerd)),
    .init(name: "containerd-max-parallelism", kind: .value, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-rootless", kind: .flag, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-gc", kind: .flag, treatment: .ignored(noContainerd)),
    .init(name: "containerd-worker-gc-keepstorage", kind: .value, treatment: .ignored(noContainerd)),
  ]

  enum Request: Sendable { case run, help, version }
  private(set) var request = Request.run
  private var values: [String: [String]] = [:]
  /// To be said once at the start.
  private(set) var notices: [String] = []

  /// As Go's command lines are read: `-name`, `--name`, `--name=value`, `--flag=false`; the last of several counts, but for lists.
  init(parsing words: [String]) throws {
    var rest = words[...]
    var told: Set<String> = []
    while let word = rest.popFirst() {
      if word == "--" { break }
      guard word.hasPrefix("-"), word.count > 1 else { throw BuildError.usage("the daemon takes no arguments, only flags: \"\(word)\"") }
      let body = word.hasPrefix("--") ? word.dropFirst(2) : word.dropFirst()
      let name = String(body.prefix { $0 != "=" }), given = name.count < body.count ? String(body.dropFirst(name.count + 1)) : nil
      if ["h", "help"].contains(name) { request = .help; return }
      if ["v", "version"].contains(name) { request = .version; return }
      guard let definition = Self.table.first(where: { $0.name == name }) else { throw Self.unknown(name) }
      let value: String
      if let given { value = given } else if definition.kind == .flag { value = "true" } else if let next = rest.popFirst() { value = next } else {
        throw BuildError.usage("--\(name) needs a value")
      }
      if definition.kind == .flag, TruthWord.parse(value) == nil { throw BuildError.usage("--\(name) is on or off: \"\(value)\" is neither true nor false") }
      switch definition.treatment {
      case .used: values[name] = definition.kind == .list ? (values[name] ?? []) + [value] : [value]
      case .ignored(let why): if told.insert(name).inserted, !Self.isOff(value) { notices.append("--\(name) has no effect here: \(why)") }
      case .refused(let why): if !Self.isOff(value) { throw BuildError(.unimplemented, .usage, "--\(name) is not supported: \(why)") }
      }
    }
    if let word = rest.first { throw BuildError.usage("the daemon takes no arguments, only flags: \"\(word)\"") }
  }

  private static func isOff(_ value: String) -> Bool { TruthWord.parse(value) == false }

  private static func unknown(_ name: String) -> BuildError {
    let known = table.map(\.name)
    let meant = Spelling.nearest(to: name, among: known).map { "Did you mean --\($0)? " } ?? ""
    return BuildError.usage("there is no flag --\(name)", suggestion: meant + "manifold daemon --help shows them all.")
  }

  func text(_ name: String) -> String? { values[name]?.last.flatMap { $0.isEmpty ? nil : $0 } }
  func list(_ name: String) -> [String]? { values[name] }
  func flag(_ name: String) -> Bool? { values[name]?.last.flatMap(TruthWord.parse) }
  func number(_ name: String) throws -> Int? {
    guard let text = text(name) else { return nil }
    guard let number = Int(text), number >= 0 else { throw BuildError.usage("--\(name) \(text): expected a number") }
    return number
  }

  static func help(asBuildkitd: Bool) -> String {
    var out = """
      \(asBuildkitd ? "buildkitd, served by manifold: " : "")Serves BuildKit's protocol: docker buildx and buildctl build here as with buildkitd.

      USAGE: \(asBuildkitd ? "buildkitd" : "manifold daemon") [flags]

      Examples:
        manifold daemon --addr unix:///run/user/1000/buildkit/buildkitd.sock
        manifold daemon --addr tcp://127.0.0.1:1234 &
        docker buildx create --name mine --driver remote tcp://127.0.0.1:1234 && docker buildx --builder mine build .
        buildctl --addr tcp://127.0.0.1:1234 debug workers

      One daemon works on a root; other manifold commands may work on it at the same time. SIGTERM or SIGINT lets running builds finish for a while; a second one ends at once.

      FLAGS:

      """
    for definition in table where definition.isShown {
      let head = "  --\(definition.name)" + (definition.valueName.isEmpty ? "" : " <\(definition.valueName)>")
      out += head + (head.count < 38 ? String(repeating: " ", count: 38 - head.count) : "\n" + String(repeating: " ", count: 38)) + definition.help + "\n"
    }
    return out + "\nAll other flags of buildkitd are taken too; those that mean nothing here say so when they are given.\n"
  }
}
