#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import HostOS
  import LayerArchive
  import OCIModel
  import Testing

  /// Trees laid over one another and taken apart, in both forms of trees.
  @Suite struct LayeringTests {
    static let forms: [RefStore.Snapshotter] = isRoot ? [.automatic, .plain] : [.plain]

    private func tree(_ refs: RefStore, on parent: ImmutableRef?, _ change: @escaping @Sendable (Directory) throws -> Void) async throws -> ImmutableRef {
      let mutable = try await refs.newMutable(parent: parent, description: "step")
      try await mutable.withMounted(change)
      return try await mutable.commit()
    }
    private func text(_ ref: ImmutableRef, _ path: String) async throws -> String? {
      try await ref.withMounted { try $0.statusIfPresent(path) == nil ? nil : String(decoding: $0.read(path, limit: 100, follow: .none), as: UTF8.self) }
    }
    private static func write(_ path: String, _ text: String) -> @Sendable (Directory) throws -> Void {
      { tree in
        if let slash = path.lastIndex(of: "/"), try tree.statusIfPresent(String(path[..<slash])) == nil { try tree.makeDirectory(String(path[..<slash])) }
        try tree.openFile(path, flags: [.writeOnly, .create, .truncate]).write(text)
      }
    }

    @Test(arguments: forms) func merge(_ form: RefStore.Snapshotter) async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root", form)
        let pulled = [try await makeLayer(scratch, "mkdir d; echo base > d/base; echo old > d/same")], provider = CountingProvider(pulled)
        let base = try await refs.pull(pulled, provider)
        let own = try await tree(refs, on: nil, Self.write("d/same", "new"))
        // Made over another: what it deleted there is deleted here, what was there before it comes along.
        let first = try await tree(refs, on: nil, Self.write("d/first", "first"))
        let second = try await tree(refs, on: first) { tree in
          try tree.unlink("d/first")
          try Self.write("d/second", "second")(tree)
        }
        let merged = try await refs.merge([base, own, second], description: "merge")
        if form != .plain { #expect(provider.total == 0) }
        #expect(try await text(merged, "d/same") == "new")
        #expect(try await text(merged, "d/second") == "second")
        #expect(try await text(merged, "d/base") == "base\n")
        #expect(try await text(merged, "d/first") == nil)
        // Each layer is what it was on its own.
        let blobs = try await merged.layerBlobs(compression: .gzip), alone = try await own.layerBlobs(compression: .gzip)
        #expect(blobs.count == 4 && blobs[0].diffID == pulled[0].diffID && blobs[1].diffID == alone[0].diffID && blobs[1].descriptor == alone[0].descriptor)
        // On another base, after the first has gone.
        let other = try await tree(refs, on: nil, Self.write("other", "other"))
        let again = try await refs.merge([other, own], description: "merge")
        for ref in [merged, base, own, first, second] { await ref.release() }
        #expect(try await again.layerBlobs(compression: .gzip)[1].diffID == alone[0].diffID)
        #expect(try await text(again, "d/same") == "new")
        #expect(try await text(again, "other") == "other")
        // One tree is itself.
        let single = try await refs.merge([other], description: "merge")
        #expect(single.id == other.id)
        for ref in [single, again, other] { await ref.release() }
        try await refs.close()
        #expect(try refs.directories == 0)
      }
    }

    @Test(arguments: forms) func diff(_ form: RefStore.Snapshotter) async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root", form)
        let base = try await tree(refs, on: nil) { tree in
          try Self.write("keep", "keep")(tree)
          try Self.write("gone", "gone")(tree)
        }
        let upper = try await tree(refs, on: base) { tree in
          try tree.unlink("gone")
          try Self.write("added", "added")(tree)
        }
        let top = try await tree(refs, on: upper, Self.write("top", "top"))
        let diff = try await refs.diff(from: base, to: top, description: "diff")
        #expect(try await text(diff, "added") == "added")
        #expect(try await text(diff, "top") == "top")
        #expect(try await text(diff, "keep") == nil)
        let target = try await tree(refs, on: nil) { tree in
          try Self.write("gone", "here too")(tree)
          try Self.write("other", "other")(tree)
        }
        let merged = try await refs.merge([target, diff], description: "merge")
        #expect(try await text(merged, "gone") == nil)
        #expect(try await text(merged, "other") == "other")
        #expect(try await text(merged, "top") == "top")
        // Of trees that share nothing, and to nothing.
        let unrelated = try await refs.diff(from: target, to: base, description: "diff")
        let made = try await refs.merge([target, unrelated], description: "merge")
        #expect(try await text(made, "keep") == "keep")
        #expect(try await text(made, "gone") == "gone")
        #expect(try await text(made, "other") == nil)
        let nothing = try await refs.diff(from: target, to: nil, description: "diff")
        let emptied = try await refs.merge([target, nothing], description: "merge")
        #expect(try await emptied.listing() == [])
        for ref in [base, upper, top, diff, target, merged, unrelated, made, nothing, emptied] { await ref.release() }
        try await refs.close()
        #expect(try refs.directories == 0)
      }
    }
  }
#endif
