import NIOHTTP1
import OCIModel
import OCIRegistry
import TestSupport
import Testing

/// Through a proxy that alone knows where the registry is.
@Suite struct ProxyTests {
  func with(_ proxy: TestProxy, userInfo: String = "", host: String, _ body: (RegistryClient, Reference) async throws -> Void) async throws {
    let address = "http://" + userInfo + proxy.address.dropFirst(7)
    var configuration = RegistryConfiguration(insecureHosts: ["plain.test:5000"], environment: ["http_proxy": address, "HTTPS_PROXY": address])
    configuration.certificateDirectories = []
    configuration.registries["plain.test"] = RegistryHostSettings()
    configuration.registries["plain.test"]?.plainHTTP = true
    let client = RegistryClient(configuration, credentials: AnonymousCredentials(), clock: FakeTime().clock)
    var failure: (any Error)?
    do { try await body(client, try Reference(parsing: host + "/app:1")) } catch { failure = error }
    await client.shutdown()
    await proxy.stop()
    if let failure { throw failure }
  }

  /// Plain HTTP is forwarded, not tunnelled: proxies allow CONNECT to TLS ports alone.
  @Test func plainHTTPIsForwarded() async throws {
    try await TestRegistry.run { registry in
      let image = try RandomImage(seed: 1, layers: 2, layerSize: 200_000)
      registry.add(image, to: "app", tag: "1")
      let port = try #require(Int(registry.host.split(separator: ":")[1]))
      let proxy = try await TestProxy.start(["plain.test:80": port], authorization: "Basic " + Base64.encode("me:p@ss".utf8))
      try await with(proxy, userInfo: "me:p%40ss@", host: "plain.test") { client, reference in
        #expect(try await client.resolve(reference) == image.root)
        for blob in image.blobs {
          let sink = MemorySink()
          try await client.fetchBlob(blob.descriptor, from: reference, into: sink)
          #expect(sink.bytes == blob.bytes)
          #expect(try await client.pushBlob(blob.descriptor, from: MemoryBlobSource(blob.bytes), to: Reference(parsing: "plain.test/other")) == .uploaded)
        }
        #expect(proxy.log.contains("GET http://plain.test/v2/app/blobs/\(image.blobs[0].descriptor.digest)"), "\(proxy.log)")
        #expect(proxy.log.allSatisfy { !$0.hasPrefix("CONNECT") && !$0.hasSuffix("407") })
        #expect(registry.requests.allSatisfy { $0.headers["proxy-authorization"] == nil && $0.headers["host"] == "plain.test" })
      }
    }
  }

  /// An insecure host is tried by TLS, in a tunnel, before plain HTTP.
  @Test func refusalsAreTheProxys() async throws {
    let proxy = try await TestProxy.start([:], authorization: "Basic no")
    try await with(proxy, host: "plain.test:5000") { client, reference in
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(reference) }
      #expect(error?.description.contains("proxy wants other credentials") == true && error?.description.contains("through the proxy \(proxy.address)") == true, "\(String(describing: error))")
      #expect(proxy.log == ["CONNECT plain.test:5000 407", "GET http://plain.test:5000/v2/ 407"])
    }
    let open = try await TestProxy.start([:])
    try await with(open, host: "plain.test") { client, reference in
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(reference) }
      #expect(error?.description.contains("502") == true, "\(String(describing: error))")
    }
  }

  @Test func aProxyThatIsNotThere() async throws {
    var configuration = RegistryConfiguration(environment: ["HTTPS_PROXY": "http://127.0.0.1:1"])
    configuration.certificateDirectories = []
    for (proxy, words) in [("http://127.0.0.1:1", "the proxy http://127.0.0.1:1: connection refused"), ("https://p.test:3128", "TLS to the proxy itself is not supported")] {
      configuration.environment = ["HTTPS_PROXY": proxy]
      let client = RegistryClient(configuration, credentials: AnonymousCredentials(), clock: FakeTime().clock)
      let error = await #expect(throws: RegistryError.self) { try await client.resolve(Reference(parsing: "r.test/app:1")) }
      await client.shutdown()
      #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    }
  }

  @Test func otherAddresses() async throws {
    try await TestRegistry.run { registry in
      registry.set { $0.authentication = .basic(user: "u", password: "p w") }
      let port = try #require(Int(registry.host.split(separator: ":")[1]))
      let proxy = try await TestProxy.start(["files.test:80": port])
      var configuration = RegistryConfiguration(environment: [:])
      configuration.proxies = ["HTTP_PROXY": proxy.address]
      let web = WebClient(configuration)
      let response = try await web.get("http://u:p%20w@files.test/v2/", headers: [:])
      #expect(response.status == 200)
      await response.drain()
      let refused = try await web.get("http://files.test/v2/ü b", headers: [:])
      #expect(refused.status == 404)
      await refused.drain()
      #expect(proxy.log == ["GET http://files.test/v2/", "GET http://files.test/v2/%C3%BC%20b"])
      await #expect(throws: WebClient.Failure.self) { try await web.get("file:///etc/passwd", headers: [:]) }
      await web.shutdown()
      await proxy.stop()
    }
  }
}
