import ContentStore
import HostOS
import OCIModel
import Testing

private let content = Array("hello, blobs\n".utf8)
private let digest = Digest.sha256(of: content)
private func ingest(_ store: ContentStore) throws -> [String] { try names(store.root + "/ingest") }
private func partial(_ digest: Digest) -> String { "/ingest/sha256-\(digest.hex).part" }

@Suite struct BlobTests {
  @Test func roundTrip() async throws {
    try await withStore { store in
      let writer = try store.writer()
      for byte in content { try writer.write([byte]) }
      let result = try writer.commit()
      #expect(result.digest == digest && result.size == Int64(content.count))
      #expect(try names(store.root + "/blobs/sha256") == [digest.hex] && ingest(store) == [])
      #expect(try store.bytes(digest, limit: 100) == content)
      #expect(try store.reader(digest).size == 13 && store.contains(digest) && store.size(of: .sha256(of: "no")) == nil)
      #expect(try Files.status(store.path(of: digest)).permissions == 0o444)
      await expectStoreError(.tooLarge, "more than the 12") { try store.bytes(digest, limit: 12) }
      await expectStoreError(.notFound, "not in the store") { try store.reader(.sha256(of: "no")) }
      await expectStoreError(.invalid) { try writer.write([1]) }
      await expectStoreError(.invalid) { try writer.commit() }
    }
  }

  @Test func sha512AndEmpty() async throws {
    try await withStore { store in
      let writer = try store.writer(algorithm: .sha512)
      try writer.write(content)
      let result = try writer.commit()
      #expect(result.digest.algorithm == .sha512)
      #expect(try store.bytes(result.digest, limit: 100) == content)
      #expect(try await store.put([]).digest == Digest.sha256(of: ""))
      #expect(try store.bytes(.sha256(of: ""), limit: 0) == [])
    }
  }

  @Test func sameContentAgain() async throws {
    try await withStore { store in
      let first = try store.writer(), second = try store.writer()
      try first.write(content)
      try second.write(content)
      _ = try first.commit()
      let before = try Files.status(store.path(of: digest))
      _ = try second.commit()
      #expect(try await store.put(content).digest == digest)
      #expect(try Files.status(store.path(of: digest)).inode == before.inode && ingest(store) == [])
      #expect(try await store.writer(for: digest, size: 13) == nil)
      await expectStoreError(.sizeMismatch) { try await store.writer(for: digest, size: 12) }
    }
  }

  @Test("what is not what was promised never becomes a blob") func lies() async throws {
    try await withStore { store in
      let wrong = try #require(try await store.writer(for: digest))
      try wrong.write([1, 2, 3])
      await expectStoreError(.digestMismatch, "promised as \(digest)") { try wrong.commit() }
      let short = try #require(try await store.writer(for: digest, size: 13))
      #expect(short.offset == 0 && short.resumedFrom == 0)
      try short.write(Array(content.prefix(5)))
      await expectStoreError(.sizeMismatch, "has 5 bytes, not the 13") { try short.commit() }
      let long = try #require(try await store.writer(for: digest, size: 13))
      try long.write(content)
      await expectStoreError(.sizeMismatch, "larger than the 13 bytes") { try long.write([0]) }
      long.abort()
      let named = try store.writer()
      try named.write([1])
      await expectStoreError(.digestMismatch) { try named.commit(expecting: digest) }
      do { _ = try store.writer().write([9]) }
      #expect(try names(store.root + "/blobs/sha256") == [] && ingest(store) == [])
    }
  }

  @Test func resumedInThisProcess() async throws {
    try await withStore { store in
      do {
        let writer = try #require(try await store.writer(for: digest, size: 13))
        try writer.write(Array(content.prefix(5)))
      }
      #expect(try ingest(store).count == 1)
      let again = try #require(try await store.writer(for: digest, size: 13))
      #expect(again.offset == 5 && again.resumedFrom == 5)
      try again.write(Array(content.dropFirst(5)))
      #expect(try again.commit().digest == digest)
      #expect(try ingest(store) == [])
    }
  }

  @Test("a download goes on after its process was killed; garbage at its end is found out", arguments: [false, true])
  func resumedAfterCrash(_ torn: Bool) async throws {
    try await withStore { store in
      try Files.writeAtomically(Array(content.prefix(6)) + (torn ? [0, 0] : []), to: store.root + partial(digest))
      let writer = try #require(try await store.writer(for: digest, size: 13))
      #expect(writer.resumedFrom == (torn ? 8 : 6))
      try writer.write(Array(content.dropFirst(Int(writer.offset))))
      if torn {
        await expectStoreError(.digestMismatch) { try writer.commit() }
        let anew = try #require(try await store.writer(for: digest, size: 13))
        #expect(anew.offset == 0)
        try anew.write(content)
        _ = try anew.commit()
      } else {
        _ = try writer.commit()
      }
      #expect(try store.bytes(digest, limit: 100) == content && ingest(store) == [])
    }
  }

  @Test func restartAndOversizedLeftover() async throws {
    try await withStore { store in
      try Files.writeAtomically([UInt8](repeating: 7, count: 50), to: store.root + partial(digest))
      let writer = try #require(try await store.writer(for: digest, size: 13))
      #expect(writer.offset == 0)
      try writer.write([7, 7])
      try writer.restart()
      try writer.write(content)
      _ = try writer.commit()
      #expect(store.contains(digest))
    }
  }

  @Test("one of many writers of a digest works, the others wait and find it") func oneWriter() async throws {
    try await withRoot { root in
      // Stores of their own have locks of their own, as processes do.
      let stores = try await [ContentStore.open(root: root), ContentStore.open(root: root), ContentStore.open(root: root)]
      let written = try await withThrowingTaskGroup(of: Int.self) { group in
        for i in 0..<12 {
          group.addTask {
            guard let writer = try await stores[i % 3].writer(for: digest, size: 13) else { return 0 }
            for byte in content {
              try writer.write([byte])
              try await Task.sleep(for: .milliseconds(2))
            }
            _ = try writer.commit()
            return 1
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(written == 1)
      #expect(try stores[0].bytes(digest, limit: 100) == content)
      #expect(try names(root + "/ingest") == [])
      for store in stores { try await store.close() }
    }
  }

  @Test func cancelledWhileWaiting() async throws {
    try await withStore { store in
      let writer = try #require(try await store.writer(for: digest))
      let (waits, told) = AsyncStream.makeStream(of: Void.self)
      let waiting = Task { try await store.writer(for: digest, onWait: { told.yield() }) }
      for await _ in waits { break }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      try writer.write(content)
      _ = try writer.commit()
    }
  }

  @Test("a blob the disk has spoilt is found out when it is read as a document") func spoilt() async throws {
    try await withStore { store in
      try await store.put(content)
      try Files.writeAtomically(Array("jello, blobs\n".utf8), to: store.path(of: digest))
      await expectStoreError(.corrupt, "is damaged") { try store.bytes(digest, limit: 100) }
    }
  }

  @Test func largeContentFromManyTasks() async throws {
    try await withStore { store in
      let digests = try await withThrowingTaskGroup(of: Digest.self) { group in
        for i in 0..<8 {
          group.addTask {
            try await Blocking.run {
              let writer = try store.writer()
              let chunk = (0..<65536).map { UInt8(truncatingIfNeeded: $0 &* (i + 3) &+ $0 >> 8) }
              for _ in 0..<40 { try writer.write(chunk) }
              return try writer.commit().digest
            }
          }
        }
        return try await group.reduce(into: Set<Digest>()) { $0.insert($1) }
      }
      #expect(digests.count == 8 && digests.allSatisfy { store.size(of: $0) == 40 * 65536 })
    }
  }
}
