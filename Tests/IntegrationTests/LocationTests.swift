import Foundation
import HostOS
import OCIModel
import TestSupport
import Testing

/// Images in registries, OCI layouts and the local store, under one name in any of them.
@Suite(.enabled(if: Tool.builds)) struct LocationTests {
  /// An image in a layout, under a tag.
  private func write(_ image: RandomImage, _ layout: String, tag: String) throws {
    try Files.makeDirectories(layout + "/blobs/sha256")
    for part in image.blobs + image.manifests { try Files.writeAtomically(part.bytes, to: "\(layout)/blobs/sha256/\(part.descriptor.digest.hex)", durable: false) }
    try Files.writeAtomically(Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8), to: layout + "/oci-layout", durable: false)
    var index = ImageIndex(manifests: [])
    if let known = try? Files.read(layout + "/index.json", limit: 1 << 20), case .index(let old) = try ImageDocument(parsing: known, mediaType: .ociIndex) { index = old }
    var entry = image.root
    entry.annotations["org.opencontainers.image.ref.name"] = tag
    index.manifests.append(entry)
    try Files.writeAtomically(index.encoded, to: layout + "/index.json", durable: false)
  }

  /// A Linux image of the local store, attested, and two of Windows in a layout, under one tag: nothing else is ever given a tag.
  @Test(.timeLimit(.minutes(10)), arguments: ["manifest", "imagetools"]) func linuxAndTwoWindows(_ way: String) async throws {
    try await withEnvironment { environment in
      let tool = environment.tool, windows = environment.scratch + "/windows", list = environment.image("me/app:1")
      let versions = ["10.0.17763.2114", "10.0.20348.169"]
      for (i, version) in versions.enumerated() { try write(try RandomImage(seed: UInt64(40 + i), platforms: ["windows(\(version))/amd64"]), windows, tag: "v\(i)") }
      let context = try environment.context("context", ["Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "a\n"])
      let built = try await tool.run(["build", "-t", "app", "--platform", "linux/amd64", "--progress=plain", context])
      try #require(built.succeeded, "\(built.everything)")
      func run(_ arguments: String..., fails: Bool = false) async throws -> ProcessOutput {
        let output = try await tool.run(arguments, in: environment.scratch)
        try #require(output.succeeded != fails, "\(output.everything)")
        return output
      }
      let parts = ["local:app", "oci-layout://windows:v0", "oci-layout://./windows:v1"]
      if way == "manifest" {
        _ = try await tool.run(["manifest", "create", list] + parts, in: environment.scratch)
        let listed = try await run("manifest", "inspect", list)
        #expect(listed.outputText.contains("\"os.version\": \"\(versions[1])\""), "\(listed.everything)")
        // Told apart by their versions, until somebody says that they have one.
        _ = try await run("manifest", "annotate", list, "oci-layout://windows:v0", "--os-version", versions[1])
        let refused = try await run("manifest", "push", "--strict", list, fails: true).errorText
        #expect(refused.contains("oci-layout://\(environment.scratch)/windows:v0") && refused.contains("are for the same platform"), "\(refused)")
        _ = try await run("manifest", "annotate", list, "oci-layout://windows:v0", "--os-version", versions[0])
        let verbose = try await run("manifest", "inspect", "-v", list, "oci-layout://windows:v1")
        #expect(try JSONValue(parsing: verbose.output)["Ref"]?.stringValue == "oci-layout://\(environment.scratch)/windows:v1", "\(verbose.everything)")
        _ = try await run("manifest", "push", "--strict", "--purge", list)
      } else {
        let created = try await tool.run(["imagetools", "create", "--progress=plain", "-t", list] + parts, in: environment.scratch)
        try #require(created.succeeded && !created.errorText.contains("WARNING"), "\(created.everything)")
      }
      guard case .index(let index) = try ImageDocument(parsing: try await environment.raw(list), mediaType: .ociIndex) else { throw OCIError(.invalidDocument, "no index") }
      let images = index.manifests.filter { $0.attestedDigest == nil }
      #expect(Set(images.map { $0.platform?.fullDescription }) == ["linux/amd64", "windows(\(versions[0]))/amd64", "windows(\(versions[1]))/amd64"])
      #expect(images.count == 3 && index.manifests.compactMap(\.attestedDigest) == images.filter { $0.platform?.os == "linux" }.map(\.digest))
      let tags = try await checked("skopeo", ["list-tags", "--tls-verify=false", "docker://\(environment.image("me/app"))"])
      #expect(try JSONValue(parsing: tags.output)["Tags"]?.arrayValue?.compactMap(\.stringValue) == ["1"])
      let put = environment.registry.requests("\"PUT /v2/me/app/manifests/")
      #expect(put.count >= 5 && put.filter { !$0.contains("/manifests/sha256:") }.count == 1, "\(put)")
      _ = try await environment.pulled(list)
    }
  }

  /// The same index goes to a layout and to the local store, and back; all have it byte for byte.
  @Test(.timeLimit(.minutes(10))) func thereAndBack() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool, raw = try await environment.raw(base)
      func run(_ arguments: String..., status: Int32 = 0) async throws -> ProcessOutput {
        let output = try await tool.run(arguments, in: environment.scratch)
        try #require(output.status == .exited(status), "\(output.everything)")
        return output
      }
      let made = try await run("imagetools", "create", "--progress=plain", "-t", "oci-layout://made/here:1", "-t", "oci-layout://made/here:2", "-t", "local:copy:1", base)
      #expect(made.errorText.contains("pushing local"))
      for place in ["oci-layout://made/here:2", "oci-layout://made/here@\(Digest.sha256(of: raw))", "local:copy:1", "local:\(Digest.sha256(of: raw))"] {
        #expect(try await run("imagetools", "inspect", "--raw", place).output == raw, "\(place)")
      }
      #expect(try await run("images").outputText.contains("linux/arm64"))
      try await checked("skopeo", ["copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests", "oci:\(environment.scratch)/made/here:1", "dir:\(environment.scratch)/dir"])
      _ = try await run("imagetools", "create", "--progress=plain", "-t", environment.image("back:1"), "local:copy:1")
      _ = try await run("imagetools", "create", "--progress=plain", "-t", environment.image("back:2"), "oci-layout://made/here:1")
      for tag in ["1", "2"] { #expect(try await environment.raw(environment.image("back:" + tag)) == raw) }
      // A list that is pushed into a layout, and into the local store; its parts by a file.
      for list in ["oci-layout://made/list:1", "local:list:1"] {
        _ = try await run("manifest", "create", list, "local:copy:1")
        let digest = try await run("manifest", "push", "--purge", list).outputText.split(separator: "\n").last.map(String.init)
        #expect(try await Digest.sha256(of: run("imagetools", "inspect", "--raw", list).output).description == digest)
        _ = try await run("manifest", "rm", list, status: 2)
      }
      let file = environment.scratch + "/source"
      try Files.writeAtomically(Array("local:copy:1".utf8), to: file, durable: false)
      #expect(try await run("imagetools", "create", "--dry-run", "-f", file, "oci-layout://made/here:1").output.count > raw.count / 2)
      for (wrong, words) in [("oci-layout://made/here:9", "has no image 9: it has 1, 2"), ("oci-layout://nowhere:1", "nowhere"), ("local:absent", "No such image: absent")] {
        let failed = try await tool.run(["imagetools", "inspect", wrong], in: environment.scratch)
        #expect(!failed.succeeded && failed.errorText.contains(words), "\(failed.everything)")
      }
    }
  }

  /// `imagetools inspect --compat` beside a real buildx, where there is one (`docker-buildx` in the PATH, or named by MANIFOLD_BUILDX).
  @Test(.timeLimit(.minutes(10))) func besideBuildx() async throws {
    guard let buildx = ProcessInfo.processInfo.environment["MANIFOLD_BUILDX"] ?? Processes.executablePath("docker-buildx") else {
      return print("SKIPPED: the comparison with buildx: docker-buildx is not in the PATH, nor named by MANIFOLD_BUILDX")
    }
    try await withEnvironment { environment in
      let base = try await environment.base(), tool = environment.tool, image = environment.image("me/attested:1")
      let context = try environment.context("context", ["Dockerfile": "ARG BASE\nFROM $BASE\nCOPY Dockerfile /\nCMD [\"a\"]\n"])
      let built = try await tool.run(["build", "-t", image, "--push", "--platform", "linux/amd64,linux/arm64", "--build-arg", "BASE=\(base)", "--progress=plain", context])
      try #require(built.succeeded, "\(built.everything)")
      func theirs(_ arguments: [String]) async throws -> ProcessOutput {
        try await Processes.run(buildx, ["imagetools"] + arguments, environment: tool.environment(), limit: 16 << 20)
      }
      /// buildx prints annotations in any order.
      func lines(_ output: ProcessOutput) -> [Substring] { output.outputText.split(separator: "\n", omittingEmptySubsequences: false).sorted() }
      for name in [image, base] {
        #expect(try await lines(tool.run("imagetools", "inspect", "--compat", name)) == lines(theirs(["inspect", name])))
        #expect(try await tool.run("imagetools", "inspect", "--raw", name).output == theirs(["inspect", "--raw", name]).output)
        for format in ["{{json .}}", "{{json .Manifest}}", "{{json .Image}}", "{{json .Provenance}}", "{{json .SBOM}}", "{{.Name}} {{.Manifest.Digest}}", #"{{(index .Image "linux/arm64").Created}}"#] {
          let (ours, other) = (try await tool.run("imagetools", "inspect", "--compat", "--format", format, name), try await theirs(["inspect", "--format", format, name]))
          #expect(ours.outputText == other.outputText && ours.succeeded, "\(format)\n\(ours.everything)\n\(other.everything)")
        }
      }
      for arguments in [[image], [image, base], ["-p", "linux/arm64", image], ["--annotation", "index:a=b", base]] {
        let ours = try await tool.run(["imagetools", "create", "--dry-run"] + arguments), other = try await theirs(["create", "--dry-run"] + arguments)
        #expect(ours.outputText == other.outputText, "\(arguments)\n\(ours.everything)\n\(other.everything)")
      }
    }
  }
}
