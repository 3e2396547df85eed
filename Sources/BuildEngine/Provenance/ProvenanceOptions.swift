internal import BuildInterface

/// What a build's provenance is to say: the frontend attribute `attest:provenance`, by BuildKit's names.
struct ProvenanceOptions: Sendable, Equatable {
  enum Version: String { case v1, v02 = "v0.2" }

  var version = Version.v1
  /// `mode=max`: with build arguments, secrets' names, the steps and their source. What BuildKit takes when a mode is not named.
  var isMax = true
  var builderID = ""
  var isReproducible = false
  var inlineOnly = false
  var filename = "provenance.json"
  /// Refuse a build whose sources cannot all be named.
  var needsCompleteMaterials = false

  /// nil when none is asked for. Throws `BuildError` for values that mean nothing.
  static func of(_ attributes: [String: String]) throws -> ProvenanceOptions? {
    guard let text = attributes["attest:provenance"] ?? attributes["build-arg:BUILDKIT_ATTEST_PROVENANCE"] else { return nil }
    var options = ProvenanceOptions()
    for field in try fields(text) {
      let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      try options.set(parts[0], parts.count > 1 ? parts[1] : "")
    }
    return options
  }

  private mutating func set(_ key: String, _ value: String) throws {
    switch key {
    case "version":
      guard let known = Version(rawValue: value) else { throw ProvenanceOptions.invalid(key, value, "v1 or v0.2") }
      version = known
    case "mode":
      guard ["min", "max", "full"].contains(value) else { throw ProvenanceOptions.invalid(key, value, "min or max") }
      isMax = value != "min"
    case "builder-id": builderID = value
    case "filename":
      guard !value.isEmpty, !value.utf8.contains(0) else { throw ProvenanceOptions.invalid(key, value, "a file's name") }
      filename = value
    case "reproducible": isReproducible = try ProvenanceOptions.truth(key, value)
    case "complete-materials": needsCompleteMaterials = try ProvenanceOptions.truth(key, value)
    case "inline-only": inlineOnly = (try? ProvenanceOptions.truth(key, value)) ?? false
    case "capture-usage":
      guard (try? ProvenanceOptions.truth(key, value)) != true else {
        throw BuildError(.unimplemented, .usage, "provenance: what steps used (capture-usage) is not recorded yet", suggestion: "leave capture-usage away")
      }
    default: break  // as BuildKit: what it does not know, "type" among it, means nothing
    }
  }

  private static func truth(_ key: String, _ value: String) throws -> Bool {
    switch value {
    case "1", "t", "T", "TRUE", "true", "True": return true
    case "0", "f", "F", "FALSE", "false", "False": return false
    default: throw invalid(key, value, "true or false")
    }
  }

  private static func invalid(_ key: String, _ value: String, _ expected: String) -> BuildError {
    BuildError(.invalidArgument, .usage, "provenance: invalid \(key) \"\(value.prefix(100))\": expected \(expected)")
  }

  /// One record of comma-separated values; a field in quotes may hold commas, and quotes doubled.
  private static func fields(_ text: String) throws -> [String] {
    if text.isEmpty { return [] }
    var out: [String] = [], field = "", rest = text[...], isQuoted = false
    while let c = rest.popFirst() {
      switch (c, isQuoted) {
      case ("\"", true):
        if rest.first == "\"" { field.append(rest.removeFirst()) } else { isQuoted = false }
      case ("\"", false) where field.isEmpty: isQuoted = true
      case (",", false):
        out.append(field)
        field = ""
      default: field.append(c)
      }
    }
    if isQuoted { throw invalid("list", text, "closed quotes") }
    return out + [field]
  }
}
