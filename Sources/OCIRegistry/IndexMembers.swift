internal import NIOCore
public import OCIModel

/// One entry of an index that is put together from several repositories: what the index says of it, and where its content is.
public struct IndexMember: Hashable, Sendable {
  /// With platform and annotations.
  public var descriptor: Descriptor
  /// The repository that holds it.
  public var repository: Reference
  /// The document itself, where it was read.
  public var bytes: [UInt8]?

  /// `bytes` nil: not read yet.
  public init(_ descriptor: Descriptor, in repository: Reference, bytes: [UInt8]? = nil) {
    self.descriptor = descriptor
    self.repository = repository.repository
    self.bytes = bytes
  }
}

extension RegistryClient {
  /// What a name stands for as entries of a flat index: a manifest gives itself, with the platform that its config says; an index gives all of its entries
  /// with their documents, those of indexes within it included, attestations as they are. Missing platforms are read from the images' configs.
  ///
  /// `isIndex` tells which of the two it was. All requests of one depth go out at once.
  public func members(of reference: Reference) async throws -> (isIndex: Bool, members: [IndexMember]) {
    let root = try await manifest(reference)
    let members = try await flattened(root, reference.repository, platform: nil, annotations: [:], depth: 0)
    return (root.descriptor.mediaType.isIndex, members)
  }

  private func flattened(_ fetched: FetchedManifest, _ repository: Reference, platform: Platform?, annotations: [String: String], depth: Int) async throws -> [IndexMember] {
    switch try fetched.document() {
    case .manifest(let manifest):
      var descriptor = fetched.descriptor
      descriptor.platform = platform
      descriptor.annotations = annotations
      if descriptor.attestedDigest == nil, RegistryClient.isIncomplete(platform) {
        descriptor.platform = try await self.platform(of: manifest, in: repository, completing: platform)
      }
      return [IndexMember(descriptor, in: repository, bytes: fetched.bytes)]
    case .index(let index):
      guard depth < ImageCopy.maximumDepth else {
        throw RegistryError(.invalidResponse, "\(repository.familiarName): indexes are nested deeper than \(ImageCopy.maximumDepth)", host: repository.domain, repository: repository.path)
      }
      return try await withThrowingTaskGroup(of: (Int, [IndexMember]).self) { group in
        for (i, entry) in index.manifests.enumerated() {
          guard entry.mediaType.isManifest || entry.mediaType.isIndex else {
            throw RegistryError(
              .unsupported, "\(repository.familiarName)@\(entry.digest) is \(entry.mediaType), which is neither an image nor an index", host: repository.domain, repository: repository.path)
          }
          group.addTask {
            let child = try await self.manifest(repository, digest: entry.digest)
            return (i, try await self.flattened(child, repository, platform: entry.platform, annotations: entry.annotations, depth: depth + 1))
          }
        }
        return try await group.reduce(into: [(Int, [IndexMember])]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.flatMap(\.1)
      }
    }
  }

  /// Whether the config has to be asked: an `arm` without a variant may be any.
  static func isIncomplete(_ platform: Platform?) -> Bool {
    guard let platform else { return true }
    return platform.os.isEmpty || platform.architecture.isEmpty || (platform.architecture == "arm" && platform.variant.isEmpty)
  }

  /// The platform an image's config says, as written there; what `known` says already stays.
  public func platform(of manifest: ImageManifest, in repository: Reference, completing known: Platform? = nil) async throws -> Platform {
    guard manifest.config.size <= DocumentLimits.config else {
      throw RegistryError(
        .invalidResponse, "the config \(manifest.config.digest) of \(repository.familiarName) has \(manifest.config.size) bytes, more than the limit of \(DocumentLimits.config)",
        host: repository.domain, repository: repository.path)
    }
    var bytes: [UInt8] = []
    for try await part in blobContent(manifest.config, from: repository) { bytes += part.readableBytesView }
    let own: Platform
    do { own = try Platform(json: try JSONValue(parsing: bytes, maxDepth: 512)) } catch {
      throw RegistryError(.invalidResponse, "the config \(manifest.config.digest) of \(repository.familiarName) cannot be read: \(error)", host: repository.domain, repository: repository.path)
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

  /// Brings the members into `target`'s repository, with everything they refer to: blobs are mounted within a registry and streamed between two, each at most
  /// once; manifests are passed on byte for byte. An index over them may be pushed when this returns.
  public func copyMembers(_ members: [IndexMember], to target: Reference, progress: @escaping TransferProgressHandler = { _ in }) async throws {
    let uploads = ImageCopy.Uploads()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for member in members {
        group.addTask { try await self.copyMember(member, to: target.repository, uploads, progress) }
      }
      try await group.waitForAll()
    }
  }

  private func copyMember(_ member: IndexMember, to target: Reference, _ uploads: ImageCopy.Uploads, _ progress: @escaping TransferProgressHandler) async throws {
    let isHere = member.repository.name == target.name
    let copy = ImageCopy(reader: self, writer: self, source: member.repository, target: target, progress: progress, uploads: uploads)
    guard let bytes = member.bytes, member.descriptor.mediaType.isManifest else {
      // What an index of this repository lists is here, or the registry will say so.
      if !isHere { try await copy.copyChild(member.descriptor, depth: 1) }
      return
    }
    let name = target.with(digest: member.descriptor.digest)
    if try await hasManifest(name) {
      progress(TransferProgress(.push, member.descriptor, repository: target.name, bytes: member.descriptor.size, state: .exists))
      return
    }
    let root = FetchedManifest(descriptor: Descriptor(mediaType: member.descriptor.mediaType, digest: member.descriptor.digest, size: Int64(bytes.count)), bytes: bytes)
    _ = try await copy.copy(root, to: name, depth: 1)
  }
}
