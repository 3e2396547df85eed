import BuildInterface
import BuildKitAPI
import BuildKitProto
import BuildSession
import Foundation
import GRPCCore
import HostOS
import OCIModel
import Synchronization
import Testing

/// A client of what a test says.
struct FakeClient: ClientServices, FileService, SecretService, CredentialService, ExportService, AgentService, UploadService, LayoutService {
  var known: [String: [UInt8]] = [:]
  var logins: [String: BuildCredential] = [:]
  var tokens: [String: String]?
  var agentIDs: Set<String> = []
  var streams: [String: [UInt8]] = [:]
  var directories: [String: String] = [:]

  var files: any FileService { self }
  var secrets: any SecretService { self }
  var credentials: any CredentialService { self }
  var exports: any ExportService { self }
  var agents: any AgentService { self }
  var uploads: any UploadService { self }
  var layouts: any LayoutService { self }

  func directory(named name: String) async throws -> LocalDirectory { throw BuildError(.notFound, .usage, "no directory \(name)") }
  func secret(id: String) async throws -> [UInt8]? { known[id] }
  func credential(host: String) async throws -> BuildCredential? { logins[host] }
  func fetchesTokens(host: String) async throws -> Bool { tokens != nil }
  func token(_ request: TokenRequest) async throws -> FetchedToken {
    guard let token = tokens?[request.host] else { throw BuildError(.permissionDenied, .registry, "no token for \(request.host)") }
    return FetchedToken(token: token + request.scopes.joined(separator: "+"), lifetime: 300)
  }
  func target(id: String) async throws -> ExportTarget { throw BuildError(.notFound, .usage, "no output \(id)") }
  func hasAgent(id: String) async throws -> Bool { agentIDs.contains(id) }
  /// Sends back what it gets, in reverse.
  func serve(id: String, connection: Int32) {
    DedicatedThread.start {
      let socket = HostOS.Descriptor(owning: connection)
      var buffer = [UInt8](repeating: 0, count: 4096)
      while let n = try? buffer.withUnsafeMutableBytes({ try socket.read(into: $0) }), n > 0 {
        let answer = Array(buffer[..<n].reversed())
        guard (try? answer.withUnsafeBytes { try socket.write($0) }) != nil else { return }
      }
    }
  }
  func knownHosts() async throws -> [UInt8] { [] }
  func upload(id: String) async throws -> ClientUpload {
    guard let bytes = streams[id] else { throw BuildError(.notFound, .usage, "no upload \(id)") }
    return ClientUpload(stream: Bytes(bytes: bytes))
  }
  struct Bytes: UploadStream {
    let bytes: [UInt8]
    func read(_ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws {
      for start in stride(from: 0, to: bytes.count, by: 1 << 20) { try await body(Array(bytes[start..<min(bytes.count, start + 1 << 20)])) }
    }
  }
  func layout(id: String) async throws -> ClientLayout {
    guard let path = directories[id] else { throw BuildError(.notFound, .usage, "no layout \(id)") }
    return .inPlace(path: path)
  }
}

@Suite struct ServicesTests {
  private func offered<Value: Sendable>(_ fake: FakeClient, _ body: @Sendable @escaping (SessionClient) async throws -> Value) async throws -> Value {
    try await withBuilder { manager, path in
      try await withSession(manager, path, SessionServer(client: fake)) { session in try await body(SessionClient(session)) }
    }
  }

  @Test func secrets() async throws {
    var fake = FakeClient()
    fake.known = ["a": Array("hidden".utf8), "empty": [], "full": [UInt8](repeating: 1, count: 500 << 10), "over": [UInt8](repeating: 1, count: 500 << 10 + 1)]
    try await offered(fake) { client async throws -> Void in
      #expect(try await client.secrets.secret(id: "a") == Array("hidden".utf8))
      #expect(try await client.secrets.secret(id: "empty") == [])
      #expect(try await client.secrets.secret(id: "full")?.count == 500 << 10)
      #expect(try await client.secrets.secret(id: "none") == nil)
      await #expect(throws: BuildError.self) { try await client.secrets.secret(id: "over") }
    }
  }

  /// A client that does not keep to the limits that it should.
  @Test func anOversizedSecretIsRefused() async throws {
    try await withBuilder { manager, path async throws -> Void in
      try await withSession(manager, path, SessionServer(services: [EchoSecrets()])) { session async throws -> Void in
        let client = SessionClient(session)
        await #expect { try await client.secrets.secret(id: "\(500 << 10 + 1)") } throws: { ($0 as? BuildError)?.code == .invalidArgument }
        // More than a message may have.
        await #expect { try await client.secrets.secret(id: "\(17 << 20)") } throws: { $0 is BuildError }
        #expect(session.isOpen)
        #expect(try await client.secrets.secret(id: "5")?.count == 5)
      }
    }
  }

  @Test func logins() async throws {
    var fake = FakeClient()
    fake.logins = ["docker.io": BuildCredential(username: "me", secret: "word"), "ghcr.io": BuildCredential(username: "", secret: "identity")]
    try await offered(fake) { client async throws -> Void in
      #expect(try await client.credentials.credential(host: "docker.io") == BuildCredential(username: "me", secret: "word"))
      #expect(try await client.credentials.credential(host: "ghcr.io") == BuildCredential(username: "", secret: "identity"))
      #expect(try await client.credentials.credential(host: "quay.io") == nil)
      #expect(try await client.credentials.fetchesTokens(host: "docker.io") == false)
    }
    fake.tokens = ["docker.io": "T:"]
    try await offered(fake) { client async throws -> Void in
      #expect(try await client.credentials.fetchesTokens(host: "docker.io"))
      let request = TokenRequest(host: "docker.io", realm: "https://auth.docker.io/token", service: "registry.docker.io", scopes: ["repository:a:pull"])
      #expect(try await client.credentials.token(request) == FetchedToken(token: "T:repository:a:pull", lifetime: 300))
      let other = TokenRequest(host: "quay.io", realm: request.realm, service: request.service, scopes: [])
      await #expect { try await client.credentials.token(other) } throws: { ($0 as? BuildError)?.code == .permissionDenied }
      let salt = [UInt8](repeating: 3, count: 32)
      let key = try await client.session.ask("key") { rpc in
        var request = Moby_Filesync_V1_GetTokenAuthorityRequest()
        request.host = "quay.io"
        request.salt = Data(salt)
        return Array(try await Moby_Filesync_V1_Auth.Client(wrapping: rpc).getTokenAuthority(request).publicKey)
      }
      #expect(try await client.session.holdsTokenAuthority(for: "quay.io", publicKey: key, salt: salt))
      #expect(try await !client.session.holdsTokenAuthority(for: "ghcr.io", publicKey: key, salt: salt))
    }
  }

  @Test func agents() async throws {
    var fake = FakeClient()
    fake.agentIDs = ["default"]
    try await offered(fake) { client async throws -> Void in
      #expect(try await client.agents.hasAgent(id: "default"))
      #expect(try await !client.agents.hasAgent(id: "other"))
      for round in 0..<20 {
        let (ours, theirs) = try Sockets.pair()
        client.agents.serve(id: "default", connection: try theirs.released())
        let said = Array("hello \(round)".utf8)
        let heard = try await Blocking.run {
          try said.withUnsafeBytes { try ours.write($0) }
          var buffer = [UInt8](repeating: 0, count: said.count), count = 0
          while count < said.count {
            let n = try buffer.withUnsafeMutableBytes { try ours.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[count...])) }
            if n == 0 { break }
            count += n
          }
          return buffer
        }
        #expect(heard == said.reversed())
      }
    }
  }

  @Test func uploads() async throws {
    var fake = FakeClient()
    let bytes = (0..<(5 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    fake.streams = ["one": bytes]
    try await offered(fake) { client async throws -> Void in
      guard case .stream(let stream) = try await client.uploads.upload(id: "one").source else {
        Issue.record("not a stream")
        return
      }
      let taken = Mutex<[UInt8]>([])
      try await stream.read { piece in
        // A slow reader: what it has not taken is not sent for.
        try await Task.sleep(for: .milliseconds(5))
        taken.withLock { $0 += piece }
      }
      #expect(taken.withLock { $0 } == bytes)
      guard case .stream(let none) = try await client.uploads.upload(id: "two").source else { return }
      await #expect { try await none.read { _ in } } throws: { ($0 as? BuildError)?.code == .notFound }
    }
  }

  @Test func layouts() async throws {
    let path = try Files.makeTemporaryDirectory(prefix: "session-layout-")
    defer { try? Files.removeTree(path) }
    let bytes = (0..<(3 << 20 + 7)).map { UInt8(truncatingIfNeeded: $0 &* 17) }, digest = Digest.sha256(of: bytes)
    try Files.makeDirectories(path + "/blobs/sha256")
    try Data("{\"imageLayoutVersion\":\"1.0.0\"}".utf8).write(to: URL(fileURLWithPath: path + "/oci-layout"))
    try Data(bytes).write(to: URL(fileURLWithPath: path + "/blobs/sha256/" + digest.hex))
    var fake = FakeClient()
    fake.directories = ["l": path]
    try await offered(fake) { client async throws -> Void in
      guard case .remote(let layout) = try await client.layouts.layout(id: "l"), case .remote(let unknown) = try await client.layouts.layout(id: "x") else {
        Issue.record("not remote")
        return
      }
      #expect(try await layout.size(of: digest) == Int64(bytes.count))
      #expect(try await layout.size(of: Digest.sha256(of: [])) == nil)
      let taken = Mutex<[UInt8]>([])
      try await layout.read(digest, from: 10, count: Int64(bytes.count) - 20) { piece in taken.withLock { $0 += piece } }
      #expect(taken.withLock { $0 } == Array(bytes[10..<(bytes.count - 10)]))
      // More than there is: said, not waited for.
      await #expect { try await layout.read(digest, from: 0, count: Int64(bytes.count) + 1) { _ in } } throws: { $0 is BuildError }
      #expect(try await unknown.size(of: digest) == nil)
    }
  }
}
