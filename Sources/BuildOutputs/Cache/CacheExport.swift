package import BuildInterface
package import BuildProgress
package import BuildSolver
internal import BuildSnapshots
internal import ContentStore
internal import HostOS
internal import OCIModel
internal import OCIRegistry

extension CacheDestination {
  /// Writes the records and their layers, layers first. Answers what the peers do (`cache.manifest`); nothing when there was nothing to write.
  package func write(_ chains: CacheChains, in environment: ExportEnvironment, files: any FileService, _ vertex: ProgressTask) async throws -> [String: String] {
    for key in unknown { vertex.log("the attribute \(key) is not known and has no effect") }
    let (config, blobs) = CacheConfig.make(chains)
    guard !config.layers.isEmpty else {
      vertex.done("skipping cache export for empty result")
      return [:]
    }
    var layers: [ImageLayer] = []
    for blob in blobs {
      guard let layer = blob.imageLayer(oci: ociTypes) else { throw BuildError(.internal, .build, "the cache's layer \(blob.descriptor.digest) has no description") }
      layers.append(layer)
    }
    let configBytes = config.encoded
    if configBytes.count > CacheConfig.peerLimit { vertex.log("the cache's records take \(configBytes.count) bytes: BuildKit reads no more than \(CacheConfig.peerLimit)") }
    let configDescriptor = OCIModel.Descriptor(mediaType: CacheConfig.mediaType, of: configBytes)
    let (manifest, type) = manifest(layers.map(\.descriptor), configDescriptor)
    let descriptor = OCIModel.Descriptor(mediaType: type, of: manifest)
    try await vertex.step("sending cache export") {
      try await environment.store.withLease("cache-export") { _ in
        let writer = try await CacheWriter(place: place, environment: environment, files: files, vertex: vertex)
        try await writer.write(layers)
        try await vertex.step("writing config \(configDescriptor.digest)") { try await writer.write(configBytes, configDescriptor) }
        try await vertex.step("writing cache \(isImageManifest ? "image manifest" : "manifest") \(descriptor.digest)") { try await writer.finish(manifest, descriptor) }
        if resets { try await writer.reset(vertex) }
      }
    }
    return ["cache.manifest": descriptor.json.encodedString()]
  }

  /// As Go marshals it, on one line.
  private func manifest(_ layers: [OCIModel.Descriptor], _ config: OCIModel.Descriptor) -> (bytes: [UInt8], type: MediaType) {
    if isImageManifest { return (ImageManifest(mediaType: .ociManifest, config: config, layers: layers).json.encoded(), .ociManifest) }
    let type: MediaType = ociTypes ? .ociIndex : .dockerManifestList
    return (ImageIndex(mediaType: type, manifests: layers + [config]).json.encoded(), type)
  }
}

/// Puts a cache's parts where they belong.
private struct CacheWriter {
  private enum Target {
    case registry(Reference)
    case layout(OCILayout, tag: String)
  }
  private let target: Target
  private let environment: ExportEnvironment
  private let vertex: ProgressTask

  init(place: CacheDestination.Place, environment: ExportEnvironment, files: any FileService, vertex: ProgressTask) async throws {
    (self.environment, self.vertex) = (environment, vertex)
    switch place {
    case .registry(let reference): target = .registry(reference)
    case .directory(let path, let tag):
      switch try await files.directory(named: CacheOption.directoryName(path)) {
      case .inPlace(let absolute): target = .layout(try await Blocking.run { try OCILayout.create(absolute) }, tag: tag)
      // A client's content comes over another service than its files.
      case .remote: throw BuildError(.unimplemented, .build, "the cache directory \(path) is not on this machine")
      }
    case .inline: throw BuildError(.internal, .build, "an inline cache is written with its image")
    }
  }

  /// Each once, several at a time: the registry client bounds how many.
  func write(_ layers: [ImageLayer]) async throws {
    var seen: Set<Digest> = []
    try await withThrowingTaskGroup(of: Void.self) { group in
      for layer in layers where seen.insert(layer.descriptor.digest).inserted {
        group.addTask {
          try await vertex.step("writing layer \(layer.descriptor.digest)") {
            try await ExportErrors.wrapping("layer \(layer.descriptor.digest)") { try await write(layer) }
          }
        }
      }
      try await group.waitForAll()
    }
  }

  private func write(_ layer: ImageLayer) async throws {
    switch target {
    case .registry(let reference): try await LayerPush(environment: environment, vertex: vertex).push(layer, to: reference.repository)
    case .layout(let layout, _):
      let store = environment.store, digest = layer.descriptor.digest
      if try await Blocking.run({ layout.size(of: digest) == layer.descriptor.size }) { return }
      if !store.contains(digest), let provider = layer.provider { try await provider.fetch(layer.descriptor, into: store) }
      try await Blocking.run { try layout.add(digest, from: store) }
    }
  }

  func write(_ bytes: [UInt8], _ descriptor: OCIModel.Descriptor) async throws {
    switch target {
    case .registry(let reference): _ = try await environment.registry.pushBlob(descriptor, from: MemoryBlobSource(bytes), to: reference.repository)
    case .layout(let layout, _): try await Blocking.run { try layout.put(bytes) }
    }
  }

  func finish(_ bytes: [UInt8], _ descriptor: OCIModel.Descriptor) async throws {
    switch target {
    case .registry(let reference): try await environment.registry.pushManifest(bytes, mediaType: descriptor.mediaType, to: reference)
    case .layout(let layout, let tag):
      try await Blocking.run { try layout.put(bytes) }
      try await layout.update { OCILayout.insert(descriptor, [.tag(tag)], into: &$0) }
    }
  }

  /// A directory that cannot be tidied holds the cache all the same.
  func reset(_ vertex: ProgressTask) async throws {
    guard case .layout(let layout, _) = target else { return }
    do { try await Blocking.run { try layout.removeUnnamed() } } catch { vertex.log("old parts of the cache stay: \(error)") }
  }
}

/// Brings one layer into a repository: from the store, or from where it lies.
struct LayerPush: Sendable {
  let environment: ExportEnvironment
  let vertex: ProgressTask

  func push(_ layer: ImageLayer, to repository: Reference) async throws {
    let (descriptor, registry) = (layer.descriptor, environment.registry)
    let meter = ExportMeter(vertex, "pushing \(descriptor.digest)", total: descriptor.size)
    let mounts = layer.origin.map { [$0.repository] } ?? []
    let isHere = environment.store.contains(descriptor.digest)
    if !isHere, let origin = layer.origin {
      // From registry to registry, through this process and not through its store.
      let source = RegistryBlobSource(registry, origin.repository)
      try await registry.pushBlob(descriptor, from: source, to: repository, mountFrom: mounts) { meter.follow($0) }
      return
    }
    if !isHere, let provider = layer.provider {
      guard try await !registry.blobExists(descriptor, in: repository) else { return }
      try await provider.fetch(descriptor, into: environment.store)
    }
    try await registry.pushBlob(descriptor, from: environment.store, to: repository, mountFrom: mounts) { meter.follow($0) }
  }
}
