internal import BuildInterface
package import ContentStore
internal import HostOS
package import OCIModel
internal import OCIRegistry

/// An opened cache from elsewhere: its documents and blobs.
package struct CachePlace: Sendable {
  enum Kind: Sendable {
    case registry(RegistryClient, Reference)
    case layout(OCILayout)
  }
  let kind: Kind

  /// The repository its layers are in; nil for a directory.
  package var repository: Reference? {
    if case .registry(_, let reference) = kind { reference.repository } else { nil }
  }

  /// Opens what a `--cache-from` names, and its document.
  static func open(_ source: CacheSource, registry: RegistryClient, files: any FileService) async throws -> (CachePlace, FetchedManifest) {
    switch source.place {
    case .registry(let reference):
      return (CachePlace(kind: .registry(registry, reference)), try await registry.manifest(reference))
    case .directory(let path, let tag, let digest):
      let layout: OCILayout
      switch try await files.directory(named: CacheOption.directoryName(path)) {
      case .inPlace(let absolute): layout = try await Blocking.run { try OCILayout.open(absolute) }
      // A client's content comes over another service than its files.
      case .remote: throw BuildError(.unimplemented, .build, "the cache directory \(path) is not on this machine")
      }
      return try await Blocking.run {
        let root = try digest ?? tagged(tag, in: layout)
        return (CachePlace(kind: .layout(layout)), try document(root, in: layout, served: nil))
      }
    }
  }

  private static func tagged(_ tag: String, in layout: OCILayout) throws -> Digest {
    let found = try layout.index().manifests.last { $0.annotations[OCILayout.refName] == tag || $0.annotations[OCILayout.imageName] == tag }
    guard let found else { throw CacheFormatError("\(layout.path) holds no cache of the tag \(tag)") }
    return found.digest
  }

  private static func document(_ digest: Digest, in layout: OCILayout, served: MediaType?) throws -> FetchedManifest {
    let bytes = try layout.bytes(digest, limit: DocumentLimits.manifest)
    let type = try ManifestKind.mediaType(bytes, served: served?.rawValue ?? "", what: "read the cache in \(layout.path)", host: layout.path)
    return FetchedManifest(descriptor: Descriptor(mediaType: type, digest: digest, size: Int64(bytes.count)), bytes: bytes)
  }

  /// A manifest that another document names.
  func manifest(_ descriptor: OCIModel.Descriptor) async throws -> FetchedManifest {
    switch kind {
    case .registry(let client, let reference): try await client.manifest(reference, digest: descriptor.digest)
    case .layout(let layout): try await Blocking.run { try CachePlace.document(descriptor.digest, in: layout, served: descriptor.mediaType) }
    }
  }

  /// A small blob, verified.
  func bytes(_ descriptor: OCIModel.Descriptor, limit: Int) async throws -> [UInt8] {
    guard descriptor.size <= Int64(limit) else { throw CacheFormatError("its part \(descriptor.digest) has \(descriptor.size) bytes, more than the limit of \(limit)") }
    switch kind {
    case .registry(let client, let reference):
      let sink = BytesSink(limit: limit)
      try await client.fetchBlob(descriptor, from: reference, into: sink)
      return sink.bytes
    case .layout(let layout): return try await Blocking.run { try layout.bytes(descriptor.digest, limit: limit) }
    }
  }

  /// Whether the blob of a layer is there: registries forget those that an index alone names.
  package func has(_ descriptor: OCIModel.Descriptor) async throws -> Bool {
    switch kind {
    case .registry(let client, let reference): try await client.blobExists(descriptor, in: reference.repository)
    case .layout(let layout): try await Blocking.run { layout.size(of: descriptor.digest) == descriptor.size }
    }
  }

  /// Brings a layer's blob into the store, verified.
  package func fetch(_ descriptor: OCIModel.Descriptor, into store: ContentStore, progress: @escaping @Sendable (Int64) -> Void = { _ in }) async throws {
    switch kind {
    case .registry(let client, let reference): try await client.fetchBlob(descriptor, from: reference, into: store) { progress($0.bytes) }
    case .layout(let layout):
      try await store.takeBlob(descriptor, from: layout)
      progress(descriptor.size)
    }
  }
}

/// Holds a small blob in memory.
/// @unchecked: touched by one caller at a time, as BlobSink promises.
private final class BytesSink: BlobSink, @unchecked Sendable {
  private(set) var bytes: [UInt8] = []
  private let limit: Int
  init(limit: Int) { self.limit = limit }
  var verifiesContent: Bool { false }
  func write(_ more: UnsafeRawBufferPointer) throws {
    guard bytes.count + more.count <= limit else { throw CacheFormatError("one of its parts is larger than the limit of \(limit) bytes") }
    bytes += more
  }
  func finish() {}
  func restart() { bytes = [] }
}
