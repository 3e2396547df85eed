package import ContentStore
internal import HostOS
package import OCIModel
package import OCIRegistry

/// Brings a selection of the store's content into one repository of a registry: blobs of all platforms at once, then manifests, then what stands for the whole under its tag, so that
/// the tag is at every moment the old image or the whole new one. What the repository has, or can mount from another of its registry, is not sent.
package struct StorePush: Sendable {
  private let client: RegistryClient
  private let store: ContentStore
  private let progress: TransferProgressHandler

  package init(_ client: RegistryClient, from store: ContentStore, progress: @escaping TransferProgressHandler = { _ in }) {
    (self.client, self.store, self.progress) = (client, store, progress)
  }

  /// `name` has a tag, or neither tag nor digest: then the image is found by its digest alone. Throws `RegistryError`, `StoreError`.
  package func push(_ selection: ImageSelection, to name: Reference, mountFrom: [Reference] = []) async throws {
    let repository = name.repository
    let byDigest = repository.with(digest: selection.root.digest)
    // A registry takes a document only when it has all that the document names.
    if try await !client.hasManifest(byDigest) {
      try await blobs(selection.blobs, to: repository, mountFrom)
      try await documents(selection, to: repository)
    }
    try await client.pushManifest(selection.bytes, mediaType: selection.root.mediaType, to: name.tag == nil ? byDigest : name.with(digest: nil))
  }

  private func blobs(_ blobs: [OCIModel.Descriptor], to repository: Reference, _ mountFrom: [Reference]) async throws {
    // The client bounds how many go on at once.
    try await withThrowingTaskGroup(of: Void.self) { group in
      for blob in blobs { group.addTask { _ = try await client.pushBlob(blob, from: store, to: repository, mountFrom: mountFrom, progress: progress) } }
      try await group.waitForAll()
    }
  }

  /// Manifests at once, then the indexes that name them.
  private func documents(_ selection: ImageSelection, to repository: Reference) async throws {
    for documents in [selection.documents.filter(\.mediaType.isManifest), selection.documents.filter { !$0.mediaType.isManifest }] {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for document in documents {
          group.addTask {
            let (store, digest) = (store, document.digest)
            let bytes = try await Blocking.run { try store.bytes(digest, limit: DocumentLimits.manifest) }
            try await client.pushManifest(bytes, mediaType: document.mediaType, to: repository.with(digest: digest))
          }
        }
        try await group.waitForAll()
      }
    }
  }
}
