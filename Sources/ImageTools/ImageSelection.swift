package import ContentStore
package import OCIModel
internal import OCIRegistry

/// What of a stored image goes elsewhere: the document that stands for it, and all that it needs.
package struct ImageSelection: Sendable {
  /// The image's own document, or one of the chosen platforms alone.
  package var root: Descriptor
  package var bytes: [UInt8]
  /// Manifests and indexes below the root: children before parents.
  package var documents: [Descriptor] = []
  /// Configs and layers, each once. Those whose licence keeps them elsewhere are not among them.
  package var blobs: [Descriptor] = []
  /// The chosen images.
  package var images: [PlatformImage]
  /// Platforms that the image's document lists and that are left out though nobody asked for that: they are not here.
  package var absent: [Platform] = []

  /// The images of the platforms wanted; none: all that are here. Several of them, or all where some are missing, come as an index of those alone (with their
  /// attestations), a single one that was asked for as its manifest. Throws `ImageToolsError`; `StoreError` and `OCIError` where the store is damaged. Blocks.
  package init(_ image: StoredImage, platforms: [Platform], name: String, store: ContentStore) throws {
    (root, bytes) = (image.root, image.bytes)
    if platforms.isEmpty {
      images = image.images.filter(\.isHere)
      guard !images.isEmpty else { throw ImageToolsError(.notHere, "of \(name) nothing is in the local store", suggestion: "Pull it: manifold pull \(name)") }
      absent = image.absent
    } else {
      images = []
      for platform in platforms {
        let chosen = try image.exactly(platform, name)
        if !images.contains(where: { $0.descriptor.digest == chosen.descriptor.digest }) { images.append(chosen) }
      }
    }
    if let index = image.index { try choose(from: index, image, isOne: platforms.count == 1, isAll: platforms.isEmpty, store) }
    try collect(store)
  }

  private mutating func choose(from index: ImageIndex, _ image: StoredImage, isOne: Bool, isAll: Bool, _ store: ContentStore) throws {
    if isOne, let only = images.first {
      root = Descriptor(mediaType: only.descriptor.mediaType, digest: only.descriptor.digest, size: only.descriptor.size)
      return
    }
    if isAll, image.images.allSatisfy(\.isHere), index.manifests.allSatisfy({ store.size(of: $0.digest) == $0.size }) { return }
    var kept = Set(images.flatMap { [$0.descriptor.digest] + $0.attestations.map(\.digest) })
    if kept.isSuperset(of: index.manifests.map(\.digest)) { return }
    var reduced = index
    reduced.manifests.removeAll { !kept.contains($0.digest) }
    // Images of indexes within the index, in their own order.
    for entry in reduced.manifests { kept.remove(entry.digest) }
    for image in images {
      for entry in [image.descriptor] + image.attestations where kept.remove(entry.digest) != nil { reduced.manifests.append(entry) }
    }
    if images.count == 1, let only = images.first, only.attestations.isEmpty, image.images.count > 1 {
      root = Descriptor(mediaType: only.descriptor.mediaType, digest: only.descriptor.digest, size: only.descriptor.size)
      return
    }
    bytes = reduced.encoded
    root = Descriptor(mediaType: reduced.mediaType, of: bytes)
  }

  private mutating func collect(_ store: ContentStore) throws {
    if root.mediaType.isManifest { bytes = try store.bytes(root.digest, limit: DocumentLimits.manifest) }
    var seen: Set<Digest> = [root.digest]
    func take(_ descriptor: Descriptor, into list: inout [Descriptor]) { if seen.insert(descriptor.digest).inserted { list.append(descriptor) } }
    for image in images {
      for document in [image.descriptor] + image.attestations {
        guard case .manifest(let manifest) = try store.document(document) else { continue }
        for part in [manifest.config] + manifest.layers where part.isDistributable { take(part, into: &blobs) }
        take(document, into: &documents)
      }
    }
    // Indexes between the root and its images.
    guard root.mediaType.isIndex, case .index(let index) = try ImageDocument(parsing: bytes, mediaType: root.mediaType) else { return }
    for entry in index.manifests where !seen.contains(entry.digest) && store.contains(entry.digest) {
      let closure = try store.closure(of: entry)
      for blob in closure.blobs where store.contains(blob.digest) { take(blob, into: &blobs) }
      for document in closure.documents { take(document, into: &documents) }
    }
  }
}
