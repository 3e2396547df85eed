import Foundation
import HostOS
import OCIModel
import Testing

/// `verify`, `diff` and `build --arch-check` as a user meets them: real registries whose storage is damaged, real programs of this machine in the wrong image.
@Suite(.serialized, .enabled(if: Tool.builds)) struct VerifyTests {
  private static let seven = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/s390x", "linux/mips64le"]

  /// This machine's platform, and another one.
  private static let own = "linux/\(Platform.current.architecture)"
  private static let other = Platform.current.architecture == "arm64" ? "linux/amd64" : "linux/arm64"

  @Test(.timeLimit(.minutes(10))) func goodImagesOfSevenPlatforms() async throws {
    try await withEnvironment { environment in
      let name = try await environment.base(Self.seven)
      let output = try await environment.tool.run("verify", name)
      #expect(output.succeeded && output.outputText.isEmpty, "\(output.everything)")
      #expect(output.errorText.contains("7 images, 7 layers read") && output.errorText.contains("nothing found"), "\(output.everything)")
      let layout = try await environment.pulled(name)
      for arguments in [["--deep", "oci-layout://\(layout):latest"], ["--shallow", name], ["--platform", "linux/arm64,linux/s390x", name]] {
        let output = try await environment.tool.run(["verify"] + arguments)
        #expect(output.succeeded && output.outputText.isEmpty, "\(output.everything)")
      }
      let json = try await environment.tool.run("verify", "--json", name)
      #expect(try JSONValue(parsing: json.output)["ok"]?.boolValue == true && JSONValue(parsing: json.output)["images"]?.arrayValue?.count == 7, "\(json.everything)")
      let absent = try await environment.tool.run("verify", "--platform", "linux/loong64", name)
      #expect(absent.code == 2 && absent.errorText.contains("has nothing for linux/loong64"), "\(absent.everything)")
      let nowhere = try await environment.tool.run("verify", environment.image("none:1"))
      #expect(nowhere.code == 3, "\(nowhere.everything)")
    }
  }

  /// Builds for both platforms with a program of this machine, and pushes.
  private func build(_ environment: Environment, _ name: String, _ lines: String, _ more: [String] = []) async throws -> ProcessOutput {
    let base = try await environment.base(["linux/amd64", "linux/arm64"])
    let context = try environment.context("context-\(name.replacingOccurrences(of: ":", with: "-"))", ["Dockerfile": "FROM \(base)\n\(lines)\n"])
    try Files.writeAtomically([UInt8](Data(contentsOf: URL(fileURLWithPath: "/bin/true"))), to: context + "/tool", mode: 0o755, durable: false)
    return try await environment.tool.run(
      ["build", "--progress", "plain", "--platform", "linux/amd64,linux/arm64", "--provenance=false", "-t", environment.image(name), "--push"] + more + [context])
  }

  private func findings(_ environment: Environment, _ arguments: String...) async throws -> [String] {
    let output = try await environment.tool.run(["verify", "--json"] + arguments)
    #expect(output.code == 1, "\(output.everything)")
    return try (JSONValue(parsing: output.output)["findings"]?.arrayValue ?? []).map { finding in
      ["severity", "platform", "code", "path"].compactMap { finding[$0]?.stringValue }.joined(separator: " ")
    }
  }

  @Test(.timeLimit(.minutes(10))) func plantedDefects() async throws {
    try await withEnvironment { environment in
      guard Self.own == "linux/amd64" || Self.own == "linux/arm64" else { return print("SKIPPED: this machine is neither amd64 nor arm64") }
      // One program of this machine in both images: without its interpreter in the one, for another CPU in the other.
      let built = try await build(environment, "bad:1", "COPY tool /usr/bin/tool\nCMD [\"nosuch\"]")
      #expect(built.succeeded, "\(built.everything)")
      let expected = [
        "linux/amd64", "linux/arm64",
      ].flatMap { platform in
        ["error \(platform) \(platform == Self.own ? "missing-interpreter" : "wrong-architecture") /usr/bin/tool", "error \(platform) missing-command"]
      }
      #expect(try await findings(environment, environment.image("bad:1")) == expected)
      let lines = try await environment.tool.run("verify", environment.image("bad:1"))
      #expect(lines.outputText.split(separator: "\n").count == 4 && lines.outputText.contains("/usr/bin/tool (layer sha256:") && lines.outputText.contains("COPY tool /usr/bin/tool"), "\(lines.everything)")
      // The build's own look says so too, with the line; each time.
      for output in [built, try await build(environment, "bad:1", "COPY tool /usr/bin/tool\nCMD [\"nosuch\"]")] {
        #expect(output.errorText.contains("\(Self.other): /usr/bin/tool is for \(Platform.current.architecture)") && output.errorText.contains("(Dockerfile:2)"), "\(output.everything)")
        #expect(!output.errorText.contains("\(Self.own): /usr/bin/tool is for"), "\(output.everything)")
      }

      // An index that says another platform than the image's config.
      for arguments in [["create", "wrong:1", "base:latest"], ["push", "wrong:1"]] {
        let names = arguments.dropFirst().map { environment.image($0) }
        if arguments[0] == "create" {
          let first = try await environment.raw(environment.image("base:latest"))
          guard case .index(let index) = try ImageDocument(parsing: first, mediaType: .ociIndex), let image = index.manifests.first else { return }
          let child = "\(environment.registry.host)/base@\(image.digest)"
          let made = try await environment.tool.run(["manifest", "create", names[0], child])
          #expect(made.succeeded, "\(made.everything)")
          let changed = try await environment.tool.run(["manifest", "annotate", names[0], child, "--arch", "s390x"])
          #expect(changed.succeeded, "\(changed.everything)")
        } else {
          let pushed = try await environment.tool.run(["manifest", "push"] + names)
          #expect(pushed.succeeded, "\(pushed.everything)")
        }
      }
      let wrong = try await findings(environment, environment.image("wrong:1"))
      #expect(wrong.contains("error linux/s390x platform-mismatch") && wrong.contains("error linux/s390x wrong-architecture /bin/busybox"), "\(wrong)")
    }
  }

  @Test(.timeLimit(.minutes(10))) func damagedStorage() async throws {
    try await withEnvironment { environment in
      let name = try await environment.base(["linux/amd64", "linux/arm64"])
      let layout = try await environment.pulled(name)
      guard case .index(let index) = try ImageDocument(parsing: try await environment.raw(name), mediaType: .ociIndex) else { return }
      let child = index.manifests[1].digest
      guard case .manifest(let manifest) = try ImageDocument(parsing: try await environment.raw("\(environment.registry.host)/base@\(child)"), mediaType: .ociManifest) else { return }
      let layer = manifest.layers[0].digest
      let stored = "\(environment.registry.storage)/docker/registry/v2/blobs/sha256/\(layer.hex.prefix(2))/\(layer.hex)/data"
      for place in [stored, "\(layout)/blobs/sha256/\(layer.hex)"] { try await checked("truncate", ["--size", "1000", place]) }
      for image in [name, "oci-layout://\(layout):latest"] {
        for depth in ["--shallow", "--deep", "--strict"] {
          let found = try await findings(environment, depth, image)
          #expect(found.count == 1 && found[0].hasPrefix("error linux/arm64 "), "\(image) \(depth): \(found)")
        }
      }
      #expect(try await findings(environment, "--shallow", name) == ["error linux/arm64 wrong-size"])
      // And the image itself.
      try await checked("rm", ["-r", "\(environment.registry.storage)/docker/registry/v2/repositories/base/_manifests/revisions/sha256/\(child.hex)", "\(layout)/blobs/sha256/\(child.hex)"])
      for image in [name, "oci-layout://\(layout):latest"] { #expect(try await findings(environment, image) == ["error linux/arm64 missing-manifest"]) }
    }
  }

  @Test(.timeLimit(.minutes(10))) func architectureCheckOfABuild() async throws {
    try await withEnvironment { environment in
      guard Self.own == "linux/amd64" || Self.own == "linux/arm64" else { return print("SKIPPED: this machine is neither amd64 nor arm64") }
      let failed = try await build(environment, "checked:1", "COPY tool /usr/bin/tool", ["--arch-check=fail"])
      #expect(failed.code == 1 && failed.errorText.contains("the image for \(Self.other) holds a program for another platform: /usr/bin/tool"), "\(failed.everything)")
      #expect(failed.errorText.contains(">>> COPY tool /usr/bin/tool"), "\(failed.everything)")
      #expect(!(try await Processes.run("skopeo", ["inspect", "--raw", "--tls-verify=false", "docker://\(environment.image("checked:1"))"])).succeeded, "it was pushed")
      let silent = try await build(environment, "checked:2", "COPY tool /usr/bin/tool", ["--arch-check=off"])
      #expect(silent.succeeded && !silent.errorText.contains("is for \(Platform.current.architecture)"), "\(silent.everything)")
      // What is not exported may hold anything; so may folders of another platform.
      let triplet = Platform.current.architecture == "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu"
      let good = try await build(environment, "checked:3", "COPY tool /usr/bin/tool\nFROM \(environment.image("base:latest"))\nCOPY tool /usr/\(triplet)/bin/tool\nCOPY Dockerfile /", ["--arch-check=fail"])
      #expect(good.succeeded, "\(good.everything)")
      let wrong = try await build(environment, "checked:4", "COPY tool /", ["--arch-check=maybe"])
      #expect(wrong.code == 2, "\(wrong.everything)")
    }
  }

  @Test(.timeLimit(.minutes(10))) func differences() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base(["linux/amd64", "linux/arm64"])
      let same = try await environment.tool.run("diff", base, "oci-layout://\(try await environment.pulled(base)):latest")
      #expect(same.succeeded && same.outputText.isEmpty, "\(same.everything)")
      let built = try await build(environment, "more:1", "ENV GREETING=hello\nCOPY Dockerfile /etc/more")
      #expect(built.succeeded, "\(built.everything)")
      let more = environment.image("more:1")
      let output = try await environment.tool.run("diff", "--files", "--platform", "linux/arm64", base, more)
      #expect(output.code == 1, "\(output.everything)")
      for line in ["+ Env.GREETING=hello", "layers: 1 shared", "+ /etc/more  644 0:0"] { #expect(output.outputText.contains(line), "\(line): \(output.everything)") }
      let json = try await environment.tool.run("diff", "--json", "--files", "--platform", "linux/amd64,linux/arm64", base)
      let files = try JSONValue(parsing: json.output)["images"]?.arrayValue?.first?["files"]?.arrayValue?.compactMap { $0["path"]?.stringValue }
      #expect(json.code == 1 && files == ["/bin/busybox"], "\(json.everything)")
      #expect(try await environment.tool.run("diff", base).code == 2)
      #expect(try await environment.tool.run("diff", base, environment.image("none:1")).code == 3)
      #expect(try await environment.tool.run("diff", base, "oci-layout:///nowhere").code == 2)
    }
  }
}
