#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import HostOS
  import LayerArchive
  import OCIModel
  import Testing

  @Suite struct SharedLayerTests {
    /// One layer on two trees is one directory and one blob, and goes with the last of them.
    @Test(.enabled(if: isRoot, "SKIPPED: overlay trees need root here")) func oneLayerOnTwoTrees() async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root")
        if refs.overlayProblem != nil { return }
        func base(_ text: String) async throws -> ImmutableRef {
          let made = try await refs.newMutable(parent: nil, description: text)
          try await made.withMounted { try $0.openFile("base", flags: [.writeOnly, .create]).write(text) }
          return try await made.commit()
        }
        let (one, two) = (try await base("one"), try await base("two"))
        let mutable = try await refs.newMutable(parent: one, description: "copy")
        try await mutable.withMounted { tree in
          try tree.makeDirectory("src")
          try tree.openFile("src/file", flags: [.writeOnly, .create]).write("content")
        }
        let made = try await mutable.commit()
        let before = try refs.directories
        let shared = try #require(try await refs.layer(like: made, on: two, description: "copy"))
        #expect(shared.id != made.id)
        #expect(try refs.directories == before)
        #expect(try await shared.withMounted { String(decoding: try $0.read("base", limit: 100, follow: .none), as: UTF8.self) } == "two")
        #expect(try await shared.withMounted { String(decoding: try $0.read("src/file", limit: 100, follow: .none), as: UTF8.self) } == "content")
        let same = try #require(try await refs.layer(like: made, on: one, description: "copy"))
        #expect(same.id == made.id)
        async let left = made.layerBlobs(compression: .gzip)
        async let right = shared.layerBlobs(compression: .gzip)
        let blobs = try await [left, right]
        #expect(blobs[0][1].descriptor == blobs[1][1].descriptor && blobs[0][1].diffID == blobs[1][1].diffID)
        #expect(blobs[0][0].diffID != blobs[1][0].diffID)
        for ref in [made, same] { await ref.release() }
        #expect(try await shared.withMounted { try $0.statusIfPresent("src/file") } != nil)
        for ref in [shared, one, two] { await ref.release() }
        #expect(try refs.directories == 0)
        try await refs.close()
      }
    }

    /// Where trees are whole copies there is nothing to share.
    @Test func notInPlainForm() async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root", .plain)
        let made = try await refs.newMutable(parent: nil, description: "a").commit()
        #expect(try await refs.layer(like: made, on: nil, description: "a") == nil)
        await made.release()
        try await refs.close()
      }
    }
  }
#endif
