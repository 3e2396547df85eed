#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import HostOS
  import LayerArchive
  import OCIModel
  import Testing

  /// Layers of Windows images beside those of others.
  @Suite struct SystemTests {
    private static let both: [RefStore.Snapshotter] = [.automatic, .plain]

    private func windowsLayer(_ files: [String]) throws -> TestLayer {
      let sink = BytesSink(), writer = TarWriter(sink, isWindows: true)
      for file in files { try writer.begin(TarEntry(path: ByteString(text: file))) }
      try writer.finish()
      return TestLayer(descriptor: OCIModel.Descriptor(mediaType: .ociLayer, of: sink.bytes), diffID: .sha256(of: sink.bytes), blob: sink.bytes)
    }

    private func names(_ ref: ImmutableRef) async throws -> [String] { try await ref.withMounted { try $0.entries().map(\.name).sorted() } }

    private func pull(_ refs: RefStore, _ layer: TestLayer, _ system: LayerSystem) async throws -> ImmutableRef {
      try await refs.layers(on: nil, [(layer.descriptor, layer.diffID)], provider: CountingProvider([layer]), system: system)
    }

    @Test(arguments: [0, 1]) func oneBlobIsTwoTrees(_ which: Int) async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root", Self.both[which])
        let layer = try windowsLayer(["a", "b"]), plain = try await makeLayer(scratch, "echo x > c")
        let windows = try await pull(refs, layer, .windows), common = try await pull(refs, layer, .common), untold = try await pull(refs, layer, .untold)
        #expect(Set([windows.id, common.id, untold.id]).count == 3)
        #expect(try await names(windows) == ["a", "b"])
        #expect(try await names(common) == ["Files", "Hives"])
        #expect(try await names(untold) == ["a", "b"])
        let other = try await pull(refs, plain, .untold)
        #expect(try await names(other) == ["c"])
        // The same again is the same ref.
        let again = try await pull(refs, layer, .windows)
        #expect(again.id == windows.id)
        for ref in [windows, common, untold, other, again] { await ref.release() }
        try await refs.close()
      }
    }

    /// What is made on a Windows layer becomes one, on a common one does not; on one that was not told of, as it turns out to be.
    @Test(arguments: [0, 1]) func layersMadeOnThem(_ which: Int) async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root", Self.both[which])
        let windows = try windowsLayer(["a"]), plain = try await makeLayer(scratch, "echo x > c")
        for (layer, system, isWindows) in [(windows, LayerSystem.windows, true), (windows, .untold, true), (plain, .untold, false), (plain, .common, false)] {
          let below = try await pull(refs, layer, system)
          let new = try await refs.newMutable(parent: below, description: "made")
          try await new.withMounted { _ = try $0.openFile("new", flags: [.writeOnly, .create], mode: 0o644) }
          let made = try await new.commit()
          let blobs = try await made.layerBlobs(compression: .none)
          let top = try #require(blobs.last)
          let reader = TarReader(BytesSource(try await Blocking.run { try refs.store.bytes(top.descriptor.digest, limit: 1 << 20) }))
          var paths: [String] = []
          while let entry = try reader.next() { paths.append(entry.path.text) }
          #expect(paths == (isWindows ? ["Hives", "Files", "Files/new"] : ["new"]), "\(system)")
          // A layer of its own, laid on it.
          let alone = try await refs.newMutable(parent: nil, description: "link")
          try await alone.withMounted { _ = try $0.openFile("linked", flags: [.writeOnly, .create], mode: 0o644) }
          let link = try await alone.commit()
          let own = try await link.layerBlobs(compression: .gzip)
          let merged = try await refs.merge([below, link], description: "merged")
          let onto = try #require(try await merged.layerBlobs(compression: .gzip).last)
          #expect((onto.diffID == own.last?.diffID) == !isWindows, "\(system)")
          #expect(try await names(merged).contains("linked"))
          for ref in [below, made, link, merged] { await ref.release() }
        }
        try await refs.close()
      }
    }
  }
#endif
