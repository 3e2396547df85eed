internal import ImageStores
internal import LayerArchive
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

/// One manifest's verification.
struct ImageWork: Sendable {
  let verification: ImageVerification
  let entry: ImageVerification.Entry
  private var source: any ImageSource { verification.source }
  private var blobs: SharedBlobs { verification.blobs }
  private var depth: ImageVerification.Depth { verification.options.depth }

  init(verification: ImageVerification, entry: ImageVerification.Entry) { (self.verification, self.entry) = (verification, entry) }

  func run() async throws -> ImageReport {
    let findings = Findings(platform: entry.descriptor.platform, manifest: entry.descriptor.digest)
    var report = ImageReport(digest: entry.descriptor.digest, platform: entry.descriptor.platform)
    report.isAttestation = entry.attests != nil
    guard let fetched = entry.fetched, case .manifest(let manifest) = try fetched.document() else { return report }
    if entry.attests == nil, manifest.config.mediaType.isConfig {
      report.isImage = true
      try await checkImage(manifest, findings)
      await blobs.release(manifest.layers)
      report.platform = findings.platform
    } else {
      try await checkBlob(manifest.config, .missingConfig, findings)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for layer in manifest.layers { group.addTask { try await checkBlob(layer, .missingBlob, findings) } }
        try await group.waitForAll()
      }
      if depth == .deep, let about = entry.attests { try await checkSubjects(manifest, about, findings) }
    }
    report.list = findings.list
    return report
  }

  /// Findings about one manifest.
  final class Findings: Sendable {
    private struct State {
      var list = FindingList()
      var platform: Platform?
    }
    private let state: Mutex<State>
    let manifest: Digest
    init(platform: Platform?, manifest: Digest) {
      state = Mutex(State(platform: platform))
      self.manifest = manifest
    }

    var list: FindingList { state.withLock { $0.list } }
    /// The index's word, else the config's.
    var platform: Platform? { state.withLock { $0.platform } }
    func settle(_ platform: Platform) { state.withLock { if $0.platform == nil { $0.platform = platform } } }

    func add(_ severity: Finding.Severity, _ code: Finding.Code, _ message: String, path: String? = nil, blob: Digest? = nil, createdBy: String? = nil) {
      state.withLock { $0.list.add(Finding(severity, code, message, platform: $0.platform, manifest: manifest, path: path, blob: blob, createdBy: createdBy)) }
    }
    func add(_ findings: [Finding]) { state.withLock { state in findings.forEach { state.list.add($0) } } }
  }

  /// Without looking into it, or with `deep` at all of its bytes.
  private func checkBlob(_ blob: Descriptor, _ missing: Finding.Code, _ findings: Findings) async throws {
    if depth == .deep {
      switch try await blobs.digest(blob) {
      case .failure(let problem): findings.add(.error, problem.code(missing: missing, other: .wrongDigest), problem.message, blob: blob.digest)
      case .success(let (digest, size)): compare(blob, digest, size, findings)
      }
      return
    }
    switch try await blobs.presence(blob) {
    case .failure(let problem):
      // Layers that may not be passed on are had from elsewhere.
      if problem.isMissing, !blob.urls.isEmpty {
        findings.add(.note, .notRead, "it is not in the repository, but at \(blob.urls[0])", blob: blob.digest)
      } else {
        findings.add(.error, problem.code(missing: missing, other: missing), problem.message, blob: blob.digest)
      }
    case .success(let size?) where size != blob.size: compare(blob, nil, size, findings)
    case .success: break
    }
  }

  @discardableResult
  private func compare(_ blob: Descriptor, _ digest: Digest?, _ size: Int64, _ findings: Findings) -> Bool {
    if size != blob.size {
      findings.add(.error, .wrongSize, "it has \(size) bytes, and its manifest says \(blob.size)", blob: blob.digest)
      return false
    }
    guard let digest, digest != blob.digest else { return true }
    findings.add(.error, .wrongDigest, "its content is other than its digest says: \(digest)", blob: blob.digest)
    return false
  }

  private static let largestStatement = 64 << 20

  /// in-toto statements name what they are about themselves.
  private func checkSubjects(_ manifest: ImageManifest, _ about: Digest, _ findings: Findings) async throws {
    for layer in manifest.layers where layer.mediaType == .inToto {
      guard layer.size <= Int64(Self.largestStatement), let bytes = try? await source.bytes(layer, limit: Self.largestStatement), let json = try? JSONValue(parsing: bytes) else { continue }
      let subjects = json["subject"]?.arrayValue ?? []
      let digests = subjects.compactMap { $0["digest"]?.objectValue?[about.algorithm.rawValue]?.stringValue }
      if !digests.isEmpty, !digests.contains(about.hex) {
        findings.add(.error, .attestationSubject, "the statement is about other content than the image \(about)", blob: layer.digest)
      }
    }
  }

  // MARK: an image

  private func checkImage(_ manifest: ImageManifest, _ findings: Findings) async throws {
    let config = try await readConfig(manifest, findings)
    if let config {
      checkPlatform(config, findings)
      findings.settle(config.platform)
      if config.diffIDs.count != manifest.layers.count {
        findings.add(.error, .layerCount, "the config lists \(config.diffIDs.count) layers, and the manifest has \(manifest.layers.count)", blob: manifest.config.digest)
      }
    }
    guard depth != .shallow else {
      return try await withThrowingTaskGroup(of: Void.self) { group in
        for layer in manifest.layers { group.addTask { try await checkBlob(layer, .missingLayer, findings) } }
        try await group.waitForAll()
      }
    }
    let scans = try await readLayers(manifest, config, findings)
    guard let config, config.platform.os != "unknown", !config.platform.os.isEmpty else { return }
    let platform = findings.platform ?? config.platform
    findings.add(FileChecks(manifest: manifest, config: config, platform: platform, digest: findings.manifest, limits: verification.options.limits).run(scans))
  }

  private func readConfig(_ manifest: ImageManifest, _ findings: Findings) async throws -> ImageConfig? {
    func damaged(_ problem: Problem) { findings.add(.error, problem.isMissing ? .missingConfig : .damagedConfig, "the config: \(problem.message)", blob: manifest.config.digest) }
    let bytes: [UInt8]
    do { bytes = try await source.config(manifest) } catch {
      damaged(try await Problem.of(error, source))
      return nil
    }
    do { return try ImageConfig(parsing: bytes) } catch {
      damaged(try Problem(of: error))
      return nil
    }
  }

  private func checkPlatform(_ config: ImageConfig, _ findings: Findings) {
    guard let listed = entry.descriptor.platform else { return }
    let said = listed.normalized, own = config.platform.normalized
    var agrees = said.os == own.os && said.architecture == own.architecture
    // Old builders leave the variant out of one or the other.
    if agrees, said.variant != own.variant, !config.platform.variant.isEmpty, !listed.variant.isEmpty { agrees = false }
    if agrees, !said.osVersion.isEmpty, !own.osVersion.isEmpty, said.osVersion != own.osVersion { agrees = false }
    if !agrees {
      findings.add(
        .error, .platformMismatch, "the index says \(listed.fullDescription), and the image's config says \(config.platform.os.isEmpty ? "nothing" : config.platform.fullDescription)")
    }
  }

  /// One for each layer; nil where it could not be read.
  private func readLayers(_ manifest: ImageManifest, _ config: ImageConfig?, _ findings: Findings) async throws -> [LayerScan?] {
    let diffIDs = config.flatMap { $0.diffIDs.count == manifest.layers.count ? $0.diffIDs : nil }
    return try await withThrowingTaskGroup(of: (Int, LayerScan?).self) { group in
      for (i, layer) in manifest.layers.enumerated() {
        group.addTask {
          // What may not be passed on is large and somebody else's.
          let isElsewhere = !layer.urls.isEmpty || layer.mediaType.rawValue.contains("nondistributable") || layer.mediaType.rawValue.contains("foreign")
          if !layer.mediaType.isLayer || isElsewhere && depth != .deep {
            try await checkBlob(layer, .missingLayer, findings)
            return (i, nil)
          }
          switch try await blobs.scan(layer) {
          case .failure(let problem):
            findings.add(.error, problem.code(missing: .missingLayer, other: .damagedLayer), problem.message, blob: layer.digest)
            return (i, nil)
          case .success(let scan): return (i, checked(scan, layer, diffIDs?[i], findings) ? scan : nil)
          }
        }
      }
      var out = [LayerScan?](repeating: nil, count: manifest.layers.count)
      for try await (i, scan) in group { out[i] = scan }
      return out
    }
  }

  private func checked(_ scan: LayerScan, _ layer: Descriptor, _ diffID: Digest?, _ findings: Findings) -> Bool {
    guard compare(layer, scan.digest, scan.size, findings) else { return false }
    if let failure = scan.failure {
      findings.add(.error, .damagedLayer, "\(failure)", path: failure.path.map { "/\($0)" }, blob: layer.digest)
      return false
    }
    if let diffID, let found = scan.diffID, found != diffID {
      findings.add(.error, .wrongDiffID, "it unpacks to \(found), and the image's config says \(diffID)", blob: layer.digest)
    }
    if let said = Compression(mediaType: layer.mediaType), said != scan.compression {
      findings.add(.warning, .mediaType, "its media type \(layer.mediaType) says \(said.rawValue), and it is \(scan.compression.rawValue)", blob: layer.digest)
    }
    return true
  }
}
