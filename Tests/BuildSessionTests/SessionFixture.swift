import BuildKitAPI
import BuildKitProto
import BuildSession
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCProtobuf

/// Control.Session alone, as a daemon serves it.
struct SessionOnlyService: RegistrableRPCService {
  let manager: SessionManager
  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    router.registerHandler(
      forMethod: Moby_Buildkit_V1_Control.Method.Session.descriptor, deserializer: ProtobufDeserializer<Moby_Buildkit_V1_BytesMessage>(),
      serializer: ProtobufSerializer<Moby_Buildkit_V1_BytesMessage>()
    ) { request, _ in manager.serve(request) }
  }
}

typealias TestClient = GRPCClient<HTTP2ClientTransport.Posix>

/// A builder on a unix socket that knows sessions alone, and a way to it.
func withBuilder<Value: Sendable>(limits: SessionManager.Limits = .init(), _ body: @Sendable @escaping (SessionManager, String) async throws -> Value) async throws -> Value {
  let manager = SessionManager(limits: limits)
  let path = "/tmp/session-test-\(ProcessInfo.processInfo.processIdentifier)-\(UInt32.random(in: 0...UInt32.max)).sock"
  let server = GRPCServer(
    transport: .http2NIOPosix(
      address: .unixDomainSocket(path: path), transportSecurity: .plaintext,
      config: .defaults { config in
        config.rpc.maxRequestPayloadSize = MessageLimits.message
        config.http2.targetWindowSize = 4 << 20
      }), services: [SessionOnlyService(manager: manager)])
  return try await withThrowingTaskGroup(of: Value?.self) { group in
    group.addTask {
      try await server.serve()
      return nil
    }
    _ = try await server.listeningAddress
    let value = try await body(manager, path)
    manager.stop()
    server.beginGracefulShutdown()
    group.cancelAll()
    while let _ = try? await group.next() {}
    unlink(path)
    return value
  }
}

/// A client's connection to that builder for the length of `body`.
func withConnection<Value: Sendable>(_ path: String, _ body: @Sendable @escaping (TestClient) async throws -> Value) async throws -> Value {
  let transport = try HTTP2ClientTransport.Posix(
    target: .unixDomainSocket(path: path), transportSecurity: .plaintext, config: .defaults { $0.http2.targetWindowSize = 4 << 20 }, serviceConfig: TunnelTransport.serviceConfig)
  return try await withGRPCClient(transport: transport) { try await body($0) }
}

/// A client with a session for the length of `body`.
func withSession<Value: Sendable>(
  _ manager: SessionManager, _ path: String, _ server: SessionServer, _ body: @Sendable @escaping (ClientSession) async throws -> Value
) async throws -> Value {
  try await withConnection(path) { client in
    try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask {
        try await server.run(over: Moby_Buildkit_V1_Control.Client(wrapping: client))
        return nil
      }
      let value = try await body(try await manager.session(id: server.id))
      group.cancelAll()
      while let _ = try? await group.next() {}
      return value
    }
  }
}
