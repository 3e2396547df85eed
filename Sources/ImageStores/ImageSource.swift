internal import NIOCore
package import OCIModel
package import OCIRegistry

/// One image or index that can be read, wherever it is. `content(of:from:)` gives its blobs.
package protocol ImageSource: OCIRegistry.BlobSource {
  var location: ImageLocation { get }
  /// What the location names, checked against its digest.
  func root() async throws -> FetchedManifest
  /// A manifest or index of the same repository, layout or store, checked against digest and size.
  func manifest(_ descriptor: Descriptor) async throws -> FetchedManifest
  /// Manifests that refer to a manifest of the same place; what a place cannot tell is nothing.
  func referrers(of digest: Digest) async throws -> [Descriptor]
  /// The registry and repository that its blobs can be mounted from; nil for others.
  var mountable: Reference? { get }
  /// Whether a blob is there, and how large it is; nothing of it is read.
  func presence(of descriptor: Descriptor) async throws -> BlobPresence
}

extension ImageSource {
  package var mountable: Reference? { nil }
  package func referrers(of digest: Digest) async throws -> [Descriptor] { [] }

  /// A document that a manifest names as a blob, whole and checked. Throws for more than `limit` bytes.
  package func bytes(_ descriptor: Descriptor, limit: Int) async throws -> [UInt8] {
    guard descriptor.size <= Int64(limit) else {
      throw ImageStoreError(.invalidContent, "\(location): \(descriptor.digest) has \(descriptor.size) bytes, more than the \(limit) that are read of such a document")
    }
    var bytes: [UInt8] = []
    for try await part in try await content(of: descriptor, from: 0) {
      bytes += part.readableBytesView
      guard bytes.count <= limit else { break }
    }
    try check(bytes, descriptor)
    return bytes
  }

  /// An image's config, as it is. At most `DocumentLimits.config` bytes.
  package func config(_ manifest: ImageManifest) async throws -> [UInt8] { try await bytes(manifest.config, limit: DocumentLimits.config) }

  /// The platform that an image's config says, as written there; what `known` says already stays.
  package func platform(of manifest: ImageManifest, completing known: Platform? = nil) async throws -> Platform {
    let own: Platform
    do { own = try Platform(json: try JSONValue(parsing: try await config(manifest), maxDepth: 512)) } catch let error as OCIError {
      throw ImageStoreError(.invalidContent, "the config \(manifest.config.digest) of \(location) cannot be read: \(error)")
    }
    guard var platform = known else { return own }
    if platform.os.isEmpty { platform.os = own.os }
    if platform.architecture.isEmpty { platform.architecture = own.architecture }
    guard platform.os == own.os, platform.architecture == own.architecture else { return platform }
    if platform.variant.isEmpty { platform.variant = own.variant }
    if platform.osVersion.isEmpty { platform.osVersion = own.osVersion }
    if platform.osFeatures.isEmpty { platform.osFeatures = own.osFeatures }
    return platform
  }

  func check(_ bytes: [UInt8], _ descriptor: Descriptor) throws {
    guard bytes.count == Int(descriptor.size) else {
      throw ImageStoreError(.invalidContent, "\(location): \(descriptor.digest) has \(bytes.count) bytes, not the \(descriptor.size) that are said of it")
    }
    var hasher = DigestHasher(descriptor.digest.algorithm)
    hasher.update(bytes)
    let found = hasher.finish()
    guard found == descriptor.digest else { throw ImageStoreError(.invalidContent, "\(location): the content of \(descriptor.digest) is other than its digest says (it is \(found))") }
  }
}

/// Where an image can be written, under one name.
package protocol ImageDestination: Sendable {
  var location: ImageLocation { get }
  /// Whether the manifest is there with all that it refers to.
  func hasManifest(_ descriptor: Descriptor) async throws -> Bool
  /// Brings a blob in, unless it is there; each once, however many ask at the same time.
  func put(blob: Descriptor, from source: any ImageSource, progress: @escaping TransferProgressHandler) async throws
  /// What it refers to is there. `tagged` false: by its digest alone; true: under the location's name, last of all.
  func put(manifest: FetchedManifest, tagged: Bool) async throws
  /// A manifest about `subject` that was listed as `listed` where it came from. What it refers to is there.
  func put(referrer: FetchedManifest, listed: Descriptor, of subject: Digest) async throws
}

extension ImageDestination {
  package func put(referrer: FetchedManifest, listed: Descriptor, of subject: Digest) async throws { try await put(manifest: referrer, tagged: false) }
}

/// An image's manifest or index as it is known to be, for places that keep no media type.
enum DocumentOfLayout {
  static func fetched(_ bytes: [UInt8], _ digest: Digest, said: MediaType?, _ location: ImageLocation) throws -> FetchedManifest {
    do {
      let type = try said ?? ManifestKind.mediaType(bytes, served: "", what: "cannot read \(location)", host: "\(location)")
      let fetched = FetchedManifest(descriptor: Descriptor(mediaType: type, digest: digest, size: Int64(bytes.count)), bytes: bytes)
      _ = try fetched.document()
      return fetched
    } catch { throw ImageStoreError(.invalidContent, "\(location): \(digest) is no image or index that can be read", cause: error) }
  }
}
