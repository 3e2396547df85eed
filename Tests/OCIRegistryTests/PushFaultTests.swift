import ContentStore
import OCIModel
import OCIRegistry
import TestSupport
import Testing

@Suite struct CredentialFaultTests {
  private func bearer(_ change: (inout TestRegistryOptions) -> Void = { _ in }) -> TestRegistryOptions {
    var options = TestRegistryOptions()
    options.authentication = .bearer(user: "me", password: "secret", lifetime: 300)
    change(&options)
    return options
  }
  private func login(_ registry: TestRegistry) -> StaticCredentials { StaticCredentials([registry.host: .password(user: "me", password: "secret")]) }

  private func client(_ registry: TestRegistry, _ configure: (inout RegistryConfiguration) -> Void = { _ in }) -> RegistryClient {
    var configuration = RegistryConfiguration(environment: [:])
    configuration.certificateDirectories = []
    configure(&configuration)
    return RegistryClient(configuration, credentials: login(registry), clock: FakeTime().clock)
  }

  @Test(arguments: [false, true]) func tokensThatExpireAreRenewedInTheMiddleOfAPush(_ chunked: Bool) async throws {
    let faults: [[TestFault]] = [
      [TestFault("PUT", "/uploads/", .expireToken), TestFault("PATCH", "/uploads/", skip: 1, times: 2, .expireToken), TestFault("PUT", "/manifests/", times: 2, .expireToken)],
      [TestFault("PUT", "/manifests/", .stall(milliseconds: 5)), TestFault("POST", "/uploads/", times: 3, .expireToken)],
    ]
    for faults in faults {
      try await TestRegistry.run(bearer()) { registry in
        let client = client(registry) { if chunked { ($0.chunkedUploadThreshold, $0.uploadChunkSize) = (0, 1000) } }
        let image = try RandomImage(seed: 1100, platforms: ["linux/amd64", "linux/arm64"])
        for fault in faults { registry.inject(fault) }
        try await image.push(to: registry.reference("app:1"), client)
        await client.shutdown()
        #expect(registry.missing(of: "1", in: "app") == nil)
        #expect(registry.requests.filter { $0.path == "/token" }.count > 1)
      }
    }
    // Each token good for four requests.
    try await TestRegistry.run(bearer { $0.usesPerToken = 4 }) { registry in
      let client = client(registry) { $0.maximumTransfers = 1 }
      let image = try RandomImage(seed: 1101, platforms: ["linux/amd64", "linux/arm64"])
      for blob in image.blobs { try await client.pushBlob(blob.descriptor, from: MemoryBlobSource(blob.bytes), to: registry.reference("app")) }
      for manifest in image.manifests.dropLast() { try await client.pushManifest(manifest.bytes, mediaType: manifest.descriptor.mediaType, to: registry.reference("app")) }
      try await client.pushManifest(image.rootBytes, mediaType: image.root.mediaType, to: registry.reference("app:1"))
      await client.shutdown()
      #expect(registry.missing(of: "1", in: "app") == nil)
      #expect(registry.requests.filter { $0.path == "/token" }.count > 4)
    }
  }

  @Test func aRefusalWhileTheBodyIsSentIsHeard() async throws {
    try await TestRegistry.run(bearer()) { registry in
      let client = client(registry)
      var random = SeededGenerator(1102)
      let bytes = random.bytes(6_000_000), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      let challenge = "Bearer realm=\"http://\(registry.host)/token\",service=\"test-registry\",scope=\"repository:app:pull,push\""
      registry.inject(TestFault("PUT", "/uploads/", .early(401, headers: [("WWW-Authenticate", challenge)])))
      try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
      #expect(registry.blob(descriptor.digest, in: "app") == bytes)
      let other = random.bytes(6_000_000)
      registry.inject(TestFault("PUT", "/uploads/", times: 9, .early(403, headers: [("Content-Type", "application/json")], body: #"{"errors":[{"code":"DENIED","message":"the quota of app is used up"}]}"#)))
      let error = await #expect(throws: RegistryError.self) { try await client.pushBlob(Descriptor(mediaType: .ociLayer, of: other), from: MemoryBlobSource(other), to: registry.reference("app")) }
      #expect(error?.code == .denied && error?.description.contains("the quota of app is used up") == true, "\(error?.description ?? "")")
      await client.shutdown()
    }
  }

  @Test func credentialsDoNotFollowToOtherHosts() async throws {
    try await TestRegistry.run { other in
      try await TestRegistry.run(bearer()) { registry in
        other.acceptUploads(for: registry)
        let client = client(registry)
        let image = try RandomImage(seed: 1103, platforms: ["linux/amd64", "linux/arm64"])
        // Uploads are sent there by their Location…
        registry.set { $0.uploadsTo = other.host }
        try await image.push(to: registry.reference("app:1"), client)
        #expect(registry.missing(of: "1", in: "app") == nil && other.requests.filter { $0.method == "PUT" }.count == image.blobs.count)
        // … or by a redirect of the PUT, and reads by a redirect of the GET.
        registry.set { $0.uploadsTo = nil }
        registry.inject(TestFault("PUT", "/uploads/", .redirect(origin: "http://\(other.host)")))
        let bytes = Array("other".utf8)
        try await client.pushBlob(Descriptor(mediaType: .ociLayer, of: bytes), from: MemoryBlobSource(bytes), to: registry.reference("app"))
        registry.set { $0.redirectBlobsTo = other.host }
        for blob in image.blobs { other.addRedirected(blob.bytes) }
        // A signed address that has expired is asked for anew.
        other.inject(TestFault("GET", "/cdn/", .status(403, headers: [("Content-Type", "application/xml")], body: "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")))
        for blob in image.blobs {
          let sink = MemorySink()
          try await client.fetchBlob(blob.descriptor, from: registry.reference("app"), into: sink)
          #expect(sink.bytes == blob.bytes)
        }
        await client.shutdown()
        #expect(other.requests.count > image.blobs.count * 2 + 1)
        #expect(other.requests.allSatisfy { $0.headers["authorization"] == nil && !$0.query.contains("secret") }, "\(other.requests)")
        #expect(registry.requests.contains { $0.headers["authorization"] != nil })
      }
    }
  }

  @Test func tokenServersAreWaitedForAndTold() async throws {
    try await TestRegistry.run(bearer()) { registry in
      let told = Recorder<RegistryRetry>()
      let client = client(registry) { $0.onRetry = { told.add($0) } }
      let image = try RandomImage(seed: 1104)
      registry.add(image, to: "app", tag: "1")
      registry.inject(TestFault("GET", "/token", times: 2, .status(503, headers: [("Retry-After", "1")])))
      #expect(try await client.resolve(registry.reference("app:1")) == image.root)
      #expect(told.all.count == 2 && told.all.allSatisfy { $0.request.hasSuffix("/token") && $0.reason == "503 Service Unavailable" }, "\(told.all)")
      registry.inject(TestFault("GET", "/token", times: 20, .status(500, body: "out of order")))
      let error = await #expect(throws: RegistryError.self) { try await client.tags(registry.reference("else")) }
      #expect(error?.description.contains("out of order") == true && error?.description.contains("the token server of \(registry.host) refused") == true, "\(error?.description ?? "")")
      await client.shutdown()
    }
  }
}

@Suite struct RetryWordsTests {
  @Test func waitsAreNeverToldAsNone() {
    func told(_ wait: Duration) -> String { RegistryRetry(host: "h:5000", request: "PUT http://h:5000/v2/a/manifests/1", reason: "503 Service Unavailable", wait: wait, attempt: 2, maximumAttempts: 6).description }
    #expect(told(.milliseconds(1)) == "h:5000: 503 Service Unavailable [PUT http://h:5000/v2/a/manifests/1]: trying again in 0.1 s (try 2 of 6)")
    #expect(told(.milliseconds(1200)).contains("in 1.2 s ") && told(.seconds(3)).contains("in 3 s ") && told(.milliseconds(10_100)).contains("in 11 s "))
  }

  /// The budget that `RetryPolicy` documents.
  @Test func theBudgetIsWhatIsWritten() {
    func waits(_ status: Int, _ retryAfter: Duration?) -> [Duration] {
      var waits: [Duration] = []
      for attempt in 1...20 {
        guard case .retry(let wait) = RetryPolicy().decision(afterAttempt: attempt, .status(status, retryAfter: retryAfter), random: 1) else { break }
        waits.append(wait)
      }
      return waits
    }
    #expect(waits(503, nil).count == 5 && waits(503, nil).reduce(.zero, +) < .seconds(5))
    let limited = waits(429, nil).reduce(.zero, +)
    #expect(waits(429, nil).count == 5 && limited > .seconds(25) && limited < .seconds(35))
    #expect(waits(429, .seconds(90)).count == 5 && waits(429, .seconds(91)).isEmpty && waits(404, nil).isEmpty)
  }
}

@Suite struct ResumedPushTests {
  private func store(_ scratch: ScratchDirectory) async throws -> ContentStore { try await ContentStore.open(root: scratch.path + "/root") }

  private func client(_ store: ContentStore, _ configure: (inout RegistryConfiguration) -> Void = { _ in }) -> RegistryClient {
    var configuration = RegistryConfiguration(environment: [:])
    configuration.certificateDirectories = []
    configuration.uploads = StoredUploads(store)
    (configuration.resumableUploadThreshold, configuration.uploadChunkSize) = (1 << 20, 1 << 20)
    configure(&configuration)
    return RegistryClient(configuration, credentials: AnonymousCredentials(), clock: FakeTime().clock)
  }

  /// A blob is sent by one process until the registry goes away, and the rest by another.
  @Test(arguments: [0, 1, 2, 4]) func halfSentBlobsAreTakenUpByAnotherProcess(_ chunks: Int) async throws {
    let scratch = try ScratchDirectory("resume")
    let store = try await store(scratch)
    try await TestRegistry.run { registry in
      var random = SeededGenerator(1200)
      let bytes = random.bytes(5 << 20), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      let first = client(store)
      // In the middle of a chunk: what came of it counts, too.
      registry.inject(TestFault("PATCH", "/uploads/", skip: chunks, times: 1, .resetDuringBody(after: 300_000)))
      registry.inject(TestFault(nil, "/uploads/", skip: chunks + 1, times: 1_000_000, .reset))
      let failed = await #expect(throws: RegistryError.self) { try await first.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app")) }
      #expect(failed?.code == .network && failed?.description.contains("goes on where this one stopped") == true, "\(failed?.description ?? "")")
      await first.shutdown()
      registry.clearFaults()
      let second = client(store)
      #expect(try await second.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app")) == .uploaded)
      await second.shutdown()
      #expect(registry.blob(descriptor.digest, in: "app") == bytes && registry.openUploads == 0)
      let sent = registry.requests.filter { $0.method == "PATCH" && $0.status == 202 }
      #expect(registry.requests.filter { $0.method == "POST" }.count == 1)
      // Nothing that had arrived was sent again.
      #expect(sent.map(\.bodySize).reduce(0, +) == bytes.count - 300_000, "\(sent.map { ($0.headers["content-range"] ?? "", $0.bodySize) })")
      let left = try await store.upload(of: descriptor.digest.description, to: registry.host + "/app")
      #expect(left == nil)
    }
    try await store.close()
  }

  /// What another process left is of other bytes, or of a session that is gone: the blob is sent anew.
  @Test func whatIsRememberedWronglyCostsWorkOnly() async throws {
    let scratch = try ScratchDirectory("resume")
    let store = try await store(scratch)
    try await TestRegistry.run { registry in
      var random = SeededGenerator(1201)
      let bytes = random.bytes(5 << 20), descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
      let (memory, name, digest) = (StoredUploads(store), registry.host + "/app", descriptor.digest.description)
      for location in ["http://\(registry.host)/v2/app/blobs/uploads/gone", "no address", "http://127.0.0.1:1/v2/app/blobs/uploads/x"] {
        await memory.remember(RememberedUpload(location: location, offset: 1 << 20), repository: name, digest: digest)
        let client = client(store)
        try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
        await client.shutdown()
        #expect(registry.blob(descriptor.digest, in: "app") == bytes)
        registry.forgetRepositories()
      }
      let left = registry.leaveUpload("old", to: "app", [UInt8](repeating: 7, count: 1 << 20))
      await memory.remember(RememberedUpload(location: left, offset: 1 << 20), repository: name, digest: digest)
      let client = client(store)
      try await client.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: registry.reference("app"))
      await client.shutdown()
      #expect(registry.blob(descriptor.digest, in: "app") == bytes)
    }
    try await store.close()
  }

  @Test func parallelPushesSendASharedBlobOnce() async throws {
    let scratch = try ScratchDirectory("parallel")
    let store = try await store(scratch)
    var options = TestRegistryOptions()
    options.latencyMilliseconds = 5
    try await TestRegistry.run(options) { registry in
      var random = SeededGenerator(1202)
      let large = random.bytes(5 << 20)
      let images = try (0..<6).map { try RandomImage(seed: 1210 + UInt64($0 / 3), platforms: ["linux/amd64", "linux/arm64"], layers: 3, shared: 2) }
      let one = client(store), two = client(store)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (i, image) in images.enumerated() { group.addTask { try await image.push(to: registry.reference("app:\(i)"), one) } }
        // Two clients with one store, as two processes have.
        for client in [one, two, one, two] { group.addTask { _ = try await client.pushBlob(Descriptor(mediaType: .ociLayer, of: large), from: MemoryBlobSource(large), to: registry.reference("app")) } }
        try await group.waitForAll()
      }
      await one.shutdown()
      await two.shutdown()
      let ended = registry.requests.filter { $0.method == "PUT" && $0.path.contains("/uploads/") }.compactMap { $0.parameter("digest") }
      #expect(Set(ended).count == ended.count, "\(ended)")
      for i in 0..<6 { #expect(registry.missing(of: "\(i)", in: "app") == nil) }
    }
    try await store.close()
  }

  // MARK: Killed at any request

  private enum End: CaseIterable { case cut, cutAfterItsEffect, cancelled }

  /// A push of an index over an older one is ended at each of its requests in turn.
  @Test(arguments: [0, 1, 2]) func endedAtAnyRequestTheTagIsOldOrComplete(_ way: Int) async throws {
    let end = End.allCases[way]
    let old = try RandomImage(seed: 1300, platforms: ["linux/amd64", "linux/arm64"]), new = try RandomImage(seed: 1301, platforms: ["linux/amd64", "linux/arm64"], layers: 2, shared: 1)
    var n = 0, wasOld = 0, wasNew = 0
    while true {
      n += 1
      let scratch = try ScratchDirectory("ended")
      let store = try await store(scratch)
      let ended = try await TestRegistry.run { registry -> Bool in
        registry.add(old, to: "app", tag: "1")
        let first = client(store) { $0.retry = RetryPolicy(maximumAttempts: 2) }
        let target = try registry.reference("app:1")
        let ended = await endPush(new, to: target, first, registry, after: n, end)
        await first.shutdown()
        // The tag is the old index or the new one, and whichever it is is whole.
        let tagged = registry.manifest("1", in: "app")
        #expect(tagged == old.rootBytes || tagged == new.rootBytes, "\(n)")
        #expect(registry.missing(of: "1", in: "app") == nil, "\(n)")
        if tagged == old.rootBytes { wasOld += 1 } else { wasNew += 1 }
        let there = Set(new.blobs.map(\.descriptor.digest).filter { registry.blob($0, in: "app") != nil })
        registry.clearRequests()
        let second = client(store)
        try await new.push(to: target, second)
        await second.shutdown()
        #expect(registry.manifest("1", in: "app") == new.rootBytes && registry.missing(of: "1", in: "app") == nil, "\(n)")
        // No blob that had arrived was sent again.
        let again = registry.requests.filter { $0.bodySize > 0 && $0.path.contains("/uploads/") }.compactMap { $0.parameter("digest").flatMap { Digest($0) } }
        #expect(there.isDisjoint(with: again), "\(n): \(registry.requests)")
        #expect(Set(again).count == again.count)
        return ended
      }
      try await store.close()
      guard ended else { break }
      guard n < 200 else { Issue.record("no end"); break }
    }
    #expect(n > 15 && wasOld > 15 && wasNew >= 1, "\(n) \(wasOld) \(wasNew)")
  }

  /// Whether the push was ended before it was done.
  private func endPush(_ image: RandomImage, to target: Reference, _ client: RegistryClient, _ registry: TestRegistry, after n: Int, _ end: End) async -> Bool {
    switch end {
    case .cut, .cutAfterItsEffect:
      registry.cut(after: n, losesLast: end == .cutAfterItsEffect)
      let result: Result<Void, any Error>
      do { result = .success(try await image.push(to: target, client)) } catch { result = .failure(error) }
      let wasCut = registry.wasCut
      registry.restore()
      if case .failure(let error) = result { #expect((error as? RegistryError)?.code == .network, "\(error)") }
      if case .success = result { return false }
      return wasCut
    case .cancelled:
      let task = Task { try await image.push(to: target, client) }
      let base = registry.arrivals
      registry.onRequest { if $0.number >= base + n { task.cancel() } }
      let result = await task.result
      registry.onRequest(nil)
      if case .failure(let error) = result {
        #expect(error is CancellationError, "\(error)")
        return true
      }
      return false
    }
  }
}
