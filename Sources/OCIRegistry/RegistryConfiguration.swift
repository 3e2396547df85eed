internal import FoundationEssentials

/// How a `RegistryClient` behaves. The defaults suit a build on a developer's machine or in CI.
public struct RegistryConfiguration: Sendable {
  /// Hosts (`host` or `host:port`, as in references) that may be reached by TLS without verification and by plain HTTP.
  /// Loopback hosts (`localhost`, 127.0.0.0/8, `[::1]`) need not be named.
  public var insecureHosts: Set<String>
  /// Blob transfers at once to and from one registry.
  public var maximumTransfersPerHost: Int
  /// Blob transfers at once in all.
  public var maximumTransfers: Int
  /// Manifest, HEAD and token requests at once to one host.
  public var maximumRequestsPerHost: Int
  public var retry: RetryPolicy
  /// The `User-Agent` field.
  public var userAgent: String
  /// A connection that is not there after so many seconds is tried again.
  public var connectTimeoutSeconds: Double
  /// A transfer is taken up anew after so many seconds without a byte; also how long a registry may take to answer.
  public var idleTimeoutSeconds: Double
  /// Blobs larger than this are uploaded in chunks from the beginning: object stores refuse larger single requests.
  public var chunkedUploadThreshold: Int64
  /// Bytes of one chunk, unless the registry asks for more (`OCI-Chunk-Min-Length`).
  public var uploadChunkSize: Int
  /// Remembers half-sent blobs; nil for a client that begins anew each time.
  public var uploads: (any UploadMemory)?
  /// Where uploads are remembered, blobs larger than this go in chunks from the beginning: what a registry keeps of a broken request is its secret, what it keeps of
  /// chunks before is known.
  public var resumableUploadThreshold: Int64
  /// What someone set for single registries, by `host[:port]` as in references (`docker.io`), and for the mirrors among them.
  public var registries: [String: RegistryHostSettings]
  /// Folders that hold one folder a `host[:port]` with `*.crt` (authorities), and `*.cert` with `*.key` (client certificates).
  public var certificateDirectories: [String]
  /// The environment that proxies, `SSL_CERT_FILE` and `SSL_CERT_DIR` are read from.
  public var environment: [String: String]
  /// Proxies for what the environment does not say, by its names: `HTTPS_PROXY`.
  public var proxies: [String: String]
  /// Told what registries say in `Warning` fields (distribution-spec, "Warnings"): host and text. Called from any task.
  public var onWarning: (@Sendable (_ host: String, _ text: String) -> Void)?
  /// Told of retries that no `RegistryRetry.observer` is told of. Called from any task.
  public var onRetry: (@Sendable (RegistryRetry) -> Void)?
  /// Told what happens that is no error: a mirror was used, or passed over. Each notice once a client. Called from any task.
  public var onNotice: (@Sendable (RegistryNotice) -> Void)?

  public init(insecureHosts: Set<String> = [], environment: [String: String] = RegistryConfiguration.processEnvironment) {
    self.insecureHosts = insecureHosts
    maximumTransfersPerHost = 6
    maximumTransfers = 16
    maximumRequestsPerHost = 10
    retry = RetryPolicy()
    userAgent = "manifold"
    connectTimeoutSeconds = 15
    idleTimeoutSeconds = 120
    chunkedUploadThreshold = 5 << 30
    uploadChunkSize = 64 << 20
    uploads = nil
    resumableUploadThreshold = 128 << 20
    registries = [:]
    certificateDirectories = RegistryConfiguration.certificateDirectories(environment)
    proxies = [:]
    self.environment = environment
    onWarning = nil
    onRetry = nil
    onNotice = nil
  }

  /// Where Docker (also without root, and its desktop), podman and containerd look for a registry's certificates; the person's own first.
  static func certificateDirectories(_ environment: [String: String]) -> [String] {
    var folders: [String] = []
    let home = environment["HOME"] ?? ""
    let configuration = environment["XDG_CONFIG_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? (home.isEmpty ? "" : home + "/.config")
    if !configuration.isEmpty { folders += [configuration + "/docker/certs.d", configuration + "/containers/certs.d"] }
    if !home.isEmpty { folders.append(home + "/.docker/certs.d") }
    return folders + ["/etc/docker/certs.d", "/etc/containers/certs.d", "/etc/containerd/certs.d"]
  }

  /// The environment of this process.
  public static var processEnvironment: [String: String] { ProcessInfo.processInfo.environment }
}
