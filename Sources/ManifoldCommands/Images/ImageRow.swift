internal import ContentStore
internal import HostOS
internal import ImageTools
internal import OCIModel

/// A name in the local store, as listings show it.
struct ImageRow: Sendable {
  struct Part: Sendable {
    var platform: String
    var digest: Digest
    var size: Int64
    var isHere: Bool
    /// It has attestations.
    var isAttested: Bool
  }
  var reference: Reference
  var digest: Digest
  /// Those that are here.
  var platforms: [Platform]
  /// Of the image; where it says nothing, when it got its name.
  var created: Timestamp
  /// Compressed bytes of all blobs that are here, each once.
  var size: Int64
  var isUnnamed = false
  var parts: [Part] = []
  var labels: [String: String] = [:]

  /// All, the newest first.
  static func all(_ store: ContentStore, host: Platform) async throws -> [ImageRow] {
    let images = try await StoredImages(store).list()
    return try await Blocking.run {
      try images.map { try ImageRow($0, store, host: host) }.sorted { a, b in
        a.created == b.created ? (a.reference.name, a.reference.tag ?? "") < (b.reference.name, b.reference.tag ?? "") : a.created > b.created
      }
    }
  }

  private init(_ named: NamedImage, _ store: ContentStore, host: Platform) throws {
    let image = named.image
    self.init(
      reference: named.local.reference, digest: image.root.digest, platforms: image.platforms, created: named.local.created, size: image.size, isUnnamed: named.local.isUnnamed)
    parts = image.images.map { part in
      Part(platform: part.platform?.fullDescription ?? "unknown", digest: part.descriptor.digest, size: part.size, isHere: part.isHere, isAttested: !part.attestations.isEmpty)
    }
    // What cannot be read is listed all the same.
    guard let manifest = (try? image.image(for: nil, host: host, name: ""))?.manifest,
      let config = try? ImageConfig(parsing: store.bytes(manifest.config.digest, limit: DocumentLimits.config))
    else { return }
    labels = config.config.labels
    if let own = config.created, own.seconds > 0 { created = own }
  }

  init(
    reference: Reference, digest: Digest, platforms: [Platform], created: Timestamp, size: Int64, isUnnamed: Bool = false, parts: [Part] = [], labels: [String: String] = [:]
  ) {
    (self.reference, self.digest, self.platforms, self.created, self.size) = (reference, digest, platforms, created, size)
    (self.isUnnamed, self.parts, self.labels) = (isUnnamed, parts, labels)
  }

  var repository: String { isUnnamed ? "<none>" : reference.familiarName }
  var tag: String { reference.tag ?? "<none>" }
}
