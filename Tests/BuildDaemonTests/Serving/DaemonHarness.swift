import BuildDaemon
import BuildInterface
import BuildKitAPI
import BuildKitProto
import ContentStore
import GRPCCore
import GRPCNIOTransportCore
import GRPCNIOTransportHTTP2Posix
import HostOS
import Synchronization
import Testing

typealias DaemonClient = GRPCClient<HTTP2ClientTransport.Posix>

/// A daemon of a test's own on a unix socket in a folder that goes with the test.
struct DaemonHarness: Sendable {
  let folder: String
  let daemon: BuildDaemon
  let log: Lines
  var socket: String { folder + "/d.sock" }

  final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  /// Runs a daemon as long as `body` does, and waits for its end.
  static func with(
    _ change: (inout DaemonOptions) -> Void = { _ in }, engine: FakeEngine.Body? = nil, _ body: @Sendable (DaemonHarness) async throws -> Void
  ) async throws {
    let folder = try Files.makeTemporaryDirectory(prefix: "manifold-daemon-")
    defer { try? Files.removeTree(folder) }
    let engine = try await FakeEngine(root: folder + "/root", engine ?? { _, _, _ in .init() })
    let lines = Lines()
    var options = DaemonOptions(addresses: ["unix://\(folder)/d.sock"], stopTimeout: 30, log: DaemonLog(level: .debug, sink: { lines.add($0) }))
    change(&options)
    let daemon = try await BuildDaemon(engine: engine, options: options, version: "1.2.3")
    let harness = DaemonHarness(folder: folder, daemon: daemon, log: lines)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await daemon.run() }
      do { try await body(harness) } catch {
        daemon.stop()
        try await group.waitForAll()
        throw error
      }
      daemon.stop()
      try await group.waitForAll()
    }
    try await engine.store.close()
  }

  func withClient<T: Sendable>(_ body: @Sendable (DaemonClient) async throws -> T) async throws -> T {
    try await Self.withClient(.unixDomainSocket(path: socket), body)
  }

  static func withClient<T: Sendable>(
    _ target: some ResolvableTarget, security: HTTP2ClientTransport.Posix.TransportSecurity = .plaintext, _ body: @Sendable (DaemonClient) async throws -> T
  ) async throws -> T {
    let client = DaemonClient(transport: try .http2NIOPosix(target: target, transportSecurity: security))
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await client.runConnections() }
      do {
        let value = try await body(client)
        client.beginGracefulShutdown()
        try await group.waitForAll()
        return value
      } catch {
        group.cancelAll()
        throw error
      }
    }
  }
}

extension GRPCClient {
  var control: Moby_Buildkit_V1_Control.Client<Transport> { .init(wrapping: self) }
}
