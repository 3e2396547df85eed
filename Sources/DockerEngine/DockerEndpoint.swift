internal import HostOS
internal import OCIModel

/// Where a Docker engine is, found as Docker's own client finds it: DOCKER_HOST, then the context that DOCKER_CONTEXT or `docker context use` names,
/// then the socket of this machine (the system's, or the user's own of a rootless engine).
package struct DockerEndpoint: Sendable, Hashable {
  package enum Address: Sendable, Hashable {
    case unix(path: String)
    case tcp(host: String, port: Int)
  }
  /// Files in PEM; empty when none is used.
  package struct TLS: Sendable, Hashable {
    package var authority = ""
    package var certificate = ""
    package var key = ""
    package var isVerified = true
    package init(authority: String = "", certificate: String = "", key: String = "", isVerified: Bool = true) {
      (self.authority, self.certificate, self.key, self.isVerified) = (authority, certificate, key, isVerified)
    }
  }
  package var address: Address
  /// nil: plain.
  package var tls: TLS?
  /// Who named it, for messages: `DOCKER_HOST`, `the Docker context "x"`, `the default socket`.
  package var source: String

  package init(_ address: Address, tls: TLS? = nil, source: String) { (self.address, self.tls, self.source) = (address, tls, source) }

  /// As in DOCKER_HOST.
  package var text: String {
    switch address {
    case .unix(let path): "unix://\(path)"
    case .tcp(let host, let port): "tcp://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
  }

  // MARK: - Finding it

  /// `context` names a Docker context, whatever the environment says. Reads files: blocks. Throws `DockerError.configuration`.
  package static func find(environment: [String: String], context named: String? = nil) throws -> DockerEndpoint {
    let folder = environment["DOCKER_CONFIG"].flatMap { $0.isEmpty ? nil : $0 } ?? (environment["HOME"] ?? "") + "/.docker"
    var context = named ?? ""
    if context.isEmpty {
      if let host = environment["DOCKER_HOST"], !host.isEmpty { return try parse(host, tls: tls(environment, folder), source: "DOCKER_HOST") }
      context = environment["DOCKER_CONTEXT"] ?? ""
    }
    if context.isEmpty { context = try currentContext(folder) }
    guard context != "default", !context.isEmpty else { return local(environment) }
    return try stored(context, folder)
  }

  private static func local(_ environment: [String: String]) -> DockerEndpoint {
    let system = "/var/run/docker.sock"
    if !Files.exists(system), let runtime = environment["XDG_RUNTIME_DIR"], !runtime.isEmpty, Files.exists(runtime + "/docker.sock") {
      return DockerEndpoint(.unix(path: runtime + "/docker.sock"), source: "the user's own socket")
    }
    return DockerEndpoint(.unix(path: system), source: "the default socket")
  }

  private static func tls(_ environment: [String: String], _ folder: String) -> TLS? {
    let verifies = !(environment["DOCKER_TLS_VERIFY"] ?? "").isEmpty
    let path = environment["DOCKER_CERT_PATH"].flatMap { $0.isEmpty ? nil : $0 }
    guard verifies || path != nil else { return nil }
    return files(in: path ?? folder, verified: verifies)
  }

  private static func files(in folder: String, verified: Bool) -> TLS {
    func present(_ name: String) -> String { Files.exists("\(folder)/\(name)") ? "\(folder)/\(name)" : "" }
    return TLS(authority: present("ca.pem"), certificate: present("cert.pem"), key: present("key.pem"), isVerified: verified)
  }

  private static func currentContext(_ folder: String) throws -> String {
    let path = folder + "/config.json"
    guard Files.exists(path) else { return "" }
    do { return try JSONValue(parsing: Files.read(path, limit: 1 << 20))["currentContext"]?.stringValue ?? "" } catch {
      throw DockerError(.configuration, "cannot read \(path)", cause: error)
    }
  }

  /// Docker's context store: a folder a context, named by the hash of its name.
  private static func stored(_ name: String, _ folder: String) throws -> DockerEndpoint {
    let id = Digest.sha256(of: name).hex
    let path = "\(folder)/contexts/meta/\(id)/meta.json"
    guard Files.exists(path) else {
      throw DockerError(.configuration, "there is no Docker context \"\(name)\"", advice: "docker context ls shows those there are; without docker, set DOCKER_HOST.")
    }
    let endpoint: JSONValue?
    do { endpoint = try JSONValue(parsing: Files.read(path, limit: 1 << 20))["Endpoints"]?["docker"] } catch {
      throw DockerError(.configuration, "cannot read the Docker context \"\(name)\" (\(path))", cause: error)
    }
    let source = "the Docker context \"\(name)\""
    guard let host = endpoint?["Host"]?.stringValue, !host.isEmpty else { throw DockerError(.configuration, "\(source) names no Docker engine") }
    let skips = endpoint?["SkipTLSVerify"] == .bool(true)
    let certificates = "\(folder)/contexts/tls/\(id)/docker"
    return try parse(host, tls: Files.exists(certificates) || skips ? files(in: certificates, verified: !skips) : nil, source: source)
  }

  /// An address as DOCKER_HOST has it.
  package static func parse(_ text: String, tls: TLS? = nil, source: String) throws -> DockerEndpoint {
    func refused(_ why: String) -> DockerError { DockerError(.configuration, "\(source): \(text): \(why)", advice: "Engines are reached at unix:///path/to/docker.sock or tcp://host:port.") }
    guard let mark = text.range(of: "://") else { throw refused("not an address") }
    let rest = String(text[mark.upperBound...])
    switch text[..<mark.lowerBound] {
    case "unix":
      guard rest.hasPrefix("/") else { throw refused("the socket's path is not absolute") }
      return DockerEndpoint(.unix(path: rest), source: source)
    case "tcp", "http", "https":
      let isSecure = tls != nil || text.hasPrefix("https")
      let (host, port) = try hostAndPort(rest.split(separator: "/", omittingEmptySubsequences: false).first.map(String.init) ?? "", isSecure ? 2376 : 2375, refused)
      return DockerEndpoint(.tcp(host: host, port: port), tls: tls ?? (isSecure ? TLS() : nil), source: source)
    case "ssh": throw refused("engines over ssh are not supported yet; forward the socket: ssh -L /tmp/docker.sock:/var/run/docker.sock HOST, and DOCKER_HOST=unix:///tmp/docker.sock")
    default: throw refused("no way to reach an engine goes by \(text[..<mark.lowerBound])")
    }
  }

  private static func hostAndPort(_ text: String, _ usual: Int, _ refused: (String) -> DockerError) throws -> (String, Int) {
    var (host, port) = (text, usual)
    if text.hasPrefix("["), let close = text.firstIndex(of: "]") {
      host = String(text[text.index(after: text.startIndex)..<close])
      let rest = text[text.index(after: close)...]
      if rest.hasPrefix(":") { port = Int(rest.dropFirst()) ?? -1 }
    } else if let colon = text.lastIndex(of: ":") {
      (host, port) = (String(text[..<colon]), Int(text[text.index(after: colon)...]) ?? -1)
    }
    guard !host.isEmpty, (1...65535).contains(port) else { throw refused("not a host and port") }
    return (host, port)
  }
}

extension String {
  fileprivate func range(of text: String) -> Range<String.Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
      start = index(after: start)
    }
    return nil
  }
}
