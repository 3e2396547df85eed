import BuildInterface
import BuildProgress
import BuildSnapshots
import ContentStore
import HostOS
import LayerArchive
import OCIModel
import OCIRegistry
import TestSupport
import Testing

@testable import BuildOutputs

@Suite struct PushTests {
  static func tar(_ name: String, _ text: String) -> [UInt8] { RandomImage.layer(name: name, Array(text.utf8)) }

  static func source(_ bench: ExportBench, _ platforms: [String] = ["linux/amd64", "linux/arm64"]) async throws -> ExportSource {
    var targets: [ExportSource.Target] = []
    for platform in platforms {
      targets.append(
        try ExportSource.Target(
          platform, try await bench.ref(layers: [(Self.tar("shared", "shared"), .ociLayer), (Self.tar("own", platform), .ociLayer)])))
    }
    return ExportSource(targets: targets, isMultiPlatform: platforms.count > 1, sourceDateEpoch: 1_700_000_000)
  }

  @Test func pushesAnIndexUnderAllItsNames() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let names = "\(registry.host)/me/app:1,\(registry.host)/me/app:2,\(registry.host)/other"
        let response = try await bench.export("registry", ["name": names], try await Self.source(bench))
        let digest = try #require(response["containerimage.digest"])
        #expect(response["image.name"] == names)
        let bytes = try #require(registry.manifest("1", in: "me/app"))
        #expect(Digest.sha256(of: bytes).description == digest)
        #expect(registry.manifest("2", in: "me/app") == bytes)
        #expect(registry.manifest("latest", in: "other") == bytes)
        guard case .index(let index) = try ImageDocument(parsing: bytes, mediaType: .ociIndex) else { return }
        #expect(index.manifests.map { $0.platform?.description } == ["linux/amd64", "linux/arm64"])
        for child in index.manifests {
          let document = try ImageDocument(parsing: #require(registry.manifest(child.digest.description, in: "me/app")), mediaType: child.mediaType)
          guard case .manifest(let manifest) = document else { continue }
          for blob in [manifest.config] + manifest.layers { #expect(registry.blob(blob.digest, in: "me/app").map { Int64($0.count) } == blob.size) }
        }
        // Children before the index, the shared layer once a repository, the tags last.
        let puts = registry.requests.filter { $0.method == "PUT" && $0.path.hasPrefix("/v2/me/app/manifests/") }.map { String($0.path.split(separator: "/").last ?? "") }
        #expect(puts.count == 4 && puts.prefix(2).allSatisfy { $0.hasPrefix("sha256:") } && puts.suffix(2) == ["1", "2"])
        #expect(registry.requests.filter { $0.method == "POST" && $0.path == "/v2/me/app/blobs/uploads/" }.count == 5)
        let lines = bench.lines
        #expect(lines.first == "exporting layers")
        #expect(lines.contains("exporting manifest list \(digest)") && lines.contains("pushing layers"))
        #expect(lines.last == "pushing manifest for \(registry.host)/other:latest@\(digest)")
        #expect(bench.vertices.last?.name == "exporting to image" && bench.vertices.last?.completed != nil)
        // It was pushed and not kept.
        #expect(try await bench.environment().images.list().isEmpty)
        // Once more: nothing is sent.
        registry.clearRequests()
        try await bench.export("image", ["name": "\(registry.host)/me/app:1", "push": "true"], try await Self.source(bench))
        #expect(registry.requests.allSatisfy { $0.method == "HEAD" || $0.method == "GET" })
      }
    }
  }

  @Test(.timeLimit(.minutes(2))) func sendsLayersWhileOthersAreMade() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let (bytes, missing) = (Self.tar("first", "first"), Self.tar("second", "second"))
        let first = try await bench.store.put(bytes, mediaType: .ociLayer)
        let absent = Descriptor(mediaType: .ociLayer, of: missing)
        let pushes = LayerPushes(LayerPush(environment: bench.environment(), vertex: ProgressTask("exporting", id: "exporting", bench.progress)))
        let repository = try registry.reference("app").repository
        try await pushes.sending(to: repository) { made in
          made(LayerBlob(descriptor: first, diffID: first.digest))
          // The second cannot be sent, which nobody hears of before it is asked for.
          made(LayerBlob(descriptor: absent, diffID: absent.digest))
          while registry.blob(first.digest, in: "app") == nil { try await Task.sleep(for: .milliseconds(2)) }
          try await pushes.push(ImageLayer(descriptor: first, diffID: first.digest, description: ""), to: repository)
          await #expect(throws: (any Error).self) { try await pushes.push(ImageLayer(descriptor: absent, diffID: absent.digest, description: ""), to: repository) }
        }
        #expect(registry.requests.filter { $0.method == "PUT" }.count == 1)
        // Without a repository nothing is sent.
        try await pushes.sending(to: nil) { $0(LayerBlob(descriptor: first, diffID: first.digest)) }
      }
    }
  }

  @Test func pushesByDigest() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let response = try await bench.export(
          "image", ["name": "\(registry.host)/app", "push": "true", "push-by-digest": "true", "name-canonical": "true"], try await Self.source(bench, ["linux/amd64"]))
        #expect(registry.manifest(try #require(response["containerimage.digest"]), in: "app") != nil)
        #expect(registry.manifest("latest", in: "app") == nil)
        #expect(response["containerimage.config.digest"] != nil)
      }
    }
  }

  /// A base image from `from`'s repository "base", in front of a layer made here.
  private func onBase(_ bench: ExportBench, _ from: TestRegistry, _ image: RandomImage) async throws -> ExportSource {
    let layers = image.blobs.filter { $0.descriptor.mediaType.isLayer }
    let provider = FromRegistry(client: bench.registry, reference: try from.reference("base:1"))
    let base = try await bench.refs.layers(on: nil, layers.map { ($0.descriptor, $0.descriptor.digest) }, provider: provider)
    let made = try await bench.store.put(Self.tar("new", "new"), mediaType: .ociLayer)
    let ref = try await bench.refs.layer(parent: base, descriptor: made, diffID: made.digest, provider: NoProvider())
    await base.release()
    return ExportSource(targets: [try ExportSource.Target("linux/amd64", ref)], isMultiPlatform: false)
  }

  @Test func mountsLazyLayersWithinARegistry() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let image = try RandomImage(seed: 3, layers: 3)
        registry.add(image, to: "base", tag: "1")
        try await bench.export("registry", ["name": "\(registry.host)/app:1"], try await onBase(bench, registry, image))
        let layers = image.blobs.filter { $0.descriptor.mediaType.isLayer }
        for layer in layers {
          #expect(registry.blob(layer.descriptor.digest, in: "app") == layer.bytes)
          #expect(!bench.store.contains(layer.descriptor.digest))
        }
        #expect(registry.requests.filter { $0.parameter("mount") != nil && $0.status == 201 }.count == layers.count)
        #expect(!registry.requests.contains { $0.method == "GET" && $0.path.contains("/blobs/") })
      }
    }
  }

  @Test func streamsLazyLayersBetweenRegistries() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { from in
        try await TestRegistry.run { to in
          let image = try RandomImage(seed: 4, layers: 2, layerSize: 100_000)
          from.add(image, to: "base", tag: "1")
          try await bench.export("registry", ["name": "\(to.host)/app:1"], try await onBase(bench, from, image))
          for layer in image.blobs where layer.descriptor.mediaType.isLayer {
            #expect(to.blob(layer.descriptor.digest, in: "app") == layer.bytes)
            #expect(!bench.store.contains(layer.descriptor.digest))
          }
          #expect(bench.lines.contains { $0.hasPrefix("pushing sha256:") })
        }
      }
    }
  }

  @Test func storingFetchesLazyLayers() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let image = try RandomImage(seed: 5, layers: 2)
        registry.add(image, to: "base", tag: "1")
        let response = try await bench.export("image", ["name": "me/app:1,app"], try await onBase(bench, registry, image))
        for layer in image.blobs where layer.descriptor.mediaType.isLayer { #expect(bench.store.contains(layer.descriptor.digest)) }
        let stored = try #require(try await bench.environment().images.resolve(Reference(parsing: "app:latest")))
        #expect(stored.descriptor.digest.description == response["containerimage.digest"])
        #expect(try bench.store.closure(of: stored.descriptor).missing.isEmpty)
        #expect(bench.lines.suffix(2) == ["naming to docker.io/me/app:1", "naming to docker.io/library/app:latest"])
      }
    }
  }

  @Test func failuresNameThePlatformAndMoveNoTag() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let source = try await Self.source(bench)
        let own = Digest.sha256(of: Self.tar("own", "linux/arm64"))
        registry.inject(TestFault("PUT", "/blobs/uploads/", times: 100, .status(403, body: #"{"errors":[{"code":"DENIED","message":"quota"}]}"#)))
        let error = await #expect(throws: BuildError.self) {
          try await bench.export("registry", ["name": "\(registry.host)/app:1"], ExportSource(targets: [source.targets[1]], isMultiPlatform: true))
        }
        #expect(error?.domain == .registry && error?.code == .permissionDenied)
        #expect(error.map { "\($0)".contains("failed to push \(registry.host)/app:1: linux/arm64: ") && "\($0)".contains("quota") } == true, "\(error.map { "\($0)" } ?? "")")
        #expect(registry.manifest("1", in: "app") == nil)
        #expect(bench.vertices.last?.error.isEmpty == false)
        _ = own
      }
    }
  }

  @Test func annotationsNeedTheirPlatform() async throws {
    try await ExportBench.run { bench in
      let source = try await Self.source(bench)
      let error = await #expect(throws: BuildError.self) { try await bench.export("image", ["annotation[linux/s390x].a": "b"], source) }
      #expect(error?.message == "an annotation is for linux/s390x, which is not built: there is linux/amd64, linux/arm64")
      let one = ExportSource(targets: [source.targets[0]], isMultiPlatform: false)
      await #expect(throws: BuildError.self) { try await bench.export("image", ["annotation-index.a": "b"], one) }
      await #expect(throws: BuildError.self) { try await bench.export("image", ["annotation-manifest-descriptor.a": "b", "oci-mediatypes": "false"], one) }
    }
  }

  /// What a step made becomes a layer in the compression that was asked for, with its line of history.
  @Test(arguments: [("gzip", "+gzip"), ("zstd", "+zstd"), ("uncompressed", ".tar")]) func compresses(_ name: String, _ suffix: String) async throws {
    try await ExportBench.run { bench in
      let ref = try await bench.ref(description: "RUN make") { try $0.writeAtomically(Array("x".utf8), to: "made") }
      let response = try await bench.export(
        "image", ["name": "app", "compression": name], ExportSource(targets: [try ExportSource.Target("linux/amd64", ref)], isMultiPlatform: false))
      let digest = try Digest(parsing: #require(response["containerimage.digest"]))
      let size = try #require(bench.store.size(of: digest))
      guard case .manifest(let manifest) = try bench.store.document(OCIModel.Descriptor(mediaType: .ociManifest, digest: digest, size: size)) else { return }
      #expect(manifest.layers.count == 1 && manifest.layers[0].mediaType.rawValue.hasSuffix(suffix))
      let config = try ImageConfig(parsing: bench.store.bytes(manifest.config.digest, limit: 1 << 20))
      #expect(config.history.map(\.createdBy) == ["RUN make"] && config.history[0].created != nil && config.created == config.history[0].created)
      let blob = try bench.store.bytes(manifest.layers[0].digest, limit: 1 << 20)
      #expect(try ExportBench.diffID(blob) == config.diffIDs[0])
      await ref.release()
    }
  }

  /// A layer that was downloaded before is still mounted, not sent.
  @Test func mountsDownloadedLayers() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let image = try RandomImage(seed: 6, layers: 2)
        registry.add(image, to: "base", tag: "1")
        let source = try await onBase(bench, registry, image)
        try await bench.export("image", ["name": "app"], source)
        registry.clearRequests()
        try await bench.export("registry", ["name": "\(registry.host)/app:1"], source)
        #expect(registry.requests.filter { $0.parameter("mount") != nil && $0.status == 201 }.count == 2)
      }
    }
  }

  @Test func anImageWithoutLayersIsOne() async throws {
    try await ExportBench.run { bench in
      try await TestRegistry.run { registry in
        let source = ExportSource(targets: [try ExportSource.Target("linux/amd64", nil), try ExportSource.Target("linux/arm64", nil)], isMultiPlatform: true)
        let response = try await bench.export("image", ["name": "\(registry.host)/none", "push": "true", "store": "true"], source)
        let stored = try #require(try await bench.environment().images.resolve(registry.reference("none")))
        #expect(try bench.store.closure(of: stored.descriptor).missing.isEmpty)
        #expect(registry.manifest(try #require(response["containerimage.digest"]), in: "none") != nil)
        #expect(try await bench.registry.copy(from: registry.reference("none"), to: registry.reference("copy:1")).digest == stored.descriptor.digest)
      }
    }
  }

  /// The same through overlay mounts, whose differ is another one.
  @Test func overlaysGiveTheSameLayer() async throws {
    guard HostFacts.isRoot else { return print("SKIPPED: BuildOutputs overlaysGiveTheSameLayer: overlay mounts need root") }
    var digests: [String] = []
    for snapshotter in [RefStore.Snapshotter.plain, .automatic] {
      try await ExportBench.run(snapshotter: snapshotter) { bench in
        let lower = try await bench.ref(description: "RUN one") {
          try $0.writeAtomically(Array("1".utf8), to: "one")
          try $0.setTimes("one", accessed: nil, modified: 1_000_000_000)
        }
        let upper = try await bench.refs.newMutable(parent: lower, description: "RUN two")
        try await upper.withMounted {
          try $0.unlink("one")
          try $0.writeAtomically(Array("2".utf8), to: "two")
          try $0.setTimes("two", accessed: nil, modified: 1_000_000_000)
        }
        let ref = try await upper.commit()
        let response = try await bench.export(
          "image", ["compression": "uncompressed"], ExportSource(targets: [try ExportSource.Target("linux/amd64", ref)], isMultiPlatform: false, sourceDateEpoch: 5))
        digests.append(try #require(response["containerimage.digest"]))
        await ref.release()
        await lower.release()
      }
    }
    #expect(digests.count == 2 && digests[0] == digests[1])
  }

  /// A cancelled push ends soon, says so and leaves no tag.
  @Test func cancels() async throws {
    try await ExportBench.run { bench in
      var options = TestRegistryOptions()
      options.latencyMilliseconds = 200
      try await TestRegistry.run(options) { registry in
        let source = try await Self.source(bench)
        let name = "\(registry.host)/app:1"
        let push = Task { try await bench.export("registry", ["name": name], source) }
        try await Task.sleep(for: .milliseconds(300))
        push.cancel()
        await #expect(throws: CancellationError.self) { try await push.value }
        #expect(registry.manifest("1", in: "app") == nil)
        #expect(bench.vertices.last?.isCancelled == true)
      }
    }
  }
}
