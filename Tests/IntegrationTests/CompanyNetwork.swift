import Foundation
import HostOS
import TestSupport
import Testing

/// A registry with TLS and a password, signed by an authority that nobody knows, behind a proxy that alone knows its name: `registry.test`. The user is "me", the password "secret".
struct CompanyNetwork: Sendable {
  let environment: Environment
  let registry: RegistryProcess
  let proxy: TestProxy
  /// The authority's certificate.
  let authority: String

  /// What a command on this network has in its environment.
  var variables: [String: String] { ["HTTPS_PROXY": proxy.address, "http_proxy": proxy.address, "DOCKER_CONFIG": environment.scratch + "/docker"] }

  func run(_ arguments: [String], _ more: [String: String] = [:], input: String = "") async throws -> ProcessOutput {
    try await environment.tool.run(arguments, environment: variables.merging(more) { $1 }, input: Array(input.utf8))
  }

  /// Writes a file of the scratch folder; answers its path.
  func file(_ name: String, _ text: String) throws -> String { try environment.file(name, text) }

  static func with(needs programs: [String] = [], _ body: (CompanyNetwork) async throws -> Void) async throws {
    try await withEnvironment(needs: ["openssl"] + programs) { environment in
      let tls = try await Certificates.make(in: environment.scratch + "/tls")
      let registry = try await RegistryProcess.start(in: environment.scratch, access: .password, name: "company", tls: tls)
      let port = try #require(Int(registry.host.split(separator: ":")[1])), plain = try #require(Int(environment.registry.host.split(separator: ":")[1]))
      let proxy = try await TestProxy.start(["registry.test:443": port, "plain.test:80": plain])
      var failure: (any Error)?
      do { try await body(CompanyNetwork(environment: environment, registry: registry, proxy: proxy, authority: tls + "/ca.pem")) } catch { failure = error }
      await proxy.stop()
      registry.stop()
      if let failure { throw failure }
    }
  }

  /// The base image, put into the registry past the proxy; its name.
  func base() async throws -> String {
    let layout = try await BaseImage.shared.layout(BaseImage.usual)
    try await checked(
      "skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "--dest-creds", "me:secret", "--dest-tls-verify=false", "oci:\(layout):latest", "docker://\(registry.host)/base:latest"])
    return "registry.test/base:latest"
  }
}

extension Environment {
  /// Writes a file of the scratch folder; answers its path.
  func file(_ name: String, _ text: String, mode: UInt32 = 0o644) throws -> String {
    let path = "\(scratch)/\(name)"
    try Files.makeDirectories((path as NSString).deletingLastPathComponent)
    try Files.writeAtomically(Array(text.utf8), to: path, mode: mode, durable: false)
    return path
  }
}

/// Certificates by openssl.
enum Certificates {
  /// An authority (`ca.pem`) and a server's pair for registry.test and localhost (`server.pem`, `server.key`) in a new folder; answers it.
  static func make(in folder: String) async throws -> String {
    try Files.makeDirectories(folder)
    let script = #"""
      set -e; cd "$1"
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -subj "/CN=tests" -days 3650
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj "/CN=registry.test"
      printf 'subjectAltName=DNS:registry.test,DNS:localhost\n' > extensions
      openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 3650 -extfile extensions
      """#
    try await checked("sh", ["-c", script, "sh", folder])
    return folder
  }
}
