import ContentStore
import OCIModel
import OCIRegistry
import TestSupport
import Testing

@Suite struct StoreTransferTests {
  func random(_ seed: UInt64, _ count: Int) -> [UInt8] {
    var generator = SeededGenerator(seed)
    return generator.bytes(count)
  }

  @Test func fetchesIntoAndPushesFromAStore() async throws {
    let scratch = try ScratchDirectory("store")
    let store = try await ContentStore.open(root: scratch.path + "/root")
    try await withRegistry { registry, client in
      let bytes = random(1, 5_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "app")
      #expect(try await client.fetchBlob(descriptor, from: registry.reference("app"), into: store))
      #expect(try store.bytes(descriptor.digest, limit: 10_000_000) == bytes)
      let count = registry.requests.count
      #expect(try await client.fetchBlob(descriptor, from: registry.reference("app"), into: store) == false)
      #expect(registry.requests.count == count)
      let outcome = try await client.pushBlob(descriptor, from: store, to: registry.reference("copy"))
      // The store knows where it came from.
      #expect(outcome == .mounted(from: "app") && registry.blob(descriptor.digest, in: "copy") == bytes)
      registry.set { $0.supportsMount = false }
      let sent = try await client.pushBlob(descriptor, from: store, to: registry.reference("other"))
      #expect(sent == .uploaded && registry.blob(descriptor.digest, in: "other") == bytes)
    }
    try await store.close()
  }

  @Test func oneDownloadForMany() async throws {
    let scratch = try ScratchDirectory("store")
    let store = try await ContentStore.open(root: scratch.path + "/root")
    var options = TestRegistryOptions()
    options.latencyMilliseconds = 30
    try await withRegistry(options) { registry, client in
      let other = RegistryClient(RegistryConfiguration(environment: [:]))
      let bytes = random(2, 1_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "app")
      let downloads = try await withThrowingTaskGroup(of: Bool.self) { group in
        for i in 0..<10 { group.addTask { try await (i % 2 == 0 ? client : other).fetchBlob(descriptor, from: registry.reference("app"), into: store) } }
        return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
      }
      await other.shutdown()
      #expect(downloads == 1)
      #expect(registry.requests.filter { $0.method == "GET" && $0.path.contains("/blobs/") }.count == 1)
    }
    try await store.close()
  }

  @Test func anothersFailureIsNotOurs() async throws {
    let scratch = try ScratchDirectory("store")
    let store = try await ContentStore.open(root: scratch.path + "/root")
    var options = TestRegistryOptions()
    options.latencyMilliseconds = 50
    try await withRegistry(options) { registry, client in
      let bytes = random(3, 1000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "good")
      let bad = Task { try await client.fetchBlob(descriptor, from: registry.reference("nothing"), into: store) }
      try await Task.sleep(for: .milliseconds(10))
      #expect(try await client.fetchBlob(descriptor, from: registry.reference("good"), into: store))
      await #expect(throws: RegistryError.self) { try await bad.value }
    }
    try await store.close()
  }

  @Test func aFailedDownloadIsTakenUpByTheNext() async throws {
    let scratch = try ScratchDirectory("store")
    let store = try await ContentStore.open(root: scratch.path + "/root")
    try await withRegistry(configure: { $0.retry = .never }) { registry, client in
      // What had arrived but was not read when the connection ended is lost: on a busy machine perhaps all of it, and there is nothing to go on from.
      var range = ""
      for seed in UInt64(100)..<120 where range.isEmpty {
        let bytes = random(seed, 4_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
        registry.addBlob(bytes, to: "app")
        registry.inject(TestFault("GET", "/blobs/", .truncate(after: 3_000_000)))
        await #expect(throws: RegistryError.self) { try await client.fetchBlob(descriptor, from: registry.reference("app"), into: store) }
        let again = try await client.fetchBlob(descriptor, from: registry.reference("app"), into: store)
        let stored = try store.bytes(descriptor.digest, limit: 10_000_000)
        #expect(again && stored == bytes)
        range = registry.requests.last?.headers["range"] ?? ""
      }
      #expect(range.hasPrefix("bytes="))
    }
    try await store.close()
  }

  @Test func wrongContentNeverGetsIn() async throws {
    let scratch = try ScratchDirectory("store")
    let store = try await ContentStore.open(root: scratch.path + "/root")
    try await withRegistry { registry, client in
      let bytes = random(5, 10_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(random(6, 10_000), as: descriptor.digest, to: "app")
      let error = await #expect(throws: RegistryError.self) { try await client.fetchBlob(descriptor, from: registry.reference("app"), into: store) }
      #expect(error?.code == .digestMismatch)
      #expect(!store.contains(descriptor.digest))
      registry.addBlob(bytes, to: "app")
      let again = try await client.fetchBlob(descriptor, from: registry.reference("app"), into: store)
      #expect(again)
    }
    try await store.close()
  }
}
