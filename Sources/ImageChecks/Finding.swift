package import LayerArchive
package import OCIModel

/// One thing that is wrong with an image.
package struct Finding: Sendable, Hashable {
  package enum Severity: String, Sendable, Comparable {
    /// Worth knowing, and nothing wrong.
    case note
    /// It may well be wrong, and an image can work with it.
    case warning
    case error
    private var rank: Int { switch self { case .note: 0; case .warning: 1; case .error: 2 } }
    package static func < (a: Severity, b: Severity) -> Bool { a.rank < b.rank }
  }
  /// What kind of thing; programs decide by it.
  package enum Code: String, Sendable, CaseIterable {
    case missingManifest = "missing-manifest"
    case damagedManifest = "damaged-manifest"
    case missingConfig = "missing-config"
    case damagedConfig = "damaged-config"
    case missingLayer = "missing-layer"
    case missingBlob = "missing-blob"
    case wrongSize = "wrong-size"
    case wrongDigest = "wrong-digest"
    case wrongDiffID = "wrong-diff-id"
    case layerCount = "layer-count"
    case damagedLayer = "damaged-layer"
    case mediaType = "media-type"
    case platformMismatch = "platform-mismatch"
    case duplicatePlatform = "duplicate-platform"
    case attestationTarget = "attestation-target"
    case attestationSubject = "attestation-subject"
    case wrongArchitecture = "wrong-architecture"
    case guestArchitecture = "guest-architecture"
    case wrongABI = "wrong-abi"
    case damagedProgram = "damaged-program"
    case missingInterpreter = "missing-interpreter"
    case missingCommand = "missing-command"
    case commandNotExecutable = "command-not-executable"
    case foreignFiles = "foreign-files"
    case notRead = "not-read"
  }
  package var severity: Severity
  package var code: Code
  /// Of the index's entry, or of the config; nil for what is about the whole.
  package var platform: Platform?
  /// The manifest it is about.
  package var manifest: Digest?
  /// A file of the image, absolute.
  package var path: String?
  /// The layer, or the other blob, that it is in.
  package var blob: Digest?
  /// What made the layer, by the image's history.
  package var createdBy: String?
  package var message: String

  package init(
    _ severity: Severity, _ code: Code, _ message: String, platform: Platform? = nil, manifest: Digest? = nil, path: String? = nil, blob: Digest? = nil, createdBy: String? = nil
  ) {
    (self.severity, self.code, self.message, self.platform, self.manifest) = (severity, code, message, platform, manifest)
    (self.path, self.blob, self.createdBy) = (path, blob, createdBy)
  }

  package var json: JSONValue {
    var object = JSONObject([("severity", .string(severity.rawValue)), ("code", .string(code.rawValue))])
    if let platform { object["platform"] = .string(platform.fullDescription) }
    if let manifest { object["manifest"] = .string("\(manifest)") }
    if let path { object["path"] = .string(path) }
    if let blob { object["blob"] = .string("\(blob)") }
    if let createdBy, !createdBy.isEmpty { object["createdBy"] = .string(createdBy) }
    object["message"] = .string(message)
    return .object(object)
  }
}

/// Findings of one image, not more than anyone would read.
struct FindingList {
  /// Of one image and code; what is beyond is counted.
  static let most = 1000
  private(set) var findings: [Finding] = []
  private(set) var omitted = 0
  private var counts: [Finding.Code: Int] = [:]

  mutating func add(_ finding: Finding) {
    counts[finding.code, default: 0] += 1
    if counts[finding.code, default: 0] > Self.most { omitted += 1 } else { findings.append(finding) }
  }
}
