import ArgumentParser
import BuildInterface
import BuildProgress
import HostOS
import OCIModel
import Synchronization
import Testing

@testable import ManifoldCommands

/// Whole commands on an engine that only remembers.
@Suite struct VerbTests {
  @Test func buildWritesWhatIsAskedFor() async throws {
    let scratch = try Scratch()
    try scratch.file("ctx/Dockerfile")
    let engine = FakeEngine(solve: { _, _, _ in
      SolveResponse(exporterResponse: ["containerimage.digest": "sha256:aa", "containerimage.config.digest": "sha256:bb"])
    })
    let status = await engine.main([
      "--root", scratch.path + "/root", "build", "-t", "x", "--progress", "none", "--iidfile", scratch.path + "/iid", "--metadata-file", scratch.path + "/meta",
      scratch.path + "/ctx",
    ])
    #expect(status == 0)
    #expect(Files.text(scratch.path + "/iid") == "sha256:bb")
    let metadata = try JSONValue(parsing: try #require(Files.text(scratch.path + "/meta")))
    #expect(metadata["containerimage.config.digest"] == "sha256:bb" && metadata["containerimage.digest"] == "sha256:aa")
    #expect(metadata["buildx.build.ref"]?.stringValue?.hasPrefix("embedded/embedded/") == true)
    #expect(engine.settings == [EngineSettings(root: scratch.path + "/root")] && engine.shutdowns == 1)
  }

  @Test func failedBuildLeavesNoImageID() async throws {
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    try scratch.file("iid", "sha256:old")
    let engine = FakeEngine(solve: { _, _, _ in throw BuildError(.unavailable, .registry, "no registry") })
    #expect(await engine.main(["build", "--progress=none", "--iidfile", scratch.path + "/iid", scratch.path]) == 3)
    #expect(!Files.exists(scratch.path + "/iid") && engine.shutdowns == 1)
    #expect(await engine.main(["build", "--nope", scratch.path]) == 2)
    #expect(await engine.main(["build"]) == 2)
    #expect(await engine.main(["build", "--ssh", "default", scratch.path]) == 2)
    #expect(await engine.main(["bild", "."]) == 2)
    #expect(await engine.main(["bake"]) == 2)
    #expect(engine.settings.count == 1)
  }

  @Test func verbsAreGuessedOrRefusedByName() {
    #expect(failure { try Manifold.refuseUnknownVerb(["bild"]) }?.suggestion?.hasPrefix("Did you mean build?") == true)
    #expect(failure { try Manifold.refuseUnknownVerb(["bake"]) }?.code == .unimplemented)
    for verb in ["build", "run", "images", "imagetools", "version", "help", "--help"] { #expect(throws: Never.self) { try Manifold.refuseUnknownVerb([verb]) } }
  }

  @Test func cancelledBuildIsAnInterruption() async throws {
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    let engine = FakeEngine(solve: { _, _, _ in throw CancellationError() })
    #expect(await engine.main(["build", "--progress=none", "-t", "x", scratch.path]) == 130)
    #expect(engine.shutdowns == 1)
  }

  @Test func quietViewsKeepAFailedStepsLastOutput() {
    let step = Digest.sha256(of: "step")
    let other = Digest.sha256(of: "other")
    final class Sink: ProgressSink { func emit(_ event: ProgressEvent) {} }
    let observer = BuildObserver(next: Sink(), keepsOutput: true)
    let now = Timestamp(seconds: 1)
    for i in 0..<5000 { observer.emit(ProgressEvent(logs: [VertexLog(vertex: step, timestamp: now, stream: 1, message: Array("line \(i)\n".utf8))])) }
    observer.emit(ProgressEvent(logs: [VertexLog(vertex: other, timestamp: now, stream: 1, message: Array("x\n".utf8))]))
    observer.emit(ProgressEvent(vertices: [ProgressVertex(digest: other, name: "o", started: now, completed: now)]))
    #expect(observer.lastOutput(of: step) == (4980..<5000).map { "line \($0)" })
    #expect(observer.lastOutput(of: other) == [])
  }

  @Test func runPassesTheExitCode() async throws {
    let engine = FakeEngine(run: { $0.arguments == ["false"] ? 7 : 0 })
    #expect(await engine.main(["run", "--rm", "hello", "false"]) == 7)
    #expect(await engine.main(["run", "hello"]) == 0)
    let broken = FakeEngine(run: { _ in throw BuildError(.notFound, .registry, "no such image") })
    #expect(await broken.main(["run", "hello"]) == 125)
    #expect(await broken.main(["run", "--detach", "hello"]) == 2)
    #expect(await broken.main(["run"]) == 2)
  }

  private func request(_ arguments: [String], environment: [String: String] = [:]) throws -> RunRequest {
    let command = try #require(try Manifold.parseAsRoot(CommandLineForms.normalised(["run"] + arguments)) as? RunCommand)
    return try command.request(CommandFacts(environment: environment, workingDirectory: "/w", standardInputIsTerminal: true, host: amd64))
  }

  @Test func runOptions() throws {
    let made = try request(
      [
        "--rm", "-it", "--platform", "linux/arm64", "-e", "A=1", "-eB", "-e", "UNSET", "-v", "./src:/dst:ro", "-v/a:/b", "-w", "/x", "--entrypoint", "sh", "-u",
        "1:2", "--network=none", "me/app:1", "-c", "--rm", "-e",
      ],
      environment: ["B": "2"])
    #expect(made.image.familiar == "me/app:1" && made.platform == Platform(os: "linux", architecture: "arm64"))
    #expect(made.arguments == ["-c", "--rm", "-e"] && made.environment == ["A=1", "B=2"])
    #expect(made.volumes == [.init(source: "/w/src", destination: "/dst", readOnly: true), .init(source: "/a", destination: "/b", readOnly: false)])
    #expect(made.workingDirectory == "/x" && made.user == "1:2" && made.entrypoint == ["sh"] && made.network == "none" && made.interactive && made.tty)
    #expect(try request(["--", "a", "b"]).arguments == ["b"])
    #expect(try request(["--entrypoint", "", "a"]).entrypoint == [])
    for wrong in [
      ["-v", "data:/x", "a"], ["-v", "/x", "a"], ["-v", "/a:b", "a"], ["-v", "/a:/b:odd", "a"], ["--network", "mine", "a"], ["-p", "80:80", "a"],
      ["--name=x", "a"], ["UPPER"],
    ] {
      #expect(failure { _ = try request(wrong) }?.domain == .usage, "\(wrong)")
    }
    #expect(throws: (any Error).self) { try Manifold.parseAsRoot(["run", "--plaform", "x", "a"]) }
    #expect(try request(["a"], environment: ["DOCKER_DEFAULT_PLATFORM": "linux/s390x"]).platform == Platform(os: "linux", architecture: "s390x"))
  }

  @Test func platformMismatch() throws {
    let arm = Platform(os: "linux", architecture: "arm64")
    func image(_ name: String, _ platforms: [Platform]) throws -> LocalImage {
      LocalImage(
        reference: try Reference(parsing: name).withDefaultTag, digest: .sha256(of: name), platforms: platforms, created: Timestamp(seconds: 0), size: 1)
    }
    let images = [try image("arm", [arm]), try image("both", [arm, amd64]), try image("amd", [amd64])]
    func warning(_ name: String, _ platform: Platform? = nil) throws -> String? {
      RunCommand.mismatchWarning(RunRequest(image: try Reference(parsing: name), platform: platform), images, host: amd64)
    }
    #expect(
      try warning("arm")
        == "The requested image's platform (linux/arm64) does not match the detected host platform (linux/amd64) and no specific platform was requested")
    #expect(try warning("arm", arm) == nil)
    #expect(try warning("both") == nil)
    #expect(try warning("amd") == nil)
    #expect(try warning("unknown") == nil)
  }

  @Test func imagesTable() throws {
    let arm = Platform(os: "linux", architecture: "arm", variant: "v7")
    let image = ImageRow(
      reference: try Reference(parsing: "hello:1"), digest: .sha256(of: "i"), platforms: [amd64, arm], created: Timestamp(seconds: 1_700_000_000),
      size: 1_234_567)
    let other = ImageRow(
      reference: try Reference(parsing: "localhost:5000/me/long-name:latest"), digest: .sha256(of: "j"), platforms: [amd64],
      created: Timestamp(seconds: 1_699_000_000), size: 12)
    func shown(_ arguments: [String]) throws -> String {
      try #require(try Manifold.parseAsRoot(["images"] + arguments) as? ImagesCommand).text([image, other], now: 1_700_000_090)
    }
    #expect(
      try shown([]) == """
        REPOSITORY                    TAG       IMAGE ID       CREATED              SIZE      PLATFORMS
        hello                         1         de7d1b721a1e   About a minute ago   1.23MB    linux/amd64, linux/arm/v7
        localhost:5000/me/long-name   latest    189f40034be7   11 days ago          12B       linux/amd64

        """)
    #expect(try shown(["-q"]) == "de7d1b721a1e\n189f40034be7\n")
    #expect(try shown(["--digests", "--no-trunc"]).contains(image.digest.description))
    #expect(
      try shown(["--format", "json"]).split(separator: "\n")[0]
        == #"{"Containers":"N/A","CreatedAt":"2023-11-14 22:13:20 +0000 UTC","CreatedSince":"About a minute ago","Digest":"\#(image.digest)","ID":"de7d1b721a1e","Platforms":"linux/amd64,linux/arm/v7","Repository":"hello","SharedSize":"N/A","Size":"1.23MB","Tag":"1","UniqueSize":"N/A"}"#
    )
    let rows = try shown(["--format", #"table {{.Repository}}\t{{.ID}}"#]).split(separator: "\n").map { $0.split(separator: " ", maxSplits: 1).map { $0.drop { $0 == " " } } }
    #expect(rows.prefix(2) == [["REPOSITORY", "IMAGE ID"], ["hello", "de7d1b721a1e"]], "\(rows)")
    #expect(throws: (any Error).self) { try Manifold.parseAsRoot(["images", "--format", "{{.ID"]) }
  }
}
