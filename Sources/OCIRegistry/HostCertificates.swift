internal import FoundationEssentials
internal import HostOS
internal import NIOSSL
internal import Synchronization

/// The certificates someone installed for one registry, as Docker and containerd lay them out (`certs.d/<host[:port]>/*.crt` are authorities,
/// `x.cert` with `x.key` a client certificate), and those that its settings name.
struct HostCertificates: Sendable {
  var authorities: [NIOSSLCertificate] = []
  var client: (chain: [NIOSSLCertificate], key: NIOSSLPrivateKey)?
  var isEmpty: Bool { authorities.isEmpty && client == nil }

  /// Blocks; call through `Blocking.run`. Throws `RegistryError(.tls)` for a file that is there but cannot be read as what it is, and for one
  /// that settings name and that is not there.
  init(directories: [String], settings: RegistryHostSettings = RegistryHostSettings(), authority: String) throws {
    var folders = settings.certificateDirectories
    if !authority.contains("/"), authority != "..", authority != "." { folders += directories.map { $0 + "/" + authority } }
    for path in settings.authorities { try add(authority: path, of: authority) }
    for pair in settings.keyPairs { try add(certificate: pair.certificate, key: pair.key, of: authority) }
    for folder in folders {
      guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { continue }
      for name in names.sorted() {
        let path = folder + "/" + name
        if name.hasSuffix(".crt") { try add(authority: path, of: authority) }
        guard name.hasSuffix(".cert") else { continue }
        let key = name.dropLast(5) + ".key"
        guard names.contains(String(key)) else {
          throw RegistryError(.tls, "the client certificate \(path) of the registry \(authority) has no key \(key) beside it", host: authority, advice: "Certificates of authorities end in .crt.")
        }
        try add(certificate: path, key: folder + "/" + key, of: authority)
      }
    }
  }

  private mutating func add(authority path: String, of host: String) throws {
    do { authorities += try NIOSSLCertificate.fromPEMFile(path) } catch { throw HostCertificates.unusable(path, host, error) }
  }

  /// The first pair is the one that is shown: the TLS library takes no choice of them.
  private mutating func add(certificate: String, key: String, of host: String) throws {
    guard client == nil else { return }
    do { client = (try NIOSSLCertificate.fromPEMFile(certificate), try NIOSSLPrivateKey(file: key, format: .pem)) } catch { throw HostCertificates.unusable("\(certificate) with \(key)", host, error) }
  }

  private static func unusable(_ path: String, _ host: String, _ error: any Error) -> RegistryError {
    RegistryError(.tls, "cannot use the certificate \(path) of the registry \(host)", host: host, cause: error)
  }

  /// `others` are trusted too.
  func configuration(verifies: Bool, roots: TrustedRoots, others: [NIOSSLCertificate] = []) -> TLSConfiguration {
    var tls = roots.configuration
    if !verifies { tls.certificateVerification = .none }
    if !authorities.isEmpty || !others.isEmpty { tls.additionalTrustRoots.append(.certificates(authorities + others)) }
    if let client {
      tls.certificateChain = client.chain.map { .certificate($0) }
      tls.privateKey = .privateKey(client.key)
    }
    return tls
  }
}

/// Which authorities are trusted for everything: the system's, and what SSL_CERT_FILE and SSL_CERT_DIR (folders, separated by colons) name, as
/// Go programs read them: each stands for one of the system's two places. The system's bundle holds what its folder holds, so only both together
/// put the system's own away.
struct TrustedRoots: Sendable {
  private var named: [NIOSSLCertificate] = []
  private var replacesSystem = false

  static let maximumFiles = 4096

  /// Blocks. What cannot be read is passed over, as Go does.
  init(_ environment: [String: String]) {
    let file = environment["SSL_CERT_FILE"] ?? "", folders = (environment["SSL_CERT_DIR"] ?? "").split(separator: ":").map(String.init)
    var paths = file.isEmpty ? [] : [file]
    for folder in folders {
      guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { continue }
      paths += names.sorted().prefix(TrustedRoots.maximumFiles).map { folder + "/" + $0 }
    }
    // Folders that `c_rehash` made hold each certificate twice.
    var seen: Set<[UInt8]> = []
    for path in paths {
      for certificate in (try? NIOSSLCertificate.fromPEMFile(path)) ?? [] {
        if let bytes = try? certificate.toDERBytes(), seen.insert(bytes).inserted { named.append(certificate) }
      }
    }
    replacesSystem = !file.isEmpty && !folders.isEmpty
  }

  var configuration: TLSConfiguration {
    var tls = TLSConfiguration.makeClientConfiguration()
    if replacesSystem { tls.trustRoots = .certificates(named) } else if !named.isEmpty { tls.additionalTrustRoots = [.certificates(named)] }
    return tls
  }

  /// Read once a client.
  final class Cache: Sendable {
    private let environment: [String: String]
    private let known = Mutex<TrustedRoots?>(nil)
    init(_ environment: [String: String]) { self.environment = environment }

    func roots() async throws -> TrustedRoots {
      if let known = known.withLock({ $0 }) { return known }
      let environment = environment
      let read = try await Blocking.run { TrustedRoots(environment) }
      known.withLock { $0 = read }
      return read
    }
  }
}
