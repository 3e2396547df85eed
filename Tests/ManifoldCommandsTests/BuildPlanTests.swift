import BuildInterface
import BuildProgress
import HostOS
import OCIModel
import Testing

@testable import ManifoldCommands

/// What buildx makes of the same options (build/opt.go, build/utils.go).
@Suite struct BuildPlanTests {
  let scratch: Scratch
  init() throws {
    scratch = try Scratch()
    try scratch.file("Dockerfile")
  }

  /// What is attested when nobody says anything.
  static let provenance = "mode=min,inline-only=true"

  static let attributes: [(options: [String], expected: [String: String])] = [
    ([], [:]),
    (["--platform", "linux/amd64"], ["platform": "linux/amd64"]),
    (["--platform", "linux/amd64,linux/arm64", "--platform=linux/arm/v7"], ["platform": "linux/amd64,linux/arm64,linux/arm/v7"]),
    (["--platform", "local,aarch64,linux/arm64"], ["platform": "linux/amd64,linux/arm64"]),
    (["--platform", "windows(10.0.17763)/amd64"], ["platform": "windows(10.0.17763)/amd64"]),
    (
      ["--build-arg", "A=1", "--build-arg", "B=x=y", "--build-arg", "FROM_ENV", "--build-arg", "UNSET", "--build-arg", "E="],
      ["build-arg:A": "1", "build-arg:B": "x=y", "build-arg:FROM_ENV": "here", "build-arg:E": ""]
    ),
    (["--build-arg", "--push"], [:]),
    (["--label", "a=b", "--label", "alone"], ["label:a": "b", "label:alone": ""]),
    (["--target", "tests"], ["target": "tests"]),
    (["--no-cache"], ["no-cache": ""]),
    (["--no-cache=true"], ["no-cache": ""]),
    (["--no-cache=false"], [:]),
    (["--no-cache-filter", "a", "--no-cache-filter", "b,c"], ["no-cache": "a,b,c"]),
    (["--pull"], ["image-resolve-mode": "pull"]),
    (["--add-host", "a:1.2.3.4", "--add-host", "b=::1", "--add-host", "c:[fe80::1],d:host-gateway"], ["add-hosts": "a=1.2.3.4,b=::1,c=fe80::1,d=127.0.0.1"]),
    (["--network", "default"], [:]),
    (["--network=none"], ["force-network-mode": "none"]),
    (["--network", "host"], ["force-network-mode": "host"]),
    (["--shm-size", "128m"], ["shm-size": "134217728"]),
    (["--shm-size", "0"], [:]),
    (["--ulimit", "nofile=1024:2048", "--ulimit", "core=0", "--ulimit", "nofile=5"], ["ulimit": "core=0:0,nofile=5:5"]),
    (["--cgroup-parent", "/x"], ["cgroup-parent": "/x"]),
    (["--build-arg", "BUILDKIT_MULTI_PLATFORM=1"], ["build-arg:BUILDKIT_MULTI_PLATFORM": "1", "multi-platform": "true"]),
    (["--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1.7"], ["build-arg:BUILDKIT_SYNTAX": "docker/dockerfile:1.7"]),
    (["--provenance=false", "--sbom", "false", "--attest", "type=sbom,disabled=true", "--rm", "--force-rm=true", "--compress", "--call", "build"], [:]),
  ]

  @Test(arguments: attributes.indices) func frontendAttributes(_ index: Int) throws {
    var (options, expected) = Self.attributes[index]
    expected["filename"] = "Dockerfile"
    if options == ["--build-arg", "--push"] { expected = ["filename": "Dockerfile"] }
    if !options.contains("--provenance=false") { expected["attest:provenance"] = Self.provenance }
    let made = try plan(options + ["."], in: scratch, environment: ["FROM_ENV": "here"])
    #expect(made.request.frontendAttributes == expected)
    #expect(made.request.frontend == "dockerfile.v0")
    #expect(made.client.directories == ["context": scratch.path, "dockerfile": scratch.path])
  }

  @Test func environment() throws {
    let made = try plan(
      ["."], in: scratch,
      environment: ["DOCKER_DEFAULT_PLATFORM": "linux/arm64", "SOURCE_DATE_EPOCH": "7", "BUILDKIT_PROGRESS": "plain", "BUILDX_NO_DEFAULT_LOAD": "1"])
    #expect(made.request.frontendAttributes == ["filename": "Dockerfile", "platform": "linux/arm64", "build-arg:SOURCE_DATE_EPOCH": "7", "attest:provenance": Self.provenance])
    #expect(made.progress == .plain)
    #expect(made.warnings.isEmpty)
    let told = try plan(
      ["--platform", "linux/s390x", "--build-arg", "SOURCE_DATE_EPOCH=8", "--progress=tty", "."], in: scratch,
      environment: ["DOCKER_DEFAULT_PLATFORM": "linux/arm64", "SOURCE_DATE_EPOCH": "7", "BUILDKIT_PROGRESS": "plain"])
    #expect(told.request.frontendAttributes == ["filename": "Dockerfile", "platform": "linux/s390x", "build-arg:SOURCE_DATE_EPOCH": "8", "attest:provenance": Self.provenance])
    #expect(told.progress == .tty)
  }

  @Test func progressAndQuiet() throws {
    #expect(try plan(["-q", "."], in: scratch).progress == .quiet)
    #expect(try plan(["-q", "."], in: scratch).printsImageID)
    #expect(try plan(["--progress", "quiet", "."], in: scratch).printsImageID)
    let none = try plan(["--progress=none", "."], in: scratch)
    #expect(none.progress == .none && !none.printsImageID)
    #expect(try !plan(["."], in: scratch, environment: ["BUILDKIT_PROGRESS": "quiet"]).printsImageID)
    #expect(failure { _ = try plan(["-q", "--progress", "plain", "."], in: scratch) } != nil)
    #expect(failure { _ = try plan(["--progress", "fancy", "."], in: scratch) }?.domain == .usage)
  }

  @Test func globalOptionsAndJobs() throws {
    let made = try plan(["--root", "store", "--debug", "--insecure-registry", "a:1", "--insecure-registry=b", "--jobs", "3", "."], in: scratch)
    #expect(made.settings == EngineSettings(root: scratch.path + "/store", insecureRegistries: ["a:1", "b"], jobs: 3, debug: true))
    #expect(failure { _ = try plan(["--jobs", "0", "."], in: scratch) }?.domain == .usage)
  }

  @Test func dockerfiles() throws {
    try scratch.file("sub/other.Dockerfile")
    try scratch.file("lower/dockerfile")
    let made = try plan(["-f", "sub/other.Dockerfile", "."], in: scratch)
    #expect(made.client.directories["dockerfile"] == scratch.path + "/sub")
    #expect(made.request.frontendAttributes["filename"] == "other.Dockerfile")
    let lower = try plan(["lower/."], in: scratch)
    #expect(lower.client.directories == ["context": scratch.path + "/lower", "dockerfile": scratch.path + "/lower"])
    #expect(lower.request.frontendAttributes["filename"] == "dockerfile")
    let input = try plan(["-f", "-", "."], in: scratch)
    #expect(input.context.dockerfile == .standardInput && input.client.directories["dockerfile"] == nil)
    #expect(input.request.frontendAttributes["dockerfilekey"] == "dockerfile")
    #expect(failure { _ = try plan(["-f", "nowhere", "."], in: scratch) }?.message == "there is no Dockerfile nowhere")
    #expect(failure { _ = try plan(["sub"], in: scratch) }?.message == "there is no Dockerfile sub/Dockerfile")
    #expect(failure { _ = try plan(["missing"], in: scratch) }?.message == "there is no directory missing to build")
  }

  @Test func caches() throws {
    let made = try plan(
      [
        "--cache-from", "reg/a:cache,reg/b", "--cache-from", "type=registry,ref=reg/a:cache", "--cache-from", "type=local,src=in", "--cache-to", "type=local,dest=out,mode=max",
        "--cache-to", "type=registry,\"ref=reg/c\"", "--build-arg", "BUILDKIT_INLINE_CACHE=1", ".",
      ], in: scratch)
    #expect(made.request.cacheImports == [
      CacheOption(type: "registry", attributes: ["ref": "reg/a:cache"]), CacheOption(type: "registry", attributes: ["ref": "reg/b"]),
      CacheOption(type: "local", attributes: ["src": "in"]),
    ])
    #expect(made.request.cacheExports == [
      CacheOption(type: "local", attributes: ["dest": "out", "mode": "max"]), CacheOption(type: "registry", attributes: ["ref": "reg/c"]), CacheOption(type: "inline"),
    ])
    #expect(made.client.directories["cache:in"] == scratch.path + "/in" && made.client.directories["cache:out"] == scratch.path + "/out")
    #expect(failure { _ = try plan(["--cache-to", "ref=x", "."], in: scratch) }?.message == "--cache-to ref=x: the type is missing")
    #expect(failure { _ = try plan(["--cache-to", "type=registry,x", "."], in: scratch) }?.message == "--cache-to type=registry,x: \"x\" is not key=value")
  }

  @Test(arguments: [
    ["--sbom=true", "."],
    ["--attest", "type=sbom", "."], ["--builder", "x", "."],
    ["--policy", "x", "."],
  ])
  func refusedByName(_ arguments: [String]) throws {
    let error = try #require(failure { _ = try plan(arguments, in: scratch) })
    #expect(error.code == .unimplemented && error.domain == .usage)
    #expect(error.message.contains("not yet supported"))
    #expect(ManifoldExit.of(error) == 2)
  }

  @Test(arguments: [
    ["--platform", "linux/nonsense/x/y", "."], ["--platform", "", "."], ["--no-cache", "--no-cache-filter", "a", "."], ["--network", "bridge", "."],
    ["--shm-size", "lots", "."],
    ["--ulimit", "nofile=5:1", "."], ["--ulimit", "files=1", "."], ["--add-host", "a", "."], ["--add-host", "a:b", "."], ["--label", "=x", "."],
    ["-t", "UPPER", "."], ["--push", "."],
    ["-o", "type=local", "."], ["-o", "type=nope", "."], ["-o", "dest=x,a=b", "."], ["-o", "type=oci,dest", "."], ["-o", "-", "-o", "type=oci", "."],
    ["-o", "type=docker,dest=x.tar", "--platform", "linux/arm64,linux/amd64", "."],
    ["--secret", "src=x", "."], ["--secret", "id=a,src=missing", "."], ["--secret", "id=a,typ=env", "."], ["--secret", "id=\"a", "."],
    ["--iidfile", "x", "-o", "out", "."], ["--allow", "everything", "."],
    ["--build-arg", "BUILDKIT_SYNTAX=", "."], ["-o", "Dockerfile", "."], ["-o", "type=oci,tar=false,dest=-", "."],
  ])
  func mistakes(_ arguments: [String]) throws {
    let error = try #require(failure { _ = try plan(arguments, in: scratch) })
    #expect(error.code == .invalidArgument && error.domain == .usage)
  }

  @Test func proxiesOfDockersConfiguration() throws {
    try scratch.file("docker/config.json", #"{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "localhost", "httpsProxy": ""}}}"#)
    let made = try plan(["--build-arg", "no_proxy=mine", "."], in: scratch, environment: ["DOCKER_CONFIG": scratch.path + "/docker"])
    #expect(
      made.request.frontendAttributes == [
        "filename": "Dockerfile", "build-arg:HTTP_PROXY": "http://p:1", "build-arg:http_proxy": "http://p:1", "build-arg:no_proxy": "mine",
        "attest:provenance": Self.provenance,
      ])
    try scratch.file("docker/config.json", "{ broken")
    #expect(try plan(["."], in: scratch, environment: ["DOCKER_CONFIG": scratch.path + "/docker"]).request.frontendAttributes == ["filename": "Dockerfile", "attest:provenance": Self.provenance])
  }

  @Test func entitlements() throws {
    #expect(try plan(["--network", "host", "."], in: scratch).request.entitlements == ["network.host"])
    #expect(try plan(["--allow", "network.host", "."], in: scratch).request.entitlements == ["network.host"])
    #expect(try plan(["."], in: scratch).request.entitlements.isEmpty)
  }

  @Test func secrets() throws {
    let file = try scratch.file("token", "s3cret")
    let made = try plan(
      [
        "--secret", "id=a,src=token", "--secret", "id=b,env=B_VALUE", "--secret", "type=env,id=c,src=C", "--secret", "id=PRESENT", "--secret", "\"id=token\"",
        ".",
      ], in: scratch,
      environment: ["PRESENT": "x"])
    #expect(
      made.client.secrets == [
        "a": .file(path: file), "b": .environment(name: "B_VALUE"), "c": .environment(name: "C"), "PRESENT": .environment(name: "PRESENT"),
        "token": .file(path: file),
      ])
  }

  @Test func warnsWhenNothingIsKept() throws {
    #expect(try plan(["."], in: scratch).warnings.contains { $0.hasPrefix("No output specified") })
    #expect(try plan(["-t", "x", "."], in: scratch).warnings.isEmpty)
    #expect(try plan(["-o", "type=cacheonly", "."], in: scratch).warnings.isEmpty)
  }
}
