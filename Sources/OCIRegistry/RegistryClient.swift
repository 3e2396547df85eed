internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
public import OCIModel
internal import Synchronization

/// A manifest or index as a registry holds it.
public struct FetchedManifest: Hashable, Sendable {
  /// Media type, digest and size of `bytes`.
  public var descriptor: Descriptor
  /// Exactly as received; their digest is the descriptor's.
  public var bytes: [UInt8]
  public init(descriptor: Descriptor, bytes: [UInt8]) {
    self.descriptor = descriptor
    self.bytes = bytes
  }
  /// The parsed document. Throws `OCIError`.
  public func document() throws(OCIError) -> ImageDocument { try ImageDocument(parsing: bytes, mediaType: descriptor.mediaType) }
}

/// A client of OCI and Docker registries (distribution-spec v1.1): resolves, fetches, pushes and copies images.
///
/// One client serves any number of registries and tasks at once. Connections are kept and reused; how much happens at once is
/// bounded a host and in all. Broken connections, rate limits and server failures are waited out as the configuration says. All content
/// is checked against its digest. Errors are `RegistryError`, or `CancellationError` when the task was cancelled.
/// Whoever makes a client calls `shutdown()` when done.
public final class RegistryClient: Sendable {
  let configuration: RegistryConfiguration
  let clock: RegistryClock
  private let credentials: any RegistryCredentialProvider
  private let transport: RegistryTransport
  private let hosts: RegistryHosts
  private let connections = Mutex<[String: RegistryConnection]>([:])
  private let mirrors = Mutex<[MirrorRole: RegistryConnection]>([:])
  let mirrorMemory: MirrorMemory
  private let hostTransfers: KeyedLimiters
  private let allTransfers: ConcurrencyLimiter
  struct Push: Hashable, Sendable {
    var repository: String
    var digest: Digest
  }
  private let laterMemory = Mutex<(any UploadMemory)?>(nil)
  /// Blobs on their way: several images that share a layer send it once.
  private let pushes = SharedWork<Push, PushOutcome, TransferProgress>()

  public convenience init(_ configuration: RegistryConfiguration = RegistryConfiguration(), credentials: any RegistryCredentialProvider = AnonymousCredentials()) {
    self.init(configuration, credentials: credentials, clock: .system)
  }

  package init(_ configuration: RegistryConfiguration, credentials: any RegistryCredentialProvider, clock: RegistryClock) {
    self.configuration = configuration
    self.clock = clock
    self.credentials = credentials
    mirrorMemory = MirrorMemory(configuration.onNotice)
    transport = RegistryTransport(configuration)
    hosts = RegistryHosts(configuration, transport)
    hostTransfers = KeyedLimiters(configuration.maximumTransfersPerHost)
    allTransfers = ConcurrencyLimiter(configuration.maximumTransfers)
  }

  /// Closes all connections and ends the client's threads. Requests under way fail with `RegistryError(.shutDown)`. May be called again.
  public func shutdown() async { await transport.shutdown() }

  func connection(_ domain: String) -> RegistryConnection {
    connections.withLock { connections in
      if let connection = connections[domain] { return connection }
      let connection = RegistryConnection(domain: domain, configuration, transport, hosts, credentials: credentials, clock)
      connections[domain] = connection
      return connection
    }
  }

  /// Another place may have what a mirror does not give at once: it is not waited for as a registry is.
  func connection(to role: MirrorRole) -> RegistryConnection {
    mirrors.withLock { mirrors in
      if let connection = mirrors[role] { return connection }
      var hasty = configuration
      hasty.retry.maximumAttempts = min(hasty.retry.maximumAttempts, 2)
      hasty.retry.maximumRetryAfter = min(hasty.retry.maximumRetryAfter, .seconds(5))
      let connection = RegistryConnection(domain: role.mirror.host, role: role, hasty, transport, hosts, credentials: credentials, clock)
      mirrors[role] = connection
      return connection
    }
  }

  /// Runs a blob transfer when its host and the whole have room for it.
  func transfer<T: Sendable>(_ domain: String, _ body: () async throws -> T) async throws -> T {
    // The host's slot first: a slow registry's queue must not hold the slots that others could use.
    try await hostTransfers[domain].run { try await allTransfers.run(body) }
  }

  // MARK: Manifests

  /// What is asked for: every form of manifest and index, best first.
  static let accepted = [MediaType.ociIndex, .dockerManifestList, .ociManifest, .dockerManifest].map(\.rawValue).joined(separator: ", ") + ", */*;q=0.1"

  /// Statuses of a HEAD after which the document itself is asked for.
  private static let unhelpful: Set<Int> = [400, 405, 406, 501]

  /// The descriptor that a name stands for at this moment: the digest is asked for if there is one, else the tag, else `latest`.
  /// One HEAD request where the registry answers it in full (which no registry counts as a pull), else the manifest is fetched.
  public func resolve(_ reference: Reference) async throws -> Descriptor { try await resolution(of: reference).descriptor }

  /// The same, with the mirror that told it; nil when the registry itself did.
  package func resolution(of reference: Reference) async throws -> (descriptor: Descriptor, mirror: String?) {
    try await reading(reference.domain) { connection in
      let descriptor = try await self.resolve(reference, at: connection)
      return (descriptor, self.noteMirror(connection, reference))
    }
  }

  private func noteMirror(_ connection: RegistryConnection, _ reference: Reference) -> String? {
    guard let role = connection.role else { return nil }
    mirrorMemory.note(.mirrored(reference: reference.familiar, mirror: "\(role.mirror)"))
    return "\(role.mirror)"
  }

  private func resolve(_ reference: Reference, at connection: RegistryConnection) async throws -> Descriptor {
    let operation = RegistryOperation("resolve", reference.familiar, in: reference)
    let call = manifestCall(.HEAD, reference, nil, operation, accepts: { $0 == 200 || RegistryClient.unhelpful.contains($0) })
    let (status, headers, _, _) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
    if status == 200, let told = headers.first(name: "Docker-Content-Digest").flatMap({ Digest($0) }),
      let size = headers.first(name: "Content-Length").flatMap({ Int64($0) }), size > 0,
      let type = headers.first(name: "Content-Type").map({ MediaType(HTTPFields.mediaType($0)) }), type.isIndex || type.isManifest
    {
      if let wanted = reference.digest, wanted != told {
        throw RegistryError(.digestMismatch, "\(operation.sentence): the registry answered with digest \(told)", host: connection.domain, repository: reference.path)
      }
      return Descriptor(mediaType: type, digest: told, size: size)
    }
    return try await fetchManifest(reference, nil, operation, connection).descriptor
  }

  /// The manifest or index that `reference` names, or the one of its repository with `digest`. At most `DocumentLimits.manifest` bytes,
  /// checked against the digest asked for or the one the registry tells.
  public func manifest(_ reference: Reference, digest: Digest? = nil) async throws -> FetchedManifest {
    let name = digest.map { "\(reference.familiarName)@\($0)" } ?? reference.familiar
    return try await reading(reference.domain) { connection in
      let found = try await self.fetchManifest(reference, digest, RegistryOperation("fetch the manifest of", name, in: reference), connection)
      if digest == nil { _ = self.noteMirror(connection, reference) }
      return found
    }
  }

  private func manifestCall(_ method: HTTPMethod, _ reference: Reference, _ digest: Digest?, _ operation: RegistryOperation, accepts: @escaping @Sendable (Int) -> Bool) -> RegistryConnection.Call {
    RegistryConnection.Call(
      method: method, target: .path("/v2/\(reference.path)/manifests/\(digest?.description ?? reference.object)"), headers: ["Accept": RegistryClient.accepted],
      scopes: RegistryScopes([.pull(reference.path)]), operation: operation, accepts: accepts)
  }

  private func fetchManifest(_ reference: Reference, _ digest: Digest?, _ operation: RegistryOperation, _ connection: RegistryConnection) async throws -> FetchedManifest {
    let call = manifestCall(.GET, reference, digest, operation, accepts: { $0 == 200 })
    let (_, headers, body, url) = try await connection.exchange(call, limit: DocumentLimits.manifest)
    let told = headers.first(name: "Docker-Content-Digest").flatMap { Digest($0) }
    let expected = digest ?? reference.digest
    var hasher = DigestHasher((expected ?? told)?.algorithm ?? .sha256)
    hasher.update(body)
    let actual = hasher.finish()
    if let expected, expected != actual {
      throw connection.error(.digestMismatch, call, "the content it sent has digest \(actual), not \(expected)", url)
    }
    if expected == nil, let told, told != actual {
      throw connection.error(.digestMismatch, call, "it says the digest is \(told), but what it sent has \(actual)", url)
    }
    let type = try ManifestKind.mediaType(body, served: headers.first(name: "Content-Type") ?? "", what: operation.sentence, host: url.authority)
    let fetched = FetchedManifest(descriptor: Descriptor(mediaType: type, digest: actual, size: Int64(body.count)), bytes: body)
    do { _ = try fetched.document() } catch {
      throw RegistryError(error.code == .unsupported ? .unsupported : .invalidResponse, "\(operation.sentence): \(error)", host: url.authority, repository: reference.path)
    }
    return fetched
  }

  /// The repository's tags, all pages of them (at most 100 000 tags).
  public func tags(_ repository: Reference) async throws -> [String] {
    let operation = RegistryOperation("list the tags of", repository.familiarName, in: repository)
    let connection = connection(repository.domain)
    var call = RegistryConnection.Call(
      method: .GET, target: .path("/v2/\(repository.path)/tags/list"), headers: ["Accept": "application/json"], scopes: RegistryScopes([.pull(repository.path)]), operation: operation,
      accepts: { $0 == 200 })
    var tags: [String] = []
    var seen: Set<RegistryURL> = []
    while true {
      let (_, headers, body, url) = try await connection.exchange(call, limit: DocumentLimits.manifest)
      guard let json = try? JSONValue(parsing: body), let object = json.objectValue else { throw connection.error(.invalidResponse, call, "it did not answer with a JSON object", url) }
      let page = object["tags"]?.arrayValue?.compactMap(\.stringValue) ?? []
      tags += page
      guard let link = HTTPFields.nextLink(headers["Link"]), !page.isEmpty, tags.count < 100_000 else { return tags }
      guard let next = url.resolving(link), next.origin == url.origin else { throw connection.error(.invalidResponse, call, "its next page is at another host", url) }
      guard seen.insert(next).inserted else { throw connection.error(.invalidResponse, call, "its pages lead round in a circle (the next one is \(link.prefix(200)) again)", url) }
      call.target = .url(next)
    }
  }

  // MARK: Blobs

  /// Whether the repository holds the blob.
  public func blobExists(_ descriptor: Descriptor, in repository: Reference) async throws -> Bool {
    try await upload(descriptor, MemoryBlobSource([]), repository, { _ in }).exists()
  }

  /// Fetches a blob into `sink`, checked, taking a broken transfer up again where it ended.
  public func fetchBlob(_ descriptor: Descriptor, from repository: Reference, into sink: any BlobSink, progress: @escaping TransferProgressHandler = { _ in }) async throws {
    let name = repository.name
    progress(TransferProgress(.fetch, descriptor, repository: name, state: .waiting))
    try await retrying(.fetch, descriptor, repository, progress) { progress in
      try await transfer(repository.domain) {
        try await BlobFetch(client: self, descriptor: descriptor, repository: repository, sink: sink, progress: progress).run()
      }
    }
    progress(TransferProgress(.fetch, descriptor, repository: name, bytes: descriptor.size, state: .done))
  }

  /// A blob's bytes as they arrive; an error in place of the end when they are not what the descriptor says. Not counted among the
  /// bounded transfers, since its pace is the reader's.
  public func blobContent(_ descriptor: Descriptor, from repository: Reference, offset: Int64 = 0) -> BlobContent {
    BlobContent {
      let download = BlobDownload(self, repository, descriptor, from: offset, verifies: true)
      return { try await download.next() }
    }
  }

  /// Brings a blob into `repository`: nothing is sent when it is there or can be mounted from one of `mountFrom` (other repositories of
  /// the same registry; those of others are passed over).
  @discardableResult
  public func pushBlob(
    _ descriptor: Descriptor, from source: any BlobSource, to repository: Reference, mountFrom: [Reference] = [], progress: @escaping TransferProgressHandler = { _ in }
  ) async throws -> PushOutcome {
    while true {
      let outcome = try await pushes.run(Push(repository: repository.name, digest: descriptor.digest), observer: progress) { emit in
        try await self.push(descriptor, source, repository, mountFrom, emit)
      }
      switch outcome {
      case .own(let outcome), .joined(let outcome): return outcome
      // Another's failure may be its source's: try by ourselves.
      case .joinedFailure: continue
      }
    }
  }

  private func push(_ descriptor: Descriptor, _ source: any BlobSource, _ repository: Reference, _ mountFrom: [Reference], _ progress: @escaping TransferProgressHandler) async throws -> PushOutcome {
    try await retrying(.push, descriptor, repository, progress) { progress in
      let upload = self.upload(descriptor, source, repository, progress)
      upload.report(0, .waiting)
      let bring = { () async throws -> PushOutcome in
        if try await upload.exists() {
          upload.report(descriptor.size, .exists)
          return .exists
        }
        // A mount moves nothing, so it waits for no slot.
        let start = try await upload.mount(mountFrom)
        if let mounted = start.mounted { return mounted }
        let outcome = try await self.transfer(repository.domain) { try await upload.run(start) }
        if outcome == .uploaded { upload.report(descriptor.size, .done) }
        return outcome
      }
      guard let memory = upload.memory, descriptor.size >= BlobUpload.rememberedSize else { return try await bring() }
      return try await memory.alone(repository: repository.name, digest: descriptor.digest.description, bring)
    }
  }

  /// Runs a transfer whose retries are told to its progress, and to whom they would be told else.
  func retrying<T: Sendable>(
    _ direction: TransferProgress.Direction, _ descriptor: Descriptor, _ repository: Reference, _ progress: @escaping TransferProgressHandler, _ body: (_ progress: @escaping TransferProgressHandler) async throws -> T
  ) async throws -> T {
    let others = RegistryRetry.observer ?? configuration.onRetry
    let reached = ReachedBytes()
    return try await RegistryRetry.observing({ retry in
      progress(TransferProgress(direction, descriptor, repository: repository.name, bytes: reached.bytes.load(ordering: .relaxed), state: .retrying(retry)))
      others?(retry)
    }) {
      try await body { event in
        reached.bytes.store(event.bytes, ordering: .relaxed)
        progress(event)
      }
    }
  }

  private final class ReachedBytes: Sendable { let bytes = Atomic<Int64>(0) }

  /// From now on half-sent blobs are remembered in `memory`, unless the configuration named another.
  package func remember(uploads memory: any UploadMemory) { laterMemory.withLock { $0 = memory } }

  /// Says whether a registry takes a credential, and what it wants to be shown from then on; see `RegistryLogin`.
  package func login(_ domain: String, _ credential: RegistryCredential) async throws -> RegistryLogin.Outcome {
    try await RegistryLogin(domain: domain, configuration: configuration, transport: transport, hosts: hosts).run(credential)
  }

  private func upload(_ descriptor: Descriptor, _ source: any BlobSource, _ repository: Reference, _ progress: @escaping TransferProgressHandler) -> BlobUpload {
    BlobUpload(connection: connection(repository.domain), repository: repository, descriptor: descriptor, source: source, configuration: configuration, clock: clock, memory: configuration.uploads ?? laterMemory.withLock { $0 }) { bytes, state in
      progress(TransferProgress(.push, descriptor, repository: repository.name, bytes: bytes, state: state))
    }
  }
}
