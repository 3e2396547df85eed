import FoundationEssentials
import BuildDaemon
import BuildInterface
import BuildKitAPI
import BuildKitProto
import BuildProgress
import GRPCCore
import GRPCNIOTransportCore
import GRPCNIOTransportHTTP2Posix
import HostOS
import OCIModel
import SwiftProtobuf
import Synchronization
import Testing

@Suite(.serialized) struct ServingTests {
  static func request(_ ref: String) -> Moby_Buildkit_V1_SolveRequest {
    var out = Moby_Buildkit_V1_SolveRequest()
    out.ref = ref
    out.definition.def = [.init([1])]
    return out
  }
  static func status(_ ref: String) -> Moby_Buildkit_V1_StatusRequest {
    var out = Moby_Buildkit_V1_StatusRequest()
    out.ref = ref
    return out
  }
  static func lines(_ client: DaemonClient, _ ref: String) async throws -> [String] {
    try await client.control.status(status(ref)) { response in
      var out: [String] = []
      for try await message in response.messages { out += message.logs.map { String(decoding: $0.msg, as: UTF8.self) } }
      return out
    }
  }
  static func log(_ text: String) -> ProgressEvent {
    ProgressEvent(logs: [VertexLog(vertex: .sha256(of: "v"), timestamp: Timestamp(seconds: 1), stream: 1, message: Array(text.utf8))])
  }

  @Test func saysWhatItIs() async throws {
    try await DaemonHarness.with { options in
      options.labels = ["own": "label"]
    } _: { daemon in
      try await daemon.withClient { client in
        let info = try await client.control.info(.init())
        #expect(info.buildkitVersion.version.hasSuffix("+manifold.1.2.3"))
        let workers = try await client.control.listWorkers(.init())
        let worker = try #require(workers.record.first)
        #expect(worker.platforms.map { $0.architecture + $0.variant } == ["amd64", "amd64v2", "amd64v3", "amd64v4", "arm64"])
        #expect(worker.labels["own"] == "label" && worker.labels["org.mobyproject.buildkit.worker.executor"] == "oci")
        #expect(worker.gcpolicy.map(\.maxUsedSpace) == [2] && worker.gcpolicy.first?.filters == ["type==regular"])
        #expect(Files.text(daemon.folder + "/root/workerid") == worker.id && worker.id.count == 25)
        var other = Moby_Buildkit_V1_ListWorkersRequest()
        other.filter = ["id==none"]
        #expect(try await client.control.listWorkers(other).record.isEmpty)
        let health = Grpc_Health_V1_Health.Client(wrapping: client)
        #expect(try await health.check(.init()).status == .serving)
      }
      #expect(try Files.status(daemon.socket).mode & 0o777 == 0o660)
    }
  }

  @Test func tellsAndRemovesWhatTakesRoom() async throws {
    try await DaemonHarness.with { daemon in
      try await daemon.withClient { client in
        var request = Moby_Buildkit_V1_DiskUsageRequest()
        #expect(try await client.control.diskUsage(request).record.map(\.id) == ["one", "two"])
        request.filter = ["type==exec.cachemount"]
        let found = try await client.control.diskUsage(request).record
        #expect(found.map(\.size) == [20] && found[0].lastUsedAt.seconds == 9 && found[0].mutable)
        var prune = Moby_Buildkit_V1_PruneRequest()
        prune.filter = ["id~=o"]
        let gone = try await client.control.prune(prune) { response in try await response.messages.reduce(into: []) { $0.append($1.id) } }
        #expect(gone == ["one", "two"])
        prune.filter = ["nothing==x"]
        await #expect(throws: RPCError.self) { try await client.control.prune(prune) { response in for try await _ in response.messages {} } }
      }
    }
  }

  @Test func statusGoesToEveryListenerFromTheBeginning() async throws {
    let (gate, open) = AsyncStream.makeStream(of: Void.self)
    try await DaemonHarness.with(engine: { request, _, progress in
      progress.emit(Self.log("first"))
      for await _ in gate { break }
      progress.emit(Self.log("last"))
      return SolveResponse(exporterResponse: ["k": request.exports.first?.type ?? ""])
    }) { daemon in
      try await daemon.withClient { client in
        // One that comes before the build, and one that comes while it runs.
        async let early = Self.lines(client, "b")
        var request = Self.request("b")
        request.exporterDeprecated = "image"
        let solve = request
        async let response = client.control.solve(solve)
        let late = try await daemon.withClient { other in
          try await other.control.status(Self.status("b")) { response in
            #expect(!response.metadata["buildkit-current-timestamp"].map { "\($0)" }.joined().isEmpty)
            var out: [String] = []
            for try await message in response.messages {
              out += message.logs.map { String(decoding: $0.msg, as: UTF8.self) }
              if out == ["first"] { open.yield() }
            }
            return out
          }
        }
        #expect(late == ["first", "last"])
        #expect(try await early == ["first", "last"])
        #expect(try await response.exporterResponse == ["k": "image"])
        // And after its end.
        #expect(try await Self.lines(client, "b") == ["first", "last"])
      }
    }
  }

  @Test func errorsCarryTheirDetails() async throws {
    let place = SourcePlace(filename: "Dockerfile", data: Array("FROM a\nRUN b\n".utf8), lines: 2...2)
    try await DaemonHarness.with(engine: { _, _, _ in
      throw BuildError(.unknown, .build, "process did not complete", suggestion: "Mend it.", vertex: VertexPlace(digest: .sha256(of: "v"), name: "RUN b"), sources: [place], exitCode: 7)
    }) { daemon in
      try await daemon.withClient { client in
        let failure = await #expect(throws: RPCError.self) { try await client.control.solve(Self.request("e")) }
        let error = WireErrors.buildError(try #require(failure))
        #expect(error.message == "process did not complete" && error.suggestion == "Mend it." && error.exitCode == 7)
        #expect(error.sources == [place] && error.vertex?.name == "RUN b")
      }
    }
  }

  @Test func aClientThatGoesAwayCancelsItsBuild() async throws {
    let (begun, tell) = AsyncStream.makeStream(of: Void.self)
    let (ended, end) = AsyncStream.makeStream(of: Bool.self)
    try await DaemonHarness.with(engine: { _, _, _ in
      tell.yield()
      do { try await Task.sleep(for: .seconds(3600)) } catch {
        end.yield(Task.isCancelled)
        throw error
      }
      return SolveResponse()
    }) { daemon in
      let client = Task { try await daemon.withClient { client in try await client.control.solve(Self.request("c")) } }
      for await _ in begun { break }
      client.cancel()
      for await wasCancelled in ended {
        #expect(wasCancelled)
        break
      }
      _ = await client.result
    }
  }

  @Test func runningBuildsFinishWhenTheDaemonStops() async throws {
    let (begun, tell) = AsyncStream.makeStream(of: Void.self)
    let (gate, open) = AsyncStream.makeStream(of: Void.self)
    try await DaemonHarness.with(engine: { _, _, _ in
      tell.yield()
      for await _ in gate { break }
      return SolveResponse(exporterResponse: ["done": "yes"])
    }) { daemon in
      try await daemon.withClient { client in
        let response = Task { try await client.control.solve(Self.request("a")) }
        for await _ in begun { break }
        daemon.daemon.stop()
        // Builds are refused from then on.
        var refused = false
        for _ in 0..<6000 where !refused {
          do {
            _ = try await client.control.solve(Self.request("nothing"))
          } catch let error as RPCError where error.code == .unavailable { refused = true } catch {}
          if !refused { try await Task.sleep(for: .milliseconds(10)) }
          open.yield()
        }
        #expect(refused)
        #expect(try await response.value.exporterResponse == ["done": "yes"])
      }
      #expect(!Files.exists(daemon.socket))
    }
  }

  @Test func buildsThatDoNotFinishAreCancelled() async throws {
    let (begun, tell) = AsyncStream.makeStream(of: Void.self)
    try await DaemonHarness.with { $0.stopTimeout = 0.05 } engine: { _, _, _ in
      tell.yield()
      try await Task.sleep(for: .seconds(3600))
      return SolveResponse()
    } _: { daemon in
      try await daemon.withClient { client in
        let response = Task { try await client.control.solve(Self.request("a")) }
        for await _ in begun { break }
        daemon.daemon.stop()
        let error = await #expect(throws: RPCError.self) { _ = try await response.value }
        #expect(error?.code == .cancelled)
      }
    }
  }

  @Test func aBuildWaitsForItsTurn() async throws {
    let running = Mutex(0), most = Mutex(0)
    try await DaemonHarness.with { $0.maxBuilds = 2 } engine: { _, _, _ in
      let now = running.withLock { $0 += 1; return $0 }
      most.withLock { $0 = max($0, now) }
      try await Task.sleep(for: .milliseconds(5))
      running.withLock { $0 -= 1 }
      return SolveResponse()
    } _: { daemon in
      try await daemon.withClient { client in
        try await withThrowingTaskGroup(of: Void.self) { group in
          for n in 0..<20 { group.addTask { _ = try await client.control.solve(Self.request("b\(n)")) } }
          try await group.waitForAll()
        }
      }
    }
    #expect(most.withLock { $0 } <= 2)
  }

  @Test func messagesOfBuildKitsSizeAreTaken() async throws {
    try await DaemonHarness.with { daemon in
      try await daemon.withClient { client in
        var request = Self.request("big")
        request.definition.def = [.init(repeating: 1, count: 15 << 20)]
        _ = try await client.control.solve(request)
        request.ref = "bigger"
        request.definition.def = [.init(repeating: 1, count: 17 << 20)]
        await #expect(throws: RPCError.self) { try await client.control.solve(request) }
        _ = try await client.control.info(.init())
      }
    }
  }
}
