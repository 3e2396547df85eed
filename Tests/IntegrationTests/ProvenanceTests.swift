import Foundation
import HostOS
import OCIModel
import Testing

/// Attestations that the program makes, as other programs find them in a registry.
@Suite(.enabled(if: Tool.builds)) struct ProvenanceTests {
  /// An image of the registry as a layout: its documents by digest.
  private struct Layout {
    let path: String
    func bytes(_ digest: Digest) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: "\(path)/blobs/sha256/\(digest.hex)"))) }
    func json(_ digest: Digest) throws -> JSONValue { try JSONValue(parsing: bytes(digest)) }
    func index() throws -> ImageIndex {
      let top = try JSONValue(parsing: Array(try Data(contentsOf: URL(fileURLWithPath: path + "/index.json"))))
      let digest = try Digest(parsing: try #require(top["manifests"]?.arrayValue?.first?["digest"]?.stringValue))
      guard case .index(let index) = try ImageDocument(parsing: try bytes(digest), mediaType: .ociIndex) else { throw OCIError(.invalidDocument, "not an index") }
      return index
    }
    /// The attestation of an image: its manifest and its one statement.
    func attestation(of image: OCIModel.Descriptor) throws -> (manifest: ImageManifest, statement: JSONValue)? {
      guard let entry = try index().manifests.first(where: { $0.annotations["vnd.docker.reference.digest"] == image.digest.description }) else { return nil }
      guard case .manifest(let manifest) = try ImageDocument(parsing: bytes(entry.digest), mediaType: .ociManifest) else { return nil }
      return (manifest, try json(try #require(manifest.layers.first).digest))
    }
  }

  private static let dockerfile = """
    FROM --platform=$BUILDPLATFORM BASE AS build
    ARG VERSION
    ARG API_TOKEN
    RUN --mount=type=secret,id=key test -s /run/secrets/key && test -n "$API_TOKEN" && echo "$VERSION" > /version
    FROM scratch
    ADD https://someone:a-password-in-a-url@localhost:1/never /never
    FROM BASE
    COPY --from=build /version /version
    """

  @Test(.timeLimit(.minutes(5))) func everyPlatformIsAttestedWithoutSecrets() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), image = environment.image("me/app:1")
      // The ADD is of a stage that nothing needs: its address is in the Dockerfile alone.
      let text = Self.dockerfile.replacing("BASE", with: base)
      let context = try environment.context("c", ["Dockerfile": text, "key": "a-very-private-key"])
      let arguments = [
        "--platform", "linux/amd64,linux/arm64", "--build-arg", "VERSION=1.2", "--build-arg", "API_TOKEN=hunter2-and-more", "--secret", "id=key,src=\(context)/key", "-t",
        image, "--push",
      ]
      for mode in [["--provenance=mode=max"], ["--provenance", "mode=max,version=v0.2"], []] {
        let run = try await environment.build(context, arguments + mode)
        try #require(run.succeeded, "\(run.everything)")
        let layout = Layout(path: try await environment.pulled(image, as: "pulled-\(mode.joined().count)"))
        let entries = try layout.index().manifests
        #expect(entries.map { $0.platform?.description } == ["linux/amd64", "linux/arm64", "unknown/unknown", "unknown/unknown"])
        for entry in entries.prefix(2) {
          let (manifest, statement) = try #require(try layout.attestation(of: entry))
          #expect(manifest.artifactType == "application/vnd.docker.attestation.manifest.v1+json" && manifest.subject?.digest == entry.digest)
          #expect(manifest.layers.first?.annotations["in-toto.io/predicate-type"] == statement["predicateType"]?.stringValue)
          let subject = statement["subject"]?.arrayValue?.first
          #expect(subject?["digest"]?["sha256"]?.stringValue == entry.digest.hex)
          let name = image.replacing(":1", with: "@1").replacing(":", with: "%3A")
          #expect(subject?["name"]?.stringValue == "pkg:docker/\(name)?platform=linux%2F\(entry.platform?.architecture ?? "")")
          try await materials(statement, base, entry, environment)
        }
        try await findNothing(["a-very-private-key", "hunter2-and-more", "a-password-in-a-url"], in: layout)
        if mode == ["--provenance=mode=max"] {
          let statement = try #require(try layout.attestation(of: entries[0])).statement, steps = statement.encodedString()
          #expect(statement["predicate"]?["buildDefinition"]?["internalParameters"]?["buildConfig"]?["digestMapping"] == nil)
          #expect(steps.contains("\"build-arg:VERSION\":\"1.2\"") && steps.contains("API_TOKEN=REDACTED") && steps.contains("\"secrets\":[{\"id\":\"key\""), "\(steps)")
        }
      }
      let inspect = try await environment.tool.run("imagetools", "inspect", image)
      #expect(inspect.outputText.contains("  Attestations:\n") && inspect.outputText.contains("https://slsa.dev/provenance/") && !inspect.outputText.contains("unknown"), "\(inspect.everything)")
    }
  }

  private func materials(_ statement: JSONValue, _ base: String, _ entry: OCIModel.Descriptor, _ environment: Environment) async throws {
    let predicate = try #require(statement["predicate"])
    let list = try #require((predicate["buildDefinition"]?["resolvedDependencies"] ?? predicate["materials"])?.arrayValue)
    let digest = Digest.sha256(of: try await environment.raw(base)).hex
    #expect(list.count == 1 && list.first?["digest"]?["sha256"]?.stringValue == digest, "\(list)")
    #expect(list.first?["uri"]?.stringValue?.hasSuffix("/base@latest?platform=linux%2F\(entry.platform?.architecture ?? "")") == true, "\(list)")
  }

  /// In no blob of an image, packed or not, is one of the words.
  private func findNothing(_ words: [String], in layout: Layout) async throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: layout.path + "/blobs/sha256") {
      let path = "\(layout.path)/blobs/sha256/\(name)"
      var texts = [try Data(contentsOf: URL(fileURLWithPath: path))]
      if texts[0].starts(with: [0x1f, 0x8b]) { texts.append(Data(try await checked("gzip", ["-dc", path], limit: 256 << 20).output)) }
      for word in words {
        for text in texts {
          #expect(text.range(of: Data(word.utf8)) == nil, "\(word) is in \(name)")
          #expect(text.range(of: Data(Data(word.utf8).base64EncodedString().dropLast(3).utf8)) == nil, "\(word) is in \(name) in base64")
        }
      }
    }
  }

  @Test(.timeLimit(.minutes(5))) func imagesWithAttestationsAreImages() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("c", ["Dockerfile": "FROM \(base)\nCMD [\"uname\", \"-m\"]\n"])
      let made = try await environment.build(context, ["-t", "attested", "--metadata-file", environment.scratch + "/md.json"])
      try #require(made.succeeded, "\(made.everything)")
      let metadata = try JSONValue(parsing: try #require(Files.text(environment.scratch + "/md.json")))
      #expect(metadata["buildx.build.provenance"]?["buildType"]?.stringValue == "https://mobyproject.org/buildkit@v1", "\(metadata)")
      #expect(metadata["buildx.build.provenance"]?["metadata"] == nil)
      let listed = try await environment.tool.run("images", "--format", "json")
      #expect(listed.outputText.contains("\"Platforms\":\"\(Platform.current)\""), "\(listed.everything)")
      let run = try await environment.tool.run("run", "attested")
      #expect(run.succeeded && !run.outputText.isEmpty, "\(run.everything)")
      let on = try environment.context("on", ["Dockerfile": "FROM attested\nRUN uname -m > /m\n"])
      let built = try await environment.build(on, ["-t", "on"])
      #expect(built.succeeded, "\(built.everything)")
      // What it may not be is another platform's image.
      let other = try await environment.build(on, ["--platform", "linux/s390x", "-t", "other"])
      #expect(!other.succeeded && !other.errorText.contains("unknown/unknown"), "\(other.everything)")
    }
  }

  @Test(.timeLimit(.minutes(5))) func whereAttestationsGo() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try environment.context("c", ["Dockerfile": "FROM \(base)\nCOPY f /f\n", "f": "some text\n"])
      func push(_ name: String, _ arguments: [String]) async throws -> ProcessOutput {
        try await environment.build(context, ["--platform", "linux/amd64", "-t", environment.image(name), "--push"] + arguments)
      }
      for (name, arguments) in [("off", ["--provenance=false"]), ("none", ["--attestations=none"]), ("docker", ["-o", "type=image,oci-mediatypes=false"])] {
        let run = try await push(name, arguments)
        try #require(run.succeeded, "\(run.everything)")
        #expect(try await JSONValue(parsing: environment.raw(environment.image(name)))["config"] != nil, "\(name)")
      }
      // Beside the image: under the fallback tag, since this registry keeps no account of referrers.
      let beside = try await push("beside", ["--attestations", "referrers"])
      try #require(beside.succeeded, "\(beside.everything)")
      let manifest = try await environment.raw(environment.image("beside")), digest = Digest.sha256(of: manifest)
      #expect(try JSONValue(parsing: manifest)["config"] != nil)
      guard case .index(let referrers) = try ImageDocument(parsing: try await environment.raw(environment.image("beside:sha256-\(digest.hex)")), mediaType: .ociIndex) else { return }
      #expect(referrers.manifests.map(\.artifactType) == ["application/vnd.docker.attestation.manifest.v1+json"])
      let referrer = try await environment.raw(environment.image("beside@\(referrers.manifests[0].digest)"))
      #expect(try JSONValue(parsing: referrer)["subject"]?["digest"]?.stringValue == digest.description)
      // What has no place for them.
      for arguments in [["-o", "type=image,oci-mediatypes=false", "--provenance=mode=min"], ["--attestations=referrers", "--provenance=true", "-o", "type=oci,dest=\(environment.scratch)/x.tar"]] {
        let run = try await push("refused", arguments)
        #expect(run.code == 2 && run.errorText.contains("attestations"), "\(run.everything)")
      }
      try await files(context, environment)
    }
  }

  private func files(_ context: String, _ environment: Environment) async throws {
    let out = environment.scratch + "/out"
    let plain = try await environment.build(context, ["-o", "\(out)/plain"])
    #expect(plain.succeeded && !Files.exists("\(out)/plain/provenance.json"), "\(plain.everything)")
    let run = try await environment.build(
      context,
      ["--platform", "linux/amd64,linux/arm64", "--provenance=mode=min", "-o", "\(out)/files", "-o", "type=tar,dest=\(out)/files.tar,attestation-prefix=x-"])
    try #require(run.succeeded, "\(run.everything)")
    let statement = try JSONValue(parsing: try #require(Files.text("\(out)/files/linux_arm64/provenance.json")))
    let subject = try #require(statement["subject"]?.arrayValue?.first { $0["name"] == "f" })
    #expect(subject["digest"]?["sha256"]?.stringValue == Digest.sha256(of: "some text\n").hex)
    #expect(try await checked("tar", ["tf", "\(out)/files.tar"]).outputText.contains("linux_amd64/x-provenance.json\n"))
    let clash = try environment.context("clash", ["Dockerfile": "FROM scratch\nCOPY provenance.json /\n", "provenance.json": "mine"])
    let refused = try await environment.build(clash, ["--provenance=mode=min", "-o", "\(out)/clash"])
    #expect(refused.code == 2 && refused.errorText.contains("attestation-prefix"), "\(refused.everything)")
  }

  @Test(.timeLimit(.minutes(2))) func whatGitKnows() async throws {
    try await withEnvironment(needs: ["git"]) { environment in
      let base = try await environment.base(), metadata = environment.scratch + "/md.json"
      let context = try environment.context("repo/sub", ["Dockerfile": "FROM \(base)\n"])
      let repository = environment.scratch + "/repo"
      let git = ["-C", repository, "-c", "user.name=n", "-c", "user.email=e@e"]
      for words in [["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"], ["remote", "add", "origin", "https://me:word@example.com/r.git"]] { try await checked("git", git + words) }
      let revision = try await checked("git", git + ["rev-parse", "HEAD"]).outputText.trimmingNewline
      let run = try await environment.tool.run(
        ["build", "--progress=plain", "-t", environment.image("g"), "--push", "--metadata-file", metadata, context], environment: ["BUILDX_METADATA_PROVENANCE": "max"])
      try #require(run.succeeded, "\(run.everything)")
      let made = try JSONValue(parsing: try #require(Files.text(metadata)))["buildx.build.provenance"]?["metadata"]?["https://mobyproject.org/buildkit@v1#metadata"]
      #expect(made?["vcs"]?["revision"]?.stringValue == revision, "\(String(describing: made))")
      #expect(made?["vcs"]?["source"]?.stringValue == "https://xxxxx:xxxxx@example.com/r.git")
      #expect(made?["vcs"]?["localdir:context"]?.stringValue == "sub")
    }
  }
}
