import Foundation
import HostOS
import OCIModel
import Testing

/// Images built apart, joined under one name, against a real registry and beside docker's own client.
@Suite(.enabled(if: Tool.builds)) struct ManifestTests {
  /// docker's client and this program do the same, each with a store of lists of its own.
  fileprivate struct Pair {
    let environment: Environment
    var docker: String { environment.scratch + "/docker-config" }
    var own: String { environment.scratch + "/own-config" }

    func manifold(_ arguments: [String]) async throws -> ProcessOutput { try await environment.tool.run(["manifest"] + arguments, environment: ["DOCKER_CONFIG": own]) }
    func docker(_ arguments: [String]) async throws -> ProcessOutput {
      try await Processes.run("docker", ["manifest"] + arguments, environment: environment.tool.environment(["DOCKER_CONFIG": docker]))
    }

    /// Both print the same JSON, key by key and byte for byte, or both refuse.
    func agree(_ arguments: String..., fails: Bool = false, at location: SourceLocation = #_sourceLocation) async throws {
      let ours = try await manifold(arguments), theirs = try await docker(arguments)
      let comment = Comment(rawValue: "\(arguments)\n\(ours.everything)\n\(theirs.everything)")
      #expect(ours.succeeded == !fails && theirs.succeeded == !fails, comment, sourceLocation: location)
      if let json = try? JSONValue(parsing: theirs.output) { #expect(try JSONValue(parsing: ours.output) == json, comment, sourceLocation: location) }
      #expect(ours.outputText == theirs.outputText, comment, sourceLocation: location)
    }
  }

  /// One image a platform, each built and pushed alone; Docker's or OCI's media types.
  private func build(_ environment: Environment, _ platforms: [String], oci: Bool, attested: Bool = false) async throws -> [String] {
    let base = try await environment.base()
    let context = try environment.context("parts", ["Dockerfile": "ARG BASE\nFROM $BASE\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n"])
    var images: [String] = []
    for platform in platforms {
      let name = environment.image("parts/" + platform.replacingOccurrences(of: "/", with: "-") + (oci ? ":oci" : ":docker"))
      let run = try await environment.tool.run([
        "build", "--platform", platform, "--build-arg", "BASE=\(base)", "--progress=plain", attested ? "--provenance=mode=min" : "--provenance=false", "-o",
        "type=registry,name=\(name),oci-mediatypes=\(oci)", context,
      ])
      try #require(run.succeeded, "\(run.everything)")
      images.append(name)
    }
    return images
  }

  @Test(.timeLimit(.minutes(10)), arguments: [false, true]) func theClassicFlow(_ oci: Bool) async throws {
    try await withEnvironment(needs: ["docker"]) { environment in
      let images = try await build(environment, BaseImage.usual, oci: oci)
      let pair = Pair(environment: environment), list = environment.image("me/app:1")
      try await pair.agree("create", "--insecure", list, images[0], images[1])
      try await pair.agree("create", "--insecure", list, images[2], fails: true)
      try await pair.agree("create", "--insecure", "--amend", list, images[2])
      try await pair.agree("annotate", list, images[1], "--os-version", "10.0.1", "--os-features", "x,y", "--variant", "v8")
      try await pair.agree("annotate", list, images[1], "--os", "nonsense", fails: true)
      try await pair.agree("annotate", list, environment.image("absent:1"), "--os", "linux", fails: true)
      try await pair.agree("inspect", list)
      try await pair.agree("inspect", "-v", list)
      try await pair.agree("inspect", list, images[2])
      try await pair.agree("inspect", "--verbose", list, images[1])
      // What the one has begun the other can push.
      #expect(try await checked("diff", ["-r", pair.docker + "/manifests", pair.own + "/manifests"]).output.isEmpty)
      try await pair.agree("push", "--insecure", list)
      try await pair.agree("push", "--purge", "--insecure", list)
      try await pair.agree("rm", list, fails: true)
      try await pair.agree("push", "--insecure", list, fails: true)
      for flags in [[], ["-v"]] {
        try await pair.agree(flags, list)
        try await pair.agree(flags, images[0])
      }
      try await pair.agree("inspect", "--insecure", environment.image("absent:1"), fails: true)
      try await pair.agree("create", "--insecure", list, images[0])
      try await pair.agree("rm", list)
      #expect(try await environment.platforms(list, oci ? .ociIndex : .dockerManifestList).count == 3)
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--src-tls-verify=false", "docker://\(list)", "oci:\(environment.scratch)/copy:1"])
    }
  }

  /// Two indexes, each with an image and its provenance, make one flat index, in the repository of either, in another and in another registry.
  @Test(.timeLimit(.minutes(10))) func attestedIndexesAreFlattened() async throws {
    try await withEnvironment { environment in
      let images = try await build(environment, ["linux/amd64", "linux/arm64"], oci: true, attested: true)
      let other = try await RegistryProcess.start(in: environment.scratch, name: "other")
      defer { other.stop() }
      let pair = Pair(environment: environment)
      for list in [environment.image("parts/linux-amd64:all"), environment.image("joined:1"), "\(other.host)/joined:1"] {
        let created = try await pair.manifold(["create", list] + images)
        try #require(created.succeeded, "\(created.everything)")
        let annotated = try await pair.manifold(["annotate", list, images[1], "--variant", "v8"])
        try #require(annotated.succeeded, "\(annotated.everything)")
        let pushed = try await pair.manifold(["push", "--purge", "--strict", list])
        try #require(pushed.succeeded, "\(pushed.everything)")
        guard case .index(let index) = try ImageDocument(parsing: try await environment.raw(list), mediaType: .ociIndex) else { throw OCIError(.invalidDocument, "no index") }
        #expect(index.manifests.map { $0.platform?.description } == ["linux/amd64", "linux/arm64/v8", "unknown/unknown", "unknown/unknown"])
        #expect(index.manifests.compactMap(\.attestedDigest) == index.manifests.prefix(2).map(\.digest))
        #expect(pushed.outputText.hasSuffix("\(Digest.sha256(of: try await environment.raw(list)))\n"))
        try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://\(list)", "dir:\(environment.scratch)/copy"])
      }
    }
  }

  @Test(.timeLimit(.minutes(10))) func twoImagesForOnePlatform() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      for tag in ["a", "b"] { try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--override-arch", "arm64", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://\(base)", "docker://\(environment.image("two:" + tag))"]) }
      let pair = Pair(environment: environment), list = environment.image("two:all")
      _ = try await pair.manifold(["create", list, environment.image("two:a"), environment.image("two:b")])
      let strict = try await pair.manifold(["push", "--strict", list])
      #expect(strict.status == .exited(2) && strict.errorText.contains("two:a and") && strict.errorText.contains("linux/arm64"), "\(strict.everything)")
      let plain = try await pair.manifold(["push", list])
      #expect(plain.succeeded && plain.errorText.hasPrefix("WARNING: linux/arm64: "), "\(plain.everything)")
    }
  }

  /// `imagetools create`: several tags, a filter, an addition, a copy, the metadata file.
  @Test(.timeLimit(.minutes(10))) func imagetoolsCreate() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool
      func create(_ arguments: String...) async throws -> ProcessOutput { try await tool.run(["imagetools", "create", "--progress=plain"] + arguments) }
      let copy = try await create("-t", environment.image("copy:1"), "-t", environment.image("copy:2"), base)
      try #require(copy.succeeded, "\(copy.everything)")
      #expect(try await environment.raw(environment.image("copy:2")) == environment.raw(base))
      let metadata = environment.scratch + "/meta.json"
      let part = try await create("-t", environment.image("part:1"), "-p", "linux/arm64", "--metadata-file", metadata, base)
      try #require(part.succeeded, "\(part.everything)")
      #expect(try await environment.platforms(environment.image("part:1")) == ["linux/arm64"])
      #expect(try JSONValue(parsing: try Files.read(metadata, limit: 1 << 20))["containerimage.descriptor"]?["digest"]?.stringValue == Digest.sha256(of: try await environment.raw(environment.image("part:1"))).description)
      let dry = try await create("--dry-run", "--append", "-t", environment.image("part:1"), "-p", "linux/arm64,linux/amd64", base)
      let more = try await create("--append", "-t", environment.image("part:1"), "-p", "linux/arm64,linux/amd64", base)
      try #require(more.succeeded, "\(more.everything)")
      #expect(try await environment.raw(environment.image("part:1")) + [0x0a] == dry.output)
      #expect(try await environment.platforms(environment.image("part:1")) == ["linux/arm64", "linux/amd64"])
      _ = try await environment.pulled(environment.image("part:1"))
    }
  }
}

extension ManifestTests.Pair {
  fileprivate func agree(_ flags: [String], _ name: String) async throws {
    let arguments = ["inspect", "--insecure"] + flags + [name]
    let ours = try await manifold(arguments), theirs = try await docker(arguments)
    #expect(ours.outputText == theirs.outputText && ours.succeeded && theirs.succeeded, "\(arguments)\n\(ours.everything)\n\(theirs.everything)")
  }
}

extension Environment {
  fileprivate func platforms(_ image: String, _ type: MediaType) async throws -> [String] {
    guard case .index(let index) = try ImageDocument(parsing: try await raw(image), mediaType: type) else { return [] }
    return index.manifests.map { $0.platform?.description ?? "none" }
  }
}
