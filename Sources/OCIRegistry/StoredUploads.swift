package import ContentStore

/// Half-sent blobs as rows of a store.
package struct StoredUploads: UploadMemory {
  private let store: ContentStore
  package init(_ store: ContentStore) { self.store = store }

  package func alone<T: Sendable>(repository: String, digest: String, _ body: () async throws -> T) async throws -> T {
    try await store.locks.withLock("push:\(repository)@\(digest)", body)
  }
  package func recall(repository: String, digest: String) async -> RememberedUpload? {
    (try? await store.upload(of: digest, to: repository)).flatMap { $0.map { RememberedUpload(location: $0.location, offset: $0.offset) } }
  }
  package func remember(_ upload: RememberedUpload, repository: String, digest: String) async {
    try? await store.noteUpload(of: digest, to: repository, location: upload.location, offset: upload.offset)
  }
  package func forget(repository: String, digest: String) async { try? await store.endUpload(of: digest, to: repository) }
}
