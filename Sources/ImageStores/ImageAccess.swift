package import ContentStore
package import OCIRegistry

/// Opens locations: with the command's registry client, and the local store where one was opened.
package struct ImageAccess: Sendable {
  package let client: RegistryClient
  package let store: ContentStore?
  /// Requests that commands over whole images let go out to one registry at once: all platforms of many images, each of which waits for nothing but the registry. One connection
  /// takes them where it speaks HTTP/2.
  package static let requestsAtOnce = 192
  package init(client: RegistryClient, store: ContentStore?) {
    (self.client, self.store) = (client, store)
    // A push that is broken off goes on in another process.
    if let store { client.remember(uploads: StoredUploads(store)) }
  }

  /// Nothing is read yet.
  package func source(_ location: ImageLocation) throws -> any ImageSource {
    switch location {
    case .registry(let reference): return RegistryImageSource(reference, client)
    case .layout(let path, let tag, let digest): return LayoutImageSource(path: path, tag: tag, digest: digest)
    case .local(let name): return LocalImageSource(name, try needed(location))
    }
  }

  /// Nothing is written yet.
  package func destination(_ location: ImageLocation) throws -> any ImageDestination {
    switch location {
    case .registry(let reference): return try RegistryImageDestination(reference, client)
    case .layout(let path, let tag, let digest): return LayoutImageDestination(path: path, tag: tag, digest: digest)
    case .local(let name): return try LocalImageDestination(name, try needed(location))
    }
  }

  private func needed(_ location: ImageLocation) throws -> ContentStore {
    guard let store else { throw ImageStoreError(.unsupported, "\(location): this command has not opened the local store") }
    return store
  }
}
