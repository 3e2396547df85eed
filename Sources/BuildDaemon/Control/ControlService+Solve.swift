internal import BuildEngine
internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import BuildProgress
internal import BuildSession
internal import GRPCCore

extension ControlService {
  func solve(request: ServerRequest<Moby_Buildkit_V1_SolveRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_SolveResponse> {
    let wire = request.message
    return try await DaemonCore.answering { ServerResponse(message: try await core.solve(wire)) }
  }

  func status(request: ServerRequest<Moby_Buildkit_V1_StatusRequest>, context: ServerContext) async throws -> StreamingServerResponse<Moby_Buildkit_V1_StatusResponse> {
    let ref = request.message.ref
    return StreamingServerResponse(metadata: Self.timestampHeader()) { writer in
      try await DaemonCore.answering {
        // What a build of the past said is in its record.
        if core.builds.find(ref) == nil, let log = try await core.engine.records.log(of: ref) {
          for response in log { try await writer.write(response) }
          return
        }
        let build = try await core.builds.wait(for: ref)
        try await build.journal.listen { event in
          for response in StatusMessages.responses(event) { try await writer.write(response) }
        }
      }
      return [:]
    }
  }
}

extension DaemonCore {
  /// One build of a client, from its turn to its end.
  func solve(_ wire: Moby_Buildkit_V1_SolveRequest) async throws -> Moby_Buildkit_V1_SolveResponse {
    var asked = try SolveTranslation.request(wire, allowed: options.entitlements)
    // A client that builds with a function of its own asks for what it needs over the gateway, and names this build by its ref.
    if asked.frontend.isEmpty, asked.definition == nil { asked.ownFrontend = gateway.frontend(build: wire.ref) }
    let request = asked
    let build = try builds.begin(ref: wire.ref, sessionID: wire.session)
    defer { builds.end(build) }
    log.debug("build \(wire.ref) begins")
    let task = Task {
      try await slots.run(waiting: { self.log.info("build \(wire.ref) waits for its turn: \(self.options.maxBuilds) builds run") }) {
        let client = try await self.client(of: build)
        return try await self.engine.solve(request, client: client, progress: build.journal)
      }
    }
    build.onCancel { task.cancel() }
    let response = try await withTaskCancellationHandler { try await task.value } onCancel: { task.cancel() }
    log.debug("build \(wire.ref) is done")
    var out = Moby_Buildkit_V1_SolveResponse()
    out.exporterResponse = response.exporterResponse
    return out
  }

  /// What the build's client offers.
  private func client(of build: RunningBuild) async throws -> any ClientServices {
    guard !build.sessionID.isEmpty else { return OfferlessClient() }
    return SessionClient(try await sessions.session(id: build.sessionID))
  }
}
