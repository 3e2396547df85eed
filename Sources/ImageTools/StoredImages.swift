package import ContentStore
internal import HostOS
package import OCIModel

/// A name in the local store, with what it stands for.
package struct NamedImage: Sendable {
  package var local: LocalImage
  package var image: StoredImage
}

/// An image that was asked for by a name, a digest or an id.
package struct FoundImage: Sendable {
  /// As asked for, for errors and suggestions.
  package var text: String
  /// The name it was asked for by; nil for an id.
  package var reference: Reference?
  /// All names of it, the one asked for first.
  package var names: [LocalImage]
  package var image: StoredImage
}

/// The local store's images, by what people call them.
package struct StoredImages: Sendable {
  package let store: ContentStore
  package init(_ store: ContentStore) { self.store = store }

  /// All names, newest first. Throws `StoreError`, `OCIError`.
  package func list() async throws -> [NamedImage] {
    let (store, names) = (store, try await LocalImages(store).list())
    return try await Blocking.run {
      var known: [Digest: StoredImage] = [:]
      return try names.map { name in
        let image = try known[name.descriptor.digest] ?? store.storedImage(name.descriptor)
        known[name.descriptor.digest] = image
        return NamedImage(local: name, image: image)
      }
    }
  }

  /// `name[:tag]`, `name@digest` (of the whole or of one platform's image), an id or the beginning of one. Throws `ImageToolsError`, `StoreError`, `OCIError`.
  package func find(_ text: String) async throws -> FoundImage {
    let local = LocalImages(store)
    if !Self.isID(text), let reference = try? Reference(parsing: text) {
      if let found = try await local.resolve(reference) { return try await self.found(text, reference.withDefaultTag, found) }
      if let digest = reference.digest, let found = try await part(digest, of: reference.name) {
        return FoundImage(text: text, reference: reference, names: [], image: found)
      }
    }
    let found = try await withID(text)
    guard let first = found.first else { throw ImageToolsError.noSuchImage((try? Reference(parsing: text))?.withDefaultTag.familiar ?? text) }
    guard Set(found.map(\.descriptor.digest)).count == 1 else {
      throw ImageToolsError(.ambiguous, "several images have an id that begins with \(text)", suggestion: "Give more of it: \(Set(found.map(\.descriptor.digest.description)).sorted().joined(separator: ", "))")
    }
    return try await self.found(text, nil, first)
  }

  private static func isHex(_ text: some StringProtocol) -> Bool { !text.isEmpty && text.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) } }
  private static func isID(_ text: String) -> Bool { text.hasPrefix("sha256:") && isHex(text.dropFirst(7)) || text.utf8.count == 64 && isHex(text) }

  private func found(_ text: String, _ reference: Reference?, _ image: LocalImage) async throws -> FoundImage {
    let store = store
    let names = try await LocalImages(store).withID(image.descriptor.digest.description)
    let stored = try await Blocking.run { try store.storedImage(image.descriptor) }
    let sorted = names.filter { $0.reference == image.reference } + names.filter { $0.reference != image.reference }
    return FoundImage(text: text, reference: reference, names: sorted, image: stored)
  }

  /// By the digest of the whole, else by that of a platform's manifest or config (which is what `build -q` prints).
  private func withID(_ text: String) async throws -> [LocalImage] {
    let hex = text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text
    guard Self.isHex(hex) else { return [] }
    let direct = try await LocalImages(store).withID(hex)
    if !direct.isEmpty || hex.utf8.count < 12 { return direct }
    return try await list().filter { named in
      named.image.images.contains { $0.descriptor.digest.hex.hasPrefix(hex) || $0.manifest?.config.digest.hex.hasPrefix(hex) == true }
    }.map(\.local)
  }

  /// One platform's image, where an image of the repository has it.
  private func part(_ digest: Digest, of repository: String) async throws -> StoredImage? {
    for named in try await list() where named.local.reference.name == repository {
      guard var part = named.image.images.first(where: { $0.descriptor.digest == digest && $0.manifest != nil }) else { continue }
      let (store, descriptor) = (store, part.descriptor)
      part.attestations = []
      var image = try await Blocking.run { try store.storedImage(OCIModel.Descriptor(mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size)) }
      // The index may say more of the platform than the config does.
      if image.images.count == 1 { image.images[0].platform = part.platform ?? image.images[0].platform }
      return image
    }
    return nil
  }
}
