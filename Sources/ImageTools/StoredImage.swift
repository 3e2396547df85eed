package import ContentStore
package import OCIModel
internal import OCIRegistry

/// One platform's image of an index, or the only one there is, as far as it is in the store.
package struct PlatformImage: Sendable {
  /// As the index has it.
  package var descriptor: Descriptor
  /// Normalised; of the index's entry, else of the image's config. nil where neither can tell.
  package var platform: Platform?
  /// nil: not here.
  package var manifest: ImageManifest?
  /// Of config and layers: what is not here. (Layers whose licence keeps them elsewhere do not count.)
  package var missing: [Descriptor] = []
  /// Bytes of it that are here: manifest, config, layers.
  package var size: Int64 = 0
  /// The index's entries that are about this image and whose content is here.
  package var attestations: [Descriptor] = []

  /// All of it is in the store.
  package var isHere: Bool { manifest != nil && missing.isEmpty }
}

/// What an index or manifest of the store holds. The index is whole as a document; of its platforms some may not be here.
package struct StoredImage: Sendable {
  package var root: Descriptor
  package var bytes: [UInt8]
  /// nil: a single image.
  package var index: ImageIndex?
  /// In the index's order, those of indexes within it included; attestations are with their images.
  package var images: [PlatformImage]
  /// Bytes that are here, each blob once.
  package var size: Int64

  /// Those that are here.
  package var platforms: [Platform] { Self.distinct(images.filter(\.isHere).compactMap(\.platform)) }
  /// Those that the index lists and that are not here.
  package var absent: [Platform] {
    let here = Set(platforms)
    return Self.distinct(images.filter { !$0.isHere }.compactMap(\.platform)).filter { !here.contains($0) }
  }
  private static func distinct(_ platforms: [Platform]) -> [Platform] {
    var seen = Set<Platform>()
    return platforms.filter { $0.os != "unknown" && seen.insert($0).inserted }
  }

  /// The same, with these blobs counted as here: whoever asks can have them from elsewhere.
  package func counting(_ reachable: Set<Digest>) -> StoredImage {
    var out = self
    for i in out.images.indices { out.images[i].missing.removeAll { reachable.contains($0.digest) } }
    return out
  }

  /// The image for a platform; without one the best for `host` of those that are here, else the first that is. `name` is for errors. Throws `ImageToolsError`.
  package func image(for wanted: Platform?, host: Platform, name: String) throws -> PlatformImage {
    if let wanted { return try exactly(wanted, name) }
    let matcher = PlatformMatcher(only: host)
    let here = images.filter(\.isHere)
    let best = here.filter { $0.platform.map(matcher.matches) ?? false }.min { matcher.isBetter($0.platform, than: $1.platform) }
    guard let found = best ?? here.first else { throw ImageToolsError(.notHere, "of \(name) nothing is in the local store", suggestion: "Pull it: manifold pull \(name)") }
    return found
  }

  /// The platform's own image, and no other that would do.
  func exactly(_ wanted: Platform, _ name: String) throws -> PlatformImage {
    let matcher = PlatformMatcher(exactly: wanted)
    let all = images.filter { $0.platform.map(matcher.matches) ?? false }
    guard let found = all.first(where: \.isHere) ?? all.first else { throw ImageToolsError.noSuchPlatform(name, wanted, has: images.compactMap(\.platform)) }
    guard found.isHere else {
      throw ImageToolsError(.notHere, "\(wanted.fullDescription) of \(name) is not in the local store", suggestion: "Pull it: manifold pull --platform \(wanted.fullDescription) \(name)")
    }
    return found
  }
}

extension ContentStore {
  /// Reads what the store has of an image. Throws `OCIError`, `StoreError`. Blocks.
  package func storedImage(_ root: Descriptor) throws -> StoredImage {
    let bytes = try bytes(root.digest, limit: DocumentLimits.manifest)
    var reading = StoredImageReading(store: self)
    try reading.visit(root, bytes, depth: 0)
    reading.attach()
    var index: ImageIndex?
    if case .index(let document) = try ImageDocument(parsing: bytes, mediaType: root.mediaType) { index = document }
    return StoredImage(root: root, bytes: bytes, index: index, images: reading.images, size: reading.sizes.values.reduce(0, +))
  }
}

private struct StoredImageReading {
  let store: ContentStore
  var images: [PlatformImage] = []
  var sizes: [Digest: Int64] = [:]
  private var attestations: [(subject: Digest, entry: Descriptor)] = []
  private static var deepest: Int { 8 }

  init(store: ContentStore) { self.store = store }

  mutating func visit(_ descriptor: Descriptor, _ bytes: [UInt8], depth: Int) throws {
    guard depth < Self.deepest else { throw StoreError(.invalid, "\(descriptor.digest): indexes nested deeper than \(Self.deepest)", digest: descriptor.digest) }
    sizes[descriptor.digest] = descriptor.size
    switch try ImageDocument(parsing: bytes, mediaType: descriptor.mediaType) {
    case .manifest(let manifest): images.append(try image(descriptor, manifest))
    case .index(let index):
      for entry in index.manifests { try visit(entry: entry, depth: depth) }
    }
  }

  private mutating func visit(entry: Descriptor, depth: Int) throws {
    let isHere = store.size(of: entry.digest) == entry.size
    if let subject = entry.attestedDigest {
      guard isHere, case .manifest(let manifest) = try store.document(entry) else { return }
      let parts = [manifest.config] + manifest.layers
      guard parts.allSatisfy({ store.size(of: $0.digest) == $0.size }) else { return }
      for part in [entry] + parts { sizes[part.digest] = part.size }
      attestations.append((subject, entry))
    } else if entry.mediaType.isIndex {
      if isHere { try visit(entry, try store.bytes(entry.digest, limit: DocumentLimits.manifest), depth: depth + 1) }
    } else if entry.mediaType.isManifest {
      if isHere { try visit(entry, try store.bytes(entry.digest, limit: DocumentLimits.manifest), depth: depth + 1) } else {
        images.append(PlatformImage(descriptor: entry, platform: entry.platform?.normalized))
      }
    }
  }

  private mutating func image(_ descriptor: Descriptor, _ manifest: ImageManifest) throws -> PlatformImage {
    var image = PlatformImage(descriptor: descriptor, platform: descriptor.platform?.normalized, manifest: manifest, size: descriptor.size)
    for part in [manifest.config] + manifest.layers {
      if store.size(of: part.digest) == part.size {
        sizes[part.digest] = part.size
        image.size += part.size
      } else if part.isDistributable {
        image.missing.append(part)
      }
    }
    if image.platform == nil, manifest.config.mediaType.isConfig, store.contains(manifest.config.digest) {
      let own = try ImageConfig(parsing: store.bytes(manifest.config.digest, limit: DocumentLimits.config)).platform
      if !own.os.isEmpty, !own.architecture.isEmpty { image.platform = own.normalized }
    }
    return image
  }

  mutating func attach() {
    for (subject, entry) in attestations {
      if let place = images.firstIndex(where: { $0.descriptor.digest == subject }) { images[place].attestations.append(entry) }
    }
  }
}
