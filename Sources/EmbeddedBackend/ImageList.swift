internal import BuildInterface
internal import ContentStore
internal import HostOS
internal import OCIModel

/// The local store's images as `manifold images` shows them.
struct ImageList {
  private let store: ContentStore
  init(_ store: ContentStore) { self.store = store }

  func images() async throws -> [BuildInterface.LocalImage] {
    let store = store
    let list = try await LocalImages(store).list()
    return try await Blocking.run { try list.map { try ImageList.described($0.reference, $0.descriptor, $0.created, store) } }
  }

  private static func described(
    _ reference: Reference, _ descriptor: OCIModel.Descriptor, _ created: Timestamp, _ store: ContentStore
  ) throws -> BuildInterface.LocalImage {
    let closure = try store.closure(of: descriptor)
    var sizes: [Digest: Int64] = [descriptor.digest: descriptor.size]
    for item in closure.documents + closure.blobs { sizes[item.digest] = item.size }
    return BuildInterface.LocalImage(
      reference: reference, digest: descriptor.digest, platforms: try platforms(of: descriptor, store), created: created,
      size: sizes.values.reduce(0, +))
  }

  private static func platforms(of descriptor: OCIModel.Descriptor, _ store: ContentStore) throws -> [Platform] {
    var found: [Platform] = []
    func add(_ platform: Platform) { if platform.os != "unknown", !found.contains(platform) { found.append(platform) } }
    switch try store.document(descriptor) {
    case .index(let index): for platform in index.manifests.compactMap(\.platform) { add(platform.normalized) }
    case .manifest(let manifest): add(try ImageConfig(parsing: store.bytes(manifest.config.digest, limit: DocumentLimits.config)).platform.normalized)
    }
    return found
  }
}
