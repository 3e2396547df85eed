import Foundation
import HostOS
import OCIModel
import Testing

@testable import DockerEngine

@Suite struct EndpointTests {
  private func home(_ files: [String: String]) throws -> String {
    let path = try Files.makeTemporaryDirectory(prefix: "docker-")
    for (name, text) in files {
      try Files.makeDirectories((path + "/.docker/" + name as NSString).deletingLastPathComponent)
      try Files.writeAtomically(Array(text.utf8), to: path + "/.docker/" + name, durable: false)
    }
    return path
  }

  @Test func addresses() throws {
    let cases: [(String, DockerEndpoint.Address, Bool)] = [
      ("unix:///run/d.sock", .unix(path: "/run/d.sock"), false), ("tcp://10.0.0.1", .tcp(host: "10.0.0.1", port: 2375), false), ("tcp://h:99/", .tcp(host: "h", port: 99), false),
      ("tcp://[::1]:1234", .tcp(host: "::1", port: 1234), false), ("https://h", .tcp(host: "h", port: 2376), true), ("http://h:1", .tcp(host: "h", port: 1), false),
    ]
    for (text, address, isSecure) in cases {
      let endpoint = try DockerEndpoint.parse(text, source: "DOCKER_HOST")
      #expect(endpoint.address == address && (endpoint.tls != nil) == isSecure, "\(text)")
    }
    for (text, says) in [("unix://run/d", "not absolute"), ("ssh://h", "over ssh are not supported yet"), ("npipe:////./pipe", "no way to reach"), ("h:1", "not an address"), ("tcp://:1", "not a host"), ("tcp://h:x", "not a host")] {
      #expect { try DockerEndpoint.parse(text, source: "DOCKER_HOST") } throws: { ($0 as? DockerError)?.code == .configuration && "\($0)".contains(says) }
    }
  }

  @Test func whatIsNamedWins() throws {
    let id = Digest.sha256(of: "far").hex
    let home = try home([
      "config.json": #"{"currentContext":"far"}"#, "contexts/meta/\(id)/meta.json": #"{"Name":"far","Endpoints":{"docker":{"Host":"tcp://far:1","SkipTLSVerify":true}}}"#,
      "contexts/tls/\(id)/docker/ca.pem": "x",
    ])
    defer { try? Files.removeTree(home) }
    let far = try DockerEndpoint.find(environment: ["HOME": home])
    #expect(far.address == .tcp(host: "far", port: 1) && far.source == "the Docker context \"far\"")
    #expect(far.tls == DockerEndpoint.TLS(authority: "\(home)/.docker/contexts/tls/\(id)/docker/ca.pem", isVerified: false))
    #expect(try DockerEndpoint.find(environment: ["HOME": home, "DOCKER_HOST": "unix:///x"]).address == .unix(path: "/x"))
    #expect(try DockerEndpoint.find(environment: ["HOME": home, "DOCKER_HOST": "unix:///x"], context: "far").address == .tcp(host: "far", port: 1))
    #expect(try DockerEndpoint.find(environment: ["HOME": home, "DOCKER_CONTEXT": "default"]).source.contains("socket"))
    #expect { try DockerEndpoint.find(environment: ["HOME": home], context: "gone") } throws: { "\($0)".contains("there is no Docker context \"gone\"") }
    let secure = try DockerEndpoint.find(environment: ["HOME": home, "DOCKER_HOST": "tcp://h", "DOCKER_TLS_VERIFY": "1"])
    #expect(secure.tls == DockerEndpoint.TLS(isVerified: true) && secure.address == .tcp(host: "h", port: 2376))
  }
}
