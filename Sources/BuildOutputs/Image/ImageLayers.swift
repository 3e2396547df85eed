internal import BuildInterface
internal import BuildSnapshots
internal import ContentStore
internal import LayerArchive
internal import OCIModel

/// One layer of an image to be written.
struct ImageLayer: Sendable {
  /// As the manifest has it.
  var descriptor: Descriptor
  var diffID: Digest
  /// Who has the blob, when it is not in the store.
  var provider: (any LayerProvider)?
  /// Where the layer came from: from there it can be mounted instead of sent, within a registry.
  var origin: Reference?
  /// For the image's history.
  var description: String
  var created: Timestamp?
}

/// The layers of a build's result as blobs.
struct ImageLayers: Sendable {
  /// One list a target, in their order.
  var targets: [[ImageLayer]]

  /// Makes the blobs that there are none of yet, all targets at once, and tells `made` of each. Nothing is downloaded.
  static func make(_ source: ExportSource, _ options: ImageOptions, made: @escaping @Sendable (LayerBlob) -> Void = { _ in }) async throws -> ImageLayers {
    var targets = [[ImageLayer]](repeating: [], count: source.targets.count)
    try await withThrowingTaskGroup(of: (Int, [ImageLayer]).self) { group in
      for (i, target) in source.targets.enumerated() {
        guard let ref = target.ref else { continue }
        group.addTask {
          (i, try await ExportErrors.wrapping("cannot export \(target.id)") { try await layers(of: ref, options, options.layerForm(source), base: target.baseImageConfig, made) })
        }
      }
      for try await (i, layers) in group { targets[i] = layers }
    }
    return ImageLayers(targets: targets)
  }

  private static func layers(of ref: ImmutableRef, _ options: ImageOptions, _ form: LayerForm, base: [UInt8]?, _ made: @escaping @Sendable (LayerBlob) -> Void) async throws -> [ImageLayer] {
    // Only when times are cut does it matter which layers are the base image's.
    let base = form.latest == nil ? [] : try base.map { $0.isEmpty ? [] : try ImageConfig(parsing: $0).diffIDs } ?? []
    let blobs = try await ref.layerBlobs(form, force: options.forceCompression, base: base, made: made)
    // What the handle knows about the layers, the topmost ones when it knows more of them.
    let facts = Array(try await ref.layers().suffix(blobs.count))
    return blobs.enumerated().map { i, blob in
      let fact = i < facts.count ? facts[i] : nil
      var descriptor = blob.descriptor
      descriptor.mediaType = LayerTypes.written(descriptor.mediaType, oci: options.ociTypes, keepsNonDistributable: options.keepsNonDistributable)
      descriptor.annotations = options.ociTypes ? LayerTypes.shown(descriptor.annotations) : [:]
      return ImageLayer(
        descriptor: descriptor, diffID: blob.diffID, provider: blob.provider,
        origin: ((blob.provider ?? fact?.source) as? any RegistryLayerProvider)?.repository, description: fact?.description ?? "", created: fact?.created)
    }
  }

  /// Brings all lazy layers into the store, each once.
  func download(into store: ContentStore, _ source: ExportSource) async throws {
    var wanted: [Digest: (layer: ImageLayer, provider: any LayerProvider, targets: [String])] = [:]
    for (target, layers) in zip(source.targets, targets) {
      for layer in layers {
        guard let provider = layer.provider, !store.contains(layer.descriptor.digest) else { continue }
        wanted[layer.descriptor.digest, default: (layer, provider, [])].targets.append(target.id)
      }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (layer, provider, targets) in wanted.values {
        group.addTask {
          try await ExportErrors.wrapping("cannot fetch \(layer.descriptor.digest), a layer of \(targets.joined(separator: ", "))") {
            try await provider.fetch(layer.descriptor, into: store)
          }
        }
      }
      try await group.waitForAll()
    }
  }
}

/// Media types and annotations of layers as they are written.
enum LayerTypes {
  private static let pairs: [(oci: MediaType, docker: MediaType)] = [
    (.ociLayer, .dockerLayer), (.ociLayerGzip, .dockerLayerGzip), (.ociLayerZstd, .dockerLayerZstd),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar"),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", .dockerForeignLayer),
  ]
  private static let distributable: [MediaType: MediaType] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar": .ociLayer,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": .ociLayerGzip,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": .ociLayerZstd,
    "application/vnd.docker.image.rootfs.foreign.diff.tar": .dockerLayer,
    .dockerForeignLayer: .dockerLayerGzip,
  ]

  /// The same form of layer in OCI's or Docker's words. Types that nobody knows stay.
  static func written(_ type: MediaType, oci: Bool, keepsNonDistributable: Bool) -> MediaType {
    let type = keepsNonDistributable ? type : distributable[type] ?? type
    for pair in pairs where pair.oci == type || pair.docker == type { return oci ? pair.oci : pair.docker }
    return type
  }

  static func isNonDistributable(_ type: MediaType) -> Bool { distributable[type] != nil }

  /// Without what builders write on layers for themselves.
  static func shown(_ annotations: [String: String]) -> [String: String] {
    annotations.filter { key, _ in
      key != "containerd.io/uncompressed" && key != "buildkit/createdat" && !key.hasPrefix("containerd.io/distribution.source.")
    }
  }
}
