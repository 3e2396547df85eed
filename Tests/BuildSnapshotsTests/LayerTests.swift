#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import GRDB
  import HostOS
  import LayerArchive
  import OCIModel
  import Testing

  @Suite struct LayerTests {
    static let forms: [RefStore.Snapshotter] = [.automatic, .plain]

    @Test func nothingIsFetchedBeforeItIsNeeded() async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let refs = try await openRefs(scratch + "/root")
        let provider = CountingProvider(layers)
        let ref = try await refs.pull(layers, provider)
        let again = try await refs.pull(layers, provider)
        #expect(ref.id == again.id)
        #expect(try await refs.count("ref") == layers.count)
        let infos = try await ref.layers()
        #expect(infos.map(\.diffID) == layers.map(\.diffID) && infos.allSatisfy { $0.providers.count == 1 })
        let blobs = try await ref.layerBlobs(compression: .zstd)
        #expect(blobs.map(\.descriptor) == layers.map(\.descriptor) && blobs.allSatisfy { $0.provider != nil })
        #expect(provider.total == 0)
        #expect(try refs.directories == 0)
        try await refs.retain(ref)
        let found = try #require(try await refs.ref(ref.id) { digests in
          #expect(Set(digests) == Set(layers.map(\.descriptor.digest)))
          return Dictionary(digests.map { ($0, provider) }) { $1 }
        })
        #expect(try await refs.ref(ref.id) == nil)
        #expect(provider.total == 0)
        let tree = try await found.listing()
        #expect(!tree.isEmpty)
        #expect(provider.total == layers.count)
        #expect(try await again.layerBlobs(compression: .zstd).allSatisfy { $0.provider == nil })
        for handle in [ref, again, found] { await handle.release() }
        try await refs.close()
      }
    }

    @Test(arguments: forms) func layersUnpackAsUmociDoes(_ form: RefStore.Snapshotter) async throws {
      guard isRoot, !HostFacts.inUserNamespace, Processes.executablePath("umoci") != nil else { return }
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let expected = try await umoci(scratch, layers)
        let refs = try await openRefs(scratch + "/root", form)
        #expect(refs.form == (form == .plain ? .plain : .overlay), "\(refs.overlayProblem ?? "")")
        // All at once, and one after another.
        let ref = try await refs.pull(layers, CountingProvider(layers))
        #expect(try await ref.listing() == expected)
        let other = try await openRefs(scratch + "/root2", form)
        for count in 1...layers.count {
          let ref = try await other.pull(Array(layers.prefix(count)), CountingProvider(layers))
          try await other.retain(ref)
          let listing = try await ref.listing()
          if count == layers.count { #expect(listing == expected) }
        }
        try await refs.close()
        try await other.close()
      }
    }

    private func umoci(_ scratch: String, _ layers: [TestLayer]) async throws -> [String] {
      let layout = scratch + "/layout"
      try Files.makeDirectories(layout + "/blobs/sha256")
      func put(_ bytes: [UInt8], _ type: MediaType) throws -> OCIModel.Descriptor {
        let descriptor = OCIModel.Descriptor(mediaType: type, of: bytes)
        try Files.writeAtomically(bytes, to: layout + "/blobs/sha256/" + descriptor.digest.hex)
        return descriptor
      }
      for layer in layers { _ = try put(layer.blob, layer.descriptor.mediaType) }
      let ids = layers.map { "\"\($0.diffID)\"" }.joined(separator: ",")
      let config = try put(Array(#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[\#(ids)]}}"#.utf8), .ociConfig)
      let list = layers.map { $0.descriptor.json.encodedString() }.joined(separator: ",")
      let manifest = try put(
        Array(#"{"schemaVersion":2,"mediaType":"\#(MediaType.ociManifest)","config":\#(config.json.encodedString()),"layers":[\#(list)]}"#.utf8), .ociManifest)
      var named = manifest
      named.annotations = ["org.opencontainers.image.ref.name": "t"]
      try Files.writeAtomically(Array(#"{"schemaVersion":2,"manifests":[\#(named.json.encodedString())]}"#.utf8), to: layout + "/index.json")
      try Files.writeAtomically(Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8), to: layout + "/oci-layout")
      let run = try await Processes.run("umoci", ["unpack", "--image", layout + ":t", scratch + "/bundle"])
      try #require(run.succeeded, "\(run.errorText)")
      return try listing(Directory.open(scratch + "/bundle/rootfs"))
    }

    /// Layers that cannot be unpacked before those below are there: links to files that are below, an opaque root.
    @Test(arguments: forms) func layersThatMustSeeThoseBelow(_ form: RefStore.Snapshotter) async throws {
      try await withScratch { scratch in
        let base = try await makeLayer(scratch, "mkdir d e; echo target > d/target; chmod 640 d/target; chmod 700 e; echo gone > e/gone")
        let linking = try await makeLayer(scratch, "mkdir d; echo target > d/target; ln d/target d/zlink", gzip: false, without: "./d/target ./d")
        let closing = try await makeLayer(scratch, "touch .wh..wh..opq; mkdir n; echo n > n/n")
        let last = try await makeLayer(scratch, "echo z > z", gzip: false)
        let refs = try await openRefs(scratch + "/root", form)
        let linked = try await refs.pull([base, linking], CountingProvider([base, linking]))
        let links = try await linked.withMounted { root in
          [try root.status("d/target"), try root.status("d/zlink")].map { [UInt64($0.permissions), $0.inode, $0.links] }
        }
        #expect(links[0] == links[1] && links[0][2] == 2)
        #expect(try await linked.withMounted { try $0.status("e").permissions } == 0o700)
        let all = [base, linking, closing, last]
        let closed = try await refs.pull(all, CountingProvider(all))
        #expect(try await closed.listing().compactMap { $0.split(separator: " ").first } == ["n", "n/n", "z"])
        for ref in [linked, closed] { await ref.release() }
        #expect(try refs.directories == 0)
        try await refs.close()
      }
    }

    @Test(arguments: forms) func aChainOf127Layers(_ form: RefStore.Snapshotter) async throws {
      try await withScratch { scratch in
        let kinds = try await [0, 1, 2].asyncMap { k in try await makeLayer(scratch, "mkdir -p d/e\(k); echo \(k) > d/e\(k)/f; echo \(k) > common; touch d/.wh.none") }
        // The same archives again and again are still layers of their own.
        let layers = (0..<127).map { kinds[$0 % 3] }
        let refs = try await openRefs(scratch + "/root", form)
        let provider = CountingProvider(layers)
        let ref = try await refs.pull(layers, provider)
        let seen = try await ref.withMounted { root in
          (String(decoding: try root.read("common", limit: 10), as: UTF8.self), try root.entries("d").map(\.name).sorted())
        }
        #expect(seen == ("0\n", ["e0", "e1", "e2"]))
        let top = try await refs.newMutable(parent: ref, description: "top")
        try await top.withMounted { try $0.openFile("top", flags: [.create, .writeOnly]).write("x") }
        let done = try await top.commit()
        #expect(try await done.layerBlobs(compression: .gzip).count == 128)
        await done.release()
        await ref.release()
        #expect(try await refs.count("ref") == 0)
        try await refs.close()
      }
    }

    @Test(arguments: forms) func anArchiveThatIsNotTheImages(_ form: RefStore.Snapshotter) async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root", form)
        let good = try await makeLayer(scratch, "echo a > a")
        var bad = try await makeLayer(scratch, "echo b > b")
        bad.diffID = .sha256(of: "another")
        let ref = try await refs.pull([good, bad], CountingProvider([good, bad]))
        let error = await #expect(throws: SnapshotError.self) { try await ref.prepare() }
        #expect(error?.code == .diffIDMismatch && error?.digest == bad.descriptor.digest && "\(String(describing: error))".contains(bad.descriptor.digest.description))
        await ref.release()
        #expect(try refs.directories == 0)
        #expect(try await refs.count("snapshot") == 0)
        try await refs.close()
      }
    }

    @Test(arguments: forms) func oneUnpackForAll(_ form: RefStore.Snapshotter) async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let other = try await makeLayer(scratch, "echo other > other")
        let stores = try await [openRefs(scratch + "/root", form), openRefs(scratch + "/root", form)]
        let provider = CountingProvider(layers + [other])
        // Chains that share their beginning, by two stores at once, several handles each.
        let refs = try await (0..<12).asyncMap { i in try await stores[i % 2].pull(i % 3 == 0 ? Array(layers.prefix(2)) + [other] : layers, provider) }
        try await withThrowingTaskGroup(of: Void.self) { group in
          for ref in refs { group.addTask { try await ref.prepare() } }
          try await group.waitForAll()
        }
        let expected = stores[0].form == .plain ? 2 : layers.count + 1
        #expect(try await stores[0].count("snapshot") == expected)
        #expect(try stores[0].directories == expected)
        #expect(provider.total == layers.count + 1)
        for ref in refs { await ref.release() }
        #expect(try stores[0].directories == 0)
        for store in stores { try await store.close() }
      }
    }
  }

  extension Sequence {
    func asyncMap<T>(_ body: (Element) async throws -> T) async rethrows -> [T] {
      var out: [T] = []
      for element in self { out.append(try await body(element)) }
      return out
    }
  }
#endif
