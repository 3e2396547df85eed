import BuildInterface
import HostOS
import OCIModel
import Testing

@testable import ManifoldCommands

/// Contexts of every kind: what buildx makes of the same words (build/opt.go, util/buildflags, util/ocilayout).
@Suite struct ContextTests {
  let scratch: Scratch
  static let digest = "sha256:" + String(repeating: "a", count: 64)
  init() throws {
    scratch = try Scratch()
    try scratch.file("Dockerfile")
    try scratch.file("docker/Dockerfile")
    try scratch.file("assets/x")
    try scratch.file("layout/oci-layout", #"{"imageLayoutVersion":"1.0.0"}"#)
    try scratch.file(
      "layout/index.json",
      """
      {"schemaVersion":2,"manifests":[
        {"mediaType":"application/vnd.oci.image.index.v1+json","digest":"\(Self.digest)","size":3,"annotations":{"org.opencontainers.image.ref.name":"v1"}},
        {"mediaType":"application/vnd.oci.image.index.v1+json","digest":"\(Self.digest.replacing("a", with: "b"))","size":3,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}
      """.replacing("shb256", with: "sha256"))
  }

  static let queries = "moby.buildkit.frontend.gitquerystring"
  static let named = "moby.buildkit.frontend.contexts+forward"
  /// Words, attributes besides `filename`, and the names of the client's directories.
  static let places: [(words: [String], attributes: [String: String], filename: String, directories: Set<String>)] = [
    (["https://host/a.git"], ["context": "https://host/a.git"], "Dockerfile", []),
    (["https://host/a.git#v1:sub"], ["context": "https://host/a.git#v1:sub"], "Dockerfile", []),
    (["https://host/a.git?branch=x"], ["context": "https://host/a.git?branch=x", "frontend.caps": queries], "Dockerfile", []),
    (["git@host:a/b"], ["context": "git@host:a/b"], "Dockerfile", []),
    (["github.com/a/b"], ["context": "github.com/a/b"], "Dockerfile", []),
    (["http://host/x.tgz"], ["context": "http://host/x.tgz"], "Dockerfile", []),
    (["-f", "in/Other", "http://host/x.tgz"], ["context": "http://host/x.tgz"], "in/Other", []),
    (["-f", "-", "http://host/x.tgz"], ["context": "http://host/x.tgz", "dockerfilekey": "dockerfile"], "Dockerfile", []),
    (["-f", "http://host/Other", "http://host/x.tgz"], ["context": "http://host/x.tgz", "dockerfilekey": "dockerfile"], "Dockerfile", []),
    (["-f", "http://host/Other", "."], ["dockerfilekey": "dockerfile"], "Dockerfile", ["context"]),
    (["-f", "-", "."], ["dockerfilekey": "dockerfile"], "Dockerfile", ["context"]),
    (["-f", "docker/Dockerfile", "assets"], [:], "Dockerfile", ["context", "dockerfile"]),
    (["-"], [:], "Dockerfile", []),
    (["-f", "x/Y", "-"], [:], "x/Y", []),
    (["--build-context", "", "--build-context", "a=assets", "."], ["context:a": "local:a", "sharedkey:localdir:a": "assets", "frontend.caps": named], "Dockerfile", ["context", "dockerfile", "a"]),
    (
      ["--build-context", "context=assets", "--build-context", "docker.io/library/alpine:latest=docker-image://b", "."],
      ["context:context": "local:_context", "sharedkey:localdir:context": "assets", "context:alpine": "docker-image://b", "frontend.caps": named], "Dockerfile", ["context", "dockerfile", "_context"]
    ),
    (
      ["--build-context", "alpine:3.20::linux/arm64=docker-image://b", "--build-context", "s=docker-image://scratch", "."],
      ["context:alpine:3.20::linux/arm64": "docker-image://b", "context:s": "docker-image://scratch", "frontend.caps": named], "Dockerfile", ["context", "dockerfile"]
    ),
    (
      ["--build-context", "g=https://h/a.git?ref=x", "--build-context", "f=https://h/a", "https://host/a.git?tag=y"],
      ["context": "https://host/a.git?tag=y", "context:g": "https://h/a.git?ref=x", "context:f": "https://h/a", "frontend.caps": named + "," + queries + "," + queries + "+forward"], "Dockerfile", []
    ),
  ]

  @Test(arguments: places.indices) func attributes(_ index: Int) throws {
    var (words, expected, filename, directories) = Self.places[index]
    expected["filename"] = filename
    expected["attest:provenance"] = BuildPlanTests.provenance
    let made = try plan(words, in: scratch)
    #expect(made.request.frontendAttributes == expected)
    #expect(Set(made.client.directories.keys) == directories)
  }

  @Test func absoluteDockerfileOfARemoteContext() throws {
    let made = try plan(["-f", scratch.path + "/docker/Dockerfile", "https://host/a.git"], in: scratch)
    #expect(made.client.directories == ["dockerfile": scratch.path + "/docker"])
    #expect(made.request.frontendAttributes["dockerfilekey"] == "dockerfile" && made.request.frontendAttributes["filename"] == "Dockerfile")
  }

  @Test(arguments: [
    (":v1", ":v1@sha256:a"), ("", ":latest@sha256:b"), (":none@\(digest)", ":none@sha256:a"), ("@\(digest)", "@sha256:a"),
  ])
  func layouts(_ suffix: String, _ expected: String) throws {
    let made = try plan(["--build-context", "base=oci-layout://layout\(suffix)", "."], in: scratch)
    let value = try #require(made.request.frontendAttributes["context:base"])
    let (id, path) = try #require(made.client.layouts.first.map { ($0.key, $0.value) })
    #expect(path == scratch.path + "/layout" && value.hasPrefix("oci-layout://\(id)\(expected)"), "\(value)")
  }

  @Test(arguments: [
    ["-f", "-", "-"], ["--build-context", "a", "."], ["--build-context", "a=b", "."], ["--build-context", "a=Dockerfile", "."], ["--build-context", "A=assets", "."],
    ["--build-context", "a=", "."], ["--build-context", "a=target:x", "."], ["--build-context", "a=docker-image://UP", "."], ["--build-context", "a=oci-layout://assets", "."],
    ["--build-context", "a=oci-layout://layout:absent", "."], ["--build-context", "a=https://h/x.git?nope=1", "."], ["https://h/x.git?ref="],
    ["--debug-on-error", "-"], ["--debug-on-error", "-f", "-", "."], ["docker-image://a"], ["host/a.git"], ["Dockerfile"],
  ])
  func mistakes(_ words: [String]) throws {
    let error = try #require(failure { _ = try plan(words, in: scratch) })
    #expect(error.domain == .usage && ManifoldExit.of(error) == 2)
  }

  @Test func advice() throws {
    let target = try #require(failure { _ = try plan(["--build-context", "a=target:x", "."], in: scratch) })
    #expect(target.message.contains("target:") && target.suggestion?.contains("oci") == true)
    let tag = try #require(failure { _ = try plan(["--build-context", "a=oci-layout://layout:absent", "."], in: scratch) })
    #expect(tag.message.contains("v1"), "\(tag)")
    #expect(failure { _ = try plan(["-f", "-", "-"], in: scratch) }?.message == "invalid argument: can't use stdin for both build context and dockerfile")
  }

  static let heads: [(bytes: [UInt8], isArchive: Bool)] = [
    (Array("FROM scratch\n".utf8), false), ([], false), ([0x1f, 0x8b, 0x08, 0], true), ([0x42, 0x5a, 0x68, 0x39], true), ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], true),
    ([0x28, 0xb5, 0x2f, 0xfd], true), ([UInt8](repeating: 0, count: 1024), false), ([UInt8](repeating: 0x20, count: 1024), false), ([0x1f, 0x8b], false),
  ]
  @Test(arguments: heads.indices) func whatIsAnArchive(_ index: Int) { #expect(ArchiveHead.isArchive(Self.heads[index].bytes) == Self.heads[index].isArchive) }
}
