package import BuildKitAPI
internal import BuildKitProto
package import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import NIOCore

/// The client's end of a session: a gRPC server whose one connection is a stream of the builder's Control.Session.
package struct SessionServer: Sendable {
  package let id: String
  package let name: String
  package let sharedKey: String
  private let services: [any RegistrableRPCService]

  /// `services` beside the health service, which is always there.
  package init(id: String = SessionServer.newID(), name: String = "", sharedKey: String = "", services: [any RegistrableRPCService]) {
    (self.id, self.name, self.sharedKey) = (id, name, sharedKey)
    self.services = [SessionHealthService()] + services
  }

  /// 25 letters and digits, as BuildKit's own ids are.
  package static func newID() -> String {
    var random = SystemRandomNumberGenerator()
    return String((0..<25).map { _ in "abcdefghijklmnopqrstuvwxyz0123456789".randomElement(using: &random) ?? "0" })
  }

  /// What the stream's headers say.
  package func headers() -> Metadata {
    var router = RPCRouter<HTTP2ServerTransport.Custom<TunnelListener>>()
    for service in services { service.registerMethods(with: &router) }
    var metadata: Metadata = [SessionHeaders.id: "\(id)"]
    metadata.addString(sharedKey, forKey: SessionHeaders.sharedKey)
    if !name.isEmpty { metadata.addString(name, forKey: SessionHeaders.name) }
    for method in router.methods.map(\.fullyQualifiedMethod).sorted() { metadata.addString("/" + method, forKey: SessionHeaders.method) }
    return metadata
  }

  /// Opens the session with a builder and serves it until the stream ends or the task is cancelled. Throws what the builder refused it with.
  package func run<Transport: ClientTransport>(over control: Moby_Buildkit_V1_Control.Client<Transport>) async throws {
    let listener = TunnelListener()
    let server = GRPCServer(transport: listener.transport(), services: services)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.serve() }
      group.addTask {
        defer { listener.finish() }
        let channel = try await listener.connect()
        try await withTaskCancellationHandler {
          try await control.session(metadata: headers()) { writer in
            defer { channel.close(promise: nil) }
            try await Tunnel.send(from: channel, to: writer)
          } onResponse: { response in
            defer { channel.close(promise: nil) }
            try await Tunnel.receive(response.messages, into: channel)
          }
        } onCancel: {
          channel.close(promise: nil)
        }
      }
      defer { group.cancelAll() }
      try await group.waitForAll()
    }
  }
}

/// Answers that it serves, for the server as a whole.
struct SessionHealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
  func check(request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext) async throws -> Grpc_Health_V1_HealthCheckResponse {
    var response = Grpc_Health_V1_HealthCheckResponse()
    response.status = .serving
    return response
  }

  func list(request: Grpc_Health_V1_HealthListRequest, context: ServerContext) async throws -> Grpc_Health_V1_HealthListResponse {
    var response = Grpc_Health_V1_HealthListResponse()
    response.statuses = ["": try await check(request: Grpc_Health_V1_HealthCheckRequest(), context: context)]
    return response
  }

  func watch(request: Grpc_Health_V1_HealthCheckRequest, response: RPCWriter<Grpc_Health_V1_HealthCheckResponse>, context: ServerContext) async throws {
    try await response.write(check(request: request, context: context))
    // Nothing ever changes: the call is open until the client ends it.
    try await Task.sleep(for: .seconds(86_400 * 365))
  }
}
