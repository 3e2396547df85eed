internal import BuildInterface
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import OCIModel
internal import OCIRegistry

/// `docker-image://`: a base image, as a chain of lazy layers.
struct ImageSource: Op {
  let reference: Reference
  let platform: Platform
  let mode: ImageResolveMode
  /// From the definition: the digest that the name must resolve to.
  let checksum: Digest?
  let services: EngineServices

  private func image(_ context: OpContext) async throws -> (BaseImage, SolveSession) {
    let session = try services.session(of: context)
    let image = try await session.images.resolve(reference, platform: platform, mode: mode)
    if let checksum, image.digest != checksum {
      throw BuildError(.failedPrecondition, .build, "\(reference.familiar) is \(image.digest), not \(checksum) as the definition asks")
    }
    return (image, session)
  }

  /// First what the name resolved to, then its layers, by whatever name they come.
  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    let (image, session) = try await image(context)
    for warning in image.warnings where index == 0 { context.progress.log(stream: 2, Array((warning + "\n").utf8)) }
    let definition = OpCacheKey.image(image.digest, platform: platform)
    let digest = index == 0 ? definition : OpCacheKey.imageContent(image.config) ?? definition
    var options: [String: any Sendable] = [:]
    let provider = LayerFetch(services: services, session: session, reference: image.reference, progress: context.progress)
    for layer in image.manifest.layers { options[LayerFetch.option(layer.digest)] = provider }
    return CacheMapAnswer(CacheMap(digest: CacheDigest(digest), options: options), done: index > 0)
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    let (image, session) = try await image(context)
    let layers = image.manifest.layers
    guard !layers.isEmpty else { return [TreeResult(.scratch)] }
    guard layers.count == image.config.diffIDs.count else {
      throw BuildError(
        .failedPrecondition, .registry, "\(reference.familiar): its manifest has \(layers.count) layers, its config \(image.config.diffIDs.count)")
    }
    let provider = LayerFetch(services: services, session: session, reference: image.reference, progress: context.progress)
    var current: ImmutableRef?
    do {
      for (layer, diffID) in zip(layers, image.config.diffIDs) {
        let parent = current
        current = try await services.refs.layer(parent: parent, descriptor: layer, diffID: diffID, provider: provider)
        await parent?.release()
      }
    } catch {
      await current?.release()
      throw error
    }
    guard let current else { return [TreeResult(.scratch)] }
    return [TreeResult(.snapshot(current))]
  }

  /// Nothing is downloaded here.
  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { nil }
}

/// Brings the layers of one image into the store when a step needs them, with the client and credentials of the build that does.
struct LayerFetch: LayerProvider {
  let services: EngineServices
  let session: SolveSession
  let reference: Reference
  let progress: OpProgress

  static func option(_ layer: Digest) -> String { "layer:" + layer.description }

  var repository: Reference? { reference.repository }

  func fetch(_ descriptor: Descriptor, into store: ContentStore) async throws {
    let status = progress.transfer(descriptor.digest.description, total: descriptor.size)
    do {
      try await session.registry.fetchBlob(descriptor, from: reference, into: try await store.sink(for: descriptor)) { transfer in
        status.update(transfer.bytes)
      }
      status.finish()
    } catch {
      status.finish()
      throw error
    }
  }
}
