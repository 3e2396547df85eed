import OCIModel
import OCIRegistry
import Synchronization
import TestSupport
import Testing

/// A sink in memory, which checks nothing itself.
final class MemorySink: BlobSink {
  let state = Mutex<(bytes: [UInt8], finished: Bool, restarts: Int)>(([], false, 0))
  var verifiesContent: Bool { false }
  func write(_ bytes: UnsafeRawBufferPointer) throws { state.withLock { $0.bytes += bytes } }
  func finish() throws { state.withLock { $0.finished = true } }
  func restart() throws { state.withLock { $0 = ([], false, $0.restarts + 1) } }
  var bytes: [UInt8] { state.withLock { $0.bytes } }
  var isFinished: Bool { state.withLock { $0.finished } }
}

/// Collects what it is told.
final class Recorder<Value: Sendable>: Sendable {
  private let values = Mutex<[Value]>([])
  func add(_ value: Value) { values.withLock { $0.append(value) } }
  var all: [Value] { values.withLock { $0 } }
}

/// A clock that waits for nothing and remembers what it was to wait for.
struct FakeTime: Sendable {
  let waits = Recorder<Duration>()
  var clock: RegistryClock { RegistryClock(now: { 1_700_000_000 }, sleep: { [waits] in waits.add($0) }, random: { 0 }) }
}

/// Runs `body` with a registry and a client of it, both ended afterwards.
func withRegistry<T: Sendable>(
  _ options: TestRegistryOptions = TestRegistryOptions(), credentials: any RegistryCredentialProvider = AnonymousCredentials(), time: FakeTime = FakeTime(),
  configure: (inout RegistryConfiguration) -> Void = { _ in }, _ body: (TestRegistry, RegistryClient) async throws -> T
) async throws -> T {
  try await TestRegistry.run(options) { registry in
    var configuration = RegistryConfiguration(environment: [:])
    configuration.certificateDirectories = []
    configuration.idleTimeoutSeconds = 5
    configure(&configuration)
    let client = RegistryClient(configuration, credentials: credentials, clock: time.clock)
    do {
      let result = try await body(registry, client)
      await client.shutdown()
      return result
    } catch {
      await client.shutdown()
      throw error
    }
  }
}

@Suite struct ResolveTests {
  @Test func resolvesByOneHead() async throws {
    try await withRegistry { registry, client in
      let image = try RandomImage(seed: 1, platforms: ["linux/amd64", "linux/arm64"])
      registry.add(image, to: "app", tag: "1")
      let reference = try registry.reference("app:1")
      #expect(try await client.resolve(reference) == image.root)
      #expect(try await client.resolve(reference.with(digest: image.root.digest)) == image.root)
      #expect(registry.requests.map(\.method) == ["GET", "HEAD", "HEAD"])
      #expect(registry.requests[1].headers["accept"]?.contains(MediaType.ociIndex.rawValue) == true)
      #expect(registry.connectionCount == 1)
    }
  }

  @Test func fallsBackToTheManifestItself() async throws {
    var options = TestRegistryOptions()
    options.completeHeads = false
    try await withRegistry(options) { registry, client in
      let image = try RandomImage(seed: 2, docker: true)
      registry.add(image, to: "app", tag: "latest")
      #expect(try await client.resolve(registry.reference("app")) == image.root)
    }
  }

  @Test func absentThingsAreNamedInTheRegistrysWords() async throws {
    try await withRegistry { registry, client in
      registry.add(try RandomImage(seed: 3), to: "app", tag: "1")
      let error = await #expect(throws: RegistryError.self) { try await client.manifest(registry.reference("app:2")) }
      #expect(error?.code == .notFound && error?.status == 404 && error?.repository == "app" && error?.host == registry.host)
      #expect(error?.details.first?.code == "MANIFEST_UNKNOWN")
      #expect(error?.description.contains("cannot fetch the manifest of \(registry.host)/app:2") == true)
      let absent = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("nothing:1")) }
      #expect(absent?.code == .notFound)
    }
  }

  @Test func contentIsCheckedAgainstItsDigest() async throws {
    try await withRegistry { registry, client in
      let image = try RandomImage(seed: 4)
      registry.add(image, to: "app", tag: "1")
      for name in ["app:1", "app@\(image.root.digest)"] {
        registry.inject(TestFault("GET", "/manifests/", .corrupt))
        let error = await #expect(throws: RegistryError.self) { try await client.manifest(registry.reference(name)) }
        #expect(error?.code == .digestMismatch)
      }
      #expect(try await client.manifest(registry.reference("app:1")).bytes == image.rootBytes)
    }
  }

  @Test func hostileDocumentsAreRefused() async throws {
    try await withRegistry { registry, client in
      let index = MediaType.ociIndex.rawValue, manifest = MediaType.ociManifest.rawValue
      let empty = "\"digest\":\"\(Digest.sha256(of: ""))\",\"size\":0,\"mediaType\":\"x/y\""
      let cases: [(String, String)] = [
        // Both an index and a manifest; a type that contradicts the document; schema 1; bombs; not JSON; a web page.
        ("{\"schemaVersion\":2,\"manifests\":[],\"config\":{\(empty)},\"layers\":[]}", index), ("{\"schemaVersion\":2,\"manifests\":[],\"config\":{\(empty)},\"layers\":[]}", manifest),
        ("{\"schemaVersion\":2,\"mediaType\":\"\(manifest)\",\"manifests\":[]}", index), ("{\"schemaVersion\":1,\"fsLayers\":[]}", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (String(repeating: "[", count: 100_000), index), ("{\"schemaVersion\":2,\"manifests\":" + String(repeating: "{\"a\":", count: 5000), index), ("no", manifest), ("<html>", "text/html"),
        ("{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:zz\",\"size\":1,\"mediaType\":\"x\"}]}", index), ("{\"schemaVersion\":2,\"manifests\":[{\(empty.replacing("0,", with: "-1,"))}]}", index),
        ("{\"schemaVersion\":2,\"schemaVersion\":2,\"manifests\":[]}", index),
      ]
      for (i, (body, type)) in cases.enumerated() {
        registry.addManifest(Array(body.utf8), type: type, tag: "t\(i)", to: "bad")
        await #expect(throws: RegistryError.self, "\(i): \(body.prefix(80))") { try await client.manifest(registry.reference("bad:t\(i)")) }
      }
      registry.addManifest([UInt8](repeating: 0x20, count: DocumentLimits.manifest + 1), type: index, tag: "big", to: "bad")
      let big = await #expect(throws: RegistryError.self) { try await client.manifest(registry.reference("bad:big")) }
      #expect(big?.description.contains("larger than") == true)
    }
  }

  @Test func listsAllPagesOfTags() async throws {
    var options = TestRegistryOptions()
    options.tagPage = 3
    try await withRegistry(options) { registry, client in
      let image = try RandomImage(seed: 5)
      for i in 0..<8 { registry.add(image, to: "app", tag: "t\(i)") }
      #expect(try await client.tags(registry.reference("app")) == (0..<8).map { "t\($0)" })
      #expect(registry.requests.filter { $0.path.hasSuffix("/tags/list") }.count == 3)
    }
  }

  @Test func manyQuestionsShareFewConnections() async throws {
    var options = TestRegistryOptions()
    options.latencyMilliseconds = 2
    try await withRegistry(options) { registry, client in
      let image = try RandomImage(seed: 6, layers: 40, layerSize: 10)
      registry.add(image, to: "app", tag: "1")
      let found = try await withThrowingTaskGroup(of: Bool.self) { group in
        for blob in image.blobs { group.addTask { try await client.blobExists(blob.descriptor, in: registry.reference("app")) } }
        return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
      }
      #expect(found == 41)
      #expect(registry.connectionCount <= 11)
    }
  }
}

@Suite struct RetryTests {
  @Test func waitsOutRateLimitsFailuresAndResets() async throws {
    let time = FakeTime()
    try await withRegistry(time: time) { registry, client in
      let image = try RandomImage(seed: 10)
      registry.add(image, to: "app", tag: "1")
      _ = try await client.resolve(registry.reference("app:1"))
      registry.inject(TestFault("HEAD", "/manifests/", .status(429, headers: [("Retry-After", "3")])))
      registry.inject(TestFault("HEAD", "/manifests/", .status(503)))
      registry.inject(TestFault("HEAD", "/manifests/", .reset))
      #expect(try await client.resolve(registry.reference("app:1")) == image.root)
      #expect(time.waits.all.first == .seconds(3))
      #expect(time.waits.all.count == 3)
    }
  }

  @Test func givesUpWithTheWholeStory() async throws {
    try await withRegistry(configure: { $0.retry = RetryPolicy(maximumAttempts: 3) }) { registry, client in
      registry.inject(TestFault("HEAD", "/manifests/", times: 100, .status(429, headers: [("Retry-After", "3600"), ("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")])))
      registry.inject(TestFault("GET", "/manifests/", times: 100, .status(429, headers: [("Content-Type", "application/json")], body: #"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}"#)))
      let limited = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("app:1")) }
      #expect(limited?.code == .rateLimited && limited?.retryAfterSeconds == 3600 && limited?.rateLimit?.remaining == 0)
      #expect(limited?.description.contains("You have reached your pull rate limit") == true)
      // A wait that long is not begun.
      #expect(registry.requests.filter { $0.method == "HEAD" }.count == 1)

      registry.clearFaults()
      registry.clearRequests()
      registry.inject(TestFault("HEAD", "/manifests/", times: 100, .status(502, headers: [("Content-Type", "text/html")])))
      let failed = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("app:1")) }
      #expect(failed?.code == .serverFailure && failed?.status == 502)
      // And once by GET, for its words.
      #expect(registry.requests.map(\.method) == ["HEAD", "HEAD", "HEAD", "GET"])

      registry.clearFaults()
      registry.inject(TestFault("HEAD", "/manifests/", times: 100, .reset))
      let broken = await #expect(throws: RegistryError.self) { try await client.resolve(registry.reference("app:1")) }
      #expect(broken?.code == .network && broken?.description.contains("tried 3 times") == true)
    }
  }

  @Test func silenceIsAFailureToo() async throws {
    try await withRegistry(configure: { $0.idleTimeoutSeconds = 0.2 }) { registry, client in
      let image = try RandomImage(seed: 11)
      registry.add(image, to: "app", tag: "1")
      registry.inject(TestFault("HEAD", "/manifests/", .stall(milliseconds: 1500)))
      #expect(try await client.resolve(registry.reference("app:1")) == image.root)
    }
  }

  @Test func nobodyThereIsToldAtOnce() async throws {
    let time = FakeTime()
    let host = try await TestRegistry.run { $0.host }
    let client = RegistryClient(RegistryConfiguration(environment: [:]), credentials: AnonymousCredentials(), clock: time.clock)
    let error = await #expect(throws: RegistryError.self) { try await client.resolve(Reference(parsing: host + "/x")) }
    await client.shutdown()
    #expect(error?.code == .network && error?.description.contains("refused") == true)
    #expect(time.waits.all.isEmpty)
    let closed = await #expect(throws: RegistryError.self) { try await client.resolve(Reference(parsing: host + "/x")) }
    #expect(closed?.code == .shutDown)
  }

  @Test func cancellationIsCancellation() async throws {
    var options = TestRegistryOptions()
    options.latencyMilliseconds = 2000
    try await withRegistry(options) { registry, client in
      let reference = try registry.reference("app:1")
      let task = Task { try await client.resolve(reference) }
      try await Task.sleep(for: .milliseconds(50))
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
    }
  }

  @Test func warningsAreTold() async throws {
    let told = Recorder<String>()
    try await withRegistry(configure: { $0.onWarning = { told.add("\($0) \($1)") } }) { registry, client in
      registry.inject(TestFault("HEAD", "", .status(404, headers: [("Warning", #"299 - "this registry goes away""#), ("Warning", "199 - \"other\"")])))
      let outcome = try await client.hasManifest(registry.reference("app:1"))
      #expect(outcome == false)
      #expect(told.all == ["\(registry.host) this registry goes away"])
    }
  }
}
