import ContentStore
import HostOS
import ImageTools
import LayerArchive
import OCIModel
import Testing

/// What is saved can be loaded, in each form and from whomever.
@Suite struct ArchiveTests {
  @Test func aLayoutComesBackAsItWas() async throws {
    try await withStore { store, root in
      let index = try await put([amd64, arm64], named: ["app:1"], attested: true, in: store)
      for form in [ImageArchive.Form.both, .oci] {
        let bytes = try await archive(store, "app:1", form: form)
        #expect(try await archive(store, "app:1", form: form) == bytes)
        for compression in Compression.allCases {
          try await withStore { other, _ in
            let loaded = try await load(packed(bytes, compression), into: other, root)
            #expect(loaded.map(\.names) == [[try Reference(parsing: "app:1")]] && loaded[0].descriptor.digest == index.digest && loaded[0].platforms == [amd64, arm64])
            let found = try await StoredImages(other).find("app:1")
            #expect(found.image.platforms == [amd64, arm64] && found.image.images[0].attestations.count == 1 && found.image.absent.isEmpty)
          }
        }
      }
    }
  }

  @Test func aPartOfAnImage() async throws {
    try await withStore { store, root in
      _ = try await put([amd64, arm64, armv7], named: ["app:1"], attested: true, in: store)
      let one = try await archive(store, "app:1", platforms: [arm64]), two = try await archive(store, "app:1", platforms: [amd64, armv7])
      try await withStore { other, _ in
        #expect(try await load(one, into: other, root)[0].descriptor.mediaType == .ociManifest)
        #expect(try await StoredImages(other).find("app:1").image.platforms == [arm64])
        let loaded = try await load(two, into: other, root)
        #expect(loaded[0].descriptor.mediaType == .ociIndex && loaded[0].platforms == [amd64, armv7])
        #expect(try await StoredImages(other).find("app:1").image.platforms == [amd64, armv7])
      }
      await #expect(throws: ImageToolsError.self) { try await archive(store, "app:1", platforms: [Platform(os: "linux", architecture: "s390x")]) }
      let whole = try await archive(store, "app:1")
      try await withStore { other, _ in
        // The index stays whole; what was not asked for is not here.
        let loaded = try await load(whole, into: other, root, platforms: [arm64])
        #expect(loaded[0].platforms == [arm64] && loaded[0].absent == [amd64, armv7])
        let image = try await StoredImages(other).find("app:1").image
        #expect(image.platforms == [arm64] && image.absent == [amd64, armv7])
        // A partial image goes on as what is here, and says so.
        let selection = try ImageSelection(image, platforms: [], name: "app:1", store: other)
        #expect(selection.absent == [amd64, armv7] && selection.root.digest != image.root.digest && selection.images.compactMap(\.platform) == [arm64])
        await #expect(throws: ImageToolsError.self) { try await archive(other, "app:1", platforms: [amd64]) }
        #expect(try await load(whole, into: other, root, platforms: [amd64])[0].descriptor.digest == image.root.digest)
        #expect(try await StoredImages(other).find("app:1").image.platforms == [amd64, arm64])
        await #expect(throws: ImageToolsError.self) { try await load(whole, into: other, root, platforms: [Platform(os: "linux", architecture: "s390x")]) }
      }
    }
  }

  @Test func dockersArchive() async throws {
    try await withStore { store, root in
      _ = try await put([amd64, arm64], named: ["app:1"], in: store)
      let saved = try await archive(store, "app:1", platforms: [amd64], form: .docker)
      let first = try await load(saved, into: store, root)
      #expect(first[0].platforms == [amd64] && first[0].descriptor.mediaType == .dockerManifest)
      // The same archive is the same image.
      #expect(try await load(saved, into: store, root)[0].descriptor == first[0].descriptor)
      guard case .manifest(let manifest) = try store.document(first[0].descriptor) else { throw ImageToolsError(.invalidArchive, "no manifest") }
      #expect(manifest.layers.map(\.mediaType) == [.dockerLayerGzip, .dockerLayerGzip])
      #expect(try await archive(store, "app:1", form: .docker) == saved)
    }
  }

  /// As docker before 25 wrote it: a folder a layer, twins as links, layers that are compressed, several images and names.
  @Test func anOldDockersArchive() async throws {
    let made = try MadeImage(amd64), other = try MadeImage(arm64, "other")
    func entry(_ config: String, _ tags: String, _ layers: [String]) -> String {
      #"{"Config":"\#(config)","RepoTags":\#(tags),"Layers":[\#(layers.map { "\"\($0)\"" }.joined(separator: ","))]}"#
    }
    let manifest = "[\(entry("one.json", #"["app:1","reg.example/me/app:2"]"#, ["a/layer.tar", "b/layer.tar"])),\(entry("two.json", "null", ["c/layer.tar", "d/layer.tar"]))]"
    let bytes = try tar(
      [
        ("a/layer.tar", made.layers[0]), ("b/layer.tar", packed(made.layers[1], .zstd)), ("d/layer.tar", packed(other.layers[1], .gzip)), ("one.json", made.config), ("two.json", other.config),
        ("./manifest.json", Array(manifest.utf8)), ("repositories", Array("{}".utf8)),
      ], links: [("c/layer.tar", "../a/layer.tar")])
    try await withStore { store, root in
      let loaded = try await load(bytes, into: store, root)
      #expect(loaded.map { $0.names.map(\.familiar) } == [["app:1", "reg.example/me/app:2"], []] && loaded.map(\.platforms) == [[amd64], [arm64]])
      guard case .manifest(let first) = try store.document(loaded[0].descriptor), case .manifest(let second) = try store.document(loaded[1].descriptor) else { return }
      #expect(first.layers.map(\.mediaType) == [.dockerLayerGzip, .dockerLayerZstd] && first.layers[0] == second.layers[0])
      // The one without a name is found by its id, until it gets one.
      let unnamed = try await StoredImages(store).find(String(loaded[1].descriptor.digest.hex.prefix(8)))
      #expect(unnamed.names.count == 1 && unnamed.names[0].isUnnamed)
      try await LocalImages(store).tag(try Reference(parsing: "given:1"), loaded[1].descriptor)
      #expect(try await LocalImages(store).list().map(\.reference.familiar).sorted() == ["app:1", "given:1", "reg.example/me/app:2"])
      _ = try await load(bytes, into: store, root)
      #expect(try await LocalImages(store).list().count == 3)
      #expect(try await load(bytes, into: store, root, platforms: [arm64]).count == 1)
    }
  }

  @Test func namesInLayouts() async throws {
    let made = try MadeImage(amd64).blobs()
    func layout(_ annotations: [[String: String]]) throws -> [UInt8] {
      let index = ImageIndex(manifests: annotations.map { annotation in
        var entry = made.manifest
        entry.annotations = annotation
        return entry
      })
      return try tar([("oci-layout", OCILayout.marker), ("index.json", index.json.encoded())] + made.all.map { (path($0.0), $0.1) })
    }
    try await withStore { store, root in
      let full = "io.containerd.image.name", short = "org.opencontainers.image.ref.name"
      let cases: [([[String: String]], [String])] = [
        ([[full: "docker.io/library/a:1", short: "1"], [full: "docker.io/library/b:2", short: "2"]], ["docker.io/library/a:1", "docker.io/library/b:2"]),
        ([[short: "docker.io/library/a:1"]], ["docker.io/library/a:1"]), ([[short: "a:1"], [short: "latest"]], ["docker.io/library/a:1"]), ([[short: "latest"]], []), ([[:]], []),
      ]
      for (annotations, names) in cases {
        let loaded = try await load(layout(annotations), into: store, root)
        #expect(loaded.flatMap { $0.names.map(\.description) } == names)
      }
    }
  }

  @Test func whatIsHereAlreadyNeedNotBeInTheArchive() async throws {
    try await withStore { store, root in
      _ = try await put([amd64], named: ["app:1"], in: store)
      let made = try MadeImage(amd64).blobs()
      let index = ImageIndex(manifests: [made.manifest]).json.encoded()
      let loaded = try await load(try tar([("oci-layout", OCILayout.marker), ("index.json", index), (path(made.manifest), made.all[3].1)]), into: store, root)
      #expect(loaded.count == 1)
    }
  }
}
