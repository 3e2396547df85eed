import BuildDaemon
import BuildInterface
import BuildKitAPI
import BuildKitProto
import BuildSession
import EmbeddedBackend
import GRPCCore
import GRPCNIOTransportCore
import GRPCNIOTransportHTTP2Posix
import HostOS
import Testing

/// The real engine behind a real socket, and a client with a session of its own: what docker buildx does, without it.
@Suite(.serialized) struct EndToEndTests {
  struct Files: FileTree {
    var files: [String: String]
    func walk(_ body: (FileEntry) throws -> Void) throws {
      for (name, text) in files.sorted(by: { $0.key < $1.key }) {
        try body(FileEntry(path: Array(name.utf8), mode: 0o644, size: Int64(text.utf8.count), modified: 1_000_000_000))
      }
    }
    func read(_ path: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
      try Array((files[String(decoding: path, as: UTF8.self)] ?? "").utf8).withUnsafeBytes(body)
    }
  }

  static func with(_ body: @Sendable (_ folder: String, DaemonClient) async throws -> Void) async throws {
    let folder = try HostOS.Files.makeTemporaryDirectory(prefix: "manifold-end-")
    defer { try? HostOS.Files.removeTree(folder) }
    // Without namespaces: nothing here runs a step.
    let engine = try await EmbeddedBackend(.init(root: folder + "/root", obstacle: "not in a test"), environment: ["HOME": folder])
    let daemon = try await BuildDaemon(engine: engine, options: DaemonOptions(addresses: ["unix://\(folder)/d.sock"], log: DaemonLog(sink: { _ in })), version: "1")
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await daemon.run() }
      do {
        try await DaemonHarness.withClient(.unixDomainSocket(path: folder + "/d.sock")) { client in try await body(folder, client) }
      } catch {
        daemon.stop()
        try await group.waitForAll()
        throw error
      }
      daemon.stop()
      try await group.waitForAll()
    }
    await engine.shutdown()
  }

  static func build(_ client: DaemonClient, _ files: [String: String], output: String, ref: String = "r") async throws -> (response: Moby_Buildkit_V1_SolveResponse, names: [String]) {
    try HostOS.Files.makeDirectories(output)
    let destination = try Directory.open(output)
    let tree = Files(files: files)
    let session = SessionServer(
      client: OfferlessClient(),
      services: [FileSyncService { _, _ in tree }, FileSendService { _, _ in .directory(destination, replaces: false) }])
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await session.run(over: client.control) }
      var request = Moby_Buildkit_V1_SolveRequest()
      request.ref = ref
      request.session = session.id
      request.frontend = "dockerfile.v0"
      var export = Moby_Buildkit_V1_Exporter()
      export.type = "local"
      request.exporters = [export]
      let solve = request
      async let names: [String] = client.control.status(ServingTests.status(ref)) { response in
        var out: [String] = []
        for try await message in response.messages { out += message.vertexes.filter(\.hasCompleted).map(\.name) }
        return out
      }
      let response = try await client.control.solve(solve)
      let seen = try await names
      group.cancelAll()
      return (response, seen)
    }
  }

  @Test func aDockerfileIsBuiltForAClient() async throws {
    try await Self.with { folder, client in
      let (_, names) = try await Self.build(client, ["Dockerfile": "FROM scratch\nCOPY hello /to/hello\n", "hello": "from afar"], output: folder + "/out")
      #expect(HostOS.Files.text(folder + "/out/to/hello") == "from afar")
      #expect(names.contains("[internal] load build definition from Dockerfile") && names.contains { $0.contains("COPY hello /to/hello") })
    }
  }

  @Test func aMistakeComesBackWithItsLines() async throws {
    try await Self.with { folder, client in
      let failure = await #expect(throws: RPCError.self) {
        _ = try await Self.build(client, ["Dockerfile": "FROM scratch\nCOPY nothing /\n"], output: folder + "/out")
      }
      let error = WireErrors.buildError(try #require(failure))
      #expect(error.sources.first?.lines == 2...2 && error.sources.first?.filename == "Dockerfile")
      #expect(error.description.contains("nothing"))
      // The daemon goes on.
      _ = try await client.control.info(.init())
    }
  }
}
