import Foundation
import HostOS
import OCIModel
import Testing

/// A build's cache on another machine: `--cache-to` here, `--cache-from` there.
@Suite(.enabled(if: Tool.builds)) struct CacheTransferTests {
  private static let platforms = "linux/amd64,linux/arm64,linux/arm/v7"

  private static func dockerfile(_ base: String) -> String {
    """
    FROM --platform=$BUILDPLATFORM \(base) AS builder
    ARG TARGETARCH
    WORKDIR /src
    COPY a.txt .
    RUN cat a.txt > common
    RUN cat common > out; echo for $TARGETARCH >> out
    FROM \(base)
    COPY --from=builder /src/out /out
    COPY b.txt /
    ENV X=1
    """
  }

  private func context(_ environment: Environment, _ base: String, named name: String = "context") throws -> String {
    try environment.context(name, ["Dockerfile": Self.dockerfile(base), "a.txt": "a", "b.txt": "b"])
  }

  /// The same scratch directory and registry, and a store with nothing in it.
  private func fresh(_ environment: Environment, _ name: String) -> Environment {
    Environment(scratch: environment.scratch, registry: environment.registry, tool: Tool(binary: environment.tool.binary, root: "\(environment.scratch)/root-\(name)"))
  }

  /// Blobs that clients have taken from the registry, by now.
  private func downloads(_ environment: Environment) -> [Substring] { environment.registry.requests("GET /v2/").filter { $0.contains("/blobs/sha256:") && $0.contains("HTTP/1.1\"") } }

  private func layers(_ environment: Environment, _ image: String) async throws -> Set<String> {
    let document = try JSONValue(parsing: try await environment.raw(image))
    return Set((document["layers"]?.arrayValue ?? []).compactMap { $0["digest"]?.stringValue })
  }

  @Test(.timeLimit(.minutes(4)), arguments: ["min", "max"]) func aSecondMachine(_ mode: String) async throws {
    try await withEnvironment { environment in
      let context = try context(environment, try await environment.base())
      let image = environment.image("app:1"), cache = environment.image("app:cache")
      let first = try await environment.build(context, ["--platform", Self.platforms, "--provenance=false", "-t", image, "--push", "--cache-to", "type=registry,ref=\(cache),mode=\(mode)"])
      try #require(first.succeeded, "\(first.everything)")
      #expect(first.steps["exporting cache to registry"] == "DONE", "\(first.everything)")

      let there = fresh(environment, "there")
      let before = downloads(environment).count
      let second = try await there.build(context, ["--platform", Self.platforms, "--provenance=false", "-t", environment.image("app:2"), "--push", "--cache-from", cache])
      try #require(second.succeeded, "\(second.everything)")
      #expect(second.steps.own.count == 14 && second.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(second.everything)")
      #expect(second.steps["importing cache manifest from \(cache)"] == "DONE")
      #expect(try await environment.raw(image) == environment.raw(environment.image("app:2")), "the same image, its times included")
      let layers = try await layers(environment, cache)
      let taken = downloads(environment).dropFirst(before).filter { line in layers.contains { line.contains($0) } }
      #expect(!layers.isEmpty && taken.isEmpty, "no layer is needed to name it in another image: \(taken)")

      // What is known now is known without the cache, as far as the layers can be had; a changed last step finds what it stands on.
      _ = try environment.context("context", ["b.txt": "other"])
      let changed = try await there.build(context, ["--platform", Self.platforms, "-t", environment.image("app:3"), "--push", "--cache-from", cache])
      try #require(changed.succeeded, "\(changed.everything)")
      #expect(changed.steps["COPY b.txt"] == "DONE" && changed.steps["COPY --from=builder"] != "DONE", "\(changed.everything)")
      #expect(changed.steps["RUN cat common"] == "CACHED", "\(changed.everything)")

      // A stage that the image does not contain is in a cache of mode=max alone.
      let user = try environment.context("user", ["Dockerfile": Self.dockerfile(try await environment.base()) + "\nCOPY --from=builder /src/common /common\n", "a.txt": "a", "b.txt": "b"])
      let other = try await fresh(environment, "other").build(user, ["--cache-from", cache])
      try #require(other.succeeded, "\(other.everything)")
      #expect(other.steps["RUN cat a.txt"] == (mode == "max" ? "CACHED" : "DONE"), "\(other.everything)")
    }
  }

  @Test(.timeLimit(.minutes(4))) func formsOfACache() async throws {
    try await withEnvironment { environment in
      let context = try context(environment, try await environment.base())
      let directory = "\(environment.scratch)/local cache"
      let forms = [
        "type=registry,ref=\(environment.image("c:index")),mode=max,image-manifest=false", "type=registry,ref=\(environment.image("c:docker")),mode=max,oci-mediatypes=false",
        "type=registry,ref=\(environment.image("c:zstd")),mode=max,compression=zstd,force-compression=true", "type=local,dest=\(directory),mode=max,tag=one", "type=inline",
      ]
      let first = try await environment.build(context, ["--platform", Self.platforms, "-t", environment.image("c:inline"), "--push"] + forms.flatMap { ["--cache-to", $0] })
      try #require(first.succeeded, "\(first.everything)")
      for (i, cache) in ["c:index", "c:docker", "c:zstd", "c:inline"].map({ environment.image($0) }).enumerated() {
        let there = fresh(environment, "form-\(i)")
        let second = try await there.build(context, ["--platform", Self.platforms, "--cache-from", "type=registry,ref=\(cache)"])
        #expect(second.succeeded && second.steps.own.count == 14 && second.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(cache): \(second.everything)")
      }
      #expect(try JSONValue(parsing: try await environment.raw(environment.image("c:docker")))["mediaType"]?.stringValue == MediaType.dockerManifestList.rawValue)
      let local = try await fresh(environment, "local").build(
        context, ["--platform", Self.platforms, "-o", "type=local,dest=\(environment.scratch)/tree", "--cache-from", "type=local,src=\(directory),tag=one"])
      #expect(local.succeeded && local.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(local.everything)")
      #expect(try String(contentsOfFile: "\(environment.scratch)/tree/linux_arm64/out", encoding: .utf8) == "afor arm64\n")
      // Another tag in the same directory leaves the first.
      let more = try await environment.build(context, ["--cache-to", "type=local,dest=\(directory)"])
      try #require(more.succeeded, "\(more.everything)")
      let tags = try JSONValue(parsing: try Files.read("\(directory)/index.json", limit: 1 << 20))["manifests"]?.arrayValue?.compactMap {
        $0["annotations"]?["org.opencontainers.image.ref.name"]?.stringValue
      }
      #expect(tags == ["one", "latest"])
      // The old name of an inline cache.
      let old = try await environment.build(context, ["--platform", "linux/arm64", "-t", environment.image("c:old"), "--push", "--build-arg", "BUILDKIT_INLINE_CACHE=1"])
      try #require(old.succeeded, "\(old.everything)")
      let again = try await fresh(environment, "old").build(context, ["--platform", "linux/arm64", "--cache-from", environment.image("c:old"), "--cache-from", environment.image("base:latest")])
      #expect(again.succeeded && again.steps.own.values.allSatisfy { $0 == "CACHED" }, "\(again.everything)")
    }
  }

  @Test(.timeLimit(.minutes(3))) func aCacheThatIsNoneIsAMiss() async throws {
    try await withEnvironment { environment in
      let base = try await environment.base()
      let context = try context(environment, base)
      let empty = "\(environment.scratch)/empty"
      try Files.makeDirectories(empty)
      let from = [environment.image("no/such:cache"), "type=local,src=\(empty)", "type=local,src=\(environment.scratch)/nowhere", "127.0.0.1:1/gone:cache", base]
      let output = try await environment.build(context, ["-t", "built"] + from.flatMap { ["--cache-from", $0] })
      #expect(output.succeeded, "\(output.everything)")
      #expect(output.steps["importing cache manifest from \(from[0])"] == "ERROR" && output.steps["importing cache manifest from \(base)"] == "DONE")
      #expect(output.errorText.contains("is an image without a build cache"), "\(output.everything)")
    }
  }

  /// Manifest and records are there, and the layers are not any more, or are other bytes.
  @Test(.timeLimit(.minutes(3))) func layersThatAreGone() async throws {
    try await withEnvironment { environment in
      let context = try context(environment, try await environment.base())
      let directory = "\(environment.scratch)/cache"
      let first = try await environment.build(context, ["--cache-to", "type=local,dest=\(directory),mode=max"])
      try #require(first.succeeded, "\(first.everything)")
      let index = try JSONValue(parsing: try Files.read("\(directory)/index.json", limit: 1 << 20))
      let root = try #require(index["manifests"]?.arrayValue?.first?["digest"]?.stringValue?.dropFirst(7))
      let manifest = try JSONValue(parsing: try Files.read("\(directory)/blobs/sha256/\(root)", limit: 1 << 20))
      for layer in manifest["layers"]?.arrayValue ?? [] {
        try Files.removeTree("\(directory)/blobs/sha256/\(try #require(layer["digest"]?.stringValue?.dropFirst(7)))")
      }
      let second = try await fresh(environment, "second").build(context, ["-t", "built", "--cache-from", "type=local,src=\(directory)"])
      #expect(second.succeeded && second.steps.own.values.allSatisfy { $0 == "DONE" }, "\(second.everything)")
      // A document that says other than its digest.
      let config = try #require(manifest["config"]?["digest"]?.stringValue?.dropFirst(7))
      try Files.writeAtomically(Array("{}".utf8), to: "\(directory)/blobs/sha256/\(config)", durable: false)
      let third = try await fresh(environment, "third").build(context, ["-t", "built", "--cache-from", "type=local,src=\(directory)"])
      #expect(third.succeeded && third.errorText.contains("The build goes on without the cache"), "\(third.everything)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func aCacheThatCannotBeWritten() async throws {
    try await withEnvironment { environment in
      let context = try context(environment, try await environment.base())
      let gone = "type=registry,ref=127.0.0.1:1/gone:cache"
      let failed = try await environment.build(context, ["-t", "built", "--cache-to", gone])
      #expect(!failed.succeeded && failed.errorText.contains("the build cache could not be written to 127.0.0.1:1/gone:cache"), "\(failed.everything)")
      #expect(failed.errorText.contains("ignore-error=true"))
      let ignored = try await environment.build(context, ["-t", "built", "--cache-to", gone + ",ignore-error=true"])
      #expect(ignored.succeeded, "\(ignored.everything)")
    }
  }

  @Test func refusedByName() async throws {
    try await withEnvironment { environment in
      let context = try environment.context("context", ["Dockerfile": "FROM scratch\n"])
      for (option, said) in [
        ("--cache-to=type=gha", "type=gha is not supported yet"), ("--cache-from=type=s3,bucket=b", "type=s3 is not supported yet"), ("--cache-to=type=azblob,name=x", "type=azblob is not supported yet"),
        ("--cache-to=type=registry", "ref is missing"), ("--cache-to=type=local", "dest is missing"), ("--cache-from=type=local", "src is missing"),
        ("--cache-to=type=nonsense", "there is no cache of type \"nonsense\""), ("--cache-to=type=inline,mode=max", "always min"), ("--cache-to=type=local,dest=x,mode=most", "expected min or max"),
        ("--cache-to=type=registry,ref=A B", "ref cannot be used"), ("--cache-to=type=local,dest=x,image-manifest=true,oci-mediatypes=false", "contradicts"),
        ("--cache-to=type=local,dest=x,compression=lzma", "expected gzip, zstd or uncompressed"),
      ] {
        let output = try await environment.build(context, [option])
        #expect(output.code == 2 && output.errorText.contains(said), "\(option): \(output.everything)")
      }
    }
  }
}
