import BuildInterface
import BuildKitProto
import LLB
import OCIModel
import SwiftProtobuf
import Synchronization
import Testing

@testable import DockerfileFrontend

/// A Dockerfile per platform: each platform's result is what its own file alone gives.
@Suite struct PlatformVariantTests {
  private static let common = "FROM --platform=$BUILDPLATFORM alpine:3.20 AS build\nCOPY . /src\nRUN make\nFROM alpine:3.20\nARG WHO=all\nCOPY --from=build /out /\nRUN echo $WHO\n"
  private static let arm = "FROM alpine:3.20 AS base\nARG WHO=arm\nRUN echo $WHO\nFROM base as last\nCMD [\"arm\"]\n"
  private static func key(_ key: String, _ platform: String) throws -> String { PlatformAttributes.name(key, for: try Platform(parsing: platform)) }

  private func digests(_ gateway: FakeGateway) -> Set<Digest> {
    Set(gateway.definitions.withLock { $0 }.flatMap { Definition($0).digests })
  }

  @Test func eachPlatformHasItsFile() async throws {
    let trial = try Trial(Self.common, files: ["Dockerfile.arm": Self.arm, "Dockerfile.arm.dockerignore": "secret\n"])
    let attributes = [
      "platform": "linux/amd64,linux/arm64,linux/s390x", try Self.key("filename", "linux/arm64"): "Dockerfile.arm", try Self.key("target", "linux/arm64"): "base",
      try Self.key("build-arg:WHO", "linux/s390x"): "big",
    ]
    let result = try await DockerfileFrontend().build(trial.gateway(attributes))
    #expect(result.isMultiPlatform && result.targets.map(\.id) == ["linux/amd64", "linux/arm64", "linux/s390x"])
    #expect(result.targets.map(\.file) == ["Dockerfile", "Dockerfile.arm", "Dockerfile"])
    #expect(result.targets[1].stages.map(\.name) == ["base", "last"] && result.targets[1].stages.map(\.isNeeded) == [true, false])
    // The same as of builds of single platforms.
    for (i, alone) in [
      ["platform": "linux/amd64"], ["platform": "linux/arm64", "filename": "Dockerfile.arm", "target": "base"], ["platform": "linux/s390x", "build-arg:WHO": "big"],
    ].enumerated() {
      let one = try await DockerfileFrontend().build(trial.gateway(alone))
      #expect(one.targets[0].imageConfig == result.targets[i].imageConfig, "\(alone)")
      #expect((one.targets[0].reference as? FakeReference)?.head == (result.targets[i].reference as? FakeReference)?.head, "\(alone)")
    }
  }

  /// What platforms share is one vertex, whichever file it comes from; contexts with other ignore files are others.
  @Test func sharedAndApart() async throws {
    func steps(_ ignore: [String: String]) async throws -> Int {
      let trial = try Trial(Self.common, files: ["Dockerfile.arm": Self.common].merging(ignore) { $1 })
      let gateway = trial.gateway(["platform": "linux/amd64,linux/arm64", try Self.key("filename", "linux/arm64"): "Dockerfile.arm"])
      _ = try await DockerfileFrontend().build(gateway)
      let ops = gateway.definitions.withLock { $0 }.flatMap { definition in definition.def.compactMap { try? Pb_Op(serializedBytes: $0) } }
      return Set(ops.filter { op in if case .source(let source)? = op.op { source.identifier == "local://context" && source.attrs["local.sharedkeyhint"] == "context" } else { false } }).count
    }
    #expect(try await steps([:]) == 1)
    #expect(try await steps(["Dockerfile.arm.dockerignore": "secret\n"]) == 2)
  }

  @Test func checksOfEachFile() async throws {
    let trial = try Trial(Self.common, files: ["Dockerfile.arm": Self.arm])
    let attributes = ["platform": "linux/amd64,linux/arm64", try Self.key("filename", "linux/arm64"): "Dockerfile.arm"]
    let gateway = trial.gateway(attributes)
    _ = try await DockerfileFrontend().build(gateway)
    #expect(gateway.warnings.withLock { $0 } == ["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 4)"])
    let lint = try await DockerfileFrontend().build(trial.gateway(attributes.merging(["requestid": "frontend.lint"]) { $1 }))
    let json = try JSONValue(parsing: lint.metadata["result.json"] ?? [])
    #expect(json["sources"]?.arrayValue?.compactMap { $0["filename"]?.stringValue } == ["Dockerfile", "Dockerfile.arm"])
    #expect(json["warnings"]?.arrayValue?.map { $0["location"]?["sourceIndex"]?.intValue } == [1])
    #expect(lint.metadata["result.statuscode"].map { String(decoding: $0, as: UTF8.self) } == "1")
    let error = await trial.error(attributes.merging(["requestid": "frontend.outline"]) { $1 })
    #expect(error?.message.contains("one Dockerfile") == true)
  }

  @Test func wrongAttributes() async throws {
    let trial = try Trial(Self.common)
    for (name, words) in [
      ("manifold.platform:linux/arm64:filename", "linux/arm64 has attributes of its own, and is not built"), ("manifold.platform:linux/amd64:secret", "no platform has a secret"),
      ("manifold.platform:nonsense", "names no platform"), ("manifold.platform:linux/amd64:build-arg:", "no platform has"),
    ] {
      let error = await trial.error(["platform": "linux/amd64", name: "x"])
      #expect(error?.message.contains(words) == true, "\(name): \(error?.message ?? "no error")")
    }
    let error = await trial.error(["platform": "linux/amd64,linux/arm64", "manifold.platform:linux/arm64:filename": "gone"])
    #expect(error?.message.contains("open gone") == true)
  }
}
