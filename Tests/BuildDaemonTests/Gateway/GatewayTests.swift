import BuildInterface
import BuildKitAPI
import BuildKitProto
import Foundation
import GRPCCore
import OCIModel
import SwiftProtobuf
import Synchronization
import Testing

@testable import BuildDaemon

/// LLBBridge as a frontend's program sees it: generated client, real HTTP/2, a gateway that solves nothing.
@Suite(.timeLimit(.minutes(2))) struct GatewayTests {
  @Test func pingTellsWhatThereIs() async throws {
    _ = try await served(FakeGateway()) { client in
      let pong = try await client.ping(.init())
      let gateway = Set(pong.frontendApicaps.filter(\.enabled).map(\.id)), llb = Set(pong.llbcaps.filter(\.enabled).map(\.id))
      #expect(gateway.isSuperset(of: ["solve.base", "gateway.exec", "gateway.evaluate", "source.metaresolver", "proto.refarray"]))
      #expect(llb.isSuperset(of: ["exec.meta.base", "mergeop", "diffop", "file.base", "source.local", "exporter.multiple"]))
      #expect(pong.frontendApicaps.map(\.id) == pong.frontendApicaps.map(\.id).sorted())
      #expect(pong.workers.map(\.id) == ["worker"])
      _ = try await client.return(.with { $0.result = .init() })
    }
  }

  @Test func solvesReadsAndReturns() async throws {
    let gateway = FakeGateway(files: ["/a": "hello world"], inputs: ["in": .with { $0.def = [Data([1])] }])
    let result = try await served(gateway) { client in
      let inputs = try await client.inputs(.init())
      #expect(inputs.definitions["in"]?.def == [Data([1])])
      let solved = try await client.solve(.with {
        $0.definition = .with { $0.def = [Data([7])] }
        ($0.allowResultReturn, $0.allowResultArrayRef, $0.evaluate) = (true, true, true)
        $0.cacheImports = [.with { ($0.type, $0.attrs) = ("registry", ["ref": "r"]) }]
      })
      let ref = solved.result.ref
      #expect(ref.id.count == 25 && ref.def.def == [Data([7])] && solved.ref.isEmpty && solved.result.metadata["k"] == Data("v".utf8))
      let file = try await client.readFile(.with { ($0.ref, $0.filePath, $0.range) = (ref.id, "/a", .with { ($0.offset, $0.length) = (6, 3) }) })
      #expect(file.data == Data("wor".utf8))
      #expect(try await client.readDir(.with { ($0.ref, $0.dirPath) = (ref.id, "/") }).entries.map(\.path) == ["/a"])
      #expect(try await client.statFile(.with { ($0.ref, $0.path) = (ref.id, "/a") }).stat.size == 11)
      _ = try await client.evaluate(.with { $0.ref = ref.id })
      // The old form: ids alone.
      let old = try await client.solve(.with { $0.definition = .with { $0.def = [Data([7])] } })
      #expect(old.ref == old.result.refDeprecated && old.ref != ref.id && !old.ref.isEmpty)
      for lost in [{ try await client.readFile(.with { ($0.ref, $0.filePath) = ("guessed", "/a") }) }, { try await client.readFile(.with { ($0.ref, $0.filePath) = (ref.id, "/b") }) }] {
        let error = await #expect(throws: RPCError.self) { _ = try await lost() }
        // BuildKit's code for what clients do not act on; the words say what is not there.
        #expect(error?.code == .unknown && error?.message.isEmpty == false)
      }
      let image = try await client.resolveImageConfig(.with { $0.ref = "docker.io/library/alpine:3" })
      #expect(image.ref == "docker.io/library/alpine:3" && image.digest.hasPrefix("sha256:") && image.config == Data("{}".utf8))
      _ = try await client.warn(.with { ($0.digest, $0.short) = (Digest.sha256(of: "v").description, Data("careful".utf8)) })
      _ = try await client.return(.with { $0.result = .with { ($0.ref, $0.metadata) = (ref, ["m": Data("n".utf8)]) } })
      await #expect(throws: RPCError.self) { _ = try await client.return(.with { $0.result = .init() }) }
    }
    #expect(result?.reference != nil && result?.metadata["m"] == Array("n".utf8))
    gateway.asked.withLock { asked in
      #expect(asked.solves.first?.evaluates == true && asked.solves.first?.cacheImports == [CacheOption(type: "registry", attributes: ["ref": "r"])])
      #expect(asked.warnings.map(\.short) == [Array("careful".utf8)])
    }
  }

  @Test func severalResultsByName() async throws {
    let gateway = FakeGateway { _ in NestedResult(references: ["linux/amd64": FakeReference(files: [:], definition: .init()), "linux/arm64": nil]) }
    let result = try await served(gateway) { client in
      await #expect(throws: RPCError.self) { _ = try await client.solve(.with { $0.frontend = "dockerfile.v0" }) }
      let solved = try await client.solve(.with { ($0.frontend, $0.allowResultReturn, $0.allowResultArrayRef) = ("dockerfile.v0", true, true) })
      #expect(Set(solved.result.refs.refs.keys) == ["linux/amd64", "linux/arm64"] && solved.result.refs.refs["linux/arm64"]?.id.isEmpty == true)
      _ = try await client.return(.with { $0.result = solved.result })
    }
    #expect(result?.references?.count == 2 && result?.references?["linux/amd64"] != nil)
  }

  @Test func errorsAreToldAndReturned() async throws {
    let gateway = FakeGateway { _ in throw BuildError(.failedPrecondition, .build, "process \"false\" did not complete") }
    var failure: (any Error)?
    do {
      _ = try await served(gateway) { client in
        do {
          _ = try await client.solve(.with { $0.frontend = "dockerfile.v0" })
          Issue.record("it was solved")
        } catch let error as RPCError {
          let told = WireErrors.buildError(error)
          #expect(told.code == .failedPrecondition && told.message.contains("did not complete"))
          _ = try await client.return(.with { $0.error = WireErrors.status(told) })
        }
      }
    } catch { failure = error }
    let returned = failure as? BuildError
    #expect(returned?.code == .failedPrecondition && returned?.message.contains("did not complete") == true, "\(String(describing: failure))")
  }

  @Test func processesOfContainers() async throws {
    let gateway = FakeGateway()
    _ = try await served(gateway) { client in
      _ = try await client.newContainer(.with {
        ($0.containerID, $0.network, $0.hostname) = ("c", .none, "h")
        $0.mounts = [.with { $0.dest = "/" }]
      })
      await #expect(throws: RPCError.self) { _ = try await client.newContainer(.with { $0.containerID = "c" }) }
      let read = try await client.readFileContainer(.with { ($0.ref, $0.filePath, $0.mountIndex) = ("c", "/f", 1) })
      #expect(read.data == Data("1 /f 0 -1".utf8))
      let kinds = try await client.execProcess { writer in
        for id in ["p", "q"] {
          try await writer.write(.with {
            $0.processID = id
            $0.init_p = .with { ($0.containerID, $0.fds, $0.meta) = ("c", [0, 1, 2], .with { $0.args = ["cat"] }) }
          })
        }
        try await writer.write(.with { ($0.processID, $0.file) = ("p", .with { $0.data = Data("typed".utf8) }) })
        try await writer.write(.with { ($0.processID, $0.file) = ("p", .with { $0.eof = true }) })
        try await writer.write(.with { ($0.processID, $0.signal) = ("q", .with { $0.name = "TERM" }) })
      } onResponse: { response in
        var kinds: [String: [String]] = [:]
        for try await message in response.messages {
          let kind =
            switch message.input {
            case .started?: "started"
            case .file(let file)?: file.eof ? "end \(file.fd)" : "\(file.fd): \(String(decoding: file.data, as: UTF8.self))"
            case .exit(let exit)?: "exit \(exit.code) \(exit.error.message)"
            case .done?: "done"
            default: "?"
            }
          kinds[message.processID, default: []].append(kind)
        }
        return kinds
      }
      #expect(kinds["p"] == ["started", "1: typed", "end 1", "end 2", "exit 0 ", "done"])
      #expect(kinds["q"] == ["started", "end 1", "end 2", "exit 7 exit code: 7", "done"])
      _ = try await client.releaseContainer(.with { $0.containerID = "c" })
      await #expect(throws: RPCError.self) { _ = try await client.releaseContainer(.with { $0.containerID = "c" }) }
      _ = try await client.newContainer(.with { $0.containerID = "left" })
      _ = try await client.return(.with { $0.result = .init() })
    }
    // What the frontend left behind went with it.
    #expect(gateway.asked.withLock { $0.released } == 2)
  }

  @Test func nothingReturned() async throws {
    #expect(try await served(FakeGateway()) { client in _ = try await client.ping(.init()) } == nil)
  }
}

@Suite(.timeLimit(.minutes(2))) struct GatewayBuildsTests {
  /// A client's calls may come before its build.
  @Test func aCallWaitsForItsBuild() async throws {
    let builds = GatewayBuilds()
    async let found = builds.build("b")
    let build = BridgeBuild(gateway: FakeGateway())
    try builds.register(build, as: "b")
    #expect(try await found === build)
    #expect(throws: BuildError.self) { try builds.register(build, as: "b") }
    builds.remove("b")
    let task = Task { try await builds.build("b") }
    task.cancel()
    await #expect(throws: BuildError.self) { _ = try await task.value }
  }

  @Test func theFunctionsResultIsTheBuilds() async throws {
    let builds = GatewayBuilds(), gateway = FakeGateway()
    let frontend = builds.frontend(build: "b")
    let running = Task { try await frontend.build(gateway) }
    let build = try await builds.build("b")
    let config = Data(#"{"os":"linux","architecture":"arm64"}"#.utf8)
    let solved = try await build.solve(.with { ($0.definition, $0.allowResultReturn) = (.with { $0.def = [Data([1])] }, true) })
    try build.return(.with { $0.result = .with { ($0.refDeprecated, $0.metadata) = (solved.result.refDeprecated, ["containerimage.config": config]) } })
    let result = try await running.value
    #expect(result.targets.map(\.id) == ["linux/arm64"] && !result.isMultiPlatform && result.targets[0].imageConfig == Array(config))
    #expect(throws: BuildError.self) { _ = try build.reference(solved.result.refDeprecated) }
  }

  @Test func aCancelledBuildEndsTheWaiting() async throws {
    let builds = GatewayBuilds(), frontend = builds.frontend(build: "b")
    let running = Task { try await frontend.build(FakeGateway()) }
    let build = try await builds.build("b")
    running.cancel()
    await #expect(throws: CancellationError.self) { _ = try await running.value }
    await #expect(throws: BuildError.self) { _ = try await build.solve(.with { $0.definition = .with { $0.def = [Data([1])] } }) }
  }
}
