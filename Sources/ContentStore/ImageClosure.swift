package import OCIModel

/// Everything an image is made of, as far as it can be told.
package struct ImageClosure: Sendable {
  /// Indexes and manifests that are here, children before parents, each once.
  package var documents: [Descriptor] = []
  /// Configs, layers and other blobs that manifests name, here or not, each once, in the order of the manifests.
  package var blobs: [Descriptor] = []
  /// Of both kinds: what is not here. Below a missing document nothing is known.
  package var missing: [Descriptor] = []
  package init() {}
}

/// Where blobs are read from.
package protocol BlobSource: Sendable {
  /// Nil when it is not here. Quick.
  func size(of digest: Digest) -> Int64?
  /// Throws `StoreError.notFound`. The content is not verified.
  func reader(_ digest: Digest) throws -> BlobReader
  /// A document, verified. Throws `StoreError.notFound`, `tooLarge`, `corrupt`.
  func bytes(_ digest: Digest, limit: Int) throws -> [UInt8]
}

extension ContentStore: BlobSource {}

extension BlobSource {
  /// Walks an image. Throws `OCIError` for documents that cannot be read, `StoreError.invalid` for ones that nest or branch beyond reason.
  /// Blocks for as long as reading the documents takes.
  package func closure(of root: Descriptor) throws -> ImageClosure {
    var walk = ClosureWalk(source: self)
    try walk.visit(root, depth: 0)
    return walk.closure
  }
}

private struct ClosureWalk<Source: BlobSource> {
  let source: Source
  var closure = ImageClosure()
  private var seen: Set<Digest> = []
  // An index of indexes is as deep as images go; seven platforms with attestations are fourteen manifests.
  private static var deepest: Int { 8 }
  private static var most: Int { 100_000 }

  init(source: Source) { self.source = source }

  mutating func visit(_ descriptor: Descriptor, depth: Int) throws {
    guard seen.insert(descriptor.digest).inserted else { return }
    guard depth < Self.deepest, seen.count <= Self.most else {
      throw StoreError(.invalid, "\(descriptor.digest): indexes nested deeper than \(Self.deepest), or more than \(Self.most) parts", digest: descriptor.digest)
    }
    let isHere = source.size(of: descriptor.digest) == descriptor.size
    if !isHere { closure.missing.append(descriptor) }
    guard descriptor.mediaType.isIndex || descriptor.mediaType.isManifest else {
      closure.blobs.append(descriptor)
      return
    }
    guard isHere else { return }
    switch try ImageDocument(parsing: source.bytes(descriptor.digest, limit: DocumentLimits.manifest), mediaType: descriptor.mediaType) {
    case .index(let index): for child in index.manifests { try visit(child, depth: depth + 1) }
    case .manifest(let manifest): for child in [manifest.config] + manifest.layers { try visit(child, depth: depth + 1) }
    }
    closure.documents.append(descriptor)
  }
}
