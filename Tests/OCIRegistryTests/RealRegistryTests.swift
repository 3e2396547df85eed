import ContentStore
import Foundation
import HostOS
import NIOCore
import OCIModel
import OCIRegistry
import TestSupport
import Testing

/// Debian's `docker-registry` (distribution 2.8) on a free loopback port, with its content in a scratch folder.
private final class RealRegistry {
  static let program = Processes.executablePath("docker-registry")
  static let skopeo = Processes.executablePath("skopeo")
  static let user = "builder", password = "s3cret:word"

  let scratch: ScratchDirectory
  let host: String
  private let process = Process()

  /// With `tls`, a certificate made for it is in `certificates/<host>/ca.crt` of the scratch folder, as an authority of its own.
  init(protected: Bool, tls: Bool = false) async throws {
    scratch = try ScratchDirectory("registry")
    var config = """
      version: 0.1
      log: {level: info, accesslog: {disabled: true}}
      storage: {filesystem: {rootdirectory: \(scratch.path)/data}}
      http: {addr: "127.0.0.1:0", relativeurls: true\(tls ? ", tls: {certificate: \(scratch.path)/own.crt, key: \(scratch.path)/own.key}" : "")}

      """
    if tls {
      let made = try await Processes.run(
        "openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", scratch.file("own.key"), "-out", scratch.file("own.crt")])
      guard made.succeeded else { throw RegistryError(.local, "openssl: \(made.errorText)") }
    }
    if protected {
      try scratch.write("htpasswd", "\(RealRegistry.user):$2b$04$U8NDXYu/JPFOCpj3EBKypOVyEzxJgYNUHMjei36cfOyCKk.ySr/lW\n")
      config += "auth: {htpasswd: {realm: \"Private things\", path: \(scratch.path)/htpasswd}}\n"
    }
    process.executableURL = URL(fileURLWithPath: RealRegistry.program ?? "")
    process.arguments = ["serve", try scratch.write("config.yml", config)]
    process.environment = ["PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    // It takes any free port, and says which.
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: try scratch.write("registry.log", "")))
    try process.run()
    do { host = try await RealRegistry.address(of: process, in: scratch) } catch {
      if process.isRunning { process.terminate() }
      throw error
    }
    if tls { try scratch.write("certificates/\(host)/ca.crt", try scratch.read("own.crt")) }
  }
  private static func address(of process: Process, in scratch: ScratchDirectory) async throws -> String {
    let said = "listening on 127.0.0.1:"
    while true {
      let running = process.isRunning
      let log = String(decoding: try scratch.read("registry.log"), as: UTF8.self)
      if let place = log.range(of: said) { return "127.0.0.1:" + log[place.upperBound...].prefix(while: \.isNumber) }
      guard running else { throw RegistryError(.network, "docker-registry did not start: \(log)") }
      try await Task.sleep(for: .milliseconds(50))
    }
  }
  deinit {
    guard process.isRunning else { return }
    process.terminate()
    process.waitUntilExit()
  }

  func reference(_ name: String) throws -> Reference { try Reference(parsing: host + "/" + name) }

  /// Runs skopeo; what it wrote.
  func skopeo(_ arguments: String...) async throws -> [UInt8] {
    let done = try await Processes.run(RealRegistry.skopeo ?? "", ["--insecure-policy"] + arguments, environment: ["HOME": scratch.path, "PATH": "/usr/bin:/bin", "TMPDIR": scratch.path], limit: 4 << 20)
    guard done.succeeded else { throw RegistryError(.local, "skopeo \(arguments.joined(separator: " ")): \(done.errorText)") }
    return done.output
  }
}

extension FetchedManifest {
  fileprivate var index: ImageIndex? { if case .index(let index)? = try? document() { index } else { nil } }
}

@Suite(.enabled(if: RealRegistry.program != nil && RealRegistry.skopeo != nil, "skipped: docker-registry and skopeo are not installed (make deps)"))
struct RealRegistryTests {
  private func withReal(protected: Bool = false, credentials: any RegistryCredentialProvider = AnonymousCredentials(), configure: (inout RegistryConfiguration) -> Void = { _ in }, _ body: (RealRegistry, RegistryClient) async throws -> Void) async throws {
    let registry = try await RealRegistry(protected: protected)
    var configuration = RegistryConfiguration(environment: [:])
    configure(&configuration)
    let client = RegistryClient(configuration, credentials: credentials)
    do { try await body(registry, client) } catch {
      await client.shutdown()
      throw error
    }
    await client.shutdown()
  }

  private func push(_ image: RandomImage, to repository: Reference, tag: String, _ client: RegistryClient) async throws -> [PushOutcome] {
    var outcomes: [PushOutcome] = []
    for blob in image.blobs { outcomes.append(try await client.pushBlob(blob.descriptor, from: MemoryBlobSource(blob.bytes), to: repository)) }
    for manifest in image.manifests.dropLast() { try await client.pushManifest(manifest.bytes, mediaType: manifest.descriptor.mediaType, to: repository) }
    try await client.pushManifest(image.rootBytes, mediaType: image.root.mediaType, to: Reference(parsing: repository.name + ":" + tag))
    return outcomes
  }

  @Test(arguments: [false, true])
  func pushesWhatOthersRead(_ docker: Bool) async throws {
    try await withReal { registry, client in
      let image = try RandomImage(seed: 900, platforms: ["linux/amd64", "linux/arm64", "linux/arm/v7"], layers: 3, shared: 1, layerSize: 400_000, docker: docker)
      let repository = try registry.reference("me/hello")
      #expect(try await push(image, to: repository, tag: "1", client).allSatisfy { $0 == .uploaded })
      // Once more: everything is there.
      #expect(try await push(image, to: repository, tag: "1", client).allSatisfy { $0 == .exists })
      #expect(try await client.resolve(registry.reference("me/hello:1")) == image.root)
      #expect(try await client.manifest(registry.reference("me/hello:1")).bytes == image.rootBytes)
      #expect(try await client.tags(repository) == ["1"])

      let there = "docker://\(registry.host)/me/hello:1"
      #expect(try await registry.skopeo("inspect", "--tls-verify=false", "--raw", there) == image.rootBytes)
      _ = try await registry.skopeo("copy", "--all", "--src-tls-verify=false", there, "oci:\(registry.scratch.path)/layout:1")
      // And what skopeo pushes is what we read.
      _ = try await registry.skopeo("copy", "--all", "--dest-tls-verify=false", "oci:\(registry.scratch.path)/layout:1", "docker://\(registry.host)/theirs:1")
      let theirs = try await client.manifest(registry.reference("theirs:1"))
      let index = try #require(theirs.index)
      #expect(index.manifests.count == 3)
      #expect(index.manifest(for: try Platform(parsing: "linux/arm/v7"))?.platform?.variant == "v7")
    }
  }

  @Test func mountsCopiesAndFetches() async throws {
    try await withReal(configure: { ($0.chunkedUploadThreshold, $0.uploadChunkSize) = (1_000_000, 300_000) }) { registry, client in
      let image = try RandomImage(seed: 901, platforms: ["linux/amd64", "linux/s390x"], layers: 2, layerSize: 1_500_000)
      // Layers go in chunks here, configs in one request.
      _ = try await push(image, to: try registry.reference("base"), tag: "1", client)
      let layer = try #require(image.blobs.first { $0.descriptor.mediaType == .ociLayer })
      let outcome = try await client.pushBlob(layer.descriptor, from: MemoryBlobSource([]), to: registry.reference("app"), mountFrom: [registry.reference("nothing"), registry.reference("base")])
      #expect(outcome == .mounted(from: "base"))
      #expect(try await client.copy(from: registry.reference("base:1"), to: registry.reference("copy:2")) == image.root)

      let store = try await ContentStore.open(root: registry.scratch.path + "/root")
      for blob in image.blobs {
        try await client.fetchBlob(blob.descriptor, from: registry.reference("copy"), into: store)
        #expect(try store.bytes(blob.descriptor.digest, limit: 4 << 20) == blob.bytes)
      }
      // From the middle, by a range.
      var tail: [UInt8] = []
      for try await buffer in client.blobContent(layer.descriptor, from: try registry.reference("app"), offset: 1_000_000) { tail += buffer.readableBytesView }
      #expect(tail == Array(layer.bytes[1_000_000...]))

      let absent = await #expect(throws: RegistryError.self) { try await client.manifest(registry.reference("base:2")) }
      #expect(absent?.code == .notFound && absent?.details.first?.code == "MANIFEST_UNKNOWN" && absent?.advice.isEmpty == false, "\(absent?.description ?? "")")
      let unknown = await #expect(throws: RegistryError.self) { try await client.fetchBlob(Descriptor(mediaType: .ociLayer, of: [1, 2, 3]), from: registry.reference("base"), into: store) }
      #expect(unknown?.code == .notFound)
      let wrong = MemoryBlobSource([9, 9, 9])
      let refused = await #expect(throws: RegistryError.self) { try await client.pushBlob(Descriptor(mediaType: .ociLayer, of: [1, 2, 3]), from: wrong, to: registry.reference("base")) }
      #expect(refused?.details.first?.code == "DIGEST_INVALID", "\(refused?.description ?? "")")
      try await store.close()
    }
  }

  /// A process is gone between two chunks; the next one asks the registry where the session stands, and sends the rest.
  @Test func halfSentBlobsAreTakenUp() async throws {
    struct Leaving: OCIRegistry.BlobSource {
      let bytes: [UInt8]
      let after: Int64
      func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent {
        if offset >= after { throw CancellationError() }
        return try await MemoryBlobSource(bytes).content(of: descriptor, from: offset)
      }
    }
    try await withReal { registry, _ in
      let store = try await ContentStore.open(root: registry.scratch.path + "/root")
      var configuration = RegistryConfiguration(environment: [:])
      configuration.uploads = StoredUploads(store)
      (configuration.resumableUploadThreshold, configuration.uploadChunkSize) = (1 << 20, 1 << 20)
      var random = SeededGenerator(904)
      for (i, chunks) in [1, 3, 4].enumerated() {
        let bytes = random.bytes(5 << 20), descriptor = Descriptor(mediaType: .ociLayer, of: bytes), target = try registry.reference("half\(i)")
        let first = RegistryClient(configuration)
        await #expect(throws: CancellationError.self) { try await first.pushBlob(descriptor, from: Leaving(bytes: bytes, after: Int64(chunks) << 20), to: target) }
        await first.shutdown()
        let left = try await store.upload(of: descriptor.digest.description, to: target.name)
        #expect(left?.offset == Int64(chunks) << 20)
        let second = RegistryClient(configuration), events = Recorder<TransferProgress>()
        let outcome = try await second.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: target, progress: { events.add($0) })
        #expect(outcome == .uploaded && events.all.first { $0.state == .transferring }?.bytes == Int64(chunks) << 20)
        var back: [UInt8] = []
        for try await buffer in second.blobContent(descriptor, from: target) { back += buffer.readableBytesView }
        await second.shutdown()
        #expect(back == bytes)
        let log = String(decoding: try registry.scratch.read("registry.log"), as: UTF8.self).split(separator: "\n").filter { $0.contains("/v2/half\(i)/") && $0.contains("response completed") }
        #expect(log.filter { $0.contains("http.request.method=PATCH") }.count == 5 && log.filter { $0.contains("http.request.method=POST") }.count == 1, "\(log)")
      }
      try await store.close()
    }
  }

  @Test func basicAuthenticationFromDockersConfig() async throws {
    let home = try ScratchDirectory("docker-home")
    let provider = DockerConfigCredentials(environment: ["DOCKER_CONFIG": home.path])
    try await withReal(protected: true, credentials: provider) { registry, client in
      let login = Data("\(RealRegistry.user):\(RealRegistry.password)".utf8).base64EncodedString()
      try home.write("config.json", "{\"auths\":{\"\(registry.host)\":{\"auth\":\"\(login)\"}}}")
      let image = try RandomImage(seed: 902, platforms: ["linux/amd64", "linux/arm64"])
      _ = try await push(image, to: try registry.reference("secret"), tag: "1", client)
      #expect(try await client.resolve(registry.reference("secret:1")) == image.root)
      let raw = try await registry.skopeo("inspect", "--tls-verify=false", "--creds", "\(RealRegistry.user):\(RealRegistry.password)", "--raw", "docker://\(registry.host)/secret:1")
      #expect(raw == image.rootBytes)

      for (credential, told) in [(nil, "Log in to"), (RegistryCredential?.some(.password(user: RealRegistry.user, password: "wrong")), "were refused")] {
        let other = RegistryClient(RegistryConfiguration(environment: [:]), credentials: StaticCredentials(credential.map { [registry.host: $0] } ?? [:]))
        let error = await #expect(throws: RegistryError.self) { try await other.resolve(registry.reference("secret:1")) }
        await other.shutdown()
        #expect(error?.code == .unauthorized && error?.description.contains(told) == true, "\(error?.description ?? "")")
        #expect(error?.details.first?.code == "UNAUTHORIZED")
      }
    }
  }

  @Test(.enabled(if: Processes.executablePath("openssl") != nil, "skipped: openssl is not installed"))
  func certificatesOfOnesOwn() async throws {
    let registry = try await RealRegistry(protected: true, tls: true)
    let image = try RandomImage(seed: 903)
    let login = StaticCredentials([registry.host: .password(user: RealRegistry.user, password: RealRegistry.password)])
    func client(_ directory: String) -> RegistryClient {
      var configuration = RegistryConfiguration(environment: [:])
      configuration.certificateDirectories = [registry.scratch.file(directory)]
      return RegistryClient(configuration, credentials: login)
    }
    let trusting = client("certificates")
    let outcomes = try await push(image, to: try registry.reference("tls"), tag: "1", trusting)
    #expect(outcomes.allSatisfy { $0 == .uploaded })
    let root = try await trusting.resolve(registry.reference("tls:1"))
    #expect(root == image.root)
    await trusting.shutdown()

    // Another authority than its own was installed for it: no connection, and nothing is sent in clear instead.
    let other = try await RealRegistry(protected: false, tls: true)
    try registry.scratch.write("wrong/\(registry.host)/ca.crt", try other.scratch.read("own.crt"))
    let wary = client("wrong")
    let error = await #expect(throws: RegistryError.self) { try await wary.resolve(registry.reference("tls:1")) }
    await wary.shutdown()
    #expect(error?.description.contains("not signed by an authority this machine trusts") == true, "\(error?.description ?? "")")
  }
}
