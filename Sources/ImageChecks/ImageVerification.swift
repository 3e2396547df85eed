internal import LayerArchive
package import ImageStores
package import OCIModel
package import OCIRegistry

/// What `manifold verify` does: looks whether an image is whole, and whether its programs are what its platforms say.
package struct ImageVerification: Sendable {
  package enum Depth: String, Sendable {
    /// Manifests and configs are read; of all other blobs it is asked whether they are there, and how large.
    case shallow
    /// Layers of images are read too, each once and without keeping them.
    case layers
    /// So is everything else: attestations, artifacts, layers that may not be passed on.
    case deep
  }
  package struct Options: Sendable {
    package var depth: Depth
    /// Empty: all.
    package var platforms: [Platform]
    package var limits: ScanLimits
    package init(depth: Depth = .layers, platforms: [Platform] = [], limits: ScanLimits = .default) { (self.depth, self.platforms, self.limits) = (depth, platforms, limits) }
  }

  let source: any ImageSource
  let options: Options
  let blobs: SharedBlobs

  package init(_ source: any ImageSource, _ options: Options = Options()) {
    (self.source, self.options) = (source, options)
    blobs = SharedBlobs(source: source, limits: options.limits)
  }

  static let maximumDepth = 4
  /// Images whose files are held in memory at once.
  static let imagesAtOnce = 3

  /// Throws what keeps it from looking (no way to the registry, no such image); all that is wrong with the image itself is in the report.
  package func run() async throws -> VerificationReport {
    let root = try await source.root()
    var report = VerificationReport(digest: root.descriptor.digest, mediaType: root.descriptor.mediaType)
    var images: [Entry] = []
    switch try root.document() {
    case .manifest: images = [Entry(descriptor: root.descriptor, fetched: root, isOnly: true)]
    case .index(let index): try await collect(index, of: root.descriptor.digest, depth: 0, &images, &report)
    }
    if !options.platforms.isEmpty { try select(&images) }
    for image in images { if image.attests == nil, case .manifest(let manifest)? = try image.fetched?.document() { await blobs.expect(manifest.layers) } }
    let results = try await withThrowingTaskGroup(of: (Int, ImageReport).self) { group in
      var out: [Int: ImageReport] = [:]
      for (i, entry) in images.enumerated() {
        if i >= Self.imagesAtOnce, let (i, done) = try await group.next() { out[i] = done }
        group.addTask { (i, try await ImageWork(verification: self, entry: entry).run()) }
      }
      for try await (i, done) in group { out[i] = done }
      return out
    }
    for i in images.indices { if let result = results[i] { report.add(result) } }
    report.layersRead = await blobs.layersRead
    report.bytesRead = await blobs.bytesRead
    return report
  }

  /// One manifest that has to be looked at.
  struct Entry: Sendable {
    var descriptor: Descriptor
    /// nil: it could not be had, and that has been told.
    var fetched: FetchedManifest?
    var isOnly = false
    var attests: Digest? { descriptor.attestedDigest }
  }

  /// A type, and a function, of their own: as a tuple that one closure returns in two ways, the optimiser of Swift 6.3 loses the place.
  private struct Answer: Sendable {
    var place: Int
    var document: Result<FetchedManifest, Problem>
  }
  private static func document(_ entry: Descriptor, _ source: any ImageSource) async throws -> Result<FetchedManifest, Problem> {
    do { return .success(try await source.manifest(entry)) } catch { return .failure(try await Problem.of(error, source)) }
  }

  /// The index's entries with their documents, all at once.
  private func collect(_ index: ImageIndex, of digest: Digest, depth: Int, _ images: inout [Entry], _ report: inout VerificationReport) async throws {
    let source = source
    let fetched = try await withThrowingTaskGroup(of: Answer.self) { group in
      for (i, entry) in index.manifests.enumerated() { group.addTask { Answer(place: i, document: try await Self.document(entry, source)) } }
      return try await group.reduce(into: [Int: Result<FetchedManifest, Problem>]()) { $0[$1.place] = $1.document }
    }
    let known = Set(index.manifests.map(\.digest))
    var seen: [String: Digest] = [:]
    for (i, entry) in index.manifests.enumerated() {
      let platform = entry.attestedDigest == nil ? entry.platform : index.manifests.first { $0.digest == entry.attestedDigest }?.platform
      func tell(_ severity: Finding.Severity, _ code: Finding.Code, _ message: String) {
        report.findings.append(Finding(severity, code, message, platform: platform, manifest: entry.digest))
      }
      if let about = entry.attestedDigest {
        if !known.contains(about) { tell(.error, .attestationTarget, "an attestation is about \(about), which the index does not have") }
      } else if entry.annotations["vnd.docker.reference.type"] == "attestation-manifest" {
        tell(.error, .attestationTarget, "an attestation does not say what it is about")
      } else if let platform = entry.platform?.normalized, entry.mediaType.isManifest, platform.os != "unknown" {
        let name = platform.fullDescription
        if let other = seen[name], other != entry.digest { tell(.warning, .duplicatePlatform, "the index has another entry for \(name): \(other)") }
        seen[name] = seen[name] ?? entry.digest
      }
      switch fetched[i] {
      case .success(let manifest)?:
        if case .index(let inner) = try manifest.document() {
          guard depth < Self.maximumDepth else {
            tell(.error, .damagedManifest, "indexes are nested deeper than \(Self.maximumDepth)")
            continue
          }
          try await collect(inner, of: entry.digest, depth: depth + 1, &images, &report)
        } else {
          images.append(Entry(descriptor: entry, fetched: manifest))
        }
      case .failure(let problem)?:
        tell(.error, problem.isMissing ? .missingManifest : .damagedManifest, problem.isMissing ? "the manifest is not there" : problem.message)
        images.append(Entry(descriptor: entry, fetched: nil))
      case nil: break
      }
    }
  }

  private func select(_ images: inout [Entry]) throws {
    var kept = Set<Digest>()
    for wanted in options.platforms {
      let matcher = PlatformMatcher(exactly: wanted)
      let found = images.filter { image in image.attests == nil && (image.descriptor.platform.map(matcher.matches) ?? image.isOnly) }
      guard !found.isEmpty else {
        let there = PlatformMatcher.nearest(images.compactMap { $0.attests == nil ? $0.descriptor.platform : nil }, to: wanted).map(\.fullDescription)
        throw ImageCheckError(.noSuchPlatform, "the image has nothing for \(wanted.fullDescription): it has \(there.isEmpty ? "no platforms" : there.joined(separator: ", "))")
      }
      kept.formUnion(found.map(\.descriptor.digest))
    }
    images.removeAll { !kept.contains($0.descriptor.digest) && !($0.attests.map(kept.contains) ?? false) }
  }
}

/// What verification came to.
package struct VerificationReport: Sendable {
  package var digest: Digest
  package var mediaType: MediaType
  /// The images looked at, in the index's order; attestations and artifacts are not among them.
  package var images: [(platform: Platform?, digest: Digest)] = []
  package var attestations = 0
  package var layersRead = 0
  package var bytesRead: Int64 = 0
  package var findings: [Finding] = []
  /// Findings beyond the thousandth of a kind, of one image.
  package var omitted = 0

  mutating func add(_ image: ImageReport) {
    if image.isImage { images.append((image.platform, image.digest)) } else if image.isAttestation { attestations += 1 }
    findings += image.list.findings
    omitted += image.list.omitted
  }
}

struct ImageReport: Sendable {
  var digest: Digest
  var platform: Platform?
  var isImage = false
  var isAttestation = false
  var list = FindingList()
}
