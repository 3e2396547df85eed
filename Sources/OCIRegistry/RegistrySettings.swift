/// What someone set for one registry: a `[registry."host"]` section of `buildkitd.toml`.
public struct RegistryHostSettings: Hashable, Sendable {
  /// A client certificate and its key, paths of PEM files.
  public struct KeyPair: Hashable, Sendable {
    /// The private key's file.
    public var key: String
    /// The file of the certificate, with those between it and its authority.
    public var certificate: String
    /// Paths, read when the registry is first asked.
    public init(key: String, certificate: String) {
      self.key = key
      self.certificate = certificate
    }
  }

  /// Asked in this order before the registry itself, for what is read; never written to.
  public var mirrors: [RegistryMirror] = []
  /// Plain HTTP, or never; nil leaves it to what is usual: this machine's registries are tried so.
  public var plainHTTP: Bool?
  /// Whether its certificate may be anything.
  public var isInsecure: Bool?
  /// PEM files of authorities that are trusted besides the system's.
  public var authorities: [String] = []
  /// Offered to a registry that asks for a client's certificate; one that cannot be read is an error.
  public var keyPairs: [KeyPair] = []
  /// Folders with `*.crt`, and `*.cert` with `*.key`, for this registry.
  public var certificateDirectories: [String] = []

  /// Nothing is set: what is usual holds.
  public init() {}
}

/// Another registry that may have what a registry has.
public struct RegistryMirror: Hashable, Sendable, CustomStringConvertible {
  /// `host[:port]`.
  public var host: String
  /// What its repositories' names begin with: `/project`; empty for a whole registry's mirror.
  public var path: String

  /// As written in a configuration: `mirror.example:5000/project`; a scheme before it is passed over. nil for what is no registry's address.
  public init?(_ text: String) {
    var rest = text[...]
    if let mark = rest.firstRange(of: "://") { rest = rest[mark.upperBound...] }
    while rest.hasSuffix("/") { rest.removeLast() }
    let end = rest.firstIndex(of: "/") ?? rest.endIndex
    let path = String(rest[end...])
    guard RegistryURL(scheme: .https, authority: String(rest[..<end])) != nil, path.split(separator: "/").allSatisfy({ $0 != "." && $0 != ".." }),
      path.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x3f && $0 != 0x23 && $0 != 0x25 })
    else { return nil }
    self.host = String(rest[..<end])
    self.path = path
  }

  /// As `init(_:)` takes it.
  public var description: String { host + path }
}

/// What a client has to say that is no error.
public enum RegistryNotice: Hashable, Sendable, CustomStringConvertible {
  /// A name was looked up at a mirror.
  case mirrored(reference: String, mirror: String)
  /// A mirror was passed over, for another reason than that it lacks what was asked for.
  case mirrorFailed(mirror: String, registry: String, reason: String)

  /// One sentence, without a full stop.
  public var description: String {
    switch self {
    case .mirrored(let reference, let mirror): "\(reference): from the mirror \(mirror)"
    case .mirrorFailed(let mirror, let registry, let reason): "the mirror \(mirror) of \(registry) is passed over: \(reason)"
    }
  }
}
