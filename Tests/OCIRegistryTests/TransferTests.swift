import OCIModel
import OCIRegistry
import Synchronization
import TestSupport
import Testing

@Suite struct FetchTests {
  func random(_ seed: UInt64, _ count: Int) -> [UInt8] {
    var generator = SeededGenerator(seed)
    return generator.bytes(count)
  }

  @Test func fetchesAndTells() async throws {
    try await withRegistry { registry, client in
      let bytes = random(1, 5_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "app")
      let (sink, events) = (MemorySink(), Recorder<TransferProgress>())
      try await client.fetchBlob(descriptor, from: registry.reference("app"), into: sink, progress: { events.add($0) })
      #expect(sink.bytes == bytes && sink.isFinished)
      #expect(events.all.first?.state == .waiting && events.all.last?.state == .done && events.all.last?.bytes == descriptor.size)
      #expect(zip(events.all, events.all.dropFirst()).allSatisfy { $0.bytes <= $1.bytes })
    }
  }

  @Test func emptyAndEmbeddedContentNeedsNoMoreThanItMust() async throws {
    try await withRegistry { registry, client in
      let sink = MemorySink()
      try await client.fetchBlob(Descriptor(mediaType: .ociLayer, of: []), from: registry.reference("app"), into: sink)
      #expect(sink.isFinished && sink.bytes.isEmpty)
      var descriptor = Descriptor(mediaType: .ociEmpty, of: Array("{}".utf8))
      descriptor.data = "e30="
      let other = MemorySink()
      try await client.fetchBlob(descriptor, from: registry.reference("app"), into: other)
      #expect(other.bytes == Array("{}".utf8) && registry.requests.isEmpty)
    }
  }

  @Test(arguments: [true, false])
  func brokenTransfersAreTakenUpAgain(_ ranges: Bool) async throws {
    var options = TestRegistryOptions()
    options.acceptsRanges = ranges
    try await withRegistry(options) { registry, client in
      let bytes = random(2, 3_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "app")
      registry.inject(TestFault("GET", "/blobs/", .truncate(after: 1_000_000)))
      registry.inject(TestFault("GET", "/blobs/", .reset))
      registry.inject(TestFault("GET", "/blobs/", .status(503)))
      registry.inject(TestFault("GET", "/blobs/", .truncate(after: 1_500_000)))
      let (sink, events) = (MemorySink(), Recorder<TransferProgress>())
      try await client.fetchBlob(descriptor, from: registry.reference("app"), into: sink, progress: { events.add($0) })
      #expect(sink.bytes == bytes)
      #expect(events.all.contains { if case .retrying(let retry) = $0.state { retry.attempt == 2 } else { false } })
      let asked = registry.requests.filter { $0.path.contains("/blobs/") }.map { $0.headers["range"] }
      // How much of a broken answer arrives is the network stack's affair; what arrived is not asked for again.
      let starts = asked.dropFirst().map { $0.flatMap { Int($0.dropFirst(6).prefix { $0 != "-" }) } ?? 0 }
      #expect(asked.first == .some(nil) && starts.count == 4 && starts == starts.sorted() && (starts.last ?? 0) > 0, "\(asked)")
    }
  }

  @Test func progressKeepsALongBadTransferGoing() async throws {
    try await withRegistry(configure: { $0.retry = RetryPolicy(maximumAttempts: 2) }) { registry, client in
      let bytes = random(3, 2_000_000)
      registry.addBlob(bytes, to: "app")
      registry.inject(TestFault("GET", "/blobs/", times: 15, .truncate(after: 100_000)))
      let sink = MemorySink()
      try await client.fetchBlob(Descriptor(mediaType: .ociLayer, of: bytes), from: registry.reference("app"), into: sink)
      #expect(sink.bytes == bytes)
      registry.inject(TestFault("GET", "/blobs/", times: 15, .reset))
      let error = await #expect(throws: RegistryError.self) { try await client.fetchBlob(Descriptor(mediaType: .ociLayer, of: bytes), from: registry.reference("app"), into: MemorySink()) }
      #expect(error?.code == .network)
    }
  }

  @Test func wrongContentIsTriedOnceMoreThenRefused() async throws {
    try await withRegistry { registry, client in
      let bytes = random(4, 100_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "app")
      registry.inject(TestFault("GET", "/blobs/", .corrupt))
      let sink = MemorySink()
      try await client.fetchBlob(descriptor, from: registry.reference("app"), into: sink)
      #expect(sink.bytes == bytes && sink.state.withLock { $0.restarts } == 1)

      registry.inject(TestFault("GET", "/blobs/", times: 2, .corrupt))
      let bad = MemorySink()
      let error = await #expect(throws: RegistryError.self) { try await client.fetchBlob(descriptor, from: registry.reference("app"), into: bad) }
      #expect(error?.code == .digestMismatch && !bad.isFinished)
    }
  }

  @Test func wrongSizesAreRefused() async throws {
    try await withRegistry { registry, client in
      let bytes = random(5, 1000)
      var descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "app")
      for size in [999, 1001] as [Int64] {
        descriptor.size = size
        let sink = MemorySink()
        let error = await #expect(throws: RegistryError.self) { try await client.fetchBlob(descriptor, from: registry.reference("app"), into: sink) }
        #expect(error?.code == .sizeMismatch && !sink.isFinished)
      }
    }
  }

  @Test func lyingLengthsAreRefusedAtOnce() async throws {
    try await withRegistry { registry, client in
      let bytes = random(6, 100_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      let image = try RandomImage(seed: 60)
      registry.addBlob(bytes, to: "app")
      registry.add(image, to: "app", tag: "1")
      for action in [TestFault.Action.claim(length: 99_999), .claim(length: 1 << 40), .surplus(1), .surplus(5_000_000)] {
        registry.inject(TestFault("GET", "/blobs/", action))
        let sink = MemorySink()
        let error = await #expect(throws: RegistryError.self) { try await client.fetchBlob(descriptor, from: registry.reference("app"), into: sink) }
        #expect(error?.code == .sizeMismatch && !sink.isFinished && sink.bytes.count <= bytes.count, "\(action): \(error?.description ?? "")")
      }
      for action in [TestFault.Action.claim(length: 1 << 40), .surplus(DocumentLimits.manifest)] {
        registry.inject(TestFault("GET", "/manifests/", action))
        let error = await #expect(throws: RegistryError.self) { try await client.manifest(registry.reference("app:1")) }
        #expect(error?.description.contains("larger than") == true, "\(action): \(error?.description ?? "")")
      }
      let good = MemorySink()
      try await client.fetchBlob(descriptor, from: registry.reference("app"), into: good)
      #expect(good.bytes == bytes)
    }
  }

  @Test func transfersAreBounded() async throws {
    var options = TestRegistryOptions()
    options.latencyMilliseconds = 10
    try await withRegistry(options, configure: { $0.maximumTransfersPerHost = 2 }) { registry, client in
      let blobs = (0..<8).map { random(100 + $0, 1000) }
      for blob in blobs { registry.addBlob(blob, to: "app") }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for blob in blobs { group.addTask { try await client.fetchBlob(Descriptor(mediaType: .ociLayer, of: blob), from: registry.reference("app"), into: MemorySink()) } }
        try await group.waitForAll()
      }
      #expect(registry.connectionCount <= 3)
    }
  }
}

@Suite struct PushTests {
  func random(_ seed: UInt64, _ count: Int) -> [UInt8] {
    var generator = SeededGenerator(seed)
    return generator.bytes(count)
  }

  @Test(arguments: [true, false])
  func pushesOnlyWhatIsMissing(_ absolute: Bool) async throws {
    var options = TestRegistryOptions()
    options.absoluteLocations = absolute
    try await withRegistry(options) { registry, client in
      let bytes = random(1, 200_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      let events = Recorder<TransferProgress>()
      let first = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"), progress: { events.add($0) })
      #expect(first == .uploaded)
      #expect(registry.blob(descriptor.digest, in: "app") == bytes)
      #expect(registry.requests.map(\.method) == ["GET", "HEAD", "POST", "PUT"])
      // The session's own query survives beside the digest.
      #expect(registry.requests.last?.query.hasPrefix("_state=a%2Bb&n=0&digest=sha256%3A") == true)
      #expect(events.all.last?.state == .done && events.all.last?.bytes == descriptor.size)
      let again = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
      #expect(again == .exists)
      #expect(registry.requests.suffix(1).map(\.method) == ["HEAD"])
    }
  }

  @Test func mountsWhereItCan() async throws {
    try await withRegistry { registry, client in
      let bytes = random(2, 1000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "base")
      let candidates = [try Reference(parsing: "ghcr.io/else/where"), try registry.reference("app"), try registry.reference("empty"), try registry.reference("base:tag")]
      #expect(try await client.pushBlob(descriptor, from: MemoryBlobSource([]), to: registry.reference("app"), mountFrom: candidates) == .mounted(from: "base"))
      #expect(registry.blob(descriptor.digest, in: "app") == bytes)
      let asked = registry.requests.filter { $0.method == "POST" }.map { $0.parameter("from") }
      #expect(asked == ["empty", "base"])
      // The session that the failed mount began was ended.
      #expect(registry.openUploads == 0)
    }
  }

  @Test func aRefusedMountBecomesAnUpload() async throws {
    var options = TestRegistryOptions()
    options.supportsMount = false
    try await withRegistry(options) { registry, client in
      let bytes = random(3, 1000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.addBlob(bytes, to: "base")
      let outcome = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"), mountFrom: [registry.reference("base")])
      #expect(outcome == .uploaded)
      #expect(registry.requests.filter { $0.method == "POST" }.count == 1)
      registry.inject(TestFault("POST", "/uploads/", .status(403)))
      let other = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("other"), mountFrom: [registry.reference("base")])
      #expect(other == .uploaded)
    }
  }

  @Test(arguments: [false, true])
  func uploadsAreTakenUpAgain(_ chunked: Bool) async throws {
    try await withRegistry(configure: {
      if chunked { ($0.chunkedUploadThreshold, $0.uploadChunkSize) = (0, 300_000) }
    }) { registry, client in
      let bytes = random(4, 1_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      registry.inject(TestFault(chunked ? "PATCH" : "PUT", "/uploads/", .resetDuringBody(after: 150_000)))
      let outcome = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
      #expect(outcome == .uploaded)
      #expect(registry.blob(descriptor.digest, in: "app") == bytes)
      // What had arrived was not sent again.
      let resumed = registry.requests.first { $0.method == "PATCH" && $0.status == 202 && $0.headers["content-range"]?.hasPrefix("150000-") == true }
      #expect(resumed != nil, "\(registry.requests)")
      #expect(registry.openUploads == 0)
    }
  }

  @Test func everyKindOfTroubleEndsInAGoodUpload() async throws {
    let troubles: [[TestFault]] = [
      [TestFault("POST", "/uploads/", .status(503))], [TestFault("POST", "/uploads/", .reset)], [TestFault("PUT", "/uploads/", .status(500))], [TestFault("PUT", "/uploads/", .reset)],
      // The content arrived, the answer did not.
      [TestFault("PUT", "/uploads/", .loseAnswer)],
      // The session is gone.
      [TestFault("PUT", "/uploads/", .status(404, headers: [("Content-Type", "application/json")], body: #"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"unknown"}]}"#))],
      [TestFault("PUT", "/uploads/", .resetDuringBody(after: 10)), TestFault("GET", "/uploads/", .status(404))], [TestFault("HEAD", "/blobs/", .reset)], [TestFault("PUT", "/uploads/", .status(429, headers: [("Retry-After", "1")]))],
      [TestFault("PUT", "/uploads/", .resetDuringBody(after: 60_000)), TestFault("PATCH", "/uploads/", .resetDuringBody(after: 20_000)), TestFault("PATCH", "/uploads/", .status(503))],
    ]
    for (i, faults) in troubles.enumerated() {
      try await withRegistry { registry, client in
        let bytes = random(50 + UInt64(i), 100_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
        for fault in faults { registry.inject(fault) }
        _ = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
        #expect(registry.blob(descriptor.digest, in: "app") == bytes, "\(i)")
      }
    }
  }

  @Test func tooLargeRequestsBecomeChunks() async throws {
    var options = TestRegistryOptions()
    options.maximumBody = 5 << 20
    try await withRegistry(options, configure: { $0.uploadChunkSize = 16 << 20 }) { registry, client in
      let bytes = random(6, 9 << 20), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      let outcome = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
      #expect(outcome == .uploaded)
      #expect(registry.blob(descriptor.digest, in: "app") == bytes)
      #expect(registry.requests.filter { $0.method == "PATCH" && $0.status == 202 }.count == 3)
    }
  }

  @Test func theRegistrysChunkMinimumIsKept() async throws {
    var options = TestRegistryOptions()
    options.minimumChunk = 400_000
    try await withRegistry(options, configure: { ($0.chunkedUploadThreshold, $0.uploadChunkSize) = (0, 1000) }) { registry, client in
      let bytes = random(7, 1_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      _ = try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
      #expect(registry.requests.filter { $0.method == "PATCH" }.map(\.bodySize) == [400_000, 400_000, 200_000])
    }
  }

  @Test func aRefusalIsFinalAndEndsTheSession() async throws {
    try await withRegistry { registry, client in
      let bytes = random(8, 1000)
      // What is sent is not what was announced.
      let error = await #expect(throws: RegistryError.self) { try await client.pushBlob(Descriptor(mediaType: .ociLayer, of: bytes), from: MemoryBlobSource(random(9, 1000)), to: registry.reference("app")) }
      #expect(error?.details.first?.code == "DIGEST_INVALID")
      let short = await #expect(throws: RegistryError.self) { try await client.pushBlob(Descriptor(mediaType: .ociLayer, of: bytes), from: MemoryBlobSource(Array(bytes.prefix(500))), to: registry.reference("app")) }
      #expect(short?.code == .local)
      #expect(registry.openUploads == 0)
      registry.inject(TestFault("POST", "/uploads/", .status(403, headers: [("Content-Type", "application/json")], body: #"{"errors":[{"code":"DENIED","message":"read only"}]}"#)))
      let denied = await #expect(throws: RegistryError.self) { try await client.pushBlob(Descriptor(mediaType: .ociLayer, of: bytes), from: MemoryBlobSource(bytes), to: registry.reference("app")) }
      #expect(denied?.code == .denied && denied?.description.contains("read only") == true)
    }
  }

  @Test func manifestsGoUnderTagAndDigestOnce() async throws {
    try await withRegistry { registry, client in
      let image = try RandomImage(seed: 70)
      for blob in image.blobs { registry.addBlob(blob.bytes, to: "app") }
      let reference = try registry.reference("app:1")
      #expect(try await client.pushManifest(image.rootBytes, mediaType: .ociManifest, to: reference) == image.root)
      #expect(registry.manifest("1", in: "app") == image.rootBytes)
      try await client.pushManifest(image.rootBytes, mediaType: .ociManifest, to: reference)
      #expect(registry.requests.filter { $0.method == "PUT" }.count == 1)
      try await client.pushManifest(image.rootBytes, mediaType: .ociManifest, to: reference.repository)
      #expect(registry.requests.last?.path == "/v2/app/manifests/\(image.root.digest)")
      await #expect(throws: RegistryError.self) { try await client.pushManifest(image.rootBytes, mediaType: .ociManifest, to: reference.with(digest: .sha256(of: "other"))) }
      let other = try RandomImage(seed: 71)
      let error = await #expect(throws: RegistryError.self) { try await client.pushManifest(other.rootBytes, mediaType: .ociManifest, to: reference) }
      #expect(error?.details.first?.code == "MANIFEST_BLOB_UNKNOWN")
    }
  }
}

@Suite struct CopyTests {
  let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]

  @Test func betweenRegistries() async throws {
    try await TestRegistry.run { target in
      try await withRegistry { registry, client in
        let image = try RandomImage(seed: 80, platforms: platforms, layers: 3, shared: 1, layerSize: 300_000)
        registry.add(image, to: "app", tag: "1")
        registry.inject(TestFault("GET", "/blobs/", .truncate(after: 100_000)))
        target.inject(TestFault("PUT", "/uploads/", .resetDuringBody(after: 50_000)))
        #expect(try await client.copy(from: registry.reference("app:1"), to: target.reference("copy/app:2")) == image.root)
        #expect(target.manifest("2", in: "copy/app") == image.rootBytes)
        for manifest in image.manifests { #expect(target.manifest(manifest.descriptor.digest.description, in: "copy/app") == manifest.bytes) }
        for blob in image.blobs { #expect(target.blob(blob.descriptor.digest, in: "copy/app") == blob.bytes) }
        // A second time nothing is sent.
        target.clearRequests()
        _ = try await client.copy(from: registry.reference("app:1"), to: target.reference("copy/app:2"))
        #expect(target.requests.allSatisfy { $0.method == "HEAD" }, "\(target.requests)")
      }
    }
  }

  @Test func withinARegistryByMounts() async throws {
    try await withRegistry { registry, client in
      let image = try RandomImage(seed: 81, platforms: platforms, docker: true)
      registry.add(image, to: "app", tag: "1")
      #expect(try await client.copy(from: registry.reference("app:1"), to: registry.reference("other:x")) == image.root)
      #expect(registry.manifest("x", in: "other") == image.rootBytes)
      #expect(!registry.requests.contains { $0.method == "GET" && $0.path.contains("/blobs/") })
      // To another name in the same repository: only a name.
      registry.clearRequests()
      #expect(try await client.copy(from: registry.reference("app:1"), to: registry.reference("app:2")) == image.root)
      #expect(registry.manifest("2", in: "app") == image.rootBytes)
    }
  }

  @Test func aLyingIndexIsRefused() async throws {
    try await withRegistry { registry, client in
      let image = try RandomImage(seed: 82, platforms: platforms)
      registry.add(image, to: "app")
      var child = image.manifests[0].descriptor
      child.size += 1
      let index = ImageIndex(manifests: [child]).encoded
      registry.addManifest(index, type: MediaType.ociIndex.rawValue, tag: "1", to: "app")
      let error = await #expect(throws: RegistryError.self) { try await client.copy(from: registry.reference("app:1"), to: registry.reference("other:1")) }
      #expect(error?.code == .sizeMismatch)
    }
  }
}
