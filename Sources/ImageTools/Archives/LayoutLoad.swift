internal import ContentStore
internal import HostOS
internal import OCIModel
internal import OCIRegistry

/// The images of an OCI layout in an archive: blobs are taken as they are, indexes stay whole as documents.
struct LayoutLoad: Sendable {
  let load: ImageLoad
  let files: ArchiveFiles
  let cancelled: ImageLoad.Flag

  private struct Plan: Sendable {
    var loaded: ImageLoad.Loaded
    /// Configs and layers first, then documents, children before parents.
    var blobs: [OCIModel.Descriptor]
    var documents: [OCIModel.Descriptor]
  }

  func images() async throws -> [ImageLoad.Loaded] {
    let plans = try await Blocking.run { try self.plans() }
    var seen = Set<Digest>()
    let blobs = plans.flatMap(\.blobs).filter { seen.insert($0.digest).inserted }
    try await ImageLoad.inParallel(blobs) { try await take($0) }
    for document in plans.flatMap(\.documents) where seen.insert(document.digest).inserted { try await take(document) }
    return plans.map(\.loaded)
  }

  private func take(_ descriptor: OCIModel.Descriptor) async throws {
    // One that is here already need not be in the archive.
    try await load.store.keep([descriptor.digest])
    if load.store.size(of: descriptor.digest) == descriptor.size { return }
    guard let file = files.blob(descriptor.digest) else { throw ArchiveFiles.invalid("it lacks \(descriptor.digest)") }
    try await load.take(descriptor, file, of: files, cancelled)
  }

  /// What is to be taken of each image. Throws before anything is written where the archive cannot be right.
  private func plans() throws -> [Plan] {
    let bytes = try files.document("index.json", limit: DocumentLimits.manifest)
    guard case .index(let index) = try ImageDocument(parsing: bytes, mediaType: .ociIndex) else { throw ArchiveFiles.invalid("index.json is not an image index") }
    var order: [Digest] = []
    var roots: [Digest: (root: OCIModel.Descriptor, names: [Reference])] = [:]
    for entry in index.manifests where (entry.mediaType.isIndex || entry.mediaType.isManifest) && entry.attestedDigest == nil {
      if roots[entry.digest] == nil {
        order.append(entry.digest)
        roots[entry.digest] = (OCIModel.Descriptor(mediaType: entry.mediaType, digest: entry.digest, size: entry.size), [])
      }
      if let name = Self.name(entry), roots[entry.digest]?.names.contains(name) == false { roots[entry.digest]?.names.append(name) }
    }
    guard !order.isEmpty else { throw ArchiveFiles.invalid("its index.json names no image") }
    return try order.compactMap { roots[$0] }.map { try plan($0.root, $0.names) }
  }

  /// containerd's and docker's full name, else the reference name where it is more than a tag.
  private static func name(_ entry: OCIModel.Descriptor) -> Reference? {
    if let full = entry.annotations[OCILayout.imageName], let reference = try? Reference(parsing: full) { return reference.with(digest: nil).withDefaultTag }
    guard let text = entry.annotations[OCILayout.refName], text.contains("/") || text.contains(":"), let reference = try? Reference(parsing: text) else { return nil }
    return reference.with(digest: nil).withDefaultTag
  }

  private func plan(_ root: OCIModel.Descriptor, _ names: [Reference]) throws -> Plan {
    var plan = Plan(loaded: ImageLoad.Loaded(names: names, descriptor: root, platforms: [], absent: []), blobs: [], documents: [])
    let title = names.first?.familiar ?? root.digest.description
    try visit(root, platform: nil, depth: 0, &plan, title)
    guard !plan.loaded.platforms.isEmpty || load.platforms.isEmpty else {
      throw ImageToolsError.noSuchPlatform("\(title) in the archive", load.platforms[0], has: plan.loaded.absent)
    }
    for wanted in load.platforms where !plan.loaded.platforms.contains(where: PlatformMatcher(exactly: wanted).matches) {
      throw ImageToolsError.noSuchPlatform("\(title) in the archive", wanted, has: plan.loaded.platforms + plan.loaded.absent)
    }
    guard plan.documents.contains(where: \.mediaType.isManifest) else { throw ArchiveFiles.invalid("of \(title) there is nothing in it") }
    return plan
  }

  private func isAvailable(_ descriptor: OCIModel.Descriptor) throws -> Bool {
    if let size = files.size(of: descriptor.digest) {
      guard size == descriptor.size else { throw ArchiveFiles.invalid("\(descriptor.digest) has \(size) bytes, not the \(descriptor.size) that were promised") }
      return true
    }
    return load.store.size(of: descriptor.digest) == descriptor.size
  }
  private func bytes(_ descriptor: OCIModel.Descriptor, _ limit: Int) throws -> [UInt8] {
    try files.blob(descriptor.digest) == nil ? load.store.bytes(descriptor.digest, limit: limit) : files.bytes(descriptor.digest, limit: limit)
  }

  private func visit(_ descriptor: OCIModel.Descriptor, platform: Platform?, depth: Int, _ plan: inout Plan, _ title: String) throws {
    guard depth < 8, plan.documents.count < 100_000 else { throw ArchiveFiles.invalid("its indexes are nested too deep, or have too many entries") }
    guard try isAvailable(descriptor) else {
      guard depth > 0 else { throw ArchiveFiles.invalid("it lacks \(descriptor.digest), which index.json names") }
      if let platform, descriptor.attestedDigest == nil { plan.loaded.absent.append(platform.normalized) }
      return
    }
    switch try ImageDocument(parsing: bytes(descriptor, DocumentLimits.manifest), mediaType: descriptor.mediaType) {
    case .index(let index):
      for entry in index.manifests where entry.mediaType.isIndex || entry.mediaType.isManifest { try visit(entry, platform: entry.platform, depth: depth + 1, &plan, title) }
      plan.documents.append(descriptor)
    case .manifest(let manifest): try visit(descriptor, manifest, platform, &plan)
    }
  }

  private func visit(_ descriptor: OCIModel.Descriptor, _ manifest: ImageManifest, _ known: Platform?, _ plan: inout Plan) throws {
    let isImage = descriptor.attestedDigest == nil && manifest.config.mediaType.isConfig
    if isImage {
      guard try isAvailable(manifest.config) else { throw ArchiveFiles.invalid("it lacks \(manifest.config.digest), the config of \(descriptor.digest)") }
      let own = try ImageConfig(parsing: bytes(manifest.config, DocumentLimits.config)).platform
      let platform = (known ?? own).normalized
      if !load.platforms.isEmpty, !load.platforms.contains(where: { PlatformMatcher(exactly: $0).matches(platform) }) {
        plan.loaded.absent.append(platform)
        return
      }
      if !platform.os.isEmpty { plan.loaded.platforms.append(platform) }
    }
    for part in [manifest.config] + manifest.layers {
      if try isAvailable(part) {
        plan.blobs.append(part)
      } else if part.isDistributable {
        throw ArchiveFiles.invalid("it lacks \(part.digest), a part of \(descriptor.digest)")
      }
    }
    plan.documents.append(descriptor)
  }
}
