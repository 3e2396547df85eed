package import OCIModel
internal import OCIRegistry

/// One entry of an index that is put together from several places: what the index says of it, and where its content is.
package struct IndexMember: Sendable {
  /// With platform and annotations.
  package var descriptor: Descriptor
  package var source: any ImageSource
  /// The document itself, where it was read.
  package var bytes: [UInt8]?

  /// `bytes` nil: not read yet.
  package init(_ descriptor: Descriptor, in source: any ImageSource, bytes: [UInt8]? = nil) {
    self.descriptor = descriptor
    self.source = source
    self.bytes = bytes
  }
}

extension ImageSource {
  /// What a name stands for as entries of a flat index: a manifest gives itself, with the platform that its config says; an index gives all of its entries
  /// with their documents, those of indexes within it included, attestations as they are. Missing platforms are read from the images' configs.
  ///
  /// `isIndex` tells which of the two it was. All requests of one depth go out at once.
  package func members() async throws -> (isIndex: Bool, members: [IndexMember]) {
    let root = try await root()
    return (root.descriptor.mediaType.isIndex, try await flattened(root, platform: nil, annotations: [:], depth: 0))
  }

  private func flattened(_ fetched: FetchedManifest, platform: Platform?, annotations: [String: String], depth: Int) async throws -> [IndexMember] {
    switch try fetched.document() {
    case .manifest(let manifest):
      var descriptor = fetched.descriptor
      descriptor.platform = platform
      descriptor.annotations = annotations
      if descriptor.attestedDigest == nil, Self.isIncomplete(platform) { descriptor.platform = try await self.platform(of: manifest, completing: platform) }
      return [IndexMember(descriptor, in: self, bytes: fetched.bytes)]
    case .index(let index):
      guard depth < ImageTransfer.maximumDepth else { throw ImageStoreError(.invalidContent, "\(location): indexes are nested deeper than \(ImageTransfer.maximumDepth)") }
      return try await withThrowingTaskGroup(of: (Int, [IndexMember]).self) { group in
        for (i, entry) in index.manifests.enumerated() {
          guard entry.mediaType.isManifest || entry.mediaType.isIndex else {
            throw ImageStoreError(.invalidContent, "\(location): its entry \(entry.digest) is \(entry.mediaType), which is neither an image nor an index")
          }
          group.addTask {
            let child = try await self.manifest(entry)
            return (i, try await self.flattened(child, platform: entry.platform, annotations: entry.annotations, depth: depth + 1))
          }
        }
        return try await group.reduce(into: [(Int, [IndexMember])]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.flatMap(\.1)
      }
    }
  }

  /// Whether the config has to be asked: an `arm` without a variant may be any, and Windows images are told apart by their version.
  private static func isIncomplete(_ platform: Platform?) -> Bool {
    guard let platform else { return true }
    return platform.os.isEmpty || platform.architecture.isEmpty || (platform.architecture == "arm" && platform.variant.isEmpty) || (platform.os == "windows" && platform.osVersion.isEmpty)
  }
}

extension ImageTransfer {
  /// Brings the members in, each with everything it refers to, under their digests: each blob at most once, manifests byte for byte. An index over them may be put
  /// when this returns.
  package func copy(_ members: [IndexMember], to destination: any ImageDestination) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for member in members { group.addTask { try await self.copy(member, to: destination) } }
      try await group.waitForAll()
    }
  }

  private func copy(_ member: IndexMember, to destination: any ImageDestination) async throws {
    guard let bytes = member.bytes, member.descriptor.mediaType.isManifest else {
      // What an index of this place lists is here, or the place will say so.
      if !member.source.location.sharesContent(with: destination.location) { try await copy([member.descriptor], from: member.source, to: destination) }
      return
    }
    if try await destination.hasManifest(member.descriptor) {
      return progress(TransferProgress(.push, member.descriptor, repository: "\(destination.location)", bytes: member.descriptor.size, state: .exists))
    }
    let descriptor = Descriptor(mediaType: member.descriptor.mediaType, digest: member.descriptor.digest, size: Int64(bytes.count))
    try await copy(FetchedManifest(descriptor: descriptor, bytes: bytes), from: member.source, to: destination, tagged: false)
  }
}
