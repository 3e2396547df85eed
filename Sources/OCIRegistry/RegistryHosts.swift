internal import HostOS
internal import NIOHTTP1
package import NIOSSL
internal import Synchronization

/// One way a registry may be reachable.
package struct RegistryCandidate: Hashable, Sendable {
  package var scheme: RegistryURL.Scheme
  package var verifiesCertificate: Bool
  package init(_ scheme: RegistryURL.Scheme, verifiesCertificate: Bool = true) {
    self.scheme = scheme
    self.verifiesCertificate = verifiesCertificate
  }

  /// What to try for a host, in order. Loopback hosts speak plain HTTP unless someone installed certificates for them;
  /// hosts named insecure on the command line are tried by TLS without verification before plain HTTP, as Docker does; all others only by verified
  /// TLS. Settings say it as in BuildKit: `http` is plain HTTP, `insecure` TLS with any certificate, both together the one after the other.
  package static func list(for domain: String, isInsecure: Bool, hasCertificates: Bool, settings: RegistryHostSettings = RegistryHostSettings()) -> [RegistryCandidate] {
    guard let url = RegistryURL(scheme: .https, authority: domain) else { return [] }
    let plain = RegistryCandidate(.http), verified = RegistryCandidate(.https), unverified = RegistryCandidate(.https, verifiesCertificate: false)
    if isInsecure { return [unverified, plain] }
    if settings.isInsecure == true { return settings.plainHTTP ?? LoopbackHosts.contains(url.host) ? [unverified, plain] : [unverified] }
    if let isPlain = settings.plainHTTP { return [isPlain ? plain : verified] }
    if LoopbackHosts.contains(url.host) {
      if hasCertificates { return [verified, plain] }
      return url.port == 443 ? [unverified, plain] : [plain, unverified]
    }
    return [verified]
  }
}

/// Where a registry is, once known.
package struct RegistryEndpoint: Sendable {
  /// Path `/`.
  package var base: RegistryURL
  package var tls: TLSConfiguration?
  /// Whether plain HTTP may be used around it, for its token server and for redirects, because the user named it insecure.
  package var allowsPlainHTTP: Bool
}

/// Finds out how to reach registries, and with which certificates. Answers are kept for the life of the client.
final class RegistryHosts: Sendable {
  private struct Found: Sendable {
    var endpoint: RegistryEndpoint
    var challenges: [AuthChallenge]
  }
  private let configuration: RegistryConfiguration
  private let transport: RegistryTransport
  private let known = Mutex<[String: Found]>([:])
  private let certificates = Mutex<[String: HostCertificates]>([:])
  private let roots: TrustedRoots.Cache
  private let probes = SharedWork<String, Found, Never>()

  init(_ configuration: RegistryConfiguration, _ transport: RegistryTransport) {
    self.configuration = configuration
    self.transport = transport
    roots = TrustedRoots.Cache(configuration.environment)
  }

  /// The network name of a reference's domain.
  static func address(of domain: String) -> String { domain == "docker.io" || domain == "index.docker.io" ? "registry-1.docker.io" : domain }

  func isInsecure(_ authority: String) -> Bool {
    let host = RegistryURL(scheme: .https, authority: authority)?.host ?? authority
    return configuration.insecureHosts.contains(authority) || configuration.insecureHosts.contains(host)
  }

  private func settings(_ authority: String) -> RegistryHostSettings? { configuration.registries[authority] }

  /// Named insecure anywhere: what it sends us to may be so too.
  private func allowsAnything(_ authority: String) -> Bool {
    isInsecure(authority) || settings(authority)?.isInsecure == true
  }

  /// The endpoint, and the challenges its first answer held where one was needed to tell (empty otherwise).
  func endpoint(for domain: String) async throws -> (RegistryEndpoint, [AuthChallenge]) {
    if let found = known.withLock({ $0[domain] }) { return (found.endpoint, found.challenges) }
    while true {
      let outcome = try await probes.run(domain, observer: { _ in }) { _ in try await self.find(domain) }
      switch outcome {
      case .own(let found), .joined(let found): return (found.endpoint, found.challenges)
      case .joinedFailure(let error): if !(error is CancellationError) { throw error }
      }
    }
  }

  private func find(_ domain: String) async throws -> Found {
    let address = RegistryHosts.address(of: domain)
    let settings = settings(domain) ?? settings(address) ?? RegistryHostSettings()
    let own = try await hostCertificates(address, settings), roots = try await roots.roots()
    let isNamedInsecure = isInsecure(domain) || isInsecure(address)
    let candidates = RegistryCandidate.list(for: address, isInsecure: isNamedInsecure, hasCertificates: !own.isEmpty, settings: settings)
    guard !candidates.isEmpty else { throw RegistryError(.network, "\"\(domain)\" is not a registry's address", host: domain) }
    let allowsPlain = isNamedInsecure || settings.plainHTTP == true || settings.isInsecure == true
    var failures: [(RegistryCandidate, any Error)] = []
    for (i, candidate) in candidates.enumerated() {
      guard let base = RegistryURL(scheme: candidate.scheme, authority: address) else { continue }
      let tls = candidate.scheme == .https ? own.configuration(verifies: candidate.verifiesCertificate, roots: roots) : nil
      let endpoint = RegistryEndpoint(base: base, tls: tls, allowsPlainHTTP: allowsPlain)
      if candidates.count == 1 { return remember(domain, Found(endpoint: endpoint, challenges: [])) }
      do {
        if let challenges = try await probe(endpoint) { return remember(domain, Found(endpoint: endpoint, challenges: challenges)) }
        failures.append((candidate, TransportFailure(kind: .tls, description: "it wants TLS")))
      } catch is CancellationError {
        throw CancellationError()
      } catch {
        failures.append((candidate, error))
        // On the same explicit port, nobody listening is nobody listening.
        if let failure = error as? TransportFailure, [.refused, .unknownHost, .shutDown].contains(failure.kind), base.port != nil || failure.kind != .refused { break }
      }
      if i == candidates.count - 1 { break }
    }
    throw RegistryHosts.unreachable(domain, failures)
  }

  private func remember(_ domain: String, _ found: Found) -> Found {
    known.withLock { $0[domain] = found }
    return found
  }

  /// nil when a TLS server complained about plain HTTP.
  private func probe(_ endpoint: RegistryEndpoint) async throws -> [AuthChallenge]? {
    var url = endpoint.base
    url.path = "/v2/"
    var attempt = 1
    while true {
      do {
        let response = try await transport.send(RegistryRequest(.GET, url), tls: endpoint.tls)
        let body = (try? await response.collect(limit: RegistryErrorBody.limit)) ?? []
        if response.status == 400, endpoint.base.scheme == .http, String(decoding: body.prefix(4096), as: UTF8.self).contains("HTTPS") { return nil }
        return response.status == 401 ? AuthChallenge.parse(response.headers["WWW-Authenticate"]) : []
      } catch let failure as TransportFailure where failure.kind == .broken && attempt < 2 {
        attempt += 1
      }
    }
  }

  private static func unreachable(_ domain: String, _ failures: [(RegistryCandidate, any Error)]) -> any Error {
    let kinds = failures.compactMap { ($0.1 as? TransportFailure)?.kind }
    if kinds.contains(.shutDown) { return RegistryError(.shutDown, "the registry client has been shut down", host: domain) }
    let text = failures.map { "by \($0.0.scheme == .https ? "TLS" : "plain HTTP"): \($0.1)" }.joined(separator: "; ")
    let refused = kinds.contains(.refused)
    return RegistryError(
      kinds.first == .tls && kinds.count == 1 ? .tls : .network, "cannot reach the registry \(domain): \(text)", host: domain,
      advice: refused ? "Is the registry running, and is its port right?" : "")
  }

  /// Whether a registry may send us to `url` if that means plain HTTP: only where it or its goal was named insecure, or from this machine to this machine.
  func allowsPlainHTTP(to url: RegistryURL, from endpoint: RegistryEndpoint) -> Bool {
    endpoint.allowsPlainHTTP || allowsAnything(url.authority) || settings(url.authority)?.plainHTTP == true
      || (LoopbackHosts.contains(endpoint.base.host) && LoopbackHosts.contains(url.host))
  }

  /// The TLS settings for an address that the registry `domain` sends us to, in a redirect or as its token server: its own, and the registry's authorities,
  /// which a company's servers share. The registry's client certificate is not shown to others.
  func settings(for url: RegistryURL, of domain: String) async throws -> TLSConfiguration? {
    guard url.scheme == .https else { return nil }
    let address = RegistryHosts.address(of: domain)
    let own = try await hostCertificates(url.authority, settings(url.authority) ?? RegistryHostSettings())
    let registry = try await hostCertificates(address, settings(domain) ?? settings(address) ?? RegistryHostSettings())
    let trusts = allowsAnything(url.authority) || allowsAnything(domain) || allowsAnything(address) || (LoopbackHosts.contains(url.host) && own.isEmpty && registry.isEmpty)
    return own.configuration(verifies: !trusts, roots: try await roots.roots(), others: registry.authorities)
  }

  private func hostCertificates(_ authority: String, _ settings: RegistryHostSettings) async throws -> HostCertificates {
    if let known = certificates.withLock({ $0[authority] }) { return known }
    let directories = configuration.certificateDirectories
    let found = try await Blocking.run { try HostCertificates(directories: directories, settings: settings, authority: authority) }
    certificates.withLock { $0[authority] = found }
    return found
  }
}
