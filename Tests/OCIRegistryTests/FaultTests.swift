import ImageStores
import OCIModel
import OCIRegistry
import Synchronization
import TestSupport
import Testing

/// What is done with registries, each in a fresh pair of them.
enum FaultedOperation: String, CaseIterable, Sendable {
  case resolve, pull, push, copyOut, copyIn, mount, tags, referrer, create, cacheExport
}

/// One thing that goes wrong, and what must come of it.
struct FaultCase: Sendable, CustomTestStringConvertible {
  enum Outcome: Sendable {
    case success
    /// Fails, and the error has these words besides the request.
    case failure([String])
    /// Either; what fails must be told as any failure.
    case either
  }
  var name: String
  var faults: [TestFault] = []
  var change: @Sendable (inout TestRegistryOptions) -> Void = { _ in }
  var operations: [FaultedOperation] = FaultedOperation.allCases
  var outcome: Outcome = .success
  /// Whether retries must have been told.
  var tells = true

  var testDescription: String { name }
}

/// Runs each operation once, between a registry that works and the one under test.
struct FaultBench {
  let registry: TestRegistry
  let other: TestRegistry
  let client: RegistryClient
  let image: RandomImage
  static let platforms = ["linux/amd64", "linux/arm64"]

  func run(_ operation: FaultedOperation) async throws {
    let name = "team/app", there = try registry.reference(name + ":1")
    switch operation {
    case .resolve: #expect(try await client.resolve(there) == image.root)
    case .pull: try await pull(there)
    case .push:
      try await push(to: registry.reference("new/app:2"))
      #expect(registry.missing(of: "2", in: "new/app") == nil)
    case .copyOut:
      try await client.copy(from: there, to: other.reference("copy:1"))
      #expect(other.missing(of: "1", in: "copy") == nil)
    case .copyIn:
      try await client.copy(from: other.reference(name + ":1"), to: registry.reference("copy:1"))
      #expect(registry.missing(of: "1", in: "copy") == nil)
    case .mount:
      try await client.copy(from: there, to: registry.reference("beside:1"))
      #expect(registry.missing(of: "1", in: "beside") == nil)
    case .tags: #expect(try await client.tags(there) == ["1"])
    case .referrer:
      let config = Descriptor(mediaType: .ociEmpty, of: Array("{}".utf8))
      try await client.pushBlob(config, from: MemoryBlobSource(Array("{}".utf8)), to: there.repository)
      var manifest = ImageManifest(mediaType: .ociManifest, config: config, layers: [])
      manifest.subject = image.manifests[0].descriptor
      let pushed = try await client.pushReferrer(manifest.encoded, to: there.repository)
      #expect(registry.manifest(pushed.digest.description, in: name) != nil)
    case .create:
      let members = try await RegistryImageSource(there, client).members().members
      let theirs = try await RegistryImageSource(other.reference("second:1"), client).members().members
      let target = try registry.reference("joined:1")
      try await ImageTransfer().copy(members + theirs, to: try RegistryImageDestination(target, client))
      let index = ImageIndex(mediaType: .ociIndex, manifests: (members + theirs).map(\.descriptor)).encoded
      try await client.pushManifest(index, mediaType: .ociIndex, to: target)
      #expect(registry.missing(of: "1", in: "joined") == nil)
    case .cacheExport:
      // As a build's cache is written: layers, a config, a manifest over them.
      let layer = image.blobs[0], config = Descriptor(mediaType: "application/vnd.buildkit.cacheconfig.v0", of: Array("{}".utf8))
      let target = try registry.reference("cache:main")
      try await client.pushBlob(layer.descriptor, from: MemoryBlobSource(layer.bytes), to: target.repository, mountFrom: [there.repository])
      try await client.pushBlob(config, from: MemoryBlobSource(Array("{}".utf8)), to: target.repository)
      try await client.pushManifest(ImageManifest(mediaType: .ociManifest, config: config, layers: [layer.descriptor]).encoded, mediaType: .ociManifest, to: target)
      #expect(registry.manifest("main", in: "cache") != nil)
    }
  }

  private func pull(_ reference: Reference) async throws {
    let root = try await client.manifest(reference)
    guard case .index(let index) = try root.document() else { return }
    for entry in index.manifests {
      guard case .manifest(let manifest) = try await client.manifest(reference, digest: entry.digest).document() else { continue }
      for blob in [manifest.config] + manifest.layers {
        let sink = MemorySink()
        try await client.fetchBlob(blob, from: reference, into: sink)
        #expect(sink.bytes == image.blobs.first { $0.descriptor.digest == blob.digest }?.bytes)
      }
    }
  }

  func push(to target: Reference) async throws { try await image.push(to: target, client) }
}

extension RandomImage {
  /// Blobs at once, then manifests, then the index under its tag.
  func push(to target: Reference, _ client: RegistryClient) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for blob in blobs { group.addTask { _ = try await client.pushBlob(blob.descriptor, from: MemoryBlobSource(blob.bytes), to: target.repository) } }
      try await group.waitForAll()
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for manifest in manifests.dropLast() { group.addTask { _ = try await client.pushManifest(manifest.bytes, mediaType: manifest.descriptor.mediaType, to: target.repository) } }
      try await group.waitForAll()
    }
    try await client.pushManifest(rootBytes, mediaType: root.mediaType, to: target)
  }
}

private let hub429 = #"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit"}]}"#
private let json = ("Content-Type", "application/json")
private let html = ("Content-Type", "text/html; charset=utf-8")
private let badGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.25</center>\r\n</body>\r\n</html>\r\n"
private let pushes: [FaultedOperation] = [.push, .copyIn, .cacheExport]
private let reads: [FaultedOperation] = [.resolve, .pull, .copyOut, .tags, .create]
private let always = 1_000_000

/// Every fault at every request: the first of each kind, then each that follows.
let passingFaults: [FaultCase] = [
  .init(name: "429 without Retry-After", faults: [.init(nil, "/v2/", skip: 1, times: 3, .status(429, headers: [json], body: hub429))]),
  .init(name: "429 with seconds", faults: [.init(nil, "/v2/", skip: 1, times: 2, .status(429, headers: [json, ("Retry-After", "2")], body: hub429))]),
  .init(name: "429 with a date", faults: [.init(nil, "/v2/", skip: 1, times: 2, .status(429, headers: [("Retry-After", "Tue, 14 Nov 2023 22:13:25 GMT")]))]),
  .init(name: "TOOMANYREQUESTS by 400 (ECR)", faults: ["GET", "POST", "PUT"].map { .init($0, "s/", .status(400, headers: [json], body: #"{"errors":[{"code":"TOOMANYREQUESTS","message":"Rate exceeded"}]}"#)) },
    operations: pushes + [.pull, .tags, .copyOut, .create]),
  .init(name: "500", faults: [.init(nil, "/v2/", skip: 1, times: 2, .status(500, headers: [json], body: #"{"errors":[{"code":"UNKNOWN","message":"unknown error"}]}"#))]),
  .init(name: "502 page", faults: [.init(nil, "/v2/", skip: 1, times: 2, .status(502, headers: [html], body: badGateway))]),
  .init(name: "503 with Retry-After", faults: [.init(nil, "/v2/", skip: 1, times: 2, .status(503, headers: [("Retry-After", "1")]))]),
  .init(name: "reset", faults: [.init(nil, "/v2/", skip: 1, times: 3, .reset)]),
  .init(name: "closed before an answer", faults: [.init(nil, "/v2/", skip: 1, times: 3, .close)]),
  .init(name: "answers lost", faults: [.init("PUT", "/v2/", .loseAnswer), .init("POST", "/v2/", .loseAnswer), .init("HEAD", "/v2/", .loseAnswer)], operations: pushes + [.create, .mount]),
  .init(name: "reset mid-upload", faults: ["PUT", "PATCH"].map { .init($0, "/uploads/", times: 2, .resetDuringBody(after: 100)) }, operations: [.push, .copyIn]),
  .init(name: "reset mid-download", faults: [.init("GET", "/blobs/sha256", times: 3, .truncate(after: 900))], operations: [.pull, .copyOut]),
  .init(name: "truncated manifest", faults: [.init("GET", "/manifests/", times: 2, .truncate(after: 100))], operations: [.pull, .copyOut, .create]),
  .init(name: "slow drip", faults: [.init("GET", "/", skip: 1, times: 3, .drip(bytes: 500, everyMilliseconds: 2))], operations: reads, tells: false),
  .init(name: "one wrong byte", faults: [.init("GET", "/blobs/sha256", .corrupt)], operations: [.pull, .copyOut]),
  .init(name: "416 of a ranged download", faults: [.init("GET", "/blobs/sha256", .truncate(after: 100)), .init("GET", "/blobs/sha256", .status(416))], operations: [.pull]),
  .init(name: "upload sessions forgotten", faults: [.init("PUT", "/uploads/", times: 2, .forgetUpload)], operations: pushes),
  .init(name: "the uploaded blob is not seen yet", faults: [.init("PUT", "/manifests/", .status(404, headers: [json], body: #"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#))], operations: pushes + [.create]),
  .init(name: "HEAD not allowed", change: { $0.refusesHeads = true }, tells: false),
  .init(name: "uppercase headers", change: { $0.uppercaseHeaders = true }, tells: false),
  .init(name: "no Docker-Content-Digest", change: { $0.omitsDigests = true }, tells: false),
  .init(name: "silent HEADs", change: { $0.completeHeads = false }, tells: false),
  .init(name: "absolute Locations", change: { $0.absoluteLocations = true }, tells: false),
  .init(name: "Locations without a query", change: { $0.plainLocations = true }, tells: false),
  .init(name: "202 to the PUT of a blob", change: { $0.uploadedStatus = 202 }, tells: false),
  .init(name: "204 to the PUT of a blob", change: { $0.uploadedStatus = 204 }, tells: false),
  .init(name: "Range of the first chunk only (ECR)", change: { $0.tellsFirstChunkOnly = true }, operations: [.push, .copyIn], tells: false),
  .init(name: "chunks of 500 bytes (GitHub)", change: { $0.maximumChunk = 500 }, operations: [.push, .copyIn], tells: false),
  .init(name: "PATCH only (Artifactory)", change: { $0.takesBodies = .patch }, operations: pushes, tells: false),
  .init(name: "PUT only", change: { $0.takesBodies = .put }, operations: pushes, tells: false),
  .init(name: "broken sessions are lost (docker-registry)", faults: ["PUT", "PATCH"].map { .init($0, "/uploads/", times: 2, .resetDuringBody(after: 100)) }, change: { $0.losesBrokenSessions = true }, operations: [.push, .copyIn]),
  .init(name: "501 to chunks", faults: [.init("PATCH", "/uploads/", times: always, .status(501, headers: [json], body: #"{"errors":[{"code":"UNSUPPORTED","message":"not implemented"}]}"#))], operations: [.push, .copyIn], tells: false),
  .init(name: "500 to the end of chunks", faults: [.init("PATCH", "/uploads/", times: always, .status(500))], operations: [.push, .copyIn], tells: false),
  .init(name: "answers without any field", faults: [.init("PUT", "/", times: always, .fields(without: ["Location", "Docker-Content-Digest"]))], operations: pushes + [.create, .mount, .referrer], tells: false),
  .init(name: "mounts refused", faults: [.init("POST", "/uploads/", times: 20, .status(401, headers: [json], body: #"{"errors":[{"code":"UNAUTHORIZED","message":"project team not found"}]}"#))], operations: [], tells: false),
  .init(name: "no mounts", change: { $0.supportsMount = false }, tells: false),
  .init(name: "keeps referrers", change: { $0.keepsReferrers = true }, operations: [.referrer], tells: false),
]

/// What does not pass by itself.
let lastingFaults: [FaultCase] = [
  .init(name: "429 for ever", faults: [.init(nil, "/v2/", skip: 1, times: always, .status(429, headers: [json, ("Retry-After", "4"), ("RateLimit-Limit", "100;w=21600"), ("RateLimit-Remaining", "0;w=21600"), ("Docker-RateLimit-Source", "192.0.2.7")], body: hub429))],
    outcome: .failure(["429 Too Many Requests", "TOOMANYREQUESTS: You have reached your pull rate limit", "tried 6 times", "0 of 100 requests left in 6 h, counted for 192.0.2.7", "Wait, or log in"])),
  .init(name: "429 for an hour", faults: [.init(nil, "/v2/", skip: 1, times: always, .status(429, headers: [json, ("Retry-After", "3600")], body: hub429))],
    outcome: .failure(["it asks to wait 3600 s", "You have reached your pull rate limit"]), tells: false),
  .init(name: "500 for ever", faults: [.init(nil, "/v2/", skip: 1, times: always, .status(500, headers: [json], body: #"{"errors":[{"code":"UNKNOWN","message":"disk is full"}]}"#))],
    outcome: .failure(["500 Internal Server Error", "UNKNOWN: disk is full", "tried 6 times", "Try again later"])),
  .init(name: "502 page for ever", faults: [.init(nil, "/v2/", skip: 1, times: always, .status(502, headers: [html], body: badGateway))], outcome: .failure(["502 Bad Gateway", "nginx/1.25", "Try again later"])),
  .init(name: "reset for ever", faults: [.init(nil, "/v2/", skip: 1, times: always, .reset)], outcome: .failure(["tried 6 times", "Check the way to"])),
  .init(name: "closed for ever", faults: [.init(nil, "/v2/", skip: 1, times: always, .close)], outcome: .failure(["the connection was closed", "tried 6 times"])),
  .init(name: "login page in place of documents", faults: [.init("GET", "/manifests/", times: always, .status(200, headers: [html], body: "<html><title>Sign in</title></html>")), .init("HEAD", "/manifests/", times: always, .status(200, headers: [html]))],
    operations: [.resolve, .pull, .copyOut, .create], outcome: .failure(["text/html", "is 127.0.0.1"]), tells: false),
  .init(name: "404 page", faults: [.init(nil, "/v2/", skip: 1, times: always, .status(404, headers: [html], body: "<html><body><h1>Default backend</h1></body></html>"))],
    operations: [.resolve, .pull, .copyOut, .tags, .push], outcome: .failure(["404 Not Found", "Default backend"]), tells: false),
  .init(name: "wrong digest told", faults: [.init("GET", "/manifests/", times: always, .fields(with: [("Docker-Content-Digest", "sha256:" + String(repeating: "0", count: 64))]))],
    operations: [.pull, .copyOut], outcome: .failure(["it says the digest is sha256:0000"]), tells: false),
  .init(name: "another digest stored", faults: [.init("PUT", "/", times: always, .fields(with: [("Docker-Content-Digest", "sha256:" + String(repeating: "0", count: 64))]))],
    operations: pushes, outcome: .failure(["it stored the content as sha256:0000"]), tells: false),
  .init(name: "wrong content for ever", faults: [.init("GET", "/blobs/sha256", times: always, .corrupt)], operations: [.pull, .copyOut], outcome: .failure(["sent other content"]), tells: false),
  .init(name: "wrong Content-Length", faults: [.init("GET", "/blobs/sha256", times: always, .claim(length: 10))], operations: [.pull, .copyOut], outcome: .failure(["its manifest says"]), tells: false),
  .init(name: "too much content", faults: [.init("GET", "/blobs/sha256", times: always, .surplus(10_000))], operations: [.pull], outcome: .failure(["sends more than"]), tells: false),
  .init(name: "huge manifests", faults: [.init("GET", "/manifests/", times: always, .surplus(DocumentLimits.manifest))], operations: [.pull, .copyOut, .create], outcome: .failure(["larger than"]), tells: false),
  .init(name: "manifests too large for it", change: { $0.maximumManifest = 300 }, operations: [.push, .copyIn, .create], outcome: .failure(["manifest is larger than 300 bytes", "The document has"]), tells: false),
  .init(name: "no indexes (Quay)", change: { $0.refusesIndexes = true }, operations: [.push, .copyIn, .create], outcome: .failure(["manifest schema version not supported", "may not know application/vnd.oci.image.index.v1+json", "oci-mediatypes=false"]), tells: false),
  .init(name: "a loop of pages", faults: [], change: { $0.tagPagesLoop = true }, operations: [.tags], outcome: .failure(["lead round in a circle"]), tells: false),
  .init(name: "blobs that the registry lost", faults: [.init("PUT", "/manifests/", times: always, .status(400, headers: [json], body: #"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":{"digest":"sha256:ab"}}]}"#))],
    operations: pushes + [.create], outcome: .failure(["MANIFEST_BLOB_UNKNOWN: blob unknown to registry", "does not see, content that it said it has"])),
  .init(name: "quota exceeded (Harbor)", faults: [.init("PUT", "/manifests/", times: always, .status(403, headers: [json], body: #"{"errors":[{"code":"DENIED","message":"adding 2.1 GiB of storage resource, which when updated to current usage of 9.2 GiB will exceed the configured upper limit of 10.0 GiB."}]}"#))],
    operations: pushes, outcome: .failure(["will exceed the configured upper limit of 10.0 GiB", "permissions"]), tells: false),
  .init(name: "no such repository (ECR)", faults: [.init("POST", "/uploads/", times: always, .status(404, headers: [json], body: #"{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name 'new/app' does not exist in the registry with id '1234'"}]}"#))],
    operations: pushes, outcome: .failure(["does not exist in the registry with id '1234'"]), tells: false),
  .init(name: "immutable tags", faults: [.init("PUT", "/manifests/", times: always, .status(409, headers: [json], body: #"{"errors":[{"code":"TAG_INVALID","message":"tag is immutable"}]}"#))],
    operations: pushes, outcome: .failure(["tag is immutable"]), tells: false),
  .init(name: "escape sequences in its words", faults: [.init(nil, "/v2/", skip: 1, times: always, .status(400, body: "\u{1b}[31mred\u{7}"))], operations: [.resolve, .push, .tags], outcome: .failure(["[31mred"]), tells: false),
]

@Suite struct FaultTableTests {
  /// Each operation with each fault, in a registry of its own.
  private func check(_ test: FaultCase, _ operation: FaultedOperation, chunked: Bool = false) async throws {
    try await TestRegistry.run { other in
      let time = FakeTime(), told = Recorder<RegistryRetry>()
      try await withRegistry(time: time, configure: {
        $0.onRetry = { told.add($0) }
        if chunked { ($0.chunkedUploadThreshold, $0.uploadChunkSize) = (0, 1000) }
      }) { registry, client in
        let image = try RandomImage(seed: 1000, platforms: FaultBench.platforms, layers: 2, shared: 1)
        registry.add(image, to: "team/app", tag: "1")
        other.add(image, to: "team/app", tag: "1")
        other.add(try RandomImage(seed: 1001, platforms: ["linux/s390x"]), to: "second", tag: "1")
        registry.set { test.change(&$0) }
        for fault in test.faults { registry.inject(fault) }
        let bench = FaultBench(registry: registry, other: other, client: client, image: image)
        let what = "\(test.name): \(operation.rawValue)\(chunked ? " in chunks" : "")"
        do {
          try await bench.run(operation)
          if case .failure = test.outcome { Issue.record("\(what) succeeded") }
        } catch let error as RegistryError {
          if case .success = test.outcome { Issue.record("\(what): \(error)\n\(registry.requests.map(\.description).joined(separator: "\n"))") }
          try expectTold(error, what)
          if case .failure(let words) = test.outcome { for word in words { #expect(error.description.contains(word), "\(what): \(error)") } }
        }
        if test.tells {
          #expect(!told.all.isEmpty && told.all.allSatisfy { !$0.reason.isEmpty && !$0.request.isEmpty && $0.attempt > 1 }, "\(what): \(told.all)")
          #expect(time.waits.all.count >= told.all.filter { $0.wait > .zero }.count, "\(what)")
        }
        #expect(registry.openUploads == 0 || !test.faults.isEmpty || test.operationFails || !test.tells, "\(what): \(registry.openUploads) uploads left open")
      }
    }
  }

  /// The registry's own words, the request, and what to do.
  private func expectTold(_ error: RegistryError, _ what: String) throws {
    let text = error.description
    #expect(!error.request.isEmpty || error.status == nil && error.code == .digestMismatch || text.contains("cannot"), "\(what): no request in \(text)")
    #expect(text.contains("cannot ") || text.contains("127.0.0.1"), "\(what): does not say what failed: \(text)")
    #expect(text.contains("\n"), "\(what): does not say what to do: \(text)")
    #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, "\(what)")
  }

  @Test(arguments: passingFaults) func whatPassesIsBorne(_ test: FaultCase) async throws {
    for operation in test.operations {
      try await check(test, operation)
      if [.push, .copyIn].contains(operation) { try await check(test, operation, chunked: true) }
    }
  }

  @Test(arguments: lastingFaults) func whatStaysIsTold(_ test: FaultCase) async throws {
    for operation in test.operations { try await check(test, operation) }
  }
}

extension FaultCase {
  fileprivate var operationFails: Bool { if case .success = outcome { false } else { true } }
}
