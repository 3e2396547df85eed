import BuildInterface
import BuildKitAPI
import BuildKitProto
import BuildProgress
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import HostOS
import NIOCore
import NIOPosix
import OCIModel
import SwiftProtobuf
import Synchronization
import Testing

@testable import BuildDaemon

typealias Bridge = Moby_Buildkit_V1_Frontend_LLBBridge
typealias BridgeClient = Bridge.Client<HTTP2ClientTransport.WrappedChannel>

/// Solves nothing: has files, and remembers what it was asked.
final class FakeGateway: FrontendGateway {
  struct Asked: Sendable {
    var solves: [NestedSolve] = []
    var warnings: [VertexWarning] = []
    var containers: [ContainerRequest] = []
    var released = 0
  }
  let environment: FrontendEnvironment
  let asked = Mutex(Asked())
  let files: [String: String]
  /// What nested solves give; nil fails with a typed error.
  let answer: @Sendable (NestedSolve) throws -> NestedResult

  init(files: [String: String] = [:], inputs: [String: Pb_Definition] = [:], answer: (@Sendable (NestedSolve) throws -> NestedResult)? = nil) {
    var environment = FrontendEnvironment(buildPlatform: Platform(os: "linux", architecture: "amd64"), attributes: [:], inputs: inputs, sessionID: "session")
    environment.workers = [.with { ($0.id, $0.labels) = ("worker", ["a": "b"]) }]
    self.environment = environment
    self.files = files
    self.answer = answer ?? { [files] solve in NestedResult(reference: FakeReference(files: files, definition: solve.definition ?? .init()), metadata: ["k": Array("v".utf8)]) }
  }

  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference { FakeReference(files: files, definition: definition) }
  func solve(_ request: NestedSolve) async throws -> NestedResult {
    asked.withLock { $0.solves.append(request) }
    return try answer(request)
  }
  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage { throw BuildError(.notFound, .registry, "no image") }
  func resolveSource(
    _ request: Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest
  ) async throws -> Moby_Buildkit_V1_Frontend_ResolveSourceMetaResponse {
    .with {
      $0.source = request.source
      $0.image = .with { ($0.digest, $0.config) = (Digest.sha256(of: "x").description, Data("{}".utf8)) }
    }
  }
  func newContainer(_ request: ContainerRequest) async throws -> any FrontendContainer {
    asked.withLock { $0.containers.append(request) }
    return FakeContainer { self.asked.withLock { $0.released += 1 } }
  }
  func warn(_ warning: VertexWarning) async { asked.withLock { $0.warnings.append(warning) } }
  func progress<T: Sendable>(named name: String, _ body: @Sendable () async throws -> T) async throws -> T { try await body() }
}

struct FakeReference: FrontendReference {
  let files: [String: String]
  let definition: Pb_Definition
  func evaluate() async throws { if files["fails"] != nil { throw BuildError(.unknown, .build, "this step fails", exitCode: 3) } }
  func readFile(_ path: String, limit: Int) async throws -> [UInt8] {
    guard let text = files[path] else { throw BuildError(.notFound, .usage, "open \(path): no such file or directory") }
    return Array(text.utf8)
  }
  func exists(_ path: String) async throws -> Bool { files[path] != nil }
  func readDirectory(_ path: String, matching pattern: String) async throws -> [Fsutil_Types_Stat] { files.keys.sorted().map { name in .with { $0.path = name } } }
  func status(of path: String) async throws -> Fsutil_Types_Stat {
    let bytes = try await readFile(path, limit: 1 << 20)
    return .with { ($0.path, $0.size, $0.mode) = (path, Int64(bytes.count), 0o644) }
  }
}

/// Its processes say what they read, and end with 7 on a signal.
struct FakeContainer: FrontendContainer {
  let released: @Sendable () -> Void
  func start(_ process: ContainerProcessRequest, output: @escaping @Sendable (UInt32, [UInt8]) async -> Void) async throws -> any FrontendProcess {
    if process.meta.args == ["absent"] { throw BuildError(.notFound, .build, "no such program") }
    return FakeProcess(output: output)
  }
  func readFile(_ path: String, mount: Int, offset: Int64, length: Int64?, limit: Int) async throws -> [UInt8] { Array("\(mount) \(path) \(offset) \(length ?? -1)".utf8) }
  func readDirectory(_ path: String, mount: Int, matching pattern: String) async throws -> [Fsutil_Types_Stat] { [.with { $0.path = pattern }] }
  func status(of path: String, mount: Int) async throws -> Fsutil_Types_Stat { .with { $0.path = path } }
  func release() async { released() }
}

final class FakeProcess: FrontendProcess {
  private let output: @Sendable (UInt32, [UInt8]) async -> Void
  private let ends: AsyncStream<Int32>
  private let end: AsyncStream<Int32>.Continuation
  init(output: @escaping @Sendable (UInt32, [UInt8]) async -> Void) {
    self.output = output
    (ends, end) = AsyncStream.makeStream()
  }
  func wait() async throws -> Int32 {
    for await code in ends { return code }
    throw CancellationError()
  }
  func write(_ bytes: [UInt8]) async { await output(1, bytes) }
  func closeInput() async { end.yield(0) }
  func resize(rows: UInt16, columns: UInt16) {}
  func signal(_ number: Int32) { end.yield(7) }
}

/// Serves a gateway as for a frontend that is a program; `body` is the program. Answers what the build gets.
func served(_ gateway: FakeGateway, _ body: @escaping @Sendable (BridgeClient) async throws -> Void) async throws -> NestedResult? {
  let (ours, theirs) = try Sockets.pair()
  let socket = try theirs.released(), connection = try ours.released()
  return try await withThrowingTaskGroup(of: NestedResult?.self) { group in
    group.addTask { try await FrontendProgramServer().serve(gateway, connection: connection) }
    group.addTask {
      let service = ServiceConfig(methodConfig: [MethodConfig(names: [.init(service: "")], maxRequestMessageBytes: 16 << 20, maxResponseMessageBytes: 16 << 20)])
      let transport = try await HTTP2ClientTransport.WrappedChannel.wrapping(config: .defaults { $0.http2.authority = "localhost" }, serviceConfig: service) { configure in
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).withConnectedSocket(socket) { configure($0) }
      }
      try await withGRPCClient(transport: transport) { client in try await body(BridgeClient(wrapping: client)) }
      return nil
    }
    var result: NestedResult?
    for try await one in group { result = one ?? result }
    return result
  }
}
