#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import HostOS
  import LayerArchive
  import OCIModel
  import Testing

  /// Layers whose times are cut, or that end in a table of contents.
  @Suite struct VariantTests {
    private func build(_ root: String, _ layers: [TestLayer]) async throws -> (RefStore, ImmutableRef) {
      let refs = try await openRefs(root)
      let base = try await refs.pull(layers, CountingProvider(layers))
      let step = try await refs.newMutable(parent: base, description: "changes")
      await base.release()
      try await step.withMounted { try ChangeTests.change($0) }
      return (refs, try await step.commit())
    }

    @Test func timesAreCutButForTheBaseImage() async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let form = LayerForm(.gzip, latest: Timestamp(seconds: 1_500_000_000))
        let (refs, ref) = try await build(scratch + "/one", layers)
        let base = layers.map(\.diffID)
        let cut = try await ref.layerBlobs(form, base: base)
        #expect(cut.dropLast().map(\.descriptor) == layers.map(\.descriptor) && cut.dropLast().map(\.diffID) == base)
        #expect(cut.last?.descriptor.annotations == ["buildkit/rewritten-timestamp": "1500000000"])
        // The layer itself is not that: neither its diff ID nor its blobs.
        let plain = try await ref.layerBlobs(compression: .gzip)
        #expect(plain.last?.diffID != cut.last?.diffID && plain.last?.descriptor.annotations == [:])
        let known = try await ref.layers().last
        #expect(known?.diffID == plain.last?.diffID && known?.descriptors.count == 1)
        #expect(try await ref.layerBlobs(form, base: base).map(\.descriptor) == cut.map(\.descriptor))
        let archive = try TarReader(DetectingSource(BytesSource(refs.store.bytes(try #require(cut.last?.descriptor.digest), limit: 1 << 24))))
        while let entry = try archive.next() { #expect(entry.modified.seconds <= 1_500_000_000, "\(entry.path)") }
        // Where the layer was exported before, and where it was not: the same.
        let (others, other) = try await build(scratch + "/two", layers)
        _ = try await other.layerBlobs(compression: .zstd)
        #expect(try await other.layerBlobs(form, base: base).map(\.descriptor) == cut.map(\.descriptor))
        // Not on the base that the image says: everything is cut.
        #expect(try await other.layerBlobs(form, base: []).first?.diffID != base.first)
        for handle in [ref, other] { await handle.release() }
        try await refs.close()
        try await others.close()
      }
    }

    @Test func tablesOfContents() async throws {
      try await withScratch { scratch in
        let layers = try await difficultLayers(scratch)
        let (refs, ref) = try await build(scratch + "/one", layers)
        let form = LayerForm(.gzip, isSeekable: true)
        let toc = "containerd.io/snapshot/stargz/toc.digest"
        // Those that have a blob keep it, unless all are to be made so.
        #expect(try await ref.layerBlobs(form).map { $0.descriptor.annotations[toc] != nil } == layers.map { _ in false } + [true])
        let all = try await ref.layerBlobs(form, force: true)
        #expect(all.allSatisfy { $0.descriptor.annotations[toc] != nil && $0.provider == nil && refs.store.contains($0.descriptor.digest) })
        #expect(zip(all, layers).allSatisfy { $0.diffID != $1.diffID })
        #expect(try await ref.layers().map(\.diffID).prefix(layers.count) == layers.map { $0.diffID }[...])
        await ref.release()
        try await refs.close()
      }
    }
  }
#endif
