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
    var mounts = source.mountable.map { [$0] } ?? []
    var content: any OCIRegistry.BlobSource = source
    let store = (source as? LocalImageSource)?.store
    if let store {
      let origins = (try? await store.origins(of: blob.digest)) ?? []
      mounts += origins
      if store.size(of: blob.digest) == nil, !origins.isEmpty { content = OriginBlobSource(client: client, origins: origins) }
    }
    let (places, bytes) = (mounts, content)
    while true {
      let outcome = try await uploads.run(blob.digest, observer: progress) { emit in
        let outcome = try await client.pushBlob(blob, from: bytes, to: target, mountFrom: places, progress: emit)
        if let store, outcome != .exists { try? await store.noteOrigin(target, of: [blob.digest]) }
        return outcome
      }
      // Another's failure may be its source's: try by ourselves.
      if case .joinedFailure = outcome { continue }
      return
    }
  }

  package func put(manifest: FetchedManifest, tagged: Bool) async throws {
    let name = tagged ? reference : reference.repository.with(digest: manifest.descriptor.digest)
    try await client.pushManifest(manifest.bytes, mediaType: manifest.descriptor.mediaType, to: name)
  }
}

/// A part of a local image that was never brought here: from where it was seen.
private struct OriginBlobSource: OCIRegistry.BlobSource {
  let client: RegistryClient
  let origins: [Reference]

  func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent {
    for origin in origins {
      try Task.checkCancellation()
      if (try? await client.blobExists(descriptor, in: origin)) == true { return client.blobContent(descriptor, from: origin, offset: offset) }
    }
    throw ImageStoreError(
      .notFound, "\(descriptor.digest), a part of the image, is neither in the local store nor any more in \(origins.map(\.familiarName).joined(separator: ", "))",
      advice: "Build or pull the image again.")
  }
}
