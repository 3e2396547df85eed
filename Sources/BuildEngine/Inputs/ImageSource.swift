internal import BuildInterface
internal import BuildOutputs
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import OCIModel
internal import OCIRegistry

/// `docker-image://` and `oci-layout://`: a base image, as a chain of lazy layers.
struct ImageSource: Op {
  let reference: Reference
  let platform: Platform
  let mode: ImageResolveMode
  /// From the definition: the digest that the name must resolve to.
  let checksum: Digest?
  /// The client's OCI layout that has it; nil asks registries.
  var layout: String?
  /// Only so many layers from the bottom.
  var layerLimit: Int?
  let services: EngineServices
  let pin = SourcePin()

  private func image(_ context: OpContext) async throws -> (BaseImage, SolveSession) {
    let (image, session) = try await services.sessions(of: context).ask { session in
      if let layout { return (try await session.layouts.resolve(layout, reference, platform: platform), session) }
      return (try await session.images.resolve(reference, platform: platform, mode: mode), session)
    }
    if let checksum, image.digest != checksum {
      throw BuildError(.failedPrecondition, .build, "\(reference.familiar) is \(image.digest), not \(checksum) as the definition asks")
    }
    pin.digest = image.digest
    guard let layerLimit else { return (image, session) }
    guard layerLimit <= image.manifest.layers.count, layerLimit <= image.config.diffIDs.count else {
      throw BuildError(.invalidArgument, .build, "layer limit \(layerLimit) is greater than the number of layers in the image \(image.manifest.layers.count)")
    }
    var part = image
    part.manifest.layers = Array(image.manifest.layers.prefix(layerLimit))
    part.diffIDs = Array(image.config.diffIDs.prefix(layerLimit))
    return (part, session)
  }

  private func provider(_ image: BaseImage, _ session: SolveSession, _ context: OpContext) -> any LayerProvider {
    if let layout { return LayoutLayerFetch(session: session, context: context, layout: layout, progress: context.progress) }
    return LayerFetch(session: session, context: context, reference: image.reference, progress: context.progress)
  }

  /// First what the name resolved to, then its layers, by whatever name they come.
  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    let (image, session) = try await image(context)
    for warning in image.warnings where index == 0 { context.progress.log(warning + "\n") }
    let definition = OpCacheKey.image(image.digest, platform: platform, layerLimit: layerLimit)
    let digest = index == 0 ? definition : OpCacheKey.imageContent(image.config, layerLimit: layerLimit) ?? definition
    var options: [String: any Sendable] = [:]
    let provider = provider(image, session, context)
    for layer in image.manifest.layers { options[LayerFetch.option(layer.digest)] = provider }
    if image.isWindows { options[LayerFetch.windows] = true }
    return CacheMapAnswer(CacheMap(digest: CacheDigest(digest), options: options), done: index > 0)
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    let (image, session) = try await image(context)
    let provider = provider(image, session, context)
    guard let tree = try await services.refs.chain(of: image, provider: provider) else { return [TreeResult(.scratch)] }
    return [TreeResult(.snapshot(tree))]
  }

  /// Nothing is downloaded here.
  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { nil }
}

extension RefStore {
  /// An image's layers, each on the one below, none of them fetched yet; nil when it has none. The caller releases it.
  func chain(of image: BaseImage, provider: any LayerProvider) async throws -> ImmutableRef? {
    let layers = image.manifest.layers, diffIDs = image.diffIDs ?? image.config.diffIDs
    guard layers.count == diffIDs.count else {
      throw BuildError(
        .failedPrecondition, .registry, "\(image.reference.familiar): its manifest has \(layers.count) layers, its config \(diffIDs.count)")
    }
    if layers.isEmpty { return nil }
    return try await self.layers(on: nil, Array(zip(layers, diffIDs)), provider: provider, system: image.isWindows ? .windows : .common)
  }
}

/// Brings the layers of one image into the store when a step needs them, with the client and credentials of the build that does.
struct LayerFetch: RegistryLayerProvider {
  let session: SolveSession
  /// Of the vertex, whose other builds are asked when this one ends.
  var context: OpContext?
  let reference: Reference
  let progress: OpProgress

  /// Of a vertex that stands on a Windows image.
  static let windows = "system:windows"
  static func option(_ layer: Digest) -> String { "layer:" + layer.description }

  var repository: Reference? { reference.repository }

  func fetch(_ descriptor: Descriptor, into store: ContentStore) async throws {
    guard let context else { return try await fetch(descriptor, into: store, of: session) }
    try await SessionGroup(first: session, context: context).ask { try await fetch(descriptor, into: store, of: $0) }
  }

  private func fetch(_ descriptor: Descriptor, into store: ContentStore, of session: SolveSession) async throws {
    let status = progress.transfer(descriptor.digest.description, total: descriptor.size)
    defer { status.finish() }
    let progress = progress
    try await RegistryRetry.observing({ progress.log("\($0)\n") }) {
      do {
        try await session.registry.fetchBlob(descriptor, from: reference, into: store) { status.update($0.bytes) }
      } catch let error as RegistryError where error.code == .notFound {
        // An image whose push was broken off: its base's layers are where they came from.
        for place in try await store.origins(of: descriptor.digest) where place != reference.repository {
          if (try? await session.registry.fetchBlob(descriptor, from: place, into: store) { status.update($0.bytes) }) != nil { return }
        }
        throw error
      }
    }
  }
}
