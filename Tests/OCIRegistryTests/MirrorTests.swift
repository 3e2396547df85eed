import OCIModel
import OCIRegistry
import TestSupport
import Testing

/// Mirrors: asked in order for what is read, never written to.
@Suite struct MirrorTests {
  let notices = Recorder<RegistryNotice>()
  /// The registry, its mirrors, a client that knows of them.
  func with(
    mirrors paths: [String] = ["", "/project"], dead: [String] = [], credentials: any RegistryCredentialProvider = AnonymousCredentials(), retry: RetryPolicy = RetryPolicy(),
    _ body: (_ own: TestRegistry, _ mirrors: [TestRegistry], RegistryClient) async throws -> Void
  ) async throws {
    let own = try await TestRegistry.start()
    var mirrors: [TestRegistry] = []
    for _ in paths { mirrors.append(try await TestRegistry.start()) }
    var configuration = RegistryConfiguration(environment: [:])
    configuration.certificateDirectories = []
    configuration.retry = retry
    configuration.registries[own.host] = settings(dead + zip(mirrors, paths).map { $0.host + $1 })
    configuration.registries["docker.io"] = settings(mirrors.map { $0.host })
    let notices = notices
    configuration.onNotice = { notices.add($0) }
    let client = RegistryClient(configuration, credentials: credentials, clock: FakeTime().clock)
    var failure: (any Error)?
    do { try await body(own, mirrors, client) } catch { failure = error }
    await client.shutdown()
    for registry in [own] + mirrors { await registry.stop() }
    if let failure { throw failure }
  }
  func settings(_ mirrors: [String]) -> RegistryHostSettings {
    var out = RegistryHostSettings()
    out.mirrors = mirrors.compactMap { RegistryMirror($0) }
    return out
  }
  func fetch(_ image: RandomImage, _ reference: Reference, _ client: RegistryClient) async throws {
    for blob in image.blobs {
      let sink = MemorySink()
      try await client.fetchBlob(blob.descriptor, from: reference, into: sink)
      #expect(sink.bytes == blob.bytes)
    }
  }

  @Test func theFirstThatHasItGivesAll() async throws {
    try await with { own, mirrors, client in
      let image = try RandomImage(seed: 1, layers: 2)
      mirrors[1].add(image, to: "project/team/app", tag: "1")
      let reference = try own.reference("team/app:1")
      #expect(try await client.resolve(reference) == image.root)
      #expect(try await client.manifest(reference).descriptor == image.root)
      try await fetch(image, reference, client)
      #expect(own.requests.filter { $0.path != "/v2/" }.isEmpty, "\(own.requests)")
      #expect(mirrors[0].requests.allSatisfy { $0.status == 404 || $0.path == "/v2/" } && !mirrors[0].requests.isEmpty)
      #expect(mirrors[1].requests.filter { $0.path != "/v2/" }.allSatisfy { $0.path.hasPrefix("/v2/project/team/app/") && $0.parameter("ns") == own.host }, "\(mirrors[1].requests)")
      // Said once, however often it is asked for; that the first mirror lacks it is no news.
      #expect(notices.all == [.mirrored(reference: reference.familiar, mirror: mirrors[1].host + "/project")])
    }
  }

  @Test func theHubIsNamedToItsMirrors() async throws {
    try await with { _, mirrors, client in
      let image = try RandomImage(seed: 2)
      mirrors[0].add(image, to: "library/busybox", tag: "latest")
      #expect(try await client.resolve(Reference(parsing: "busybox").withDefaultTag) == image.root)
      #expect(mirrors[0].requests.last?.parameter("ns") == "docker.io" && mirrors[0].requests.last?.path == "/v2/library/busybox/manifests/latest")
    }
  }

  @Test func whatFailsIsPassedOverWithAWord() async throws {
    try await with { own, mirrors, client in
      let image = try RandomImage(seed: 3, layers: 3)
      own.add(image, to: "app", tag: "1")
      mirrors[0].inject(TestFault(nil, "/v2/app", times: 1000, .status(500, body: "broken mirror")))
      mirrors[1].set { $0.authentication = .basic(user: "u", password: "p") }
      let reference = try own.reference("app:1")
      #expect(try await client.resolve(reference) == image.root)
      try await fetch(image, reference, client)
      let failed = notices.all.compactMap { if case .mirrorFailed(let mirror, _, let reason) = $0 { (mirror, reason) } else { nil } }
      #expect(failed.contains { $0.0 == mirrors[0].host && $0.1.contains("500") } && failed.contains { $0.0 == mirrors[1].host + "/project" && $0.1.contains("401") }, "\(failed)")
      #expect(!notices.all.contains { if case .mirrored = $0 { true } else { false } })
    }
  }

  /// One that cannot be reached is not tried for each blob anew.
  @Test func anUnreachableMirrorIsGivenUp() async throws {
    try await with(mirrors: [], dead: ["127.0.0.1:1"]) { own, _, client in
      let image = try RandomImage(seed: 4, layers: 3)
      own.add(image, to: "app", tag: "1")
      let reference = try own.reference("app:1")
      #expect(try await client.resolve(reference) == image.root)
      try await fetch(image, reference, client)
      #expect(notices.all.count == 1 && notices.all[0].description.contains("passed over"), "\(notices.all)")
    }
  }

  /// A mirror that breaks off, or gives other content, is followed by the registry where it ended.
  @Test func aBlobGoesOnElsewhere() async throws {
    try await with(mirrors: [""], retry: RetryPolicy(maximumAttempts: 2)) { own, mirrors, client in
      let image = try RandomImage(seed: 5, layers: 1, layerSize: 300_000)
      let blob = try #require(image.blobs.max { $0.bytes.count < $1.bytes.count })
      own.add(image, to: "app", tag: "1")
      mirrors[0].add(image, to: "app", tag: "1")
      let reference = try own.reference("app:1")
      mirrors[0].inject(TestFault("GET", "\(blob.descriptor.digest)", .truncate(after: 100_000)))
      mirrors[0].inject(TestFault("GET", "\(blob.descriptor.digest)", times: 1000, .status(500)))
      try await fetch(image, reference, client)
      let went = try #require(own.requests.last { $0.path.contains(blob.descriptor.digest.description) })
      #expect(went.headers["range"]?.hasPrefix("bytes=") == true && went.headers["range"] != "bytes=0-299999", "\(went.headers)")
      mirrors[0].clearFaults()
      mirrors[0].inject(TestFault("GET", "/blobs/", times: 1000, .corrupt))
      try await fetch(image, reference, client)
    }
  }

  /// Wrong documents of a mirror are no reason to fail.
  @Test func wrongManifestsArePassedOver() async throws {
    try await with(mirrors: [""]) { own, mirrors, client in
      let image = try RandomImage(seed: 6)
      own.add(image, to: "app", tag: "1")
      mirrors[0].add(image, to: "app", tag: "1")
      mirrors[0].inject(TestFault("GET", "/manifests/", times: 1000, .corrupt))
      #expect(try await client.manifest(try own.reference("app:1"), digest: image.root.digest).descriptor == image.root)
    }
  }

  @Test func nothingIsPushedToAMirror() async throws {
    try await with { own, mirrors, client in
      let image = try RandomImage(seed: 7, layers: 2)
      let reference = try own.reference("new:1")
      for blob in image.blobs { try await client.pushBlob(blob.descriptor, from: MemoryBlobSource(blob.bytes), to: reference) }
      for manifest in image.manifests { try await client.pushManifest(manifest.bytes, mediaType: manifest.descriptor.mediaType, to: reference) }
      #expect(mirrors.allSatisfy { $0.requests.isEmpty } && own.manifest("1", in: "new") != nil)
    }
  }

  @Test func whatNobodyHasIsTheRegistrysError() async throws {
    try await with { own, mirrors, client in
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(own.reference("absent:1")) }
      #expect(error?.code == .notFound && error?.host == own.host, "\(String(describing: error))")
      #expect(error?.advice.contains("Asked before: the mirrors \(mirrors[0].host) (does not have it), \(mirrors[1].host)/project (does not have it)") == true)
    }
  }

  /// A mirror's credential is its own, and the token it gives is for the repository's name there.
  @Test func credentialsAreTheMirrors() async throws {
    struct Asked: RegistryCredentialProvider {
      let asked = Recorder<String>()
      func credential(for host: String) async throws -> RegistryCredential? {
        asked.add(host)
        return .password(user: "u", password: "p")
      }
    }
    let asked = Asked()
    try await with(mirrors: ["/project"], credentials: asked) { own, mirrors, client in
      mirrors[0].set { $0.authentication = .bearer(user: "u", password: "p", lifetime: 300) }
      let image = try RandomImage(seed: 8)
      mirrors[0].add(image, to: "project/app", tag: "1")
      #expect(try await client.resolve(try own.reference("app:1")) == image.root)
      #expect(asked.asked.all == [mirrors[0].host])
      #expect(mirrors[0].requests.last { $0.path == "/token" }?.parameter("scope") == "repository:project/app:pull", "\(mirrors[0].requests)")
    }
  }
}
