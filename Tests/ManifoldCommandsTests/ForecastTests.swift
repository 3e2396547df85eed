import BuildInterface
import BuildProgress
import DockerfileSyntax
import OCIModel
import Testing

@testable import ManifoldCommands

@Suite struct ForecastTests {
  @Test(arguments: [
    ("[2/5] RUN make", "", 2, 5, "RUN make"), ("[build 2/5] COPY a b", "build", 2, 5, "COPY a b"), ("[linux/arm64 3/15] RUN [ x ] y", "", 3, 15, "RUN [ x ] y"),
    ("[linux/amd64->arm64 build  2/15] RUN make", "build", 2, 15, "RUN make"), ("[linux/arm/v7 stage-1 1/1] FROM x", "stage-1", 1, 1, "FROM x"),
  ])
  func names(_ name: String, _ stage: String, _ number: Int, _ count: Int, _ text: String) throws {
    let parsed = try #require(StepName(name))
    #expect(parsed.stage == stage && parsed.number == number && parsed.count == count && parsed.text == text)
  }

  @Test(arguments: ["[internal] load build context", "https://example.com/x", "[linux/arm64 internal] load metadata for x", "", "[", "[] x", "[a b c 1/2] x"])
  func noSteps(_ name: String) { #expect(StepName(name) == nil) }

  private static let arm = Platform(os: "linux", architecture: "arm64")
  private static func digest(_ text: String) -> Digest { .sha256(of: text) }
  private static func step(
    _ name: String, _ kind: BuildForecast.Step.Kind, _ platform: Platform = amd64, _ support: PlatformSupport.Kind? = nil, _ cache: BuildForecast.Step.Cache = .miss, inputs: [String] = [],
    line: Int = 1, text: String = ""
  ) -> BuildForecast.Step {
    .init(digest: digest(name), name: name, kind: kind, platform: platform, support: support, cache: cache, inputs: inputs.map(digest), file: "Dockerfile", lines: line...line, text: text)
  }

  /// Two platforms, a stage of the build platform that both share, one that none needs.
  static func sample() -> BuildForecast {
    var forecast = BuildForecast(buildPlatform: amd64)
    forecast.isMultiPlatform = true
    let base = "[linux/amd64 build 1/2] FROM base:1@sha256:x", run = "[linux/amd64 build 2/2] RUN make"
    let emulated = PlatformSupport.Kind.emulated(by: "QEMU 7.2")
    forecast.steps = [
      step(base, .image, cache(.unknown)), step(run, .run, amd64, .native, .hit, inputs: [base], line: 2),
      step("[linux/amd64 out 2/3] COPY --from=build /o /", .file, inputs: [run], line: 5), step("[linux/amd64 out 3/3] RUN echo amd64", .run, amd64, .native, .unknown, line: 6, text: "RUN echo $TARGETARCH"),
      step("[linux/arm64 out 2/3] COPY --from=build /o /", .file, arm, inputs: [run], line: 5),
      step("[linux/arm64 out 3/3] RUN echo arm64", .run, arm, emulated, .unknown, line: 6, text: "RUN echo $TARGETARCH"),
    ]
    let stages = [SourceStage(name: "build", isNeeded: true, steps: 2), SourceStage(name: "tests", isNeeded: false, steps: 1), SourceStage(name: "out", isNeeded: true, steps: 3)]
    let all = forecast.steps.map(\.digest)
    forecast.targets = [
      .init(id: "linux/amd64", platform: amd64, file: "Dockerfile", stages: stages, steps: Array(all[0...3])),
      .init(id: "linux/arm64", platform: arm, file: "Dockerfile", stages: stages, steps: Array(all[0...1] + all[4...5])),
    ]
    forecast.images = [.init(name: "base:1", platform: amd64, digest: digest("index"), isLocal: false, layers: 2, missing: 1_500_000)]
    forecast.sources = [.init(kind: .context, name: "context", paths: ["a", "b"], excludes: ["*.log"], targets: ["linux/amd64", "linux/arm64"])]
    let patch = "--- a/Dockerfile\n"
    forecast.warnings = [
      VertexWarning(vertex: digest("w"), short: "EmulatedCrossCompile: go build would be emulated (line 6)", detail: ["about it", patch], url: "", sourceInfo: nil, ranges: []),
      VertexWarning(vertex: digest("w"), short: "FromAsCasing: other (line 1)", detail: [], url: "", sourceInfo: nil, ranges: []),
    ]
    return forecast
  }
  private static func cache(_ cache: BuildForecast.Step.Cache) -> Platform { amd64 }

  @Test func table() {
    let text = ForecastText(Self.sample(), directories: ["context": "/home/me/app"], width: 100).text
    #expect(
      text == """
        PLATFORM      STEPS   RUN   HOW RUN STEPS RUN
        linux/amd64   3       2     native
        linux/arm64   3       2     1 native, 1 emulated by QEMU 7.2

        STEP        RUNS                            CACHED   INSTRUCTION
        build 2/2   once, native                    yes      RUN make
        out 2/3     2 times                         no       COPY --from=build /o /
        out 3/3     2 times, 1 native, 1 emulated   ?        RUN echo $TARGETARCH
        tests       skipped                         -        1 step that the target does not need

        BASE IMAGE   DIGEST                FROM       TO FETCH      PLATFORMS
        base:1       \(String(Self.digest("index").description.prefix(19)))   registry   up to 1.5MB   linux/amd64

        CONTEXT                  READS                     PLATFORMS
        context (/home/me/app)   a, b (1 ignore pattern)   all

        2 platforms, 5 steps, 1 shared by all platforms, 1 cached; 1 RUN step emulated: linux/arm64

        ADVICE EmulatedCrossCompile: go build would be emulated (line 6)
        --- a/Dockerfile


        """)
    // What a build of seven platforms prints fits a terminal.
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }

  /// A Dockerfile for each platform: the steps of each under its name. Nothing is said where there is nothing to do.
  @Test func severalFilesAndNone() {
    var forecast = BuildForecast(buildPlatform: amd64)
    var other = Self.step("[linux/arm64 2/2] RUN b", .run, Self.arm, .impossible(reason: "no QEMU"))
    other.file = "Other"
    forecast.steps = [Self.step("[linux/amd64 2/2] RUN a", .run, amd64, .native), other]
    forecast.targets = [
      .init(id: "linux/amd64", platform: amd64, file: "Dockerfile", stages: [SourceStage(name: "", isNeeded: true, steps: 2)], steps: [forecast.steps[0].digest]),
      .init(id: "linux/arm64", platform: Self.arm, file: "Other", stages: [SourceStage(name: "", isNeeded: true, steps: 2)], steps: [forecast.steps[1].digest]),
    ]
    #expect(
      ForecastText(forecast, directories: [:]).text == """
        PLATFORM      FILE         STEPS   RUN   HOW RUN STEPS RUN
        linux/amd64   Dockerfile   1       1     native
        linux/arm64   Other        1       1     cannot run here: no QEMU

        STEP   RUNS                      CACHED   INSTRUCTION
        Dockerfile:
        2/2    linux/amd64, native       no       RUN a
        Other:
        2/2    linux/arm64, impossible   no       RUN b

        2 platforms, 2 steps, 0 shared by all platforms; 1 RUN step cannot run here

        """)
    forecast.steps = []
    for i in forecast.targets.indices { forecast.targets[i].steps = [] }
    #expect(!ForecastText(forecast, directories: [:]).text.contains("INSTRUCTION"))
  }

  @Test func json() throws {
    let json = ForecastJSON(Self.sample()).value
    #expect(json["version"]?.intValue == 1 && json["multiPlatform"]?.boolValue == true && json["buildPlatform"]?.stringValue == "linux/amd64")
    let steps = try #require(json["steps"]?.arrayValue)
    #expect(steps.count == 6 && steps[1]["shared"]?.boolValue == true && steps[1]["runs"]?.stringValue == "native" && steps[1]["cache"]?.stringValue == "hit")
    #expect(steps[5]["runs"]?.stringValue == "emulated" && steps[5]["emulator"]?.stringValue == "QEMU 7.2" && steps[5]["stage"]?.stringValue == "out" && steps[5]["number"]?.intValue == 3)
    #expect(steps[2]["platforms"]?.arrayValue == ["linux/amd64"] && steps[2]["inputs"]?.arrayValue?.first == steps[1]["digest"])
    #expect(json["platforms"]?.arrayValue?[0]["stages"]?.arrayValue?.map { $0["needed"]?.boolValue } == [true, false, true])
    #expect(json["summary"]?["emulated"]?.intValue == 1 && json["summary"]?["shared"]?.intValue == 1 && json["summary"]?["steps"]?.intValue == 5)
    #expect(json["advice"]?.arrayValue?.count == 1 && json["advice"]?.arrayValue?[0]["patch"]?.stringValue == "--- a/Dockerfile\n")
  }

  @Test func asking() throws {
    let scratch = try Scratch()
    try scratch.file("Dockerfile")
    for (arguments, isJSON) in [(["--call=plan"], false), (["--call", "plan,format=json"], true), (["--call=plan", "--format", "json"], true), (["--call=plan,format=json", "--format=text"], false)] {
      let made = try plan(arguments + ["-t", "x", "--push", "--cache-to", "type=inline", "."], in: scratch)
      #expect(made.call?.name == "plan" && made.call?.isJSON == isJSON && made.request.inquiry == .forecast)
      #expect(made.request.exports.isEmpty && made.request.cacheExports.isEmpty && made.request.frontendAttributes["requestid"] == nil)
    }
    #expect(failure { _ = try plan(["--format=json", "."], in: scratch) }?.message == "--format is the form of an answer, and nothing is asked")
    #expect(failure { _ = try plan(["--call=plan", "--format=xml", "."], in: scratch) }?.message == "--format xml: the formats of an answer are text and json")
    #expect(try plan(["--call=check", "--format=json", "."], in: scratch).call?.isJSON == true)
  }

  @Test func syntaxAsJSON() throws {
    let tree = try SyntaxTree.parse("# escape=`\n# about\nFROM --platform=x a AS b\nRUN <<-E cat\n\thi $x\n\tE\nCMD [\"a\", \"b\"]\nONBUILD RUN x\n")
    let json = SyntaxJSON.document(tree, file: "Dockerfile")
    let nodes = try #require(json["instructions"]?.arrayValue)
    #expect(json["escape"]?.stringValue == "`" && json["directives"]?.arrayValue?[0]["name"]?.stringValue == "escape")
    #expect(nodes.map { $0["keyword"]?.stringValue } == ["FROM", "RUN", "CMD", "ONBUILD"])
    #expect(nodes[0]["flags"] == ["--platform=x"] && nodes[0]["arguments"] == ["a", "AS", "b"] && nodes[0]["comments"] == ["about"])
    #expect(nodes[0]["range"] == [3, 0, 3, 24] && nodes[0]["keywordRange"] == [3, 0, 3, 4] && nodes[0]["flagRanges"] == [[3, 5, 3, 17]])
    #expect(nodes[1]["heredocs"]?.arrayValue?[0] == ["name": "E", "content": "\thi $x\n", "expand": true, "chomp": true, "fd": 0])
    #expect(nodes[2]["json"]?.boolValue == true && nodes[3]["children"]?.arrayValue?.count == 1)
  }
}
