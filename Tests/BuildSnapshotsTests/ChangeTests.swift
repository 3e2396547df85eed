#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import GRDB
  import HostOS
  import LayerArchive
  import OCIModel
  import Testing

  @Suite struct ChangeTests {
    /// What a step may do to a tree.
    static func change(_ root: Directory) throws {
      let time: Int64 = 1_650_000_000_000_000_000
      try root.unlink("etc/b")
      try root.removeTree("opaque")
      try root.makeDirectory("opaque")
      try root.openFile("opaque/fresh", flags: [.create, .writeOnly]).write("fresh")
      try root.removeTree("var/lib/deep")
      try root.openFile("var/lib/deep", flags: [.create, .writeOnly]).write("a file now")
      try root.unlink("replaced")
      try root.makeDirectories("replaced/by/dirs")
      try root.setMode("usr/bin/over", 0o600)
      try root.hardlink(from: "usr/bin/over", to: "usr/bin/linked")
      try root.rename("gone/again", to: "gone/moved")
      try root.openFile("etc/last", flags: [.writeOnly, .append]).write("more")
      try root.symlink(target: "../etc", at: "gone/link")
      let touched = [
        "opaque/fresh", "opaque", "etc/last", "etc", "var/lib/deep", "var/lib", "replaced/by/dirs", "replaced/by", "replaced", "usr/bin/over", "usr/bin",
        "gone/moved", "gone/link", "gone", ".",
      ]
      for path in touched { try root.setTimes(path, accessed: time, modified: time) }
    }

    private func build(_ root: String, _ layers: [TestLayer], _ form: RefStore.Snapshotter) async throws -> (RefStore, [LayerBlob], [String]) {
      let refs = try await openRefs(root, form)
      let base = try await refs.pull(layers, CountingProvider(layers))
      let first = try await refs.newMutable(parent: base, description: "changes")
      await base.release()
      try await first.withMounted { try Self.change($0) }
      let changed = try await first.commit()
      // Two in a row, the second of which changes nothing.
      let second = try await refs.newMutable(parent: changed, description: "nothing")
      try await second.withMounted { _ = try $0.read("etc/last", limit: 100) }
      let done = try await second.commit()
      await changed.release()
      try await refs.retain(done)
      let blobs = try await done.layerBlobs(compression: .gzip)
      let listing = try await done.listing()
      await done.release()
      return (refs, blobs, listing)
    }

    @Test func aChangeIsTheSameLayerInEitherForm() async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let (overlay, blobs, tree) = try await build(scratch + "/overlay", layers, .automatic)
        let (plain, plainBlobs, plainTree) = try await build(scratch + "/plain", layers, .plain)
        #expect(tree == plainTree)
        #expect(blobs.map(\.descriptor) == plainBlobs.map(\.descriptor) && blobs.map(\.diffID) == plainBlobs.map(\.diffID))
        #expect(blobs.prefix(layers.count).map(\.descriptor) == layers.map(\.descriptor))
        // The empty layer is BuildKit's own, whose digest every image with one has: 1024 bytes of nothing.
        #expect(blobs.last?.diffID == Digest.sha256(of: [UInt8](repeating: 0, count: 1024)))

        // Applied elsewhere, the blobs are the tree again.
        let third = try await openRefs(scratch + "/third")
        let again = try blobs.map { TestLayer(descriptor: $0.descriptor, diffID: $0.diffID, blob: try overlay.store.bytes($0.descriptor.digest, limit: 1 << 26)) }
        let pulled = try await third.pull(again, CountingProvider(again))
        #expect(try await pulled.listing() == tree)
        await pulled.release()

        // Pulled where it was made, it is there already.
        let provider = CountingProvider([])
        let own = try await overlay.pull(again, provider)
        #expect(try await own.listing() == tree && provider.total == 0)
        await own.release()
        for store in [overlay, plain, third] { try await store.close() }
      }
    }

    @Test func otherCompressionsOnDemand() async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let (refs, before, _) = try await build(scratch + "/root", layers, .automatic)
        try await refs.close()
        let again = try await openRefs(scratch + "/root")
        let id = try await again.store.read { try String.fetchOne($0, sql: "SELECT id FROM ref WHERE durable = 1") }
        let ref = try await again.known(id)
        let kept = try await ref.layerBlobs(compression: .zstd)
        #expect(kept.map(\.descriptor) == before.map(\.descriptor))
        async let one = ref.layerBlobs(compression: .zstd, force: true)
        async let two = ref.layerBlobs(compression: .zstd, force: true)
        let (forced, other) = try await (one, two)
        #expect(forced.map(\.descriptor) == other.map(\.descriptor) && forced.map(\.diffID) == before.map(\.diffID))
        #expect(forced.allSatisfy { $0.descriptor.mediaType == .ociLayerZstd && again.store.contains($0.descriptor.digest) })
        #expect(try await ref.layers().last?.descriptors.keys.sorted { $0.rawValue < $1.rawValue } == [.gzip, .zstd])
        #expect(try await ref.size() >= 0)
        await ref.release()
        try await again.close()
      }
    }

    @Test(arguments: LayerTests.forms) func onlyWhatIsNeededStays(_ form: RefStore.Snapshotter) async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let refs = try await openRefs(scratch + "/root", form)
        let base = try await refs.pull(layers, CountingProvider(layers))
        let discarded = try await refs.newMutable(parent: base, description: "discarded")
        try await discarded.withMounted { try $0.makeDirectory("x") }
        await discarded.discard()
        let mutable = try await refs.newMutable(parent: base, description: "kept")
        try await mutable.withMounted { try $0.makeDirectory("kept") }
        let kept = try await mutable.commit()
        await #expect(throws: SnapshotError.self) { _ = try await mutable.commit() }
        await #expect(throws: SnapshotError.self) { try await mutable.withMounted { _ in } }
        let clone = kept.clone()
        try await refs.retain(kept)
        await kept.release()
        await kept.release()
        #expect(try await clone.listing().contains { $0.hasPrefix("kept ") })
        await #expect(throws: SnapshotError.self) { try await kept.prepare() }
        let scratchTree = try await refs.newMutable(parent: nil, description: "from nothing")
        try await scratchTree.withMounted { try $0.makeDirectory("s") }
        let lost = try await scratchTree.commit()
        #expect(try await lost.listing().count == 1)
        await base.release()
        await clone.release()
        #expect(try await refs.count("ref") == layers.count + 2)
        // `lost` is not released: the store's end does it.
        try await refs.close()
        let again = try await openRefs(scratch + "/root", form)
        #expect(try await again.count("ref") == layers.count + 1)
        #expect(try await again.exists(kept.id))
        let found = try #require(try await again.ref(kept.id))
        #expect(try await found.listing().contains { $0.hasPrefix("kept ") })
        await found.release()
        try await again.forget([kept.id])
        for table in ["ref", "snapshot", "ref_claim"] { #expect(try await again.count(table) == 0, "\(table)") }
        #expect(try again.directories == 0)
        #expect(try await again.ref(kept.id) == nil)
        try await again.close()
        _ = lost
      }
    }

    @Test func anAbandonedHandleIsReleased() async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root")
        func work() async throws {
          let mutable = try await refs.newMutable(parent: nil, description: "a")
          try await mutable.withMounted { try $0.makeDirectory("x") }
          let ref = try await mutable.commit()
          let dropped = try await refs.newMutable(parent: ref, description: "b")
          _ = try await dropped.mountPlan()
        }
        try await work()
        for _ in 0..<200 where try await refs.count("ref") > 0 { try await Task.sleep(for: .milliseconds(10)) }
        #expect(try await refs.count("ref") == 0)
        try await refs.close()
      }
    }

    @Test func whatMayBeLostIsNotTrusted() async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let (refs, _, tree) = try await build(scratch + "/root", layers, .automatic)
        let id = try #require(try await refs.store.read { try String.fetchOne($0, sql: "SELECT id FROM ref WHERE durable = 1") })
        let made = try #require(try await refs.ref(id))
        let bare = try await refs.newMutable(parent: made, description: "without a blob")
        let lost = try await bare.commit()
        try await refs.retain(lost)
        try await refs.store.write { try $0.execute(sql: "UPDATE snapshot SET synced = 0, boot = 'another'") }
        let again = try await openRefs(scratch + "/root")
        #expect(try again.directories == 0)
        let found = try #require(try await again.ref(id))
        #expect(try await found.listing() == tree)
        #expect(try await again.ref(lost.id) == nil)
        for handle in [found, lost, made] { await handle.release() }
        try await again.close()
        try await refs.close()
        #expect(try await refs.store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM snapshot WHERE synced = 0") } == 0)
      }
    }
  }
#endif
