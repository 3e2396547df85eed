package import ContentStore
internal import HostOS
internal import NIOCore
package import OCIModel
internal import ImageStores
package import OCIRegistry

/// Brings an image of a registry into the store: its index whole, as a document, and of its images those that are wanted, with what attests them.
package struct ImagePull: Sendable {
  package enum Platforms: Sendable, Hashable {
    /// Exactly these; one that is missing is an error.
    case exactly([Platform])
    /// The best for this machine, and those that the store has under the name already.
    case host(Platform)
    case all
  }
  package struct Result: Sendable {
    package var root: OCIModel.Descriptor
    /// The name stood for something else before, or content came that was not here.
    package var isNew: Bool
    package var image: StoredImage
  }

  private let client: RegistryClient
  private let store: ContentStore
  private let progress: TransferProgressHandler

  package init(_ client: RegistryClient, into store: ContentStore, progress: @escaping TransferProgressHandler = { _ in }) {
    (self.client, self.store, self.progress) = (client, store, progress)
  }

  /// A candidate: an image of the index, or the only one.
  private struct Candidate: Sendable {
    var manifest: FetchedManifest?
    var descriptor: OCIModel.Descriptor
    var platform: Platform?
  }

  /// The name is given last, when all is there. What an interrupted pull got is kept for the next. Throws `RegistryError`, `ImageToolsError`, `StoreError`.
  package func pull(_ given: Reference, _ platforms: Platforms) async throws -> Result {
    let reference = given.withDefaultTag
    let before = try await LocalImages(store).resolve(reference)
    let root = try await client.manifest(reference)
    var attestations: [OCIModel.Descriptor] = [], indexes: [FetchedManifest] = []
    let candidates = try await self.candidates(root, of: reference, &attestations, &indexes)
    let chosen = try await choose(candidates, platforms, reference, before)
    let digests = Set(chosen.map(\.descriptor.digest))
    let wanted = chosen + attestations.filter { $0.attestedDigest.map(digests.contains) ?? false }.map { Candidate(descriptor: $0) }
    let isNew = try await withThrowingTaskGroup(of: Bool.self) { group in
      for candidate in wanted { group.addTask { try await fetch(candidate, from: reference) } }
      return try await group.reduce(false) { $0 || $1 }
    }
    // Children before their parents.
    for document in indexes.reversed() + [root] { try await store.put(document.bytes, mediaType: document.descriptor.mediaType) }
    try await LocalImages(store).tag(reference.digest == nil ? reference : reference.with(tag: nil), root.descriptor)
    let (store, descriptor) = (store, root.descriptor)
    let image = try await Blocking.run { try store.storedImage(descriptor) }
    return Result(root: root.descriptor, isNew: isNew || before?.descriptor.digest != root.descriptor.digest, image: image)
  }

  // MARK: - What there is

  private func candidates(_ document: FetchedManifest, of reference: Reference, depth: Int = 0, _ attestations: inout [OCIModel.Descriptor], _ indexes: inout [FetchedManifest]) async throws -> [Candidate] {
    switch try document.document() {
    case .manifest: return [Candidate(manifest: document, descriptor: document.descriptor)]
    case .index(let index):
      var found: [Candidate] = []
      for entry in index.manifests {
        if entry.attestedDigest != nil {
          attestations.append(entry)
        } else if entry.mediaType.isManifest {
          found.append(Candidate(descriptor: entry, platform: entry.platform?.normalized))
        } else if entry.mediaType.isIndex {
          guard depth < 7 else { throw ImageToolsError(.unsupported, "\(reference.familiar): its indexes are nested too deep") }
          let inner = try await client.manifest(reference.repository, digest: entry.digest)
          indexes.append(inner)
          found += try await candidates(inner, of: reference, depth: depth + 1, &attestations, &indexes)
        }
      }
      return found
    }
  }

  private func choose(_ given: [Candidate], _ platforms: Platforms, _ reference: Reference, _ before: LocalImage?) async throws -> [Candidate] {
    if case .all = platforms { return given }
    let candidates = try await withPlatforms(given, reference)
    let has = candidates.compactMap(\.platform)
    func best(_ wanted: Platform, _ matcher: PlatformMatcher) -> Candidate? {
      candidates.filter { $0.platform.map(matcher.matches) ?? false }.min { matcher.isBetter($0.platform, than: $1.platform) }
    }
    var chosen: [Candidate] = []
    func take(_ candidate: Candidate) { if !chosen.contains(where: { $0.descriptor.digest == candidate.descriptor.digest }) { chosen.append(candidate) } }
    switch platforms {
    case .all: break
    case .exactly(let list):
      for wanted in list {
        guard let found = best(wanted, PlatformMatcher(exactly: wanted)) else { throw ImageToolsError.noSuchPlatform(reference.familiar, wanted, has: has) }
        take(found)
      }
    case .host(let host):
      // An image that is no index is taken as it is, as docker does.
      guard let found = best(host, PlatformMatcher(only: host)) ?? (candidates.count == 1 && candidates[0].manifest != nil ? candidates[0] : nil) else {
        throw ImageToolsError.noSuchPlatform(reference.familiar, host, has: has)
      }
      take(found)
      for platform in try await platformsHere(before) { if let found = best(platform, PlatformMatcher(exactly: platform)) { take(found) } }
    }
    return chosen
  }

  private func platformsHere(_ image: LocalImage?) async throws -> [Platform] {
    guard let image else { return [] }
    let store = store
    return try await Blocking.run { (try? store.storedImage(image.descriptor))?.platforms ?? [] }
  }

  /// Entries that do not say their platform: their configs do.
  private func withPlatforms(_ candidates: [Candidate], _ reference: Reference) async throws -> [Candidate] {
    try await withThrowingTaskGroup(of: (Int, Candidate).self) { group in
      for (i, candidate) in candidates.enumerated() where candidate.platform == nil {
        group.addTask {
          var full = candidate
          let fetched: FetchedManifest
          if let known = candidate.manifest { fetched = known } else { fetched = try await client.manifest(reference.repository, digest: candidate.descriptor.digest) }
          full.manifest = fetched
          if case .manifest(let manifest) = try fetched.document(), manifest.config.mediaType.isConfig {
            let platform = try await RegistryImageSource(reference, client).platform(of: manifest)
            if !platform.os.isEmpty { full.platform = platform.normalized }
          }
          return (i, full)
        }
      }
      var out = candidates
      for try await (i, candidate) in group { out[i] = candidate }
      return out
    }
  }

  // MARK: - Content

  /// Whether anything had to be fetched.
  private func fetch(_ candidate: Candidate, from reference: Reference) async throws -> Bool {
    let repository = reference.repository, digest = candidate.descriptor.digest
    try await store.keep([digest])
    let bytes: [UInt8]
    if let known = candidate.manifest {
      bytes = known.bytes
    } else if store.contains(digest) {
      let store = store
      bytes = try await Blocking.run { try store.bytes(digest, limit: DocumentLimits.manifest) }
    } else {
      bytes = try await client.manifest(repository, digest: digest).bytes
    }
    guard Int64(bytes.count) == candidate.descriptor.size else {
      throw ImageToolsError(.unsupported, "\(reference.familiarName)@\(digest) has \(bytes.count) bytes, its index says \(candidate.descriptor.size)")
    }
    guard case .manifest(let manifest) = try ImageDocument(parsing: bytes, mediaType: candidate.descriptor.mediaType) else { return false }
    let parts = ([manifest.config] + manifest.layers).filter { $0.isDistributable }
    var seen = Set<Digest>()
    let isNew = try await withThrowingTaskGroup(of: Bool.self) { group in
      for part in parts where seen.insert(part.digest).inserted { group.addTask { try await client.fetchBlob(part, from: repository, into: store, progress: progress) } }
      return try await group.reduce(false) { $0 || $1 }
    }
    let wasHere = store.contains(digest)
    try await store.put(bytes, mediaType: candidate.descriptor.mediaType)
    return isNew || !wasHere
  }
}
