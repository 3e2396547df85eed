internal import BuildKitAPI
internal import BuildKitProto
internal import GRPCCore

/// gRPC's health protocol: the whole daemon, and each of its services, serve until it stops.
struct HealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
  let core: DaemonCore
  init(_ core: DaemonCore) { self.core = core }

  /// The whole server.
  private static let whole = ""

  private var answer: Grpc_Health_V1_HealthCheckResponse {
    var out = Grpc_Health_V1_HealthCheckResponse()
    out.status = .serving
    return out
  }

  func check(request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext) async throws -> Grpc_Health_V1_HealthCheckResponse {
    // As buildkitd's: only the whole is known.
    guard request.service == Self.whole else { throw RPCError(code: .notFound, message: "unknown service") }
    return answer
  }

  func list(request: Grpc_Health_V1_HealthListRequest, context: ServerContext) async throws -> Grpc_Health_V1_HealthListResponse {
    var out = Grpc_Health_V1_HealthListResponse()
    out.statuses = [Self.whole: answer]
    return out
  }

  func watch(request: Grpc_Health_V1_HealthCheckRequest, response: RPCWriter<Grpc_Health_V1_HealthCheckResponse>, context: ServerContext) async throws {
    var out = Grpc_Health_V1_HealthCheckResponse()
    out.status = request.service == Self.whole ? .serving : .serviceUnknown
    try await response.write(out)
    try await context.cancellation.cancelled
  }
}
