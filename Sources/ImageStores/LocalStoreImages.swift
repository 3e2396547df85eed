package import ContentStore
internal import HostOS
internal import NIOCore
package import OCIModel
package import OCIRegistry

/// An image of the local store.
package struct LocalImageSource: ImageSource {
  package let name: String
  package let store: ContentStore
  package init(_ name: String, _ store: ContentStore) { (self.name, self.store) = (name, store) }

  package var location: ImageLocation { .local(name) }

  package func root() async throws -> FetchedManifest {
    do { return try await manifest(try await LocalImageNames(store).find(name).descriptor) } catch let error as ImageStoreError where error.code == .notFound {
      // One platform of an image has no name of its own.
      guard let digest = Digest(name), let bytes = try? await Blocking.run({ [store] in try store.bytes(digest, limit: DocumentLimits.manifest) }) else { throw error }
      return try DocumentOfLayout.fetched(bytes, digest, said: nil, location)
    }
  }

  package func manifest(_ descriptor: OCIModel.Descriptor) async throws -> FetchedManifest {
    let store = store
    let bytes: [UInt8]
    do { bytes = try await Blocking.run { try store.bytes(descriptor.digest, limit: DocumentLimits.manifest) } } catch let error as StoreError where error.code == .notFound {
      throw ImageStoreError(.notFound, "\(location): \(descriptor.digest) is not in the local store", advice: Self.advice(descriptor))
    }
    try check(bytes, descriptor)
    return try DocumentOfLayout.fetched(bytes, descriptor.digest, said: descriptor.mediaType, location)
  }

  package func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent {
    guard let size = store.size(of: descriptor.digest) else {
      throw ImageStoreError(.notFound, "\(location): \(descriptor.digest), a part of it, is not in the local store", advice: Self.advice(descriptor))
    }
    guard size == descriptor.size else {
      throw ImageStoreError(.invalidContent, "\(location): \(descriptor.digest) has \(size) bytes, not the \(descriptor.size) that are said of it")
    }
    return try await StoreBlobSource(store).content(of: descriptor, from: offset)
  }

  package func presence(of descriptor: OCIModel.Descriptor) async throws -> BlobPresence {
    let store = store
    return try await Blocking.run { store.size(of: descriptor.digest).map { .present(size: $0) } ?? .absent }
  }

  private static func advice(_ descriptor: OCIModel.Descriptor) -> String? {
    descriptor.platform.map { "The store has the image without \($0.fullDescription): pull or build it for that platform too." } ?? "Build or pull the image again."
  }
}

/// A name in the local store.
package final class LocalImageDestination: ImageDestination {
  package let name: String
  package let reference: Reference
  package let store: ContentStore
  private let writes = SharedWork<Digest, Bool, TransferProgress>()

  /// Throws `ImageStoreError` for what is no name to give.
  package init(_ name: String, _ store: ContentStore) throws {
    guard !ImageLocation.isIdentifier(name), let reference = try? Reference(parsing: name), reference.digest == nil else {
      throw ImageStoreError(.unsupported, "local:\(name): an image is written under a name, not under an id or a digest")
    }
    (self.name, self.reference, self.store) = (name, reference.withDefaultTag, store)
  }

  package var location: ImageLocation { .local(name) }

  package func hasManifest(_ descriptor: OCIModel.Descriptor) async throws -> Bool {
    let store = store
    // Claimed before it is looked for: what is found then stays.
    try await store.keep([descriptor.digest])
    let parts: [Digest]? = try await Blocking.run {
      guard store.size(of: descriptor.digest) == descriptor.size, let closure = try? store.closure(of: descriptor) else { return nil }
      return (closure.blobs + closure.documents).map(\.digest)
    }
    guard let parts else { return false }
    try await store.keep(parts)
    return try await Blocking.run { ((try? store.closure(of: descriptor))?.missing.allSatisfy { !$0.isDistributable }) ?? false }
  }

  package func put(blob: OCIModel.Descriptor, from source: any ImageSource, progress: @escaping TransferProgressHandler) async throws {
    let store = store
    while true {
      let outcome = try await writes.run(blob.digest, observer: progress) { emit in
        try await Self.put(blob, in: store, from: source, emit)
        return true
      }
      if case .joinedFailure = outcome { continue }
      return
    }
  }

  private static func put(_ blob: OCIModel.Descriptor, in store: ContentStore, from source: any ImageSource, _ progress: @escaping TransferProgressHandler) async throws {
    if let registry = source as? RegistryImageSource { return try await registry.fetch(blob, into: store, progress: progress) }
    func report(_ bytes: Int64, _ state: TransferProgress.State) { progress(TransferProgress(.fetch, blob, repository: "\(source.location)", bytes: bytes, state: state)) }
    guard let writer = try await store.writer(for: blob.digest, size: blob.size) else { return report(blob.size, .exists) }
    do {
      // A part that an earlier attempt left may be of other content: a file is read from its beginning.
      if writer.offset > 0 { try await Blocking.run { try writer.restart() } }
      for try await pieces in Pieces(try await source.content(of: blob, from: 0)) {
        try await Blocking.run { try pieces.withUnsafeReadableBytes { try writer.write($0) } }
        report(writer.offset, .transferring)
      }
      _ = try await Blocking.run { try writer.commit() }
    } catch {
      writer.abort()
      throw error
    }
    report(blob.size, .done)
  }

  package func put(manifest: FetchedManifest, tagged: Bool) async throws {
    try await store.put(manifest.bytes, mediaType: manifest.descriptor.mediaType)
    if tagged { try await LocalImages(store).tag(reference, manifest.descriptor) }
  }
}

/// Names of the local store as people type them.
package struct LocalImageNames: Sendable {
  private let store: ContentStore
  package init(_ store: ContentStore) { self.store = store }

  /// The image of a name, of `name@digest`, or of an id (or so much of one as no other has). Throws `ImageStoreError.notFound` or `ambiguous`.
  package func find(_ name: String) async throws -> LocalImage {
    let images = LocalImages(store)
    if let reference = try? Reference(parsing: name), let image = try await images.resolve(reference) { return image }
    let found = try await images.withID(name)
    guard let first = found.first else { throw ImageStoreError(.notFound, "No such image: \(name)", advice: "manifold images lists what is there.") }
    guard found.allSatisfy({ $0.descriptor.digest == first.descriptor.digest }) else {
      throw ImageStoreError(.ambiguous, "\(name) is the beginning of several images' ids: \(Set(found.map { String($0.descriptor.digest.hex.prefix(16)) }).sorted().joined(separator: ", "))")
    }
    return first
  }
}
