internal import BuildInterface
internal import BuildKitAPI
package import BuildKitProto
package import GRPCCore

/// BuildKit's LLBBridge: what a frontend asks of its build. Over a client's connection each call says by its metadata which build it is of.
package final class GatewayService: Moby_Buildkit_V1_Frontend_LLBBridge.ServiceProtocol {
  static let buildKey = "buildkit-controlapi-buildid"
  private let find: @Sendable (Metadata) async throws -> BridgeBuild

  /// For builds whose frontends are functions of clients.
  package init(_ builds: GatewayBuilds) {
    find = { metadata in
      guard let id = metadata[stringValues: GatewayService.buildKey].first(where: { !$0.isEmpty }) else {
        throw BuildError(.invalidArgument, .usage, "no buildid found in context", suggestion: "the gateway is for clients that build with a function: name the build by \(GatewayService.buildKey)")
      }
      return try await builds.build(id)
    }
  }

  /// For one build, over a connection that is its own.
  init(_ build: BridgeBuild) { find = { _ in build } }

  /// The end of the call, or the client's going away, cancels it; what it throws is told in the wire's words.
  private func answer<Input: Sendable, Output: Sendable>(
    _ request: ServerRequest<Input>, _ body: @escaping @Sendable (BridgeBuild, Input) async throws -> Output
  ) async throws -> ServerResponse<Output> {
    let find = find
    let task = Task { try await body(try await find(request.metadata), request.message) }
    do {
      let output = try await withTaskCancellationHandler {
        try await withRPCCancellationHandler { try await task.value } onCancelRPC: { task.cancel() }
      } onCancel: {
        task.cancel()
      }
      return ServerResponse(message: output)
    } catch {
      throw WireErrors.rpcError(error)
    }
  }

  package func ping(request: ServerRequest<Moby_Buildkit_V1_Frontend_PingRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_PongResponse> {
    try await answer(request) { build, _ in build.ping() }
  }
  package func solve(request: ServerRequest<Moby_Buildkit_V1_Frontend_SolveRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_SolveResponse> {
    try await answer(request) { try await $0.solve($1) }
  }
  package func resolveImageConfig(
    request: ServerRequest<Moby_Buildkit_V1_Frontend_ResolveImageConfigRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ResolveImageConfigResponse> {
    try await answer(request) { try await $0.resolveImageConfig($1) }
  }
  package func resolveSourceMeta(
    request: ServerRequest<Moby_Buildkit_V1_Frontend_ResolveSourceMetaRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ResolveSourceMetaResponse> {
    try await answer(request) { try await $0.gateway.resolveSource($1) }
  }
  package func readFile(request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadFileRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadFileResponse> {
    try await answer(request) { try await $0.readFile($1) }
  }
  package func readDir(request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadDirRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadDirResponse> {
    try await answer(request) { try await $0.readDirectory($1) }
  }
  package func statFile(request: ServerRequest<Moby_Buildkit_V1_Frontend_StatFileRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_StatFileResponse> {
    try await answer(request) { try await $0.status($1) }
  }
  package func evaluate(request: ServerRequest<Moby_Buildkit_V1_Frontend_EvaluateRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_EvaluateResponse> {
    try await answer(request) { build, request in
      try await build.reference(request.ref).evaluate()
      return .init()
    }
  }
  package func `return`(request: ServerRequest<Moby_Buildkit_V1_Frontend_ReturnRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReturnResponse> {
    try await answer(request) { build, request in
      try build.return(request)
      return .init()
    }
  }
  package func inputs(request: ServerRequest<Moby_Buildkit_V1_Frontend_InputsRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_InputsResponse> {
    try await answer(request) { build, _ in build.inputs() }
  }
  package func warn(request: ServerRequest<Moby_Buildkit_V1_Frontend_WarnRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_WarnResponse> {
    try await answer(request) { build, request in
      try await build.warn(request)
      return .init()
    }
  }

  // MARK: containers

  package func newContainer(
    request: ServerRequest<Moby_Buildkit_V1_Frontend_NewContainerRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_NewContainerResponse> {
    try await answer(request) { build, request in
      try await build.newContainer(request)
      return .init()
    }
  }
  package func releaseContainer(
    request: ServerRequest<Moby_Buildkit_V1_Frontend_ReleaseContainerRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReleaseContainerResponse> {
    try await answer(request) { build, request in
      try await build.releaseContainer(request.containerID)
      return .init()
    }
  }
  package func readFileContainer(
    request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadFileRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadFileResponse> {
    try await answer(request) { try await $0.readFile($1, inContainer: true) }
  }
  package func readDirContainer(
    request: ServerRequest<Moby_Buildkit_V1_Frontend_ReadDirRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_ReadDirResponse> {
    try await answer(request) { try await $0.readDirectory($1, inContainer: true) }
  }
  package func statFileContainer(
    request: ServerRequest<Moby_Buildkit_V1_Frontend_StatFileRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_Frontend_StatFileResponse> {
    try await answer(request) { try await $0.status($1, inContainer: true) }
  }

  package func execProcess(
    request: StreamingServerRequest<Moby_Buildkit_V1_Frontend_ExecMessage>, context: ServerContext
  ) async throws -> StreamingServerResponse<Moby_Buildkit_V1_Frontend_ExecMessage> {
    let build: BridgeBuild
    do { build = try await find(request.metadata) } catch { throw WireErrors.rpcError(error) }
    return StreamingServerResponse { writer in
      do { try await ProcessStream(build: build, writer: writer).run(request.messages) } catch { throw WireErrors.rpcError(error) }
      return [:]
    }
  }
}
