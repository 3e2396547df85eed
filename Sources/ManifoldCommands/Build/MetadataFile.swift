internal import BuildProgress
internal import OCIModel

/// `--metadata-file`: the exporters' answers by name. An answer that is JSON in base64 stands in it as JSON.
enum MetadataFile {
  /// How much of a build's provenance it holds: BUILDX_METADATA_PROVENANCE.
  enum ProvenanceMode: String {
    case min, max, disabled
    init(environment: [String: String]) {
      let text = environment["BUILDX_METADATA_PROVENANCE"] ?? ""
      self = ProvenanceMode(rawValue: text) ?? (TruthWord.parse(text) == false ? .disabled : .min)
    }
  }

  /// BUILDX_METADATA_WARNINGS.
  static func holdsWarnings(_ environment: [String: String]) -> Bool { TruthWord.parse(environment["BUILDX_METADATA_WARNINGS"] ?? "") == true }

  /// - Parameter provenance: by platform, or by "" (`SolveResponse.provenance`).
  static func bytes(_ response: [String: String], provenance: [String: [UInt8]] = [:], mode: ProvenanceMode = .min, warnings: [VertexWarning] = []) -> [UInt8] {
    var members = response.map { ($0.key, json($0.key, $0.value)) }
    if !warnings.isEmpty { members.append(("buildx.build.warnings", .array(warnings.map(\.json)))) }
    for (platform, bytes) in provenance where mode != .disabled {
      guard var object = (try? JSONValue(parsing: bytes))?.objectValue else { continue }
      if mode == .min { for key in ["buildConfig", "metadata"] { object[key] = nil } }
      members.append(("buildx.build.provenance" + (platform.isEmpty ? "" : "/" + platform), .object(object)))
    }
    return JSONValue.object(JSONObject(members.sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) })).encoded(.indented("  "))
  }

  private static func json(_ key: String, _ value: String) -> JSONValue {
    // BuildKit's one answer that is JSON as it is.
    let decoded = key == "result.json" ? Array(value.utf8) : base64(value)
    guard let decoded, let json = try? JSONValue(parsing: decoded) else { return .string(value) }
    switch json {
    case .object(let object) where !object.isEmpty: return json
    case .array(let elements) where !elements.isEmpty && elements.allSatisfy({ $0.objectValue != nil || $0.isNull }): return json
    default: return .string(value)
    }
  }

  /// RFC 4648, section 4, with padding; nil for anything else.
  static func base64(_ text: String) -> [UInt8]? {
    var digits = Array(text.utf8)
    guard digits.count % 4 == 0 else { return nil }
    let padding = digits.reversed().prefix { $0 == UInt8(ascii: "=") }.count
    guard padding <= 2 else { return nil }
    digits.removeLast(padding)
    var out: [UInt8] = []
    out.reserveCapacity(digits.count * 3 / 4)
    var buffer: UInt32 = 0
    var bits = 0
    for digit in digits {
      let value: UInt8
      switch digit {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = digit - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = digit - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      default: return nil
      }
      buffer = buffer << 6 | UInt32(value)
      bits += 6
      if bits >= 8 {
        bits -= 8
        out.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
      }
    }
    return out
  }
}
