package import BuildSnapshots
package import BuildSolver
internal import ContentStore
internal import LayerArchive
internal import OCIModel

/// Who has a layer of an exported cache.
package struct CacheLayerSource: Sendable {
  /// Where the blob comes from when it is not in the store.
  package var provider: (any LayerProvider)?
  /// From there it can be mounted, within a registry.
  package var origin: (any RegistryLayerProvider)?
  package init(provider: (any LayerProvider)? = nil, origin: (any RegistryLayerProvider)? = nil) { (self.provider, self.origin) = (provider, origin) }
}

extension ImmutableRef {
  /// The tree as the layers of a cache. `makes`: blobs are computed where there are none; else nil when one is missing.
  package func cacheRemote(_ form: RemoteForm, makes: Bool) async throws -> CacheRemote? {
    let compression = Compression(rawValue: form.compression) ?? .gzip
    var made: [LayerBlob] = []
    if makes { made = try await layerBlobs(compression: compression, level: form.level, force: form.force) }
    let facts = try await layers()
    if makes, made.count != facts.count { return nil }
    var out: [CacheRemote.Layer] = []
    for (i, fact) in facts.enumerated() {
      guard let (descriptor, provider) = makes ? (made[i].descriptor, made[i].provider) : fact.known(compression, form.force, in: refs.store),
        let diffID = makes ? made[i].diffID : fact.diffID
      else { return nil }
      var layer = descriptor
      layer.annotations = LayerTypes.shown(layer.annotations)
      layer.annotations[CacheAnnotations.diffID] = diffID.description
      layer.annotations[CacheAnnotations.createdAt] = fact.created.description
      out.append(CacheRemote.Layer(descriptor: layer, source: CacheLayerSource(provider: provider, origin: (provider ?? fact.source) as? any RegistryLayerProvider)))
    }
    return CacheRemote(layers: out)
  }
}

extension LayerInfo {
  /// A blob of it that is here or can be had, of the compression that is wanted if there is a choice.
  fileprivate func known(_ compression: Compression, _ force: Bool, in store: ContentStore) -> (Descriptor, (any LayerProvider)?)? {
    let others = force ? [] : Compression.allCases.filter { $0 != compression }
    for descriptor in ([compression] + others).compactMap({ descriptors[$0] }) {
      if store.contains(descriptor.digest) { return (descriptor, nil) }
      if let provider = providers[descriptor.digest] { return (descriptor, provider) }
    }
    return nil
  }
}

/// What BuildKit writes on the layers of a cache.
package enum CacheAnnotations {
  package static let diffID = "containerd.io/uncompressed"
  package static let createdAt = "buildkit/createdat"
  package static let description = "buildkit/description"
}

extension CacheRemote.Layer {
  /// For a push or a copy.
  func imageLayer(oci: Bool) -> ImageLayer? {
    guard let diffID = descriptor.annotations[CacheAnnotations.diffID].flatMap({ Digest($0) }) else { return nil }
    let source = source as? CacheLayerSource
    var descriptor = descriptor
    descriptor.mediaType = LayerTypes.written(descriptor.mediaType, oci: oci, keepsNonDistributable: true)
    return ImageLayer(descriptor: descriptor, diffID: diffID, provider: source?.provider, origin: source?.origin?.repository, description: "", created: nil)
  }
}
