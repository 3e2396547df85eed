import BuildInterface
import BuildKitProto
import BuildProgress
import Foundation
import LLB
import OCIModel
import SwiftProtobuf
import Synchronization
import Testing

@testable import DockerfileFrontend

/// A Dockerfile in a folder of its own, built by the frontend.
struct Trial: ~Copyable {
  let folder: URL
  init(_ dockerfile: String?, files: [String: String] = [:]) throws {
    folder = FileManager.default.temporaryDirectory.appending(path: "frontend-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    if let dockerfile { try Data(dockerfile.utf8).write(to: folder.appending(path: "Dockerfile")) }
    for (name, text) in files { try Data(text.utf8).write(to: folder.appending(path: name)) }
  }
  deinit { try? FileManager.default.removeItem(at: folder) }

  func gateway(_ attributes: [String: String] = [:], inputs: [String: Pb_Definition] = [:]) -> FakeGateway {
    FakeGateway(
      folder: folder,
      environment: FrontendEnvironment(
        buildPlatform: Platform(os: "linux", architecture: "amd64"), attributes: attributes, inputs: inputs, sessionID: "session-1"))
  }

  func error(_ attributes: [String: String] = [:]) async -> BuildError? {
    do {
      _ = try await DockerfileFrontend().build(gateway(attributes))
      return nil
    } catch { return error as? BuildError }
  }
}

@Suite struct RefusalTests {
  @Test(arguments: [
    (["attest:sbom": "generator=x"], "SBOM"),
    (["requestid": "frontend.convertllb"], "frontend.convertllb"),
    (["frontend.caps": "moby.buildkit.frontend.contexts,some.other"], "some.other"),
    (["build-arg:BUILDKIT_ATTEST_SBOM": ""], "SBOM"),
  ])
  func attributes(_ attributes: [String: String], _ what: String) async throws {
    let error = try await Trial("FROM alpine:3.20\n").error(attributes)
    #expect(error?.code == .unimplemented)
    #expect(error?.message.contains(what) == true, "\(error?.message ?? "no error")")
  }

  @Test(arguments: [
    (["ulimit": "nofile"], "name=soft"), (["ulimit": "bogus=1"], "name=soft"), (["ulimit": "nofile=5:4"], "not above the hard limit"), (["ulimit": "nofile=-1:4"], "not above"),
    (["add-hosts": "a"], "host=ip"), (["add-hosts": "a=1.2.3"], "an IP address"), (["add-hosts": "\"a=1.2.3.4"], "closing quote"), (["shm-size": "-1"], "number of bytes"),
    (["shm-size": "1g"], "number of bytes"), (["force-network-mode": "bridge"], "sandbox, none or host"), (["image-resolve-mode": "x"], "default, pull or local"),
    (["platform": "linux/amd64,"], "platform"), (["platform": "nope"], "nope"), (["multi-platform": "maybe"], "true or false"),
    (["platform": "linux/amd64,linux/arm64", "multi-platform": "0"], "linux/amd64, linux/arm64"),
  ])
  func badAttributes(_ attributes: [String: String], _ what: String) async throws {
    let error = try await Trial("FROM alpine:3.20\n").error(attributes)
    #expect(error?.code == .invalidArgument)
    #expect(error?.domain == .usage)
    #expect(error?.message.contains(what) == true, "\(error?.message ?? "no error")")
  }

  @Test(arguments: [
    ("FROM alpine:3.20\nRUNN x\n", 2), ("RUN x\n", 1), ("FROM alpine:3.20\nCOPY --from=$X a b\n", 2), ("FROM alpine:3.20\nENV A=${B?needed}\n", 2), ("FROM UPPER\n", 1),
    ("FROM alpine:3.20\nCOPY --checksum=x a b\n", 2), ("FROM alpine:3.20\nADD --checksum=sha256:ab a b\n", 2), ("FROM alpine:3.20\nADD --checksum=sha256:ab https://x/y b\n", 2),
    ("FROM alpine:3.20\nCOPY git@github.com:a/b.git /x\n", 2), ("FROM alpine:3.20\nVOLUME $NONE\n", 2), ("FROM alpine:3.20\nEXPOSE 80/icmp\n", 2),
    ("FROM alpine:3.20\nCOPY --chmod=q+x a b\n", 2), ("FROM alpine:3.20 AS wanted\nRUN --mount=type=bind,from=later,target=/x y\nFROM alpine:3.20 AS later\nFROM alpine:3.20\n", 2),
  ])
  func mistakesHaveAPlace(_ dockerfile: String, _ line: Int) async throws {
    let error = try await Trial(dockerfile).error(dockerfile.contains("AS wanted") ? ["target": "wanted"] : [:])
    #expect(error?.code == .invalidArgument, "\(error?.message ?? "no error")")
    #expect(error?.sources.first?.lines.lowerBound == line, "\(error?.message ?? "no error")")
  }

  @Test func missingFiles() async throws {
    let missing = try await Trial("FROM alpine:3.20\n").error(["filename": "Other"])
    #expect(missing?.code == .notFound)
    #expect(missing?.message == "failed to read dockerfile: open Other: no such file or directory")
    let empty = try await Trial("# nothing\n").error()
    #expect(empty?.code == .invalidArgument)
    let argumentsOnly = try await Trial("ARG A=1\n").error()
    #expect(argumentsOnly?.message.contains("no stage") == true)
  }

  @Test func missingPlatformListsWhatThereIs() async throws {
    let error = try await Trial("FROM alpine:3.20 AS a\nFROM amd64only:1\n").error(["platform": "linux/amd64,linux/arm64"])
    #expect(error?.domain == .registry)
    #expect(error?.message.contains("amd64only:1") == true)
    #expect(error?.suggestion == "the image has linux/amd64")
    #expect(error?.sources.last?.lines == 2...2)
  }
}

@Suite struct FrontendTests {
  @Test(arguments: ["docker/dockerfile:1", "docker/dockerfile:1.7-labs", "docker/dockerfile-upstream:master", "docker.io/docker/dockerfile", "docker/dockerfile:1@sha256:\(String(repeating: "a", count: 64))"])
  func ownSyntax(_ name: String) async throws {
    let trial = try Trial("# syntax=\(name)\nFROM alpine:3.20\n")
    #expect(try await DockerfileFrontend().build(trial.gateway()).targets.count == 1)
    #expect(try await DockerfileFrontend().build(trial.gateway(["build-arg:BUILDKIT_SYNTAX": name])).targets.count == 1)
  }

  /// A stage pinned to the build platform and the context are one vertex for all platforms.
  @Test func sharedVertices() async throws {
    let trial = try Trial("FROM --platform=$BUILDPLATFORM golang:1.22 AS build\nCOPY . .\nRUN fetch\nFROM alpine:3.20\nCOPY --from=build /x /y\n")
    let gateway = trial.gateway(["platform": "linux/amd64,linux/arm64,linux/arm/v7,linux/s390x"])
    let result = try await DockerfileFrontend().build(gateway)
    #expect(result.targets.map(\.id) == ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"])
    var names: [Digest: String] = [:]
    for definition in gateway.definitions.withLock({ $0 }) {
      for vertex in try Definition(definition).load().vertices.values { names[vertex.digest] = vertex.name }
    }
    #expect(names.values.count { $0.contains("RUN fetch") } == 1)
    #expect(names.values.count { $0.contains("load build context") } == 1)
    #expect(names.values.count { $0.contains("COPY --from=build") } == 4)
    #expect(gateway.lookups.withLock { $0.count { $0.contains("golang") } } == 1)
  }

  @Test func sessionsSetBuildsApart() async throws {
    let trial = try Trial("FROM alpine:3.20\nCOPY a /\n")
    func head(_ attributes: [String: String]) async throws -> Digest? {
      (try await DockerfileFrontend().build(trial.gateway(attributes)).targets[0].reference as? FakeReference)?.head
    }
    #expect(try await head([:]) == head([:]))
    #expect(try await head([:]) != head(["local-sessionid:context": "another"]))
  }

  /// The context and the Dockerfile may be definitions of the caller; what they are made of is kept.
  @Test func frontendInputs() async throws {
    let trial = try Trial("FROM scratch\nCOPY a /\n", files: [".dockerignore": "ignored\n"])
    let graph = Graph()
    let input = try graph.http("https://example.com/context.tar").marshal()
    for (attributes, path) in [([:], ""), (["contextsubdir": "sub"], "/sub")] as [([String: String], String)] {
      let gateway = trial.gateway(attributes, inputs: ["context": input.proto, "dockerfile": input.proto])
      _ = try await DockerfileFrontend().build(gateway)
      let definitions = gateway.definitions.withLock { $0 }
      #expect(definitions.count == 2, "no ignore file is looked for")
      let loaded = try Definition(definitions[1]).load()
      #expect(loaded.vertices[try #require(input.head)] != nil)
      #expect(loaded.vertices.values.contains { $0.op.file.actions.contains { $0.copy.src == path } } == !path.isEmpty)
      #expect(!loaded.vertices.values.contains { $0.name.contains("load build context") })
    }
  }

  /// Ten thousand instructions of each kind that once could cost the square of their number.
  @Test(.timeLimit(.minutes(10))) func largeFiles() async throws {
    let count = 10_000
    let environment = (0..<count).map { "ENV V\($0)=$V\(max(0, $0 - 1))x\($0 % 7)" }.joined(separator: "\n")
    let stages = (0..<count / 10).map { $0 == 0 ? "FROM scratch AS s0\nCOPY a /" : "FROM s\($0 - 1) AS s\($0)\nCOPY b /" }.joined(separator: "\n")
    let copies = "FROM scratch\n" + (0..<count).map { "COPY f\($0) /" }.joined(separator: "\n")
    for text in ["FROM scratch\n" + environment.replacingOccurrences(of: "$V", with: "$W"), stages, copies] {
      let trial = try Trial(text + "\n")
      #expect(try await DockerfileFrontend().build(trial.gateway()).targets.count == 1)
    }
  }

  @Test func cancellation() async throws {
    let trial = try Trial("FROM alpine:3.20\n")
    let gateway = SlowGateway(trial.gateway())
    let task = Task { try await DockerfileFrontend().build(gateway) }
    while gateway.waiting.withLock({ !$0 }) { try await Task.sleep(for: .milliseconds(2)) }
    task.cancel()
    await #expect(throws: (any Error).self) { try await task.value }
  }
}

/// Never answers about images.
final class SlowGateway: FrontendGateway {
  let base: FakeGateway
  let waiting = Mutex(false)
  init(_ base: FakeGateway) { self.base = base }
  var environment: FrontendEnvironment { base.environment }
  func solve(_ definition: Pb_Definition) async throws -> any FrontendReference { try await base.solve(definition) }
  func resolveImage(_ reference: Reference, options: ImageResolveOptions) async throws -> ResolvedImage {
    waiting.withLock { $0 = true }
    try await Task.sleep(for: .seconds(3600))
    return try await base.resolveImage(reference, options: options)
  }
  func warn(_ warning: VertexWarning) async {}
  func progress<T: Sendable>(named name: String, _ body: @Sendable () async throws -> T) async throws -> T { try await body() }
}
