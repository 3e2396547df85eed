import BuildInterface
import DockerfileSyntax
import Foundation
import OCIModel
import Testing

@testable import DockerfileFrontend

/// Every rule fires on the example that `manifold explain-check` calls bad, and is silent on the one it calls good.
@Suite struct CheckExampleTests {
  /// Rules that a file alone does not break.
  private static let needsImage: Set<String> = ["InvalidBaseImagePlatform"]

  private func found(_ dockerfile: String, _ files: [String: String] = [:], bytes: [UInt8]? = nil, platforms: String = "linux/amd64,linux/arm64") async throws -> [String] {
    let trial = try Trial(dockerfile, files: files.filter { $0.key == ".dockerignore" })
    if let bytes { try Data(bytes).write(to: trial.folder.appending(path: "Dockerfile")) }
    let gateway = trial.gateway(["platform": platforms, "requestid": "frontend.lint", "image-resolve-mode": "default"])
    let metadata = try await DockerfileFrontend().build(gateway).metadata
    return (try JSONValue(parsing: metadata["result.json"] ?? [])["warnings"]?.arrayValue ?? []).compactMap { $0["ruleName"]?.stringValue }
  }

  @Test func everyRuleIsExplained() {
    #expect(CheckRule.all.count == Set(CheckRule.all.map(\.name)).count)
    for rule in CheckRule.all { #expect(rule.explanation != nil, "\(rule.name)") }
    #expect(CheckRule.named("workdirrelativepath")?.name == "WorkdirRelativePath")
  }

  @Test(arguments: CheckRule.all.filter { !needsImage.contains($0.name) }.map(\.name)) func examples(_ name: String) async throws {
    let explanation = try #require(CheckRule.named(name)?.explanation)
    let ignore = [".dockerignore": "secret.env\n"]
    let platforms = name == "PlatformCommandForeign" ? "linux/amd64,windows/amd64" : "linux/amd64,linux/arm64"
    if name == "InvalidUTF8" {
      #expect(try await found("", bytes: Array("FROM scratch\nLABEL city=K".utf8) + [0xf6] + Array("ln\n".utf8)).contains(name))
    } else {
      #expect(try await found(explanation.bad + "\n", ignore, platforms: platforms).contains(name))
    }
    #expect(try await !found(explanation.good + "\n", ignore, platforms: platforms).contains(name))
  }

  private func patch(_ dockerfile: String, _ rule: String, platforms: String = "linux/amd64,linux/arm64") async throws -> String? {
    let trial = try Trial(dockerfile)
    let metadata = try await DockerfileFrontend().build(trial.gateway(["platform": platforms, "requestid": "frontend.lint"])).metadata
    let warnings = try JSONValue(parsing: metadata["result.json"] ?? [])["warnings"]?.arrayValue ?? []
    guard let warning = warnings.first(where: { $0["ruleName"]?.stringValue == rule }) else { return nil }
    return warning["patch"]?.stringValue ?? ""
  }

  @Test func patches() async throws {
    let go = "FROM golang:1.22 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /app .\nFROM alpine:3.20\nCOPY --from=build /app /app\n"
    #expect(
      try await patch(go, "EmulatedCrossCompile") == """
        --- a/Dockerfile
        +++ b/Dockerfile
        @@ -1 +1 @@
        -FROM golang:1.22 AS build
        +FROM --platform=$BUILDPLATFORM golang:1.22 AS build
        @@ -4 +4,2 @@
        -RUN go build -o /app .
        +ARG TARGETOS TARGETARCH
        +RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app .

        """)
    #expect(
      try await patch("FROM scratch\nARG TARGETARCH=amd64\nCOPY $TARGETARCH /\n", "PlatformArgShadowed") == """
        --- a/Dockerfile
        +++ b/Dockerfile
        @@ -2 +2 @@
        -ARG TARGETARCH=amd64
        +ARG TARGETARCH

        """)
    #expect(
      try await patch("FROM alpine:3.20\nRUN --mount=type=cache,target=/src/target \\\n  cargo build\n", "PlatformCacheShared") == """
        --- a/Dockerfile
        +++ b/Dockerfile
        @@ -2 +2,2 @@
        -RUN --mount=type=cache,target=/src/target \\
        +ARG TARGETPLATFORM
        +RUN --mount=type=cache,id=target-$TARGETPLATFORM,target=/src/target \\

        """)
  }

  /// What is right, or cannot be known, is left alone.
  @Test(arguments: [
    ("FROM --platform=$BUILDPLATFORM golang:1.22 AS build\nRUN go build .\nFROM scratch\nCOPY --from=build /app /app\n", "EmulatedCrossCompile"),
    ("FROM golang:1.22 AS build\nRUN apk add gcc && go build .\nFROM scratch\nCOPY --from=build /app /app\n", "EmulatedCrossCompile"),
    ("FROM golang:1.22\nRUN go build .\n", "EmulatedCrossCompile"),
    ("FROM golang:1.22 AS build\nRUN go build .\nFROM build\nCOPY --from=build /app /app\n", "EmulatedCrossCompile"),
    ("FROM alpine:3.20 AS build\nRUN npm run build\nFROM scratch\nCOPY --from=build /src/node_modules /src/dist /app/\n", "EmulatedCrossCompile"),
    ("# check=skip=EmulatedCrossCompile\nFROM golang:1.22 AS build\nRUN go build .\nFROM scratch\nCOPY --from=build /app /app\n", "EmulatedCrossCompile"),
    ("FROM alpine:3.20\nRUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/var/cache/apt x\n", "PlatformCacheShared"),
    ("FROM alpine:3.20\nARG TARGETARCH\nRUN --mount=type=cache,id=t-$TARGETARCH,target=/src/target x\n", "PlatformCacheShared"),
    ("FROM --platform=$BUILDPLATFORM alpine:3.20 AS a\nRUN --mount=type=cache,target=/src/target x\nFROM scratch\nCOPY --from=a /x /\n", "PlatformCacheShared"),
    ("FROM scratch\nARG TARGETARCH\nARG OTHER=amd64\nENV ARCH=amd64\nARG TARGETOS=${TARGETOS:-linux}\n", "PlatformArgShadowed"),
  ])
  func silence(_ dockerfile: String, _ rule: String) async throws { #expect(try await patch(dockerfile, rule) == nil) }

  @Test func javaScriptRunsOnce() async throws {
    let text = "FROM alpine:3.20 AS web\nCOPY . .\nRUN npm ci && npm run build\nFROM alpine:3.20\nCOPY --from=web /src/dist /www\n"
    #expect(try await patch(text, "EmulatedCrossCompile")?.contains("+FROM --platform=$BUILDPLATFORM alpine:3.20 AS web") == true)
    #expect(try await patch(text, "EmulatedCrossCompile", platforms: "linux/amd64") == nil)
  }

  @Test(arguments: [
    ("FROM alpine:3.20\nRUN apk add git\n", "linux/amd64,windows/amd64", "apk is a command of linux, and this stage is built for windows too"),
    ("FROM mcr.example.com/windows/nanoserver:1 AS a\nRUN X=1 make && apt-get clean\n", "windows/amd64", "apt-get is no command of Windows, which the stage a is built for"),
    ("FROM alpine:3.20\nRUN [\"/bin/true\"]\n", "linux/amd64,windows/amd64", "/bin/true is a command of linux, and this stage is built for windows too"),
    ("FROM alpine:3.20\nRUN powershell -Command x\n", "linux/amd64,windows/amd64", "powershell is a command of Windows, and this stage is built for linux too"),
    ("FROM alpine:3.20\nRUN make\n", "linux/amd64,windows(10.0.20348)/amd64", "Without a SHELL this line is for /bin/sh on linux and for cmd on windows, and this stage is built for both"),
    // What is right, or cannot be known.
    ("FROM mcr.example.com/windows/nanoserver:1\nRUN make\n", "windows/amd64", ""), ("FROM alpine:3.20\nRUN apk add git\n", "linux/amd64,linux/arm64", ""),
    ("FROM alpine:3.20\nSHELL [\"pwsh\", \"-c\"]\nRUN make\n", "linux/amd64,windows/amd64", ""),
    ("FROM --platform=$BUILDPLATFORM alpine:3.20 AS a\nRUN apk add git\nFROM scratch\nCOPY --from=a /x /\n", "linux/amd64,windows/amd64", ""),
    ("FROM alpine:3.20 AS app-linux\nRUN apk add git\nFROM scratch AS app-windows\nCOPY a /\nFROM app-$TARGETOS\nCOPY b /\n", "linux/amd64,windows/amd64", ""),
    ("FROM scratch AS app-windows\nRUN [\"cmd\"]\nRUN reg add\nFROM alpine:3.20 AS app-linux\nFROM app-$TARGETOS\n", "linux/amd64,windows/amd64", ""),
    ("# check=skip=PlatformCommandForeign\nFROM alpine:3.20\nRUN apk add git\n", "linux/amd64,windows/amd64", ""),
  ])
  func commandsOfSystems(_ dockerfile: String, _ platforms: String, _ message: String) async throws {
    let trial = try Trial(dockerfile)
    let metadata = try await DockerfileFrontend().build(trial.gateway(["platform": platforms, "requestid": "frontend.lint"])).metadata
    let warnings = try JSONValue(parsing: metadata["result.json"] ?? [])["warnings"]?.arrayValue ?? []
    let found = warnings.filter { $0["ruleName"]?.stringValue == "PlatformCommandForeign" }.map { $0["detail"]?.stringValue ?? "" }
    #expect(found == (message.isEmpty ? [] : [message]))
  }

  /// Rules of our own tell, and fail nothing unless that is asked for.
  @Test func ownRulesFailOnlyWhenStrict() async throws {
    let trial = try Trial("# check=error=true\nFROM scratch\nARG TARGETARCH=amd64\nCOPY a /\n")
    #expect(await trial.error() == nil)
    #expect(await trial.error([FrontendOptions.strictChecksKey: "true"])?.message == "lint violation found for rules: PlatformArgShadowed")
    func status(_ attributes: [String: String]) async throws -> String {
      let asked = attributes.merging(["requestid": "frontend.lint"]) { a, _ in a }
      return String(decoding: try await DockerfileFrontend().build(trial.gateway(asked)).metadata["result.statuscode"] ?? [], as: UTF8.self)
    }
    #expect(try await status([:]) == "0")
    #expect(try await status([FrontendOptions.strictChecksKey: "true"]) == "1")
  }

  @Test func allThatIsMissingIsTold() async throws {
    let trial = try Trial("FROM alpine:3.20 AS a\nFROM nothing:1 AS b\nCOPY --from=a /x /\nCOPY --from=other:2 /y /\n")
    let error = try #require(await trial.error(["platform": "linux/amd64,linux/sparc64"]))
    for part in ["linux/sparc64", "nothing:1", "other:2"] { #expect(error.message.contains(part), "\(error.message)") }
  }
}
