internal import ContentStore
package import OCIModel
package import OCIRegistry

/// An image in a registry.
package struct RegistryImageSource: ImageSource {
  package let reference: Reference
  private let client: RegistryClient
  package init(_ reference: Reference, _ client: RegistryClient) { (self.reference, self.client) = (reference.withDefaultTag, client) }

  package var location: ImageLocation { .registry(reference) }
  package var mountable: Reference? { reference.repository }

  package func root() async throws -> FetchedManifest { try await client.manifest(reference) }

  package func manifest(_ descriptor: OCIModel.Descriptor) async throws -> FetchedManifest {
    let fetched = try await client.manifest(reference, digest: descriptor.digest)
    guard fetched.descriptor.size == descriptor.size else {
      throw RegistryError(
        .sizeMismatch, "\(reference.familiarName)@\(descriptor.digest) has \(fetched.descriptor.size) bytes, its index says \(descriptor.size)", host: reference.domain, repository: reference.path)
    }
    return fetched
  }

  package func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent {
    client.blobContent(descriptor, from: reference.repository, offset: offset)
  }

  package func presence(of descriptor: OCIModel.Descriptor) async throws -> BlobPresence { try await client.blobPresence(descriptor, in: reference.repository) }
  package func referrers(of digest: Digest) async throws -> [OCIModel.Descriptor] { try await client.referrers(of: digest, in: reference) }

  func fetch(_ blob: OCIModel.Descriptor, into store: ContentStore, progress: @escaping TransferProgressHandler) async throws {
    try await client.fetchBlob(blob, from: reference.repository, into: store, progress: progress)
  }
}

/// A name in a registry.
package final class RegistryImageDestination: ImageDestination {
  package let reference: Reference
  let client: RegistryClient
  private let uploads = SharedWork<Digest, PushOutcome, TransferProgress>()

  /// Throws `ImageStoreError.unsupported` for a reference by digest, which names nothing that can be given.
  package init(_ reference: Reference, _ client: RegistryClient) throws {
    guard reference.digest == nil else { throw ImageStoreError(.unsupported, "\(reference.familiar): an image is written to a tag, not to a digest") }
    (self.reference, self.client) = (reference.withDefaultTag, client)
  }

  package var location: ImageLocation { .registry(reference) }

  package func hasManifest(_ descriptor: OCIModel.Descriptor) async throws -> Bool {
    // An index that is there may have been pushed to a lenient registry without all its children.
    guard descriptor.mediaType.isManifest else { return false }
    return try await client.hasManifest(reference.repository.with(digest: descriptor.digest))
  }

  package func put(blob: OCIModel.Descriptor, from source: any ImageSource, progress: @escaping TransferProgressHandler) async throws {
    let (client, target) = (client, reference.repository)
    let mounts = source.mountable.map { [$0] } ?? []
    let store = (source as? LocalImageSource)?.store
    while true {
      let outcome = try await uploads.run(blob.digest, observer: progress) { emit in
        // The store knows where it saw what: that can be mounted, and what it lacks read from there.
        if let store { return try await client.pushBlob(blob, from: store, to: target, progress: emit) }
        return try await client.pushBlob(blob, from: source, to: target, mountFrom: mounts, progress: emit)
      }
      // Another's failure may be its source's: try by ourselves.
      if case .joinedFailure = outcome { continue }
      return
    }
  }

  package func put(manifest: FetchedManifest, tagged: Bool) async throws {
    let name = tagged ? reference : reference.repository.with(digest: manifest.descriptor.digest)
    // Whether a manifest is there was asked before its blobs came; a tag may be one that cannot be given twice.
    try await client.pushManifest(manifest.bytes, mediaType: manifest.descriptor.mediaType, to: name, looksFirst: tagged)
  }

  package func put(referrer: FetchedManifest, listed: OCIModel.Descriptor, of subject: Digest) async throws {
    guard case .manifest(let manifest) = try referrer.document(), manifest.subject != nil else { return try await put(manifest: referrer, tagged: false) }
    try await client.pushReferrer(referrer.bytes, mediaType: referrer.descriptor.mediaType, to: reference.repository)
  }
}
