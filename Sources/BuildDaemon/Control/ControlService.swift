internal import BuildEngine
internal import BuildInterface
internal import BuildKitAPI
package import BuildKitProto
internal import BuildProgress
internal import BuildSession
internal import GRPCCore
internal import HostOS
internal import OCIModel

/// BuildKit's control API. Builds are in `ControlService+Solve`, history where it is kept.
struct ControlService: Moby_Buildkit_V1_Control.ServiceProtocol {
  let core: DaemonCore
  init(_ core: DaemonCore) { self.core = core }

  // MARK: the store

  func diskUsage(request: ServerRequest<Moby_Buildkit_V1_DiskUsageRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_DiskUsageResponse> {
    let wire = request.message
    return try await DaemonCore.answering {
      let filter = try RecordFilter.usage(wire.filter)
      let now = HostClock.now
      var out = Moby_Buildkit_V1_DiskUsageResponse()
      out.record = try await core.engine.diskUsage().filter { record in
        if wire.ageLimit > 0, let used = record.lastUsed, now - used.nanosecondsSinceEpoch < wire.ageLimit { return false }
        return filter.matches(record)
      }.map(UsageMessages.record)
      return ServerResponse(message: out)
    }
  }

  func prune(request: ServerRequest<Moby_Buildkit_V1_PruneRequest>, context: ServerContext) async throws -> StreamingServerResponse<Moby_Buildkit_V1_UsageRecord> {
    let wire = request.message
    return StreamingServerResponse { writer in
      try await DaemonCore.answering {
        let request = try UsageMessages.pruneRequest(wire)
        let (records, continuation) = AsyncStream.makeStream(of: UsageRecord.self)
        // Records are few and small beside what they stood for: whoever reads slowly does not hold up the removal.
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            defer { continuation.finish() }
            _ = try await core.engine.prune(request) { continuation.yield($0) }
          }
          for await record in records { try await writer.write(UsageMessages.record(record)) }
          try await group.waitForAll()
        }
      }
      return [:]
    }
  }

  // MARK: what is here

  func listWorkers(request: ServerRequest<Moby_Buildkit_V1_ListWorkersRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_ListWorkersResponse> {
    let wire = request.message
    return try await DaemonCore.answering {
      let record = core.workerRecord()
      let filters = try RecordFilter.parse(wire.filter)
      var out = Moby_Buildkit_V1_ListWorkersResponse()
      let isMeant = filters.isEmpty || filters.contains { filter in
        filter.matches { field in
          if field == "id" { return record.id }
          return field.hasPrefix("labels.") ? record.labels[String(field.dropFirst("labels.".count))] : nil
        }
      }
      if isMeant { out.record = [record] }
      return ServerResponse(message: out)
    }
  }

  func info(request: ServerRequest<Moby_Buildkit_V1_InfoRequest>, context: ServerContext) async throws -> ServerResponse<Moby_Buildkit_V1_InfoResponse> {
    var out = Moby_Buildkit_V1_InfoResponse()
    out.buildkitVersion = WorkerRecords.version(core.version)
    return ServerResponse(message: out)
  }

  // MARK: sessions

  func session(request: StreamingServerRequest<Moby_Buildkit_V1_BytesMessage>, context: ServerContext) async throws -> StreamingServerResponse<Moby_Buildkit_V1_BytesMessage> {
    core.sessions.serve(request)
  }

  // MARK: history

  func listenBuildHistory(request: ServerRequest<Moby_Buildkit_V1_BuildHistoryRequest>, context: ServerContext) async throws -> StreamingServerResponse<Moby_Buildkit_V1_BuildHistoryEvent> {
    let message = request.message
    return StreamingServerResponse(metadata: Self.timestampHeader()) { writer in
      try await DaemonCore.answering { try await core.engine.records.listen(message) { try await writer.write($0) } }
      return [:]
    }
  }

  func updateBuildHistory(
    request: ServerRequest<Moby_Buildkit_V1_UpdateBuildHistoryRequest>, context: ServerContext
  ) async throws -> ServerResponse<Moby_Buildkit_V1_UpdateBuildHistoryResponse> {
    let message = request.message
    return try await DaemonCore.answering {
      try await core.engine.records.update(message)
      return ServerResponse(message: .init())
    }
  }

  /// By which clients find out how far the daemon's clock is from theirs.
  static func timestampHeader() -> Metadata { ["buildkit-current-timestamp": "\(Timestamp(nanosecondsSinceEpoch: HostClock.now))"] }
}

extension DaemonCore {
  func workerRecord() -> Moby_Buildkit_V1_Types_WorkerRecord {
    var out = Moby_Buildkit_V1_Types_WorkerRecord()
    out.id = workerID
    out.labels = WorkerRecords.labels(snapshotter: engine.snapshotter, extra: options.labels)
    out.platforms = platforms.map(WorkerRecords.platform)
    out.gcpolicy = engine.collectionRules.map(WorkerRecords.policy)
    out.buildkitVersion = WorkerRecords.version(version)
    return out
  }
}
