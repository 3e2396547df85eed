import Foundation
import HostOS
import NIOCore
import NIOHTTP1
import NIOPosix
import OCIModel
import Synchronization
import Testing

@testable import DockerEngine

/// An engine of a few answers, at a socket.
private final class FakeEngine: Sendable {
  let path: String
  private let channel: any Channel
  let received: Received

  final class Received: Sendable {
    let bytes = Mutex<[UInt8]>([])
    let requests = Mutex<[String]>([])
  }

  /// `answers` by the request's line: a status and the body's parts.
  init(_ answers: [String: (Int, [String])]) async throws {
    path = try Files.makeTemporaryDirectory(prefix: "engine-") + "/d.sock"
    let received = Received()
    self.received = received
    channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.pipeline.configureHTTPServerPipeline().flatMap { channel.pipeline.addHandler(Handler(answers, received)) }
      }
      .bind(unixDomainSocketPath: path).get()
  }

  func stop() async {
    try? await channel.close()
    try? Files.removeTree((path as NSString).deletingLastPathComponent)
  }

  /// @unchecked: of one channel's loop.
  private final class Handler: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let answers: [String: (Int, [String])]
    private let received: Received
    private var line = ""
    init(_ answers: [String: (Int, [String])], _ received: Received) { (self.answers, self.received) = (answers, received) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head):
        line = "\(head.method) \(head.uri)"
        received.requests.withLock { $0.append(line) }
      case .body(let part): received.bytes.withLock { $0.append(contentsOf: part.readableBytesView) }
      case .end:
        let (status, parts) = answers[line] ?? (404, [#"{"message":"page not found"}"#])
        context.write(wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .init(statusCode: status)))), promise: nil)
        for part in parts { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: part)))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
      }
    }
  }
}

@Suite struct ClientTests {
  private func with(_ answers: [String: (Int, [String])], _ body: (DockerClient, FakeEngine) async throws -> Void) async throws {
    let engine = try await FakeEngine(answers)
    let client = try DockerClient(DockerEndpoint(.unix(path: engine.path), source: "test"))
    do { try await body(client, engine) } catch {
      await client.shutdown()
      await engine.stop()
      throw error
    }
    await client.shutdown()
    await engine.stop()
  }

  /// A pipe's read end, into which the bytes are being written.
  private func pipe(_ bytes: [UInt8]) throws -> Int32 {
    let (output, input) = try HostOS.Descriptor.pipe()
    Thread.detachNewThread {
      try? bytes.withUnsafeBytes { try input.write($0) }
      try? input.close()
    }
    return dup(output.raw)
  }

  private static let version = (200, [#"{"Version":"20.10.24","ApiVersion":"1.41","Os":"linux","Arch":"arm64"}"#])

  @Test func whatItIs() async throws {
    try await with(["GET /version": Self.version, "GET /info": (200, [#"{"DriverStatus":[["Backing Filesystem","extfs"]]}"#])]) { client, _ in
      let facts = try await client.facts()
      #expect(facts == DockerFacts(version: "20.10.24", apiVersion: "1.41", platform: Platform(os: "linux", architecture: "arm64").normalized, keepsIndexes: false))
    }
    try await with(["GET /version": Self.version, "GET /info": (200, [#"{"DriverStatus":[["driver-type","#, #""io.containerd.snapshotter.v1"]]}"#])]) { client, _ in
      let facts = try await client.facts()
      #expect(facts.keepsIndexes)
    }
  }

  @Test func loads() async throws {
    let bytes = [UInt8]((0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) })
    let lines = [#"{"status":"Loading layer","progressDetail":{"current":5,"total":10},"id":"abc"}"# + "\r\n" + #"{"stream":"Loaded "#, #"image: x:latest\n"}"#]
    try await with(["POST /images/load?quiet=0": (200, lines)]) { client, engine in
      let told = Mutex<[DockerMessage]>([])
      let came = try await client.load(from: pipe(bytes)) { send in try await send { message in told.withLock { $0.append(message) } } }
      let nothing = try await client.load(from: pipe([])) { _ in Issue.record("nothing came") }
      #expect(came && engine.received.bytes.withLock { $0 } == bytes)
      #expect(told.withLock { $0 } == [DockerMessage(text: "Loading layer", id: "abc", current: 5, total: 10), DockerMessage(text: "Loaded image: x:latest")])
      #expect(!nothing)
      #expect(engine.received.requests.withLock { $0.count } == 1)
    }
  }

  @Test func refusals() async throws {
    for (answer, says) in [
      ((200, [#"{"errorDetail":{"message":"no space"},"error":"no space"}"#]), "no space"), ((500, [#"{"message":"unsupported manifest"}"#]), "says 500: unsupported manifest"), ((200, ["<html>"]), "not JSON"),
    ] {
      try await with(["POST /images/load?quiet=0": answer]) { client, _ in
        await #expect { _ = try await client.load(from: pipe([1, 2, 3])) { try await $0 { _ in } } } throws: { "\($0)".contains(says) }
      }
    }
    try await with(["GET /version": (200, ["hello"])]) { client, _ in
      await #expect { try await client.facts() } throws: { ($0 as? DockerError)?.code == .invalidResponse }
    }
  }

  @Test func nobodyThere() async throws {
    for path in ["/nowhere/at/all.sock", "/tmp"] {
      let client = try DockerClient(DockerEndpoint(.unix(path: path), source: "the default socket"))
      await #expect { try await client.facts() } throws: { ($0 as? DockerError)?.code == .unreachable && "\($0)".contains(path) }
      await client.shutdown()
    }
    let client = try DockerClient(DockerEndpoint(.tcp(host: "127.0.0.1", port: 1), source: "DOCKER_HOST"))
    await #expect { try await client.facts() } throws: { ($0 as? DockerError).map { "\($0)" } == "nobody answers at the Docker engine at tcp://127.0.0.1:1 (DOCKER_HOST)" }
    await client.shutdown()
  }
}
