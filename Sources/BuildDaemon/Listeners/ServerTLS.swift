internal import NIOSSL

/// The daemon's certificate, and who vouches for its clients.
enum ServerTLS {
  /// Blocks: reads the files.
  static func context(_ tls: DaemonOptions.TLS) throws -> NIOSSLContext {
    func read<T>(_ what: String, _ path: String, _ body: () throws -> T) throws -> T {
      do { return try body() } catch { throw DaemonError(.setting, "cannot use the \(what) \(path)", cause: error) }
    }
    let chain = try read("certificate", tls.certificate) { try NIOSSLCertificate.fromPEMFile(tls.certificate) }
    if chain.isEmpty { throw DaemonError(.setting, "there is no certificate in \(tls.certificate)") }
    let key = try read("key", tls.key) { try NIOSSLPrivateKey(file: tls.key, format: .pem) }
    var configuration = TLSConfiguration.makeServerConfiguration(certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
    configuration.minimumTLSVersion = .tlsv12
    configuration.applicationProtocols = ["h2"]
    if !tls.authorities.isEmpty {
      let authorities = try read("authorities of clients", tls.authorities) { try NIOSSLCertificate.fromPEMFile(tls.authorities) }
      if authorities.isEmpty { throw DaemonError(.setting, "there is no certificate in \(tls.authorities)") }
      configuration.trustRoots = .certificates(authorities)
      // A client has no name that could be checked; one that no authority vouches for, or that shows no certificate, is refused.
      configuration.certificateVerification = .noHostnameVerification
    }
    do { return try NIOSSLContext(configuration: configuration) } catch {
      throw DaemonError(.setting, "the certificate \(tls.certificate) and the key \(tls.key) cannot be used together", cause: error)
    }
  }
}
