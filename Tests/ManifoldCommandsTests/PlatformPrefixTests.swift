import BuildInterface
import OCIModel
import Testing

@testable import ManifoldCommands

@Suite struct PlatformPrefixTests {
  @Test(arguments: [
    ("linux/arm64=Dockerfile.arm64", "linux/arm64", "Dockerfile.arm64"), ("linux/arm/v7=a=b", "linux/arm/v7", "a=b"), ("windows/amd64=KEY=VAL", "windows/amd64", "KEY=VAL"),
    ("linux/aarch64=x", "linux/arm64", "x"), ("Linux/AMD64=x", "linux/amd64", "x"), ("linux/arm64/v8=x", "linux/arm64", "x"), ("linux/amd64=", "linux/amd64", ""),
    ("linux/arm64=./a/b", "linux/arm64", "./a/b"),
  ])
  func prefixes(_ text: String, _ platform: String, _ value: String) throws {
    let prefix = try #require(PlatformPrefix(text))
    #expect(prefix.platform.description == platform && prefix.value == value)
  }

  @Test(arguments: [
    "KEY=VAL", "KEY", "Dockerfile", "a=b/Dockerfile", "linux=x", "linux/arm64", "src/main=x", "linux/app=x", "docker/amd64=x", "./linux/arm64=x", "/linux/arm64=x", "linux/arm64/v8/x=y",
    "linux//arm64=x", "=x", "", "linux/arm64:KEY=VAL",
  ])
  func plainValues(_ text: String) { #expect(PlatformPrefix(text) == nil) }

  @Test func versionsOfTheSystem() throws {
    let prefix = try #require(PlatformPrefix("windows/amd64=x"))
    let exact = Platform(os: "windows", architecture: "amd64", osVersion: "10.0.20348.1")
    #expect(prefix.covers(exact) && prefix.covers(Platform(os: "windows", architecture: "amd64")) && !prefix.covers(amd64))
  }

  private func made(_ arguments: [String], environment: [String: String] = [:]) throws -> BuildPlan {
    let scratch = try Scratch()
    for name in ["Dockerfile", "Dockerfile.arm64", "elsewhere/Df", "linux/arm64=x"] { try scratch.file(name) }
    return try plan(arguments + ["."], in: scratch, environment: environment)
  }

  @Test func filesTargetsAndArguments() throws {
    let made = try made([
      "--platform", "linux/amd64,linux/arm64,linux/s390x", "-f", "linux/arm64=Dockerfile.arm64", "-flinux/s390x=elsewhere/Df", "-f", "Dockerfile", "--target", "linux/arm64=slim", "--target", "all",
      "--build-arg", "A=1", "--build-arg", "linux/s390x=A=2=3", "--build-arg", "linux/arm64=FROM_ENV",
    ], environment: ["FROM_ENV": "e"])
    let attributes = made.request.frontendAttributes
    #expect(attributes["filename"] == "Dockerfile" && attributes["target"] == "all" && attributes["build-arg:A"] == "1")
    #expect(attributes.filter { $0.key.hasPrefix("manifold.platform:") } == [
      "manifold.platform:linux/arm64:filename": "Dockerfile.arm64", "manifold.platform:linux/arm64:target": "slim", "manifold.platform:linux/arm64:build-arg:FROM_ENV": "e",
      "manifold.platform:linux/s390x:filename": "Df", "manifold.platform:linux/s390x:dockerfilekey": "dockerfile-1", "manifold.platform:linux/s390x:build-arg:A": "2=3",
    ])
    #expect(made.client.directories["dockerfile-1"]?.hasSuffix("/elsewhere") == true)
  }

  /// Without --platform: those with a file of their own, and this machine's where there is a file for it.
  @Test func platformsThatAreMeant() throws {
    #expect(try made(["-f", "linux/arm64=Dockerfile.arm64", "-f", "linux/s390x=Dockerfile"]).platforms.map(\.description) == ["linux/arm64", "linux/s390x"])
    #expect(try made(["-f", "linux/arm64=Dockerfile.arm64", "-f", "Dockerfile"]).platforms.map(\.description) == ["linux/arm64", "linux/amd64"])
    let environment = ["DOCKER_DEFAULT_PLATFORM": "linux/s390x"]
    #expect(try made(["-f", "linux/arm64=Dockerfile.arm64", "-f", "Dockerfile"], environment: environment).platforms.map(\.description) == ["linux/arm64", "linux/s390x"])
    #expect(try made(["--build-arg", "linux/amd64=A=1"]).platforms == [amd64])
    #expect(try made([]).platforms.isEmpty)
  }

  /// Where every platform has a Dockerfile, none needs to be there for all.
  @Test func noCommonFile() throws {
    let scratch = try Scratch()
    try scratch.file("D.arm")
    let made = try plan(["-f", "linux/arm64=D.arm", "."], in: scratch)
    #expect(made.request.frontendAttributes["platform"] == "linux/arm64")
    #expect(failure { _ = try plan(["--platform", "linux/arm64,linux/amd64", "-f", "linux/arm64=D.arm", "."], in: scratch) }?.message == "there is no Dockerfile Dockerfile")
  }

  @Test func mistakes() throws {
    let lost = failure { _ = try made(["--platform", "linux/amd64", "-f", "linux/arm64=Dockerfile.arm64"]) }
    #expect(lost?.message == "-f linux/arm64=Dockerfile.arm64: linux/arm64 is not built")
    #expect(lost?.suggestion == "Built are linux/amd64. A file of that name is written ./linux/arm64=Dockerfile.arm64.")
    #expect(failure { _ = try made(["--target", "linux/arm64=x"]) }?.message == "--target linux/arm64=x: linux/arm64 is not built")
    #expect(failure { _ = try made(["-f", "linux/amd64="]) }?.message == "-f linux/amd64=: there is nothing after the platform")
    #expect(failure { _ = try made(["-f", "linux/amd64=gone"]) }?.message == "there is no Dockerfile gone")
    #expect(failure { _ = try made(["-f", "linux/amd64=-"]) }?.message == "-f: standard input is no platform's own Dockerfile")
    // A file whose name looks like a prefix.
    #expect(try made(["-f", "./linux/arm64=x"]).request.frontendAttributes["filename"] == "arm64=x")
  }
}
