import OCIModel
import OCIRegistry
import TestSupport
import Testing

@Suite struct AuthorizationTests {
  struct Counting: RegistryCredentialProvider {
    let inner: StaticCredentials
    let asked = Recorder<String>()
    init(_ host: String, _ credential: RegistryCredential) { inner = StaticCredentials([host: credential]) }
    func credential(for host: String) async throws -> RegistryCredential? {
      asked.add(host)
      return try await inner.credential(for: host)
    }
  }
  struct Broken: RegistryCredentialProvider {
    func credential(for host: String) async throws -> RegistryCredential? { throw RegistryError(.credentials, "docker-credential-desktop is not here") }
  }
  /// Credentials that can be told only when the registry is up.
  struct Same: RegistryCredentialProvider {
    let credential: RegistryCredential
    func credential(for host: String) async throws -> RegistryCredential? { credential }
  }

  func options(_ authentication: TestRegistryOptions.Authentication) -> TestRegistryOptions {
    var options = TestRegistryOptions()
    options.authentication = authentication
    return options
  }

  @Test func basic() async throws {
    try await withRegistry(options(.basic(user: "u", password: "p:w")), credentials: Same(credential: .password(user: "u", password: "p:w"))) { registry, client in
      let image = try RandomImage(seed: 20)
      registry.add(image, to: "app", tag: "1")
      #expect(try await client.resolve(registry.reference("app:1")) == image.root)
      // The first answer already told how; nothing was asked in vain.
      #expect(registry.requests.map(\.status) == [401, 200])
    }
    try await withRegistry(options(.basic(user: "u", password: "p")), credentials: Same(credential: .password(user: "u", password: "wrong"))) { registry, client in
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("app:1")) }
      #expect(error?.code == .unauthorized && error?.description.contains("were refused") == true)
      #expect(registry.requests.count <= 3)
    }
  }

  @Test func anonymousTokens() async throws {
    try await withRegistry(options(.bearer(user: nil, password: "", lifetime: 300))) { registry, client in
      let image = try RandomImage(seed: 21)
      registry.add(image, to: "app", tag: "1")
      for _ in 0..<3 { _ = try await client.resolve(registry.reference("app:1")) }
      let tokens = registry.requests.filter { $0.path == "/token" }
      #expect(tokens.count == 1)
      #expect(tokens.first?.parameter("scope") == "repository:app:pull" && tokens.first?.parameter("service") == "test-registry", "\(tokens)")
    }
  }

  @Test func oneTokenServesManyTasks() async throws {
    try await withRegistry(options(.bearer(user: "u", password: "p", lifetime: 300)), credentials: Same(credential: .password(user: "u", password: "p"))) { registry, client in
      let image = try RandomImage(seed: 22, layers: 20, layerSize: 50)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for blob in image.blobs { group.addTask { try await client.pushBlob(blob.descriptor, from: MemoryBlobSource(blob.bytes), to: registry.reference("app")) } }
        try await group.waitForAll()
      }
      #expect(registry.requests.filter { $0.path == "/token" }.count == 1)
      #expect(registry.requests.first { $0.path == "/token" }?.parameter("scope") == "repository:app:pull,push")
      #expect(registry.requests.filter { $0.status == 401 }.count == 1)
    }
  }

  @Test func expiredTokensAreRenewed() async throws {
    try await withRegistry(options(.bearer(user: "u", password: "p", lifetime: 300)), credentials: Same(credential: .password(user: "u", password: "p"))) { registry, client in
      let image = try RandomImage(seed: 23)
      registry.add(image, to: "app", tag: "1")
      _ = try await client.resolve(registry.reference("app:1"))
      // The registry's clock runs ahead of ours: it refuses a token that we think good.
      registry.advance(seconds: 1000)
      _ = try await client.resolve(registry.reference("app:1"))
      #expect(registry.requests.filter { $0.path == "/token" }.count == 2)
    }
  }

  @Test func identityTokens() async throws {
    let authentication = TestRegistryOptions.Authentication.bearer(user: "u", password: "p", lifetime: nil, identityToken: "refresh-me")
    try await withRegistry(options(authentication), credentials: Same(credential: .identityToken("refresh-me"))) { registry, client in
      let image = try RandomImage(seed: 24)
      registry.add(image, to: "app", tag: "1")
      _ = try await client.resolve(registry.reference("app:1"))
      #expect(registry.requests.first { $0.path == "/token" }?.method == "POST")
    }
    try await withRegistry(options(authentication), credentials: Same(credential: .identityToken("old"))) { registry, client in
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("app:1")) }
      #expect(error?.code == .unauthorized && error?.description.contains("the refresh token is unknown") == true)
    }
  }

  @Test func registryTokens() async throws {
    try await withRegistry(options(.bearer(user: "u", password: "p", lifetime: 60)), credentials: Same(credential: .registryToken("nonsense"))) { registry, client in
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("app:1")) }
      #expect(error?.code == .unauthorized)
      #expect(registry.requests.contains { $0.headers["authorization"] == "Bearer nonsense" })
      #expect(!registry.requests.contains { $0.path == "/token" })
    }
  }

  @Test func theProviderIsAskedOnceAndItsFailureIsToldOnRefusal() async throws {
    try await withRegistry(options(.bearer(user: nil, password: "", lifetime: 60)), credentials: Broken()) { registry, client in
      registry.add(try RandomImage(seed: 25), to: "app", tag: "1")
      // A public image needs no credential.
      _ = try await client.resolve(registry.reference("app:1"))
      let error = await #expect(throws: RegistryError.self) { try await client.pushManifest([1], mediaType: .ociIndex, to: registry.reference("app:1")) }
      #expect(error?.code == .unauthorized && error?.description.contains("docker-credential-desktop is not here") == true, "\(error?.description ?? "")")
    }
    try await withRegistry(options(.bearer(user: "u", password: "p", lifetime: 60))) { registry, client in
      let provider = Counting(registry.host, .password(user: "u", password: "p"))
      registry.add(try RandomImage(seed: 26), to: "app", tag: "1")
      let own = RegistryClient(RegistryConfiguration(environment: [:]), credentials: provider)
      for name in ["app:1", "app", "app:1"] { _ = try? await own.resolve(registry.reference(name)) }
      await own.shutdown()
      #expect(provider.asked.all == [registry.host])
    }
  }

  @Test func redirectsToAnotherHostCarryNoCredentials() async throws {
    try await TestRegistry.run { cdn in
      var options = options(.basic(user: "u", password: "p"))
      options.redirectBlobsTo = cdn.host
      try await withRegistry(options, credentials: Same(credential: .password(user: "u", password: "p"))) { registry, client in
        let bytes = Array("content elsewhere".utf8)
        registry.addBlob(bytes, to: "app")
        cdn.addRedirected(bytes)
        let descriptor = Descriptor(mediaType: .ociLayer, of: bytes)
        let sink = MemorySink()
        try await client.fetchBlob(descriptor, from: registry.reference("app"), into: sink)
        #expect(sink.bytes == bytes && sink.isFinished)
        #expect(cdn.requests.count == 1 && cdn.requests[0].query == "X-Signature=abc%2Fdef&expires=9")
        #expect(cdn.requests[0].headers["authorization"] == nil)
        #expect(registry.requests.last?.headers["authorization"] != nil)
        // A redirect is proof enough that it is there.
        #expect(try await client.blobExists(descriptor, in: registry.reference("app")))
        #expect(cdn.requests.count == 1)
      }
    }
  }

  @Test func plainHTTPLeavesThisMachineOnlyWhenNamed() async throws {
    var options = options(.bearer(user: "u", password: "p", lifetime: 60))
    options.tokenRealm = "http://tokens.example/token"
    try await withRegistry(options, credentials: Same(credential: .password(user: "u", password: "p"))) { registry, client in
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("app:1")) }
      #expect(error?.description.contains("token server without TLS") == true, "\(error?.description ?? "")")
    }
    var elsewhere = TestRegistryOptions()
    elsewhere.redirectBlobsTo = "storage.example:1"
    for insecure in [false, true] {
      try await withRegistry(elsewhere, configure: { if insecure { $0.insecureHosts = ["storage.example:1"] } }) { registry, client in
        registry.addBlob([1, 2], to: "app")
        let error = await #expect(throws: RegistryError.self) { try await client.fetchBlob(Descriptor(mediaType: .ociLayer, of: [1, 2]), from: registry.reference("app"), into: MemorySink()) }
        // Named, it is tried, and is not there.
        #expect(error?.code == (insecure ? .network : .invalidResponse) && error?.description.contains("--insecure-registry storage.example:1") == !insecure, "\(error?.description ?? "")")
      }
    }
  }

  @Test func redirectLoopsEnd() async throws {
    try await withRegistry { registry, client in
      let bytes = Array("x".utf8)
      registry.set { $0.redirectBlobsTo = "127.0.0.1:1" }
      registry.addBlob(bytes, to: "app")
      registry.inject(TestFault("GET", "/blobs/", times: 50, .status(307, headers: [("Location", "/v2/app/blobs/\(Digest.sha256(of: bytes))")])))
      let error = await #expect(throws: RegistryError.self) { try await client.fetchBlob(Descriptor(mediaType: .ociLayer, of: bytes), from: registry.reference("app"), into: MemorySink()) }
      #expect(error?.description.contains("redirects more than") == true)
    }
  }
}
