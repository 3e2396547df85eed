import BuildInterface
import BuildProgress
import DockerfileSyntax
import Foundation
import OCIModel
import Synchronization
import Testing

@testable import DockerfileFrontend

/// One Dockerfile and what `docker buildx build --call=…` answered about it (Golden/checks/README.md).
struct CheckCase: CustomTestStringConvertible, Sendable {
  static let root = GoldenCase.root.appending(path: "checks")
  let name: String
  var folder: URL { CheckCase.root.appending(path: name) }
  var testDescription: String { name }

  static let all: [CheckCase] = {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
    return names.filter { FileManager.default.fileExists(atPath: root.appending(path: $0).appending(path: "case.json").path) }.sorted().map { CheckCase(name: $0) }
  }()

  func text(_ file: String) -> String? { (try? Data(contentsOf: folder.appending(path: file))).map { String(decoding: $0, as: UTF8.self) } }

  /// The frontend's answer, asked as buildx asks.
  func answer(_ call: String) async throws -> [String: [UInt8]] {
    let facts = try GoldenCase.json(folder.appending(path: "case.json"))
    var attributes: [String: String] = ["requestid": "frontend." + call, "frontend.caps": "moby.buildkit.frontend.subrequests+forward"]
    for (key, value) in facts["attrs"]?.objectValue?.members ?? [] { attributes[key] = value.stringValue }
    let gateway = FakeGateway(
      folder: folder,
      environment: FrontendEnvironment(
        buildPlatform: Platform(os: "linux", architecture: "amd64"), attributes: attributes, sessionID: facts["session"]?.stringValue ?? "session"))
    return try await DockerfileFrontend().build(gateway).metadata
  }
}

@Suite struct CheckGoldenTests {
  @Test func corpusIsThere() { #expect(CheckCase.all.count >= 80) }

  @Test(arguments: CheckCase.all) func check(_ golden: CheckCase) async throws {
    guard let expected = golden.text("check.json") else {
      // The options could not be read, or the file not at all.
      await #expect(throws: BuildError.self) { try await golden.answer("lint") }
      return
    }
    let answer = try await golden.answer("lint")
    // The words of mistakes are our own; what was found before them is not.
    let ours = Self.withoutOurs(String(decoding: answer["result.json"] ?? [], as: UTF8.self))
    #expect(ours == Self.withoutOurs(String(expected.dropLast())))
    let status = try GoldenCase.json(golden.folder.appending(path: "case.json"))["calls"]?["check"]?["rc"]?.intValue
    #expect(String(decoding: answer["result.statuscode"] ?? [], as: UTF8.self) == "\(status ?? -1)")
  }

  private static func withoutOurs(_ text: String) -> String {
    guard var object = (try? JSONValue(parsing: Array(text.utf8)))?.objectValue, object["buildError"] != nil else { return text }
    object["buildError"] = "there is one"
    return JSONValue.object(object).encodedString(.indented("  "))
  }

  @Test(arguments: CheckCase.all, ["outline", "targets"]) func otherCalls(_ golden: CheckCase, _ call: String) async throws {
    // A comment `# check=` above an instruction makes the real frontend crash when it lists targets: such cases were not asked.
    guard try GoldenCase.json(golden.folder.appending(path: "case.json"))["calls"]?[call] != nil else { return }
    guard let json = golden.text("\(call).json"), let text = golden.text("\(call).txt") else {
      await #expect(throws: BuildError.self) { try await golden.answer(call) }
      return
    }
    let answer = try await golden.answer(call)
    #expect(String(decoding: answer["result.json"] ?? [], as: UTF8.self) + "\n" == json)
    #expect(String(decoding: answer["result.txt"] ?? [], as: UTF8.self) == text)
  }
}

@Suite struct CheckTests {
  private func warnings(_ dockerfile: String, _ attributes: [String: String] = [:]) async throws -> (warnings: [String], error: BuildError?) {
    let trial = try Trial(dockerfile)
    let gateway = trial.gateway(attributes)
    do { _ = try await DockerfileFrontend().build(gateway) } catch { return (gateway.warnings.withLock { $0 }, error as? BuildError) }
    return (gateway.warnings.withLock { $0 }, nil)
  }

  @Test func aBuildTellsEachFindingOnce() async throws {
    let (found, error) = try await warnings("FROM scratch as A\nWORKDIR x\n", ["platform": "linux/amd64,linux/arm64"])
    #expect(error == nil)
    #expect(found == [
      "StageNameCasing: Stage name 'A' should be lowercase (line 1)", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
      "WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes (line 2)",
    ])
  }

  /// Stages that a build does not need are not looked into.
  @Test func onlyWhatIsBuilt() async throws {
    let (found, _) = try await warnings("FROM scratch AS a\nWORKDIR x\nFROM scratch AS b\nWORKDIR y\n")
    #expect(found.count == 1 && found[0].contains("(line 4)"))
  }

  @Test func errorTrueFailsBeforeAnythingRuns() async throws {
    let trial = try Trial("# check=error=true\nFROM scratch as a\nMAINTAINER me\n")
    let gateway = trial.gateway()
    await #expect { try await DockerfileFrontend().build(gateway) } throws: { error in
      (error as? BuildError)?.message == "lint violation found for rules: FromAsCasing, MaintainerDeprecated"
    }
    #expect(gateway.warnings.withLock { $0 }.count == 2)
    let silent = try await warnings("# check=skip=all;error=true\nFROM scratch as a\n")
    #expect(silent.error == nil && silent.warnings.isEmpty)
  }

  @Test(arguments: [
    ("skip=A;what=1", "invalid check option \"what\""), ("nothing", "invalid check option \"nothing\""), ("error=x", "failed to parse check option \"error=x\""),
  ])
  func wrongOptions(_ text: String, _ message: String) async throws {
    let inFile = try await warnings("# check=\(text)\nFROM scratch\nCOPY a /\n")
    #expect(inFile.error?.message.hasPrefix("failed to parse check options: " + message) == true)
    #expect(inFile.error?.sources.first?.lines == 1...1)
    let given = try await warnings("FROM scratch\nCOPY a /\n", ["build-arg:BUILDKIT_DOCKERFILE_CHECK": text])
    #expect(given.error?.message.hasPrefix("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: " + message) == true)
  }

  @Test func basesOfAnotherPlatform() async throws {
    let trial = try Trial("FROM alpine:3.20\n")
    let gateway = trial.gateway()
    _ = try await DockerfileFrontend().build(gateway)
    #expect(gateway.warnings.withLock { $0 }.isEmpty)
    let log = CheckLog()
    let origin = InstructionOrigin(keyword: "FROM", code: "FROM a", range: SourceRange(lines: 2...2))
    CheckScope(log: log).checkBasePlatform(
      "a", asked: Platform(os: "linux", architecture: "arm64", variant: "v8"), found: Platform(os: "linux", architecture: "amd64"), at: origin)
    #expect(
      log.findings.map(\.short) == [
        "InvalidBaseImagePlatform: Base image a was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build (line 2)"
      ])
  }

  @Test func unknownQuestions() async throws {
    let error = try await Trial("FROM scratch\n").error(["requestid": "frontend.what"])
    #expect(error?.code == .unimplemented && error?.message == "unsupported request frontend.what")
  }

  @Test func whatCanBeAsked() async throws {
    let trial = try Trial("FROM scratch\n")
    let metadata = try await DockerfileFrontend().build(trial.gateway(["requestid": "frontend.subrequests.describe"])).metadata
    #expect(
      String(decoding: metadata["result.txt"] ?? [], as: UTF8.self) == """
        NAME                 VERSION DESCRIPTION
        outline              1.0.0   List all parameters current build target supports
        targets              1.0.0   List all targets current build supports
        subrequests.describe 1.0.0   List available subrequest types

        """)
  }
}
