import FoundationEssentials
import BuildInterface
import BuildKitAPI
import BuildKitProto
import GRPCCore
import OCIModel
import SwiftProtobuf
import Testing

@Suite struct WireErrorsTests {
  static let digest = Digest.sha256(of: "x")

  static func any(_ type: String, _ json: String) -> Google_Protobuf_Any {
    var out = Google_Protobuf_Any()
    out.typeURL = "github.com/moby/buildkit/" + type
    out.value = .init(Array(json.utf8))
    return out
  }

  /// What buildkitd sent for `RUN exit 3`, its stacks shortened.
  static var recorded: Google_Rpc_Status {
    var out = Google_Rpc_Status()
    out.code = 2
    out.message = #"process "/bin/sh -c exit 3" did not complete successfully: exit code: 3"#
    out.details = [
      any("stack.Stack+json", #"{"frames":[{"Name":"github.com/moby/buildkit/solver.(*edge).execOp","File":"solver/edge.go","Line":979}],"pid":14795}"#),
      any("errdefs.Source+json", #"{"info":{"filename":"Dockerfile","data":"RlJPTSB4ClJVTiBleGl0IDMK","language":"Dockerfile"},"ranges":[{"start":{"line":2},"end":{"line":2}}]}"#),
      any("errdefs.Vertex+json", #"{"digest":"sha256:f569911d62300ae0244ffcd3bc62af53d2c8c622ec7700d864af7c1f2daf9b46"}"#),
      any("gatewayapi.ExitMessage+json", #"{"Code":3}"#),
    ]
    return out
  }

  @Test func whatBuildKitSendsIsRead() throws {
    var error = RPCError(code: .unknown, message: Self.recorded.message)
    let bytes: [UInt8] = try Self.recorded.serializedBytes()
    error.metadata.addBinary(bytes, forKey: WireErrors.detailsKey)
    let read = WireErrors.buildError(error)
    #expect(read.code == .unknown && read.domain == .build)
    #expect(read.description == Self.recorded.message)
    #expect(read.exitCode == 3)
    #expect(read.vertex?.digest.description == "sha256:f569911d62300ae0244ffcd3bc62af53d2c8c622ec7700d864af7c1f2daf9b46")
    #expect(read.sources == [SourcePlace(filename: "Dockerfile", data: Array("FROM x\nRUN exit 3\n".utf8), lines: 2...2)])
  }

  @Test func whatIsSentIsWhatBuildKitSends() throws {
    let error = BuildError(
      .unknown, .build, Self.recorded.message,
      vertex: VertexPlace(digest: try Digest(parsing: "sha256:f569911d62300ae0244ffcd3bc62af53d2c8c622ec7700d864af7c1f2daf9b46"), name: "[2/2] RUN exit 3"),
      sources: [SourcePlace(filename: "Dockerfile", data: Array("FROM x\nRUN exit 3\n".utf8), lines: 2...2)], exitCode: 3)
    let status = WireErrors.status(error)
    #expect(status.code == 2 && status.message == Self.recorded.message)
    // Our own detail is the last; the language of a source we do not tell.
    #expect(status.details.dropLast().map(\.typeURL) == Self.recorded.details.dropFirst().map(\.typeURL))
    for (sent, recorded) in zip(status.details.dropLast(), Self.recorded.details.dropFirst()) where !sent.typeURL.contains("Source") {
      #expect(String(decoding: sent.value, as: UTF8.self) == String(decoding: recorded.value, as: UTF8.self))
    }
    let source = String(decoding: status.details[0].value, as: UTF8.self)
    #expect(source == #"{"info":{"filename":"Dockerfile","data":"RlJPTSB4ClJVTiBleGl0IDMK"},"ranges":[{"start":{"line":2},"end":{"line":2}}]}"#)
  }

  static let errors: [BuildError] = [
    BuildError(.invalidArgument, .usage, "the Dockerfile is wrong", suggestion: "Mend it.", sources: [SourcePlace(filename: "Dockerfile", data: Array("A\nB\n".utf8), lines: 1...2)]),
    BuildError(.unavailable, .registry, "no registry"),
    BuildError(.cancelled, .build, "context canceled"),
    BuildError(.resourceExhausted, .build, "the disk is full", output: ["a", "b"]),
    BuildError(.internal, .build, "a fault"),
    BuildError(.notFound, .usage, "not there", vertex: VertexPlace(digest: digest, name: "COPY", platform: try? Platform(parsing: "linux/arm64"))),
  ]

  @Test(arguments: errors) func errorsComeBackAsTheyWent(_ error: BuildError) {
    let back = WireErrors.buildError(WireErrors.rpcError(error))
    #expect(back.code == error.code && back.domain == error.domain)
    #expect(back.message == error.message)
    #expect(back.suggestion == error.suggestion)
    #expect(back.sources == error.sources)
    #expect(back.vertex == error.vertex)
    #expect(back.output == error.output)
  }

  @Test func codesAreThoseThatClientsActOn() {
    func code(_ error: any Error) -> RPCError.Code { WireErrors.rpcError(error).code }
    #expect(code(CancellationError()) == .cancelled)
    #expect(code(BuildError(.invalidArgument, .usage, "x")) == .unknown)
    #expect(code(BuildError(.unimplemented, .usage, "x")) == .unimplemented)
    #expect(code(BuildError(.resourceExhausted, .build, "x")) == .resourceExhausted)
    #expect(code(RPCError(code: .notFound, message: "no such job x")) == .notFound)
    struct Other: Error {}
    #expect(code(Other()) == .unknown)
  }

  @Test func whatIsNotSupportedIsTyped() {
    for unsupported in [BuildError.Unsupported.capability("moby.buildkit.frontend.x"), .subrequest("frontend.x")] {
      var error = BuildError(.invalidArgument, .usage, "unsupported")
      error.unsupported = unsupported
      let sent = WireErrors.rpcError(error)
      #expect(sent.code == .unimplemented)
      #expect(WireErrors.buildError(sent).unsupported == unsupported)
    }
  }

  @Test func theFailedOpGoesAlong() throws {
    var op = Pb_Op()
    op.exec.meta.args = ["/bin/sh", "-c", "exit 3"]
    op.exec.mounts = [Pb_Mount()]
    var error = BuildError(.unknown, .build, "x")
    error.operation = .init(op: op, inputIDs: ["a"], mountIDs: ["b", ""])
    #expect(WireErrors.buildError(WireErrors.rpcError(error)).operation == error.operation)
  }

  @Test func strangeDetailsArePassedOver() throws {
    var status = Google_Rpc_Status()
    status.code = 99
    status.message = "m"
    status.details = [
      Self.any("errdefs.Source+json", "{"), Self.any("errdefs.Source+json", "[]"), Self.any("errdefs.Vertex+json", #"{"digest":"nonsense"}"#), Self.any("other+json", "{}"),
      Self.any("errdefs.Solve+json", #"{"op":7}"#), Self.any("errdefs.Source+json", #"{"info":{"filename":"f"},"ranges":[{"start":{"line":-5}}]}"#),
      Self.any("gatewayapi.ExitMessage+json", #"{"Code":-1}"#),
    ]
    let read = WireErrors.buildError(status)
    #expect(read.code == .unknown && read.message == "m" && read.sources.isEmpty && read.vertex == nil)
  }
}
