package import BuildInterface
package import BuildProgress
package import BuildSolver
internal import FoundationEssentials
internal import OCIModel
package import OCIRegistry

/// The records read from a cache elsewhere, and where their layers are.
package struct ImportedCacheContent: Sendable {
  package var records: ImportedRecords
  package var place: CachePlace
}

extension CacheSource {
  /// How much sorting of a stranger's records is borne: seconds at most.
  private static let maximumWork = 20_000_000

  /// Reads the documents; no layer is fetched.
  package func load(registry: RegistryClient, files: any FileService, _ vertex: ProgressTask) async throws -> ImportedCacheContent {
    for key in unknown { vertex.log("the attribute \(key) is not known and has no effect") }
    let (place, root) = try await CachePlace.open(self, registry: registry, files: files)
    vertex.done("inferred cache manifest type: \(root.descriptor.mediaType)")
    let reader = CacheReader(place: place)
    var chains = CacheChains(maximumWork: CacheSource.maximumWork)
    let document = try root.document()
    let (config, layers) = CacheReader.parts(document)
    if let config {
      let parsed = try CacheConfig(parsing: try await place.bytes(config, limit: CacheConfig.limit))
      try parsed.add(to: &chains, blobs: CacheReader.blobs(layers))
    } else {
      let found = try await reader.inline(document, &chains)
      if found == 0 { vertex.log("\(name) is an image without a build cache (write one with --cache-to type=inline)") }
    }
    return ImportedCacheContent(records: ImportedRecords(chains), place: place)
  }
}

private struct CacheReader {
  let place: CachePlace

  /// A cache of its own: the document with the records, and layers.
  static func parts(_ document: ImageDocument) -> (config: Descriptor?, layers: [Descriptor]) {
    switch document {
    case .index(let index):
      (index.manifests.last { $0.mediaType == CacheConfig.mediaType }, index.manifests.filter { $0.mediaType != CacheConfig.mediaType })
    case .manifest(let manifest): (manifest.config.mediaType == CacheConfig.mediaType ? manifest.config : nil, manifest.layers)
    }
  }

  static func blobs(_ layers: [Descriptor]) -> [CacheRemote.Layer] { layers.map { CacheRemote.Layer(descriptor: $0) } }

  // MARK: - Inside images

  /// Images in images, and so on.
  private static let maximumDepth = 4
  private static let maximumImages = 256

  /// Adds what the images' configs hold; answers how many held anything.
  func inline(_ document: ImageDocument, _ chains: inout CacheChains) async throws -> Int {
    var manifests: [ImageManifest] = []
    var seen: Set<Digest> = []
    try await collect(document, depth: 0, &manifests, &seen)
    let caches = try await withThrowingTaskGroup(of: (Int, InlineCacheConfig?).self) { group in
      for (i, manifest) in manifests.enumerated() { group.addTask { (i, try await self.inlineConfig(manifest)) } }
      var out: [Int: InlineCacheConfig] = [:]
      for try await (i, config) in group { out[i] = config }
      return out.sorted { $0.key < $1.key }.map(\.value)
    }
    for cache in caches { try cache.config.add(to: &chains, blobs: CacheReader.blobs(cache.layers)) }
    return caches.count
  }

  private func collect(_ document: ImageDocument, depth: Int, _ out: inout [ImageManifest], _ seen: inout Set<Digest>) async throws {
    switch document {
    case .manifest(let manifest): out.append(manifest)
    case .index(let index):
      guard depth < CacheReader.maximumDepth else { throw CacheFormatError("its indexes are nested deeper than \(CacheReader.maximumDepth)") }
      // Attestations hold none.
      for child in index.manifests where child.annotations["vnd.docker.reference.type"] == nil && seen.insert(child.digest).inserted {
        guard seen.count <= CacheReader.maximumImages else { throw CacheFormatError("its index names more than \(CacheReader.maximumImages) images") }
        guard child.mediaType.isIndex || child.mediaType.isManifest else { continue }
        try await collect(try await place.manifest(child).document(), depth: depth + 1, &out, &seen)
      }
    }
  }

  private func inlineConfig(_ manifest: ImageManifest) async throws -> InlineCacheConfig? {
    guard !manifest.layers.isEmpty, manifest.config.mediaType == .ociConfig || manifest.config.mediaType == .dockerConfig else { return nil }
    return try InlineCacheConfig(config: try await place.bytes(manifest.config, limit: DocumentLimits.config), layers: manifest.layers)
  }
}

/// The cache in an image's config.
struct InlineCacheConfig: Sendable {
  static let member = "moby.buildkit.cache.v0"
  var config: CacheConfig
  var layers: [Descriptor]

  /// nil when there is none.
  init?(config bytes: [UInt8], layers: [Descriptor]) throws {
    let json: JSONValue
    let image: ImageConfig
    do { (json, image) = (try JSONValue(parsing: bytes), try ImageConfig(parsing: bytes)) } catch { throw CacheFormatError("an image's config: \(error)") }
    guard let member = json[InlineCacheConfig.member], !member.isNull, image.diffIDs.count == layers.count else { return nil }
    guard let text = member.stringValue, let data = Data(base64Encoded: text) else { throw CacheFormatError("\(InlineCacheConfig.member) is not base64") }
    guard data.count <= CacheConfig.limit else { throw CacheFormatError("\(InlineCacheConfig.member) is larger than the limit of \(CacheConfig.limit) bytes") }
    let records: JSONValue
    do { records = try JSONValue(parsing: Array(data)) } catch { throw CacheFormatError("\(InlineCacheConfig.member): \(error)") }
    config = CacheConfig(records: try CacheConfig.records(records))
    let history = image.history.filter { !$0.emptyLayer }
    self.layers = layers.enumerated().map { i, layer in
      var layer = layer
      layer.annotations[CacheAnnotations.diffID] = image.diffIDs[i].description
      if i < history.count {
        if let created = history[i].created { layer.annotations[CacheAnnotations.createdAt] = created.description }
        if !history[i].createdBy.isEmpty { layer.annotations[CacheAnnotations.description] = history[i].createdBy }
      }
      return layer
    }
    config.layers = layers.enumerated().map { CacheConfig.Layer(blob: $1.digest, parent: $0 - 1) }
  }
}
