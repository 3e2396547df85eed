import BuildDaemon
import BuildKitAPI
import BuildKitProto
import GRPCCore
import GRPCNIOTransportCore
import GRPCNIOTransportHTTP2Posix
import HostOS
import Testing

@Suite(.serialized) struct ListeningTests {
  static func start(_ folder: String, _ addresses: [String], _ change: (inout DaemonOptions) -> Void = { _ in }) async throws -> BuildDaemon {
    var options = DaemonOptions(addresses: addresses, log: DaemonLog(sink: { _ in }))
    change(&options)
    return try await BuildDaemon(engine: try await FakeEngine(root: folder), options: options, version: "1")
  }

  static func inFolder(_ body: (String) async throws -> Void) async throws {
    let folder = try Files.makeTemporaryDirectory(prefix: "manifold-listen-")
    defer { try? Files.removeTree(folder) }
    try await body(folder)
  }

  @Test func oneDaemonARootAndALiveSocketIsNotTaken() async throws {
    try await DaemonHarness.with { daemon in
      let second = await #expect(throws: DaemonError.self) { _ = try await Self.start(daemon.folder + "/root", ["unix://\(daemon.folder)/other.sock"]) }
      #expect(second?.code == .busy && second?.message.contains("another daemon works on") == true)
      let taken = await #expect(throws: DaemonError.self) { _ = try await Self.start(daemon.folder + "/other", ["unix://\(daemon.folder)/x.sock", "unix://\(daemon.socket)"]) }
      #expect(taken?.code == .busy)
      #expect(!Files.exists(daemon.folder + "/x.sock"))
      try await daemon.withClient { client in _ = try await client.control.info(.init()) }
    }
  }

  @Test func aDeadDaemonsSocketIsReplacedAndNoOtherFile() async throws {
    try await Self.inFolder { folder in
      _ = try Sockets.listen(at: "s", in: try Directory.open(folder))
      let daemon = try await Self.start(folder + "/root", ["unix://\(folder)/s"])
      daemon.removeSockets()
      #expect(!Files.exists(folder + "/s"))
      try Files.writeAtomically([1], to: folder + "/file")
      let error = await #expect(throws: DaemonError.self) { _ = try await Self.start(folder + "/root2", ["unix://\(folder)/file"]) }
      #expect(error?.message.contains("no socket") == true)
    }
  }

  @Test(arguments: ["tcp://0.0.0.0:0", "tcp://:0", "tcp://[::]:0"]) func plainTCPForOthersIsRefused(_ address: String) async throws {
    try await Self.inFolder { folder in
      let error = await #expect(throws: DaemonError.self) { _ = try await Self.start(folder, [address]) }
      #expect(error?.code == .setting && error?.suggestion?.contains("--insecure-listen") == true)
    }
  }

  @Test func unknownGroupsAndNothingInheritedAreSaid() async throws {
    try await Self.inFolder { folder in
      let group = await #expect(throws: DaemonError.self) { _ = try await Self.start(folder + "/a", ["unix://\(folder)/s"]) { $0.group = "no-such-group" } }
      #expect(group?.message == "there is no group \"no-such-group\"")
      let inherited = await #expect(throws: DaemonError.self) { _ = try await Self.start(folder + "/b", ["fd://"]) }
      #expect(inherited?.message.hasPrefix("no sockets found via socket activation") == true)
    }
  }

  @Test(.enabled(if: Processes.executablePath("openssl") != nil, "skipped: openssl is not installed"))
  func tlsWithClientsCertificates() async throws {
    try await Self.inFolder { folder in
      try await Certificates.make(in: folder)
      let tls = DaemonOptions.TLS(certificate: folder + "/server.pem", key: folder + "/server.key", authorities: folder + "/ca.pem")
      try await DaemonHarness.with { options in
        options.addresses += ["tcp://127.0.0.1:0"]
        options.tls = tls
      } _: { daemon in
        let port = try #require(daemon.daemon.addresses.last.flatMap { Int($0.split(separator: ":").last ?? "") })
        let target = ResolvableTargets.IPv4(addresses: [.init(host: "127.0.0.1", port: port)])
        func ask(_ security: HTTP2ClientTransport.Posix.TransportSecurity) async throws -> Bool {
          try await DaemonHarness.withClient(target, security: security) { client in
            var options = CallOptions.defaults
            options.timeout = .seconds(20)
            return try await client.control.info(.init(), options: options).hasBuildkitVersion
          }
        }
        let roots = TLSConfig.TrustRootsSource.certificates([.file(path: folder + "/ca.pem", format: .pem)])
        #expect(
          try await ask(
            .mTLS(certificateChain: [.file(path: folder + "/client.pem", format: .pem)], privateKey: .file(path: folder + "/client.key", format: .pem)) { $0.trustRoots = roots }))
        await #expect(throws: (any Error).self) { _ = try await ask(.tls { $0.trustRoots = roots }) }
        await #expect(throws: (any Error).self) { _ = try await ask(.plaintext) }
        // The socket beside it needs none, and the daemon lives.
        try await daemon.withClient { client in _ = try await client.control.info(.init()) }
      }
      let wrong = await #expect(throws: DaemonError.self) {
        _ = try await Self.start(folder + "/root2", ["tcp://127.0.0.1:0"]) { $0.tls = .init(certificate: folder + "/missing.pem", key: folder + "/server.key") }
      }
      #expect(wrong?.message.contains("missing.pem") == true)
    }
  }
}

enum Certificates {
  static func make(in folder: String) async throws {
    let script = """
      set -e; cd "$1"
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -subj /CN=tests -days 2
      for name in server client; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $name.key -out $name.csr -subj /CN=$name
        echo "subjectAltName=IP:127.0.0.1,DNS:localhost" > extensions
        openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $name.pem -days 2 -extfile extensions
      done
      """
    let made = try await Processes.run("sh", ["-c", script, "sh", folder])
    #expect(made.succeeded, "\(made.errorText)")
  }
}
