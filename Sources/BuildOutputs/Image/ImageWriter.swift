internal import BuildProgress
internal import BuildInterface
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import FoundationEssentials
internal import LayerArchive
internal import OCIModel

/// The documents of an image, and where its layers are. In memory: whoever needs them elsewhere puts them there.
struct WrittenImage: Sendable {
  struct Document: Sendable {
    var descriptor: Descriptor
    var bytes: [UInt8]
  }
  struct Manifest: Sendable {
    /// The target's id.
    var target: String
    var document: Document
    var config: Document
    var layers: [ImageLayer]
  }
  /// One a target, in their order.
  var manifests: [Manifest]
  /// In the index, after the manifests.
  var attestations: [AttestationManifest] = []
  /// Attestations that go beside the image, for whoever asks its registry what refers to it.
  var referrers: [AttestationManifest] = []
  /// For an image of several platforms, or one with attestations.
  var index: Document?

  /// What stands for the whole.
  var root: Document { index ?? manifests[0].document }

  /// Children before parents.
  var documents: [Document] {
    manifests.flatMap { [$0.config, $0.document] } + attestations.flatMap { $0.statements + [$0.config, $0.document] } + (index.map { [$0] } ?? [])
  }

  /// All layers, each once, with the targets they belong to.
  var layers: [(layer: ImageLayer, targets: [String])] {
    var out: [(layer: ImageLayer, targets: [String])] = []
    var places: [Digest: Int] = [:]
    for manifest in manifests {
      for layer in manifest.layers {
        if let place = places[layer.descriptor.digest] {
          if out[place].targets.last != manifest.target { out[place].targets.append(manifest.target) }
        } else {
          places[layer.descriptor.digest] = out.count
          out.append((layer, [manifest.target]))
        }
      }
    }
    return out
  }

  /// For the build's history.
  func exported(as root: Descriptor) -> ExportedImage {
    ExportedImage(
      descriptor: root, documents: documents.map(\.bytes),
      layers: Dictionary(manifests.map { ($0.target, $0.layers.map(\.descriptor)) }) { first, _ in first })
  }

  /// What the build answers, by the peers' names.
  func response(root descriptor: Descriptor, names: String) -> [String: String] {
    var out = ["containerimage.digest": descriptor.digest.description]
    out["containerimage.descriptor"] = Data(descriptor.json.encoded()).base64EncodedString()
    if index == nil { out["containerimage.config.digest"] = manifests[0].config.descriptor.digest.description }
    if !names.isEmpty { out["image.name"] = names }
    return out
  }
}

/// Makes an image of a build's result: layers, config and manifest for each target, and the index over them, laid out as BuildKit does.
struct ImageWriter: Sendable {
  let options: ImageOptions
  /// Told of each layer that had to be made, as soon as its blob is there.
  var layerMade: @Sendable (LayerBlob) -> Void = { _ in }

  func write(_ source: ExportSource, _ vertex: ProgressTask) async throws -> WrittenImage {
    guard let first = source.targets.first, source.isMultiPlatform || source.targets.count == 1 else {
      throw BuildError(.internal, .build, "an image of \(source.targets.count) platforms cannot be written without an index")
    }
    let attestations = try options.attestations.chosen(of: source)
    let isAttested = attestations.contains { !$0.isEmpty }
    let hasIndex = source.isMultiPlatform || (isAttested && options.attestations.place == .index)
    try options.annotations.check(source, hasIndex: hasIndex, ociTypes: options.ociTypes)
    if options.rewritesTimes, options.epoch(source) == nil {
      vertex.log("WARNING: rewrite-timestamp has no effect without a time: set SOURCE_DATE_EPOCH, or source-date-epoch of this output")
    }
    let layers = try await vertex.step("exporting layers") { try await ImageLayers.make(source, options, made: layerMade) }
    let caches = try await inlineCaches(source, vertex)
    var manifests: [WrittenImage.Manifest] = []
    for (target, layers) in zip(source.targets, layers.targets) {
      let manifest = try await ExportErrors.wrapping("cannot export \(target.id)") { try self.manifest(target, layers, source, cache: caches[target.id]) }
      vertex.done("exporting manifest \(manifest.document.descriptor.digest)")
      vertex.done("exporting config \(manifest.config.descriptor.digest)")
      manifests.append(manifest)
    }
    var image = WrittenImage(manifests: manifests)
    let attested = isAttested ? try await self.attestations(attestations, source, manifests, vertex) : []
    if options.attestations.place == .index { image.attestations = attested } else { image.referrers = attested }
    guard hasIndex else {
      image.manifests[0].document.descriptor.platform = first.platform.normalized
      return image
    }
    let index = self.index(source, image)
    vertex.done("exporting manifest list \(index.descriptor.digest)")
    image.index = index
    return image
  }

  /// What each target's image says of the steps that made it.
  private func inlineCaches(_ source: ExportSource, _ vertex: ProgressTask) async throws -> [String: [UInt8]] {
    guard let cache = source.inlineCache else { return [:] }
    let form = RemoteForm(compression: options.compression.rawValue, level: options.compressionLevel, force: options.forceCompression)
    return try await vertex.step("preparing layers for inline cache") {
      var caches: [String: [UInt8]] = [:]
      for target in source.targets {
        caches[target.id] = try await ExportErrors.wrapping("cannot make the inline cache of \(target.id)") { try await cache(target.id, form) }
      }
      return caches
    }
  }

  private func manifest(_ target: ExportSource.Target, _ layers: [ImageLayer], _ source: ExportSource, cache: [UInt8]?) throws -> WrittenImage.Manifest {
    var patch = ImageConfigPatch(
      layers: layers.map { ImageConfigPatch.Layer(diffID: $0.diffID, description: $0.description, created: $0.created) }, epoch: options.epoch(source))
    patch.cache = cache
    if let base = target.baseImageConfig, !base.isEmpty { patch.baseHistory = try ImageConfig(parsing: base).history }
    let config = try patch.apply(to: target.imageConfig, platform: target.platform)
    let configDescriptor = Descriptor(mediaType: options.ociTypes ? .ociConfig : .dockerConfig, of: config)
    let annotations = options.annotations.of(target.platform)
    let type: MediaType = options.ociTypes ? .ociManifest : .dockerManifest
    let manifest = ImageManifest(mediaType: type, config: configDescriptor, layers: layers.map(\.descriptor), annotations: annotations.manifest)
    var json = manifest.json
    // BuildKit writes an image without layers so.
    if layers.isEmpty, var object = json.objectValue {
      object["layers"] = .null
      json = .object(object)
    }
    let bytes = json.encoded(.indented("  "))
    return WrittenImage.Manifest(
      target: target.id,
      document: WrittenImage.Document(descriptor: Descriptor(mediaType: type, of: bytes, annotations: annotations.manifestDescriptor), bytes: bytes),
      config: WrittenImage.Document(descriptor: configDescriptor, bytes: config), layers: layers)
  }

  private func attestations(
    _ attestations: [[Attestation]], _ source: ExportSource, _ manifests: [WrittenImage.Manifest], _ vertex: ProgressTask
  ) async throws -> [AttestationManifest] {
    var out: [AttestationManifest] = []
    for ((target, manifest), attestations) in zip(zip(source.targets, manifests), attestations) where !attestations.isEmpty {
      let isArtifact = options.attestations.areArtifacts || options.attestations.place == .referrers
      let made = try await ExportErrors.wrapping("cannot attest \(target.id)") {
        try await AttestationManifest.make(attestations, of: manifest, target, names: options.names, isArtifact: isArtifact)
      }
      vertex.done("exporting attestation manifest \(made.document.descriptor.digest)")
      out.append(made)
    }
    return out
  }

  /// In the order that the platforms were asked for.
  private func index(_ source: ExportSource, _ image: WrittenImage) -> WrittenImage.Document {
    let annotations = options.annotations.ofIndex
    let children = zip(source.targets, image.manifests).map { target, manifest in
      var descriptor = manifest.document.descriptor
      descriptor.platform = target.platform.normalized
      return descriptor
    }
    let type: MediaType = options.ociTypes ? .ociIndex : .dockerManifestList
    let all = children + image.attestations.map(\.document.descriptor)
    let bytes = ImageIndex(mediaType: type, manifests: all, annotations: annotations.index).encoded
    return WrittenImage.Document(descriptor: Descriptor(mediaType: type, of: bytes, annotations: annotations.indexDescriptor), bytes: bytes)
  }
}

extension WrittenImage {
  /// Puts the documents into the store, and the layers that are elsewhere. A lease must be held.
  func store(in store: ContentStore, _ source: ExportSource) async throws {
    try await ImageLayers(targets: manifests.map(\.layers)).download(into: store, source)
    for document in documents { try await store.put(document.bytes, mediaType: document.descriptor.mediaType) }
  }
}
