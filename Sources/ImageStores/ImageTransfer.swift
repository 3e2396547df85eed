package import OCIModel
package import OCIRegistry

/// Copies images between any two places: leaves before roots, everything of one depth at once, the name last of all. Documents are passed on byte for byte, blobs
/// are mounted where both are repositories of one registry and else streamed; what is there is not sent.
package struct ImageTransfer: Sendable {
  let progress: TransferProgressHandler
  /// Trees come from strangers: their depth is bounded, their width by the size of documents.
  package static let maximumDepth = 8

  package init(progress: @escaping TransferProgressHandler = { _ in }) { self.progress = progress }

  /// Which entries of an index are copied.
  package enum Selection: Sendable {
    case all
    /// These platforms, with what is attested of them, in an index of their own; entries that name no platform stay. A single image must match.
    case only(PlatformMatcher)
    /// The same, but the index stays as it is and the other entries are not there: what only the local store and layouts take.
    case sparse(PlatformMatcher)

    fileprivate var matcher: PlatformMatcher? { switch self { case .all: nil; case .only(let matcher), .sparse(let matcher): matcher } }
  }

  /// Copies an image and names it. Returns the descriptor of what the name stands for now. Throws `ImageStoreError.notFound` when no platform matches.
  @discardableResult
  package func copy(
    _ root: FetchedManifest, from source: any ImageSource, to destination: any ImageDestination, platforms: Selection = .all, tagged: Bool = true
  ) async throws -> Descriptor {
    var root = root
    if let matcher = platforms.matcher, case .index(var index) = try root.document() {
      let kept = IndexComposition(index.manifests).filtered(matcher)
      guard kept.contains(where: { $0.platform != nil }) || kept.count == index.manifests.count, !kept.isEmpty else { throw Self.noPlatform(source.location, index) }
      if case .only = platforms, kept.count < index.manifests.count {
        index.manifests = kept
        let bytes = index.encoded
        root = FetchedManifest(descriptor: Descriptor(mediaType: root.descriptor.mediaType, of: bytes, annotations: root.descriptor.annotations), bytes: bytes)
      }
      try await contents(of: kept, from: source, to: destination, depth: 1)
    } else {
      try await contents(of: root, from: source, to: destination, depth: 0)
    }
    try await destination.put(manifest: root, tagged: tagged)
    return root.descriptor
  }

  /// Brings entries of an index in, each with all that it refers to, under their digests. An index over them may be put when this returns.
  package func copy(_ entries: [Descriptor], from source: any ImageSource, to destination: any ImageDestination) async throws {
    try await contents(of: entries, from: source, to: destination, depth: 1)
  }

  private static func noPlatform(_ location: ImageLocation, _ index: ImageIndex) -> ImageStoreError {
    let platforms = index.platforms.map(\.fullDescription)
    return ImageStoreError(.notFound, "\(location) has no image for the wanted platform", advice: platforms.isEmpty ? nil : "There are: \(platforms.joined(separator: ", ")).")
  }

  // MARK: -

  private func contents(of entries: [Descriptor], from source: any ImageSource, to destination: any ImageDestination, depth: Int) async throws {
    try await each(entries) { try await self.child($0, from: source, to: destination, depth: depth) }
  }

  private func contents(of document: FetchedManifest, from source: any ImageSource, to destination: any ImageDestination, depth: Int) async throws {
    guard depth < Self.maximumDepth else { throw ImageStoreError(.invalidContent, "cannot copy \(source.location): indexes are nested deeper than \(Self.maximumDepth)") }
    switch try document.document() {
    case .index(let index): try await contents(of: index.manifests, from: source, to: destination, depth: depth + 1)
    case .manifest(let manifest):
      try await each([manifest.config] + manifest.layers.filter(\.isDistributable)) { try await destination.put(blob: $0, from: source, progress: self.progress) }
    }
  }

  private func child(_ child: Descriptor, from source: any ImageSource, to destination: any ImageDestination, depth: Int) async throws {
    guard child.mediaType.isIndex || child.mediaType.isManifest else { return try await destination.put(blob: child, from: source, progress: progress) }
    if try await destination.hasManifest(child) {
      return progress(TransferProgress(.push, child, repository: "\(destination.location)", bytes: child.size, state: .exists))
    }
    let document = try await source.manifest(child)
    try await contents(of: document, from: source, to: destination, depth: depth)
    try await destination.put(manifest: document, tagged: false)
    progress(TransferProgress(.push, child, repository: "\(destination.location)", bytes: child.size, state: .done))
  }

  func each(_ items: [Descriptor], _ body: @escaping @Sendable (Descriptor) async throws -> Void) async throws {
    var seen = Set<Digest>()
    let distinct = items.filter { seen.insert($0.digest).inserted }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for item in distinct { group.addTask { try await body(item) } }
      try await group.waitForAll()
    }
  }
}
