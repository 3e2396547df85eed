internal import NIOHTTP1
public import OCIModel

extension RegistryClient {
  /// Copies a manifest or an index with everything it refers to, from `source` to `target`: blobs are mounted where both are repositories
  /// of one registry, else streamed through without being stored; documents are passed on byte for byte, leaves before roots.
  /// What the target has is not sent. `sourceClient` reads from the source, when other credentials are needed there.
  ///
  /// `target`'s tag, or the digest when it has none, names the copy. Returns the root's descriptor.
  @discardableResult
  public func copy(
    from source: Reference, digest: Digest? = nil, to target: Reference, sourceClient: RegistryClient? = nil, progress: @escaping TransferProgressHandler = { _ in }
  ) async throws -> Descriptor {
    let reader = sourceClient ?? self
    let root = try await reader.manifest(source, digest: digest)
    return try await ImageCopy(reader: reader, writer: self, source: source.repository, target: target.repository, progress: progress).copy(root, to: target, depth: 0)
  }

  /// Pushes `bytes` after everything it refers to was copied from `source`, which may be held by another client.
  /// For a document made here whose blobs or child manifests are elsewhere, as `imagetools create` makes them.
  @discardableResult
  public func copyContents(
    of bytes: [UInt8], mediaType: MediaType, from source: Reference, to target: Reference, sourceClient: RegistryClient? = nil, progress: @escaping TransferProgressHandler = { _ in }
  ) async throws -> Descriptor {
    let root = FetchedManifest(descriptor: Descriptor(mediaType: mediaType, of: bytes), bytes: bytes)
    return try await ImageCopy(reader: sourceClient ?? self, writer: self, source: source.repository, target: target.repository, progress: progress).copy(root, to: target, depth: 0)
  }
}

/// One copy under way. The tree comes from a registry: its depth is bounded, its width by the size of documents.
struct ImageCopy: Sendable {
  let reader: RegistryClient
  let writer: RegistryClient
  let source: Reference
  let target: Reference
  let progress: TransferProgressHandler
  /// Blobs on their way: several manifests that share a layer send it once.
  typealias Uploads = SharedWork<Digest, PushOutcome, TransferProgress>
  var uploads = Uploads()

  static let maximumDepth = 8

  func copy(_ root: FetchedManifest, to reference: Reference, depth: Int) async throws -> Descriptor {
    guard depth < ImageCopy.maximumDepth else {
      throw RegistryError(.invalidResponse, "cannot copy \(source.familiarName): indexes are nested deeper than \(ImageCopy.maximumDepth)", host: source.domain, repository: source.path)
    }
    let document: ImageDocument
    do { document = try root.document() } catch {
      throw RegistryError(error.code == .unsupported ? .unsupported : .invalidResponse, "cannot copy \(source.familiarName)@\(root.descriptor.digest): \(error)", host: source.domain, repository: source.path)
    }
    switch document {
    case .index(let index):
      try await all(index.manifests) { child in try await self.copyChild(child, depth: depth + 1) }
    case .manifest(let manifest):
      try await all([manifest.config] + manifest.layers.filter({ $0.isDistributable })) { blob in try await self.copyBlob(blob) }
    }
    return try await writer.pushManifest(root.bytes, mediaType: root.descriptor.mediaType, to: reference)
  }

  func copyChild(_ child: Descriptor, depth: Int) async throws {
    guard child.mediaType.isIndex || child.mediaType.isManifest else { return try await copyBlob(child) }
    let name = target.with(digest: child.digest)
    // A manifest that is there has its blobs; an index that is there may have been pushed without all its children.
    if child.mediaType.isManifest, source.domain != target.domain || source.path != target.path, try await writer.hasManifest(name) {
      progress(TransferProgress(.push, child, repository: target.name, bytes: child.size, state: .exists))
      return
    }
    let fetched = try await reader.manifest(source, digest: child.digest)
    guard fetched.descriptor.size == child.size else {
      throw RegistryError(.sizeMismatch, "cannot copy \(source.familiarName)@\(child.digest): it has \(fetched.descriptor.size) bytes, its index says \(child.size)", host: source.domain, repository: source.path)
    }
    _ = try await copy(fetched, to: name, depth: depth)
  }

  private func copyBlob(_ blob: Descriptor) async throws {
    let (reader, writer, source, target) = (reader, writer, source, target)
    while true {
      let outcome = try await uploads.run(blob.digest, observer: progress) { emit in
        try await writer.pushBlob(blob, from: RegistryBlobSource(reader, source), to: target, mountFrom: [source], progress: emit)
      }
      // Another's failure may be its source's: try by ourselves.
      if case .joinedFailure = outcome { continue }
      return
    }
  }


  private func all(_ items: [Descriptor], _ body: @escaping @Sendable (Descriptor) async throws -> Void) async throws {
    var seen = Set<Digest>()
    let distinct = items.filter { seen.insert($0.digest).inserted }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for item in distinct { group.addTask { try await body(item) } }
      try await group.waitForAll()
    }
  }
}

extension RegistryClient {
  /// Whether the repository holds the manifest that `reference` names. One that will not say has it not.
  public func hasManifest(_ reference: Reference) async throws -> Bool {
    let operation = RegistryOperation("look for", reference.familiar, in: reference)
    let call = RegistryConnection.Call(
      method: .HEAD, target: .path("/v2/\(reference.path)/manifests/\(reference.object)"), headers: ["Accept": RegistryClient.accepted],
      scopes: RegistryScopes([.pull(reference.path)]), operation: operation, accepts: { $0 == 200 || RegistryClient.absent.contains($0) })
    return try await connection(reference.domain).exchange(call, limit: RegistryErrorBody.limit).status == 200
  }
}

extension Descriptor {
  /// Whether it goes with its image: not so layers whose licence keeps them where they are, which images refer to there.
  package var isDistributable: Bool {
    !(mediaType == .dockerForeignLayer || mediaType.rawValue.contains(".nondistributable.")) || urls.isEmpty
  }
}
