import ArgumentParser
import BuildInterface
import BuildProgress
import HostOS
import OCIModel
import OCIRegistry
import Testing

@testable import ManifoldCommands

@Suite struct TextTests {
  @Test func globalOptionsMoveBehindTheVerb() throws {
    let table: [([String], [String])] = [
      (["--root", "x", "build", "."], ["build", "--root", "x", "."]),
      (["--debug", "--insecure-registry=a", "imagetools", "inspect", "r"], ["imagetools", "inspect", "--debug", "--insecure-registry=a", "r"]),
      (["--root=x", "run", "img", "--root", "y"], ["run", "--root=x", "img", "--root", "y"]),
      (["--debug"], ["--debug"]), (["--root", "x", "--help"], ["--root", "x", "--help"]), (["build", "--root", "x"], ["build", "--root", "x"]),
      (["build", "--push=1", "--load=false", "."], ["build", "--push", "."]), (["build", "--push", "--push=false", "."], ["build", "."]),
      (["run", "--rm=true", "img", "--rm=false"], ["run", "--rm", "img", "--rm=false"]), (["build", "--", "--push=1"], ["build", "--", "--push=1"]),
    ]
    for (given, expected) in table { #expect(try CommandLineForms.normalised(given) == expected, "\(given)") }
    #expect(throws: ValidationError.self) { try CommandLineForms.normalised(["build", "--push=perhaps"]) }
  }

  @Test func errorsSayWhatWhereAndWhatToDo() {
    let digest = Digest.sha256(of: "x")
    let source = SourcePlace(filename: "Dockerfile", data: Array("FROM a\nRUN one\nRUN false\n".utf8), lines: 3...3)
    let step = BuildError(
      .unknown, .build, "process \"/bin/sh -c false\" did not complete successfully", suggestion: "Mend it.",
      vertex: VertexPlace(digest: digest, name: "[2/2] RUN false", platform: Platform(os: "linux", architecture: "arm64")), sources: [source], exitCode: 7)
    #expect(
      ErrorText.of(step, output: ["last words\u{1b}[2J"]) == """
        ------
         > [2/2] RUN false:
        last words
        ------
        Dockerfile:3
        --------------------
           1 |     FROM a
           2 |     RUN one
           3 | >>> RUN false
        --------------------
        ERROR: [2/2] RUN false (linux/arm64): process "/bin/sh -c false" did not complete successfully (exit code: 7)
        Mend it.

        """)
    var named = step
    named.vertex?.name = "[linux/arm64 2/2] RUN false"
    named.message = "failed: exit code: 7"
    named.sources = []
    named.suggestion = nil
    #expect(ErrorText.of(named) == "ERROR: [linux/arm64 2/2] RUN false: failed: exit code: 7\n")
    #expect(ErrorText.of(CancellationError()) == "ERROR: interrupted\n")
    #expect(ErrorText.of(RegistryError(.notFound, "cannot resolve x", advice: "Look.")) == "ERROR: cannot resolve x\nLook.\n")
  }

  @Test func exitCodes() {
    #expect(ManifoldExit.of(BuildError(.unknown, .build, "")) == 1)
    #expect(ManifoldExit.of(BuildError(.cancelled, .build, "")) == 130)
    #expect(ManifoldExit.of(BuildError(.notFound, .usage, "")) == 2)
    #expect(ManifoldExit.of(BuildError(.unavailable, .registry, "")) == 3)
    #expect(ManifoldExit.of(RegistryError(.denied, "")) == 3)
    #expect(ManifoldExit.of(OCIError(.invalidReference, "")) == 2)
    #expect(ManifoldExit.of(CancellationError()) == 130)
    #expect(ManifoldExit.of(Interrupted(signal: 15)) == 143)
    #expect(ManifoldExit.of(RunFailure(cause: BuildError(.notFound, .registry, ""))) == 125)
    #expect(ManifoldExit.of(RunFailure(cause: Interrupted(signal: 2))) == 130)
  }

  @Test func signals() {
    let build = Interruption()
    #expect(build.cancelledBy == nil && build.note(2) == .cancel && build.note(15) == .end && build.cancelledBy == 2)
    let run = Interruption()
    run.leaveOneToTheContainer()
    #expect(run.note(2) == .none && run.cancelledBy == nil && run.note(15) == .cancel && run.note(2) == .end && run.cancelledBy == 15)
  }

  @Test func platformReport() {
    let support = [
      PlatformSupport(platform: amd64, kind: .native),
      PlatformSupport(platform: Platform(os: "linux", architecture: "arm", variant: "v7"), kind: .emulated(by: "QEMU 7.2.22")),
      PlatformSupport(platform: Platform(os: "linux", architecture: "s390x"), kind: .impossible(reason: "install qemu-user-static")),
    ]
    #expect(
      PlatformReport.text(support) == """
        platform linux/amd64   native
        platform linux/arm/v7  emulated by QEMU 7.2.22
        platform linux/s390x   steps cannot run here: install qemu-user-static
        """)
  }

  @Test func metadata() {
    let response = [
      "containerimage.digest": "sha256:ab", "image.name": "a<b", "containerimage.descriptor": "eyJtZWRpYVR5cGUiOiJ4Iiwic2l6ZSI6MX0=", "empty": "e30=",
      "number": "MTI=", "result.json": "{\"a\":[1]}",
      "list": "W3siYSI6MX1d",
    ]
    // As Go's json.MarshalIndent writes the same map.
    #expect(
      String(decoding: MetadataFile.bytes(response), as: UTF8.self) == """
        {
          "containerimage.descriptor": {
            "mediaType": "x",
            "size": 1
          },
          "containerimage.digest": "sha256:ab",
          "empty": "e30=",
          "image.name": "a\\u003cb",
          "list": [
            {
              "a": 1
            }
          ],
          "number": "MTI=",
          "result.json": {
            "a": [
              1
            ]
          }
        }
        """)
    #expect(MetadataFile.base64("+/8=") == [0xfb, 0xff])
    #expect(MetadataFile.base64("a") == nil && MetadataFile.base64("a===") == nil && MetadataFile.base64("a b=") == nil)
  }

  @Test func warningsAtTheEnd() {
    let warning = VertexWarning(
      vertex: .sha256(of: "x"), short: "StageNameCasing: lower", detail: ["Stage names should be lowercase"], url: "https://docs",
      sourceInfo: WarningSource(filename: "Dockerfile", data: Array("FROM a AS B\n".utf8)), ranges: [WarningRange(start: .init(line: 1), end: .init(line: 1))])
    #expect(BuildObserver.summary([warning], details: false, colour: "") == "\n 1 warning found (use --debug to expand):\n - StageNameCasing: lower\n     Dockerfile:1 | FROM a AS B\n")
    #expect(
      BuildObserver.summary([warning], details: true, colour: "")
        == "\n 1 warning found:\n - StageNameCasing: lower\nStage names should be lowercase\nMore info: https://docs\nDockerfile:1\n--------------------\n   1 | >>> FROM a AS B\n   2 |     \n--------------------\n\n"
    )
    #expect(BuildObserver.summary([], details: true, colour: "") == "")
  }

  @Test func sizesAndTimesAsDockerShowsThem() {
    let sizes: [(Int64, String)] = [
      (0, "0B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (12_345_678, "12.3MB"), (123_456_789, "123MB"), (1_500_000_000, "1.5GB"),
    ]
    for (bytes, text) in sizes { #expect(HumanFigures.size(bytes) == text) }
    let times: [(Int64, String)] = [
      (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (600, "10 minutes"), (3600, "About an hour"), (7200, "2 hours"),
      (47 * 3600, "47 hours"),
      (3 * 86400, "3 days"), (20 * 86400, "2 weeks"), (90 * 86400, "3 months"), (800 * 86400, "2 years"),
    ]
    for (seconds, text) in times { #expect(HumanFigures.duration(seconds: seconds) == text) }
  }

  @Test func unknownOptionsAreGuessed() async {
    do {
      _ = try Manifold.parseAsRoot(["build", "--platfrom", "linux/amd64", "."])
      Issue.record("it was parsed")
    } catch { #expect(Manifold.fullMessage(for: error).contains("Did you mean '--platform'?")) }
  }

  @Test func helpHasExamples() throws {
    for verb in [["build"], ["run"], ["images"], ["imagetools"], ["imagetools", "inspect"], ["version"], []] {
      do {
        var command = try Manifold.parseAsRoot(verb + ["--help"])
        try command.run()
        Issue.record("no help for \(verb)")
      } catch { #expect(Manifold.fullMessage(for: error).contains("Examples:"), "\(verb)") }
    }
  }
}
