internal import LayerArchive
package import ImageStores
package import OCIModel
internal import OCIRegistry

/// What `manifold diff` does: compares two images, or two platforms of one.
package struct ImageComparison: Sendable {
  package struct Options: Sendable {
    /// None: the platforms that both have. One: of both. Two: the first one's of the first image, the second one's of the second.
    package var platforms: [Platform]
    /// Read layers, and compare files.
    package var files: Bool
    package var limits: ScanLimits
    package init(platforms: [Platform] = [], files: Bool = false, limits: ScanLimits = .default) { (self.platforms, self.files, self.limits) = (platforms, files, limits) }
  }

  private let a: any ImageSource
  private let b: any ImageSource
  private let options: Options

  package init(_ a: any ImageSource, _ b: any ImageSource, _ options: Options = Options()) { (self.a, self.b, self.options) = (a, b, options) }

  /// An image of one platform, its documents read.
  private struct Image: Sendable {
    var platform: Platform
    var fetched: FetchedManifest
    var manifest: ImageManifest
    var config: ImageConfig
    var configJSON: JSONValue
    var hasAttestation: Bool
    var key: String { platform.normalized.fullDescription }
  }
  private struct Side: Sendable {
    var root: FetchedManifest
    var index: ImageIndex?
    var entries: [(platform: Platform?, descriptor: Descriptor?, fetched: FetchedManifest?)]
  }

  /// Throws `ImageCheckError`, and what reading an image may throw.
  package func run() async throws -> ImageDifference {
    async let rootA = a.root(), rootB = b.root()
    let (fetchedA, fetchedB) = try await (rootA, rootB)
    var out = ImageDifference(
      a: .init(digest: fetchedA.descriptor.digest, mediaType: fetchedA.descriptor.mediaType), b: .init(digest: fetchedB.descriptor.digest, mediaType: fetchedB.descriptor.mediaType))
    if fetchedA.descriptor.digest == fetchedB.descriptor.digest, options.platforms.count < 2 {
      // A platform that is not there is told even so.
      if options.platforms.isEmpty { return out }
    }
    async let readA = images(fetchedA, a, wanted: options.platforms.first), readB = images(fetchedB, b, wanted: options.platforms.last)
    let (imagesA, imagesB) = try await (readA, readB)
    var pairs: [(Image, Image)] = []
    if options.platforms.isEmpty {
      if let only = imagesA.first, let other = imagesB.first, imagesA.count == 1, imagesB.count == 1, !Self.isIndex(fetchedA), !Self.isIndex(fetchedB) {
        pairs = [(only, other)]
      } else {
        for image in imagesA { if let other = imagesB.first(where: { $0.key == image.key }) { pairs.append((image, other)) } else { out.onlyA.append(image.platform) } }
        out.onlyB = imagesB.filter { image in !imagesA.contains { $0.key == image.key } }.map(\.platform)
      }
      out.fields = Self.indexFields(fetchedA, fetchedB)
    } else if let first = imagesA.first, let second = imagesB.first {
      pairs = [(first, second)]
    }
    // One pair after the other: only two images' files are in memory at once.
    for (first, second) in pairs { out.images.append(try await compare(first, second)) }
    // Different platforms of one index: its digest says nothing.
    if options.platforms.count == 2 { (out.a.digest, out.b.digest) = (pairs.first?.0.fetched.descriptor.digest ?? out.a.digest, pairs.first?.1.fetched.descriptor.digest ?? out.b.digest) }
    return out
  }

  private static func isIndex(_ fetched: FetchedManifest) -> Bool { fetched.descriptor.mediaType.isIndex }

  // MARK: reading

  private func images(_ root: FetchedManifest, _ source: any ImageSource, wanted: Platform?) async throws -> [Image] {
    switch try root.document() {
    case .manifest(let manifest):
      let image = try await image(root, manifest, nil, hasAttestation: false, source)
      if let wanted, !PlatformMatcher(exactly: wanted).matches(image.platform) { throw Self.noPlatform(wanted, [image.platform], source) }
      return [image]
    case .index(let index):
      var entries = try await flat(index, source, depth: 0)
      let attested = Set(entries.compactMap { $0.descriptor.attestedDigest })
      entries.removeAll { $0.descriptor.attestedDigest != nil || $0.descriptor.platform?.os == "unknown" }
      if let wanted {
        let matcher = PlatformMatcher(exactly: wanted)
        let found = entries.filter { $0.descriptor.platform.map(matcher.matches) ?? false }
        guard let first = found.first else { throw Self.noPlatform(wanted, entries.compactMap(\.descriptor.platform), source) }
        entries = [first]
      }
      return try await withThrowingTaskGroup(of: (Int, Image?).self) { group in
        for (i, entry) in entries.enumerated() {
          group.addTask {
            guard case .manifest(let manifest) = try entry.fetched.document(), manifest.config.mediaType.isConfig else { return (i, nil) }
            return (i, try await self.image(entry.fetched, manifest, entry.descriptor.platform, hasAttestation: attested.contains(entry.descriptor.digest), source))
          }
        }
        return try await group.reduce(into: [(Int, Image?)]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.compactMap(\.1)
      }
    }
  }

  private struct Entry: Sendable {
    var descriptor: Descriptor
    var fetched: FetchedManifest
  }

  private func flat(_ index: ImageIndex, _ source: any ImageSource, depth: Int) async throws -> [Entry] {
    guard depth <= ImageVerification.maximumDepth else { throw ImageCheckError(.damaged, "\(source.location): indexes are nested deeper than \(ImageVerification.maximumDepth)") }
    return try await withThrowingTaskGroup(of: (Int, [Entry]).self) { group in
      for (i, descriptor) in index.manifests.enumerated() {
        group.addTask {
          let fetched = try await source.manifest(descriptor)
          guard case .index(let inner) = try fetched.document() else { return (i, [Entry(descriptor: descriptor, fetched: fetched)]) }
          return (i, try await self.flat(inner, source, depth: depth + 1))
        }
      }
      return try await group.reduce(into: [(Int, [Entry])]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.flatMap(\.1)
    }
  }

  private func image(_ fetched: FetchedManifest, _ manifest: ImageManifest, _ platform: Platform?, hasAttestation: Bool, _ source: any ImageSource) async throws -> Image {
    guard manifest.config.mediaType.isConfig else {
      throw ImageCheckError(.notAnImage, "\(source.location) is no image: what it holds is \(manifest.artifactType.isEmpty ? manifest.config.mediaType.rawValue : manifest.artifactType)")
    }
    let bytes = try await source.config(manifest)
    do {
      let config = try ImageConfig(parsing: bytes)
      return Image(platform: platform ?? config.platform, fetched: fetched, manifest: manifest, config: config, configJSON: try JSONValue(parsing: bytes), hasAttestation: hasAttestation)
    } catch { throw ImageCheckError(.damaged, "\(source.location): the config \(manifest.config.digest) cannot be read", cause: error) }
  }

  private static func noPlatform(_ wanted: Platform, _ there: [Platform], _ source: any ImageSource) -> ImageCheckError {
    let names = PlatformMatcher.nearest(there, to: wanted).map(\.fullDescription)
    return ImageCheckError(.noSuchPlatform, "\(source.location) has nothing for \(wanted.fullDescription): it has \(names.isEmpty ? "no platforms" : names.joined(separator: ", "))")
  }

  // MARK: comparing

  private func compare(_ first: Image, _ second: Image) async throws -> ImagePair {
    var pair = ImagePair(a: .init(platform: first.platform, digest: first.fetched.descriptor.digest), b: .init(platform: second.platform, digest: second.fetched.descriptor.digest))
    pair.config = ConfigFields.changes(Self.fields(first), Self.fields(second))
    pair.layers = LayerChanges.of(first.manifest, first.config, second.manifest, second.config)
    guard options.files else { return pair }
    pair.files = []
    if pair.layers.contains(where: { $0.state == .added || $0.state == .removed }) {
      let blobs = SharedBlobs(source: a, limits: options.limits, hashesFiles: true)
      async let before = table(first.manifest, a, blobs), after = table(second.manifest, b, blobs)
      let (old, new) = try await (before, after)
      pair.files = old.table.changes(to: new.table)
    }
    return pair
  }

  /// @unchecked: made by one task and given to the one that waits for it.
  private struct Made: @unchecked Sendable { let table: FileTable }

  private func table(_ manifest: ImageManifest, _ source: any ImageSource, _ blobs: SharedBlobs) async throws -> Made {
    let scans = try await withThrowingTaskGroup(of: (Int, LayerScan).self) { group in
      for (i, layer) in manifest.layers.enumerated() {
        group.addTask {
          func damaged(_ why: String) -> ImageCheckError { ImageCheckError(.damaged, "\(source.location): the layer \(layer.digest) cannot be compared: \(why)") }
          switch try await blobs.scan(layer, from: source) {
          case .failure(let problem): throw damaged(problem.message)
          case .success(let scan):
            if let failure = scan.failure { throw damaged("\(failure)") }
            guard scan.digest == layer.digest else { throw damaged("its content has the digest \(scan.digest)") }
            return (i, scan)
          }
        }
      }
      return try await group.reduce(into: [Int: LayerScan]()) { $0[$1.0] = $1.1 }
    }
    let table = FileTable(limits: options.limits)
    for i in manifest.layers.indices {
      guard let scan = scans[i] else { continue }
      do { try table.apply(scan.entries, layer: i) } catch { throw ImageCheckError(.damaged, "\(source.location): the layer \(manifest.layers[i].digest) cannot be put upon those below", cause: error) }
    }
    return Made(table: table)
  }

  private static func fields(_ image: Image) -> [(String, String)] {
    var out = ConfigFields.flat(image.configJSON)
    for (key, value) in image.manifest.annotations.sorted(by: { $0.key < $1.key }) { out.append(("annotations.\(key)", value)) }
    out.append(("manifest.mediaType", image.manifest.mediaType.rawValue))
    if image.hasAttestation { out.append(("attestation", "yes")) }
    return out
  }

  private static func indexFields(_ a: FetchedManifest, _ b: FetchedManifest) -> [FieldChange] {
    func flat(_ fetched: FetchedManifest) -> [(String, String)] {
      var out = [("kind", isIndex(fetched) ? "index" : "manifest")]
      guard case .index(let index)? = try? fetched.document() else { return out }
      out.append(("mediaType", index.mediaType.rawValue))
      for (key, value) in index.annotations.sorted(by: { $0.key < $1.key }) { out.append(("annotations.\(key)", value)) }
      return out
    }
    return ConfigFields.changes(flat(a), flat(b))
  }
}
