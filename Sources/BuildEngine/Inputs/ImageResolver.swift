internal import BuildInterface
internal import ContentStore
internal import DockerfileSyntax
internal import HostOS
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

/// An image, for one platform, as a build sees it.
struct BaseImage: Sendable {
  enum Place: Sendable {
    /// All of it is in the local store.
    case localStore
    case registry
    /// An OCI layout of the client.
    case layout
  }
  /// As asked for.
  var reference: Reference
  /// Of what the name points at: the index of a multi-platform image.
  var digest: Digest
  var manifest: ImageManifest
  var config: ImageConfig
  var configBytes: [UInt8]
  var place: Place
  /// Said about it in progress; not an error.
  var warnings: [String]
  /// Its own platform, where that is not the one asked for: an image that is no index is taken as it is.
  var otherPlatform: Platform?
  /// Of the layers that are wanted, when that is not all of them.
  var diffIDs: [Digest]?
  /// Its layers are in Windows' form.
  var isWindows: Bool { config.platform.os.lowercased() == "windows" }
  /// The mirror that told what the name stands for.
  var mirror: String?
}

extension BaseImage {
  /// An image that is no index is taken as it is, and said to be what it is.
  mutating func noteOtherPlatform(_ wanted: Platform) {
    guard !config.platform.os.isEmpty, !PlatformMatcher(only: wanted).matches(config.platform.normalized) else { return }
    otherPlatform = config.platform.normalized
    warnings.append("\(reference.familiar) is an image for \(config.platform.normalized), and is used for \(wanted)")
  }
}

/// Resolves image names for one build: each name once, whatever the platforms and however many steps use it. What was
/// fetched stays in the content store, so a later build asks the registry only what the tag points at.
final class ImageResolver: Sendable {
  private let store: ContentStore
  private let images: LocalImages
  private let client: RegistryClient
  private let roots = Mutex<[String: SingleFlight<Root>]>([:])

  /// What a name points at.
  private struct Root: Sendable {
    var descriptor: OCIModel.Descriptor
    var bytes: [UInt8]
    var place: BaseImage.Place
    var mirror: String?
  }

  init(store: ContentStore, images: LocalImages, client: RegistryClient) {
    self.store = store
    self.images = images
    self.client = client
  }

  func resolve(_ reference: Reference, platform: Platform, mode: ImageResolveMode) async throws -> BaseImage {
    let reference = reference.withDefaultTag
    if mode != .forcePull, let local = try await localRoot(reference) {
      let lacking: String
      do {
        let found = try await image(reference, local, platform)
        guard mode == .default, let other = found.otherPlatform else { return found }
        lacking = "the \(reference.familiar) in the local store is for \(other) only"
      } catch let error as BuildError where error.code == .notFound && mode == .default {
        lacking = error.message + (error.suggestion.map { " (\($0.prefix { $0 != "\n" }))" } ?? "")
      }
      // The local image lacks this platform: the registry may have it.
      do {
        var found = try await image(reference, try await remoteRoot(reference), platform)
        found.warnings.insert(lacking + ": taken from the registry", at: 0)
        return found
      } catch {
        if error is CancellationError { throw error }
        var failure = (error as? BuildError) ?? BuildError(.unavailable, .registry, "\(error)", cause: error)
        failure.message = lacking + ", and the registry does not help: " + failure.message
        throw failure
      }
    }
    return try await image(reference, try await remoteRoot(reference), platform)
  }

  /// The platforms an image has, in its index's order.
  func platforms(of reference: Reference) async throws -> [Platform] {
    let reference = reference.withDefaultTag
    let root: Root
    if let local = try await localRoot(reference) { root = local } else { root = try await remoteRoot(reference) }
    return try await platforms(of: reference, root)
  }

  /// Of an image in the local store that has one platform.
  func onlyLocalPlatform(of reference: Reference) async throws -> Platform? {
    let reference = reference.withDefaultTag
    guard let local = try await localRoot(reference) else { return nil }
    let found = try await platforms(of: reference, local)
    return found.count == 1 ? found.first : nil
  }

  private func platforms(of reference: Reference, _ root: Root) async throws -> [Platform] {
    switch try ImageDocument(parsing: root.bytes, mediaType: root.descriptor.mediaType) {
    case .index(let index): return ImageResolver.platforms(of: index)
    case .manifest(let manifest): return [try ImageConfig(parsing: try await config(manifest.config, of: reference, root.place)).platform.normalized]
    }
  }

  private static func platforms(of index: ImageIndex) -> [Platform] {
    var found: [Platform] = []
    for platform in index.manifests.compactMap({ $0.platform?.normalized }) where platform.os != "unknown" && !found.contains(platform) { found.append(platform) }
    return found
  }

  private func localRoot(_ reference: Reference) async throws -> Root? {
    guard let image = try await images.resolve(reference) else { return nil }
    return Root(descriptor: image.descriptor, bytes: try await bytes(image.descriptor.digest, limit: DocumentLimits.manifest), place: .localStore)
  }

  private func remoteRoot(_ reference: Reference) async throws -> Root {
    let flight = roots.withLock { roots in
      if let flight = roots[reference.description] { return flight }
      let flight = SingleFlight<Root>()
      roots[reference.description] = flight
      return flight
    }
    return try await flight.value {
      let (descriptor, mirror) = if let pinned = try await self.pinned(reference) { (pinned, String?.none) } else { try await self.client.resolution(of: reference) }
      return Root(descriptor: descriptor, bytes: try await self.document(descriptor, of: reference), place: .registry, mirror: mirror)
    }
  }

  private func bytes(_ digest: Digest, limit: Int) async throws -> [UInt8] {
    let store = store
    return try await Blocking.run { try store.bytes(digest, limit: limit) }
  }

  /// A digest cannot come to mean something else: what the store has under it needs no registry.
  private func pinned(_ reference: Reference) async throws -> OCIModel.Descriptor? {
    guard let digest = reference.digest else { return nil }
    try await store.keep([digest])
    guard store.contains(digest) else { return nil }
    let text = try await bytes(digest, limit: DocumentLimits.manifest)
    guard let type = try? JSONValue(parsing: text)["mediaType"]?.stringValue else { return nil }
    return OCIModel.Descriptor(mediaType: MediaType(type), digest: digest, size: Int64(text.count))
  }

  private func document(_ descriptor: OCIModel.Descriptor, of reference: Reference) async throws -> [UInt8] {
    try await store.keep([descriptor.digest])
    if store.contains(descriptor.digest) { return try await bytes(descriptor.digest, limit: DocumentLimits.manifest) }
    let fetched = try await client.manifest(reference, digest: descriptor.digest)
    _ = try await store.put(fetched.bytes, mediaType: fetched.descriptor.mediaType)
    return fetched.bytes
  }

  private func image(_ reference: Reference, _ root: Root, _ platform: Platform) async throws -> BaseImage {
    let manifest: ImageManifest
    switch try ImageDocument(parsing: root.bytes, mediaType: root.descriptor.mediaType) {
    case .manifest(let single): manifest = single
    case .index(let index):
      let chosen = try ImageResolver.choose(index, for: platform, name: reference.familiar + (root.place == .localStore ? " in the local store" : ""))
      let text: [UInt8]
      switch root.place {
      case .localStore:
        guard store.contains(chosen.digest) else {
          throw BuildError(.notFound, .registry, "\(reference.familiar) in the local store is without its image for \(platform)", suggestion: "manifold pull --platform \(platform) \(reference.familiar)")
        }
        text = try await bytes(chosen.digest, limit: DocumentLimits.manifest)
      case .registry, .layout: text = try await document(chosen, of: reference)
      }
      guard case .manifest(let found) = try ImageDocument(parsing: text, mediaType: chosen.mediaType) else {
        throw BuildError(.failedPrecondition, .registry, "\(reference.familiar): the entry for \(platform) is an index inside an index, which is not supported")
      }
      manifest = found
    }
    let configBytes = try await config(manifest.config, of: reference, root.place)
    let config = try ImageConfig(parsing: configBytes)
    var image = BaseImage(
      reference: reference, digest: root.descriptor.digest, manifest: manifest, config: config, configBytes: configBytes, place: root.place, warnings: [], otherPlatform: nil, mirror: root.mirror)
    image.noteOtherPlatform(platform)
    return image
  }

  private func config(_ descriptor: OCIModel.Descriptor, of reference: Reference, _ place: BaseImage.Place) async throws -> [UInt8] {
    guard descriptor.size <= Int64(DocumentLimits.config) else {
      throw BuildError(.failedPrecondition, .registry, "\(reference.familiar): its config of \(descriptor.size) bytes is larger than the limit of \(DocumentLimits.config)")
    }
    try await store.keep([descriptor.digest])
    if !store.contains(descriptor.digest) {
      try await client.fetchBlob(descriptor, from: reference, into: store)
    }
    return try await bytes(descriptor.digest, limit: DocumentLimits.config)
  }

  /// - Parameter name: of what has the index, for the error that says which platforms there are.
  static func choose(_ index: ImageIndex, for platform: Platform, name: String) throws -> OCIModel.Descriptor {
    let matcher = PlatformMatcher(only: platform)
    let candidates = index.manifests.filter { $0.platform.map { matcher.matches($0.normalized) } ?? false }
    if let best = candidates.min(by: { matcher.isBetter($0.platform, than: $1.platform) }) { return best }
    let platforms = ImageResolver.platforms(of: index)
    throw BuildError(
      .notFound, .registry, "\(name) has no image for \(platform.fullDescription)",
      suggestion: platforms.isEmpty
        ? "its index lists no platforms" : "it has: \(platforms.map(\.fullDescription).joined(separator: ", "))" + ImageResolver.nearest(platforms, platform))
  }

  /// The one of the same processor, or of nearly that name.
  private static func nearest(_ platforms: [Platform], _ wanted: Platform) -> String {
    let near = PlatformMatcher.nearest(platforms, to: wanted).first.flatMap { $0.os == wanted.os && $0.architecture == wanted.architecture ? $0.fullDescription : nil }
    let meant = near ?? Suggestion.nearest(to: wanted.description, among: platforms.map(\.description))
    return meant.map { "\nnearest is \($0)" } ?? ""
  }
}
