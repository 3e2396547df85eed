internal import BuildProgress
internal import ImageChecks
internal import OCIModel

/// A verification for people, and for programs.
struct VerificationText {
  let name: String
  let report: VerificationReport
  let depth: ImageVerification.Depth
  let strict: Bool

  /// Lines of one kind for one platform; more than this nobody reads.
  static let most = 20

  private func count(_ severity: Finding.Severity) -> Int { report.findings.lazy.filter { $0.severity == severity }.count }
  var isGood: Bool { count(.error) == 0 && (!strict || count(.warning) == 0) }

  var lines: String {
    struct Kind: Hashable {
      var platform: String
      var code: Finding.Code
    }
    var shown: [Kind: Int] = [:], order: [Kind] = []
    var out = ""
    for finding in report.findings {
      let kind = Kind(platform: finding.platform?.fullDescription ?? "image", code: finding.code)
      if shown[kind] == nil { order.append(kind) }
      shown[kind, default: 0] += 1
      if shown[kind, default: 0] <= Self.most { out += Self.line(finding) }
    }
    for kind in order where shown[kind, default: 0] > Self.most {
      out += "\(kind.platform): \(shown[kind, default: 0] - Self.most) more of [\(kind.code.rawValue)]: --json has them\n"
    }
    return out
  }

  /// `error: linux/arm64: /bin/tool (layer sha256:0123456789ab, COPY tool /bin): is for amd64, not arm64 [wrong-architecture]`
  static func line(_ finding: Finding) -> String {
    var place = finding.platform.map { $0.os == "unknown" ? "attestation" : $0.fullDescription } ?? "image"
    if let path = finding.path { place += ": \(path)" }
    if let blob = finding.blob {
      place += " (\(finding.code.isAboutLayers ? "layer" : "blob") \(Digest.short(blob))"
      if let made = finding.createdBy, !made.isEmpty { place += ", \(shortened(made))" }
      place += ")"
    } else if finding.path == nil, let manifest = finding.manifest {
      place += " (\(Digest.short(manifest)))"
    }
    return TerminalText.singleLine("\(finding.severity.rawValue): \(place): \(finding.message) [\(finding.code.rawValue)]") + "\n"
  }

  private static func shortened(_ text: String) -> String {
    var text = text.replacingOccurrences(of: "/bin/sh -c #(nop) ", with: "")
    if let comment = text.firstRange(of: " # buildkit") { text = String(text[..<comment.lowerBound]) }
    return text.count > 60 ? text.prefix(59) + "…" : text
  }

  var summary: String {
    var found: [String] = []
    for (severity, word) in [(Finding.Severity.error, "error"), (.warning, "warning"), (.note, "note")] {
      let n = count(severity)
      if n > 0 { found.append("\(n) \(word)\(n == 1 ? "" : "s")") }
    }
    let images = "\(report.images.count) image\(report.images.count == 1 ? "" : "s")" + (report.attestations == 0 ? "" : ", \(report.attestations) attestation\(report.attestations == 1 ? "" : "s")")
    let read = depth == .shallow ? "layers not read" : "\(report.layersRead) layer\(report.layersRead == 1 ? "" : "s") read (\(HumanFigures.size(report.bytesRead)))"
    return TerminalText.singleLine("\(name)@\(report.digest): \(images), \(read): \(found.isEmpty ? "nothing found" : found.joined(separator: ", "))") + "\n"
  }

  var json: JSONValue {
    let images = report.images.map { image -> JSONValue in
      .object(JSONObject([("platform", image.platform.map { .string($0.fullDescription) } ?? .null), ("digest", .string("\(image.digest)"))]))
    }
    return .object(
      JSONObject([
        ("name", .string(name)), ("digest", .string("\(report.digest)")), ("mediaType", .string(report.mediaType.rawValue)), ("depth", .string(depth.rawValue)), ("ok", .bool(isGood)),
        ("images", .array(images)), ("attestations", .int(report.attestations)), ("layersRead", .int(report.layersRead)), ("bytesRead", .int(report.bytesRead)),
        ("findings", .array(report.findings.map(\.json))), ("omitted", .int(report.omitted)),
      ]))
  }
}

extension Finding.Code {
  fileprivate var isAboutLayers: Bool {
    switch self {
    case .missingConfig, .damagedConfig, .missingBlob, .attestationSubject, .layerCount: false
    default: true
    }
  }
}

extension Digest {
  /// As much as people compare.
  static func short(_ digest: Digest) -> String { "\(digest.algorithm.rawValue):\(digest.hex.prefix(12))" }
}

extension String {
  func replacingOccurrences(of part: String, with other: String) -> String {
    var out = "", rest = self[...]
    while let range = rest.firstRange(of: part) {
      out += rest[..<range.lowerBound] + other
      rest = rest[range.upperBound...]
    }
    return out + rest
  }
}
