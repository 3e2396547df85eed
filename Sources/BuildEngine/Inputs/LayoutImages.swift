internal import BuildInterface
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import HostOS
internal import OCIModel

/// Images of the client's OCI layouts, read where they lie: documents when a build asks, layers when a step needs them or the result is written. What they hold is a
/// stranger's, and checked as it is read.
final class LayoutImages: Sendable {
  private let files: any LayoutService
  private let opened = KeyedFlights()

  init(_ files: any LayoutService) { self.files = files }

  func layout(_ id: String) async throws -> OpenedLayout {
    let files = files
    return try await opened.value(for: id) {
      switch try await files.layout(id: id) {
      case .inPlace(let path): .here(try await Blocking.run { try OCILayout.open(path) })
      case .remote(let layout): .remote(layout, name: id)
      }
    }
  }

  func size(of blob: Digest, in id: String) async throws -> Int64 {
    let layout = try await layout(id)
    guard let size = try await layout.size(of: blob) else { throw BuildError(.notFound, .usage, "the OCI layout \(layout.name) has no blob \(blob)") }
    return size
  }

  /// The image that the reference's digest names, for a platform.
  func resolve(_ id: String, _ reference: Reference, platform: Platform) async throws -> BaseImage {
    let layout = try await layout(id)
    guard let digest = reference.digest else { throw InvalidDefinition("oci-layout://\(reference): an image of a layout is named by its digest") }
    let bytes = try await layout.bytes(digest, limit: DocumentLimits.manifest)
    let manifest: ImageManifest
    switch try Self.document(bytes) {
    case .manifest(let single): manifest = single
    case .index(let index):
      let chosen = try ImageResolver.choose(index, for: platform, name: "the image \(digest) of the OCI layout \(layout.name)")
      guard case .manifest(let found) = try Self.document(try await layout.bytes(chosen.digest, limit: DocumentLimits.manifest), type: chosen.mediaType) else {
        throw BuildError(.failedPrecondition, .usage, "\(layout.name): the entry for \(platform) of \(digest) is an index inside an index, which is not supported")
      }
      manifest = found
    }
    guard manifest.config.size <= Int64(DocumentLimits.config) else {
      throw BuildError(.failedPrecondition, .usage, "\(layout.name): the config of \(digest) has \(manifest.config.size) bytes, more than the limit of \(DocumentLimits.config)")
    }
    let configBytes = try await layout.bytes(manifest.config.digest, limit: DocumentLimits.config)
    let config = try ImageConfig(parsing: configBytes)
    var image = BaseImage(
      reference: reference, digest: digest, manifest: manifest, config: config, configBytes: configBytes, place: .layout, warnings: [], otherPlatform: nil, mirror: nil)
    image.noteOtherPlatform(platform)
    return image
  }

  /// Writers may leave the media type out of a document; then what it has says what it is.
  private static func document(_ bytes: [UInt8], type: MediaType? = nil) throws -> ImageDocument {
    let said = try JSONValue(parsing: bytes)
    let type = said["mediaType"]?.stringValue.map { MediaType($0) } ?? type ?? (said["manifests"] == nil ? .ociManifest : .ociIndex)
    return try ImageDocument(parsing: bytes, mediaType: type)
  }
}

/// Takes layers of an OCI layout into the store when a step needs them.
struct LayoutLayerFetch: LayerProvider {
  let session: SolveSession
  /// Of the vertex, whose other builds' clients are asked when this one goes away.
  var context: OpContext?
  let layout: String
  let progress: OpProgress

  func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore) async throws {
    guard let context else { return try await fetch(descriptor, into: store, of: session) }
    try await SessionGroup(first: session, context: context).ask { try await fetch(descriptor, into: store, of: $0) }
  }

  private func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore, of session: SolveSession) async throws {
    let layout = try await session.layouts.layout(layout)
    guard let writer = try await store.writer(for: descriptor.digest, size: descriptor.size) else { return }
    let status = progress.transfer(descriptor.digest.description, total: descriptor.size)
    defer { status.finish() }
    try await layout.take(descriptor, into: writer) { status.update($0) }
  }
}
