import BuildInterface
import Foundation
import OCIModel
import Testing

@testable import DockerfileFrontend

/// The document that editors and CI read, whatever the Dockerfile: `warnings[]` with `ruleName`, `description`, `url`, `detail` and `location`, `sources[]`, and
/// `buildError` when the file cannot be built.
@Suite struct CheckShapeTests {
  private func document(_ dockerfile: String, _ attributes: [String: String] = [:]) async throws -> (json: JSONValue, status: String) {
    let trial = try Trial(dockerfile, files: [".dockerignore": "secret\n"])
    let metadata = try await DockerfileFrontend().build(trial.gateway(attributes.merging(["requestid": "frontend.lint"]) { a, _ in a })).metadata
    return (try JSONValue(parsing: metadata["result.json"] ?? []), String(decoding: metadata["result.statuscode"] ?? [], as: UTF8.self))
  }

  private static let members: [String: Set<String>] = [
    "": ["warnings", "sources", "buildError"], "warnings": ["ruleName", "description", "url", "detail", "location", "patch"], "buildError": ["message", "location"],
    "sources": ["filename", "data", "definition", "language"], "location": ["ranges", "sourceIndex"], "range": ["start", "end"], "position": ["line", "character"],
  ]

  private func check(_ value: JSONValue?, _ kind: String, _ required: Set<String>) throws -> JSONObject {
    let object = try #require(value?.objectValue, "\(kind)")
    let keys = Set(object.keys)
    #expect(keys.isSubset(of: Self.members[kind] ?? []) && required.isSubset(of: keys), "\(kind): \(keys.sorted())")
    return object
  }

  private func check(location: JSONValue?, lines: Int) throws {
    let object = try check(location, "location", [])
    for range in object["ranges"]?.arrayValue ?? [] {
      let object = try check(range, "range", ["start", "end"])
      let start = try check(object["start"], "position", ["line"])["line"]?.intValue ?? 0, end = try check(object["end"], "position", ["line"])["line"]?.intValue ?? 0
      #expect(start >= 1 && start <= end && end <= Int64(lines))
    }
  }

  private func check(_ json: JSONValue, _ dockerfile: String) throws {
    let root = try check(json, "", ["warnings", "sources"])
    let lines = dockerfile.split(separator: "\n", omittingEmptySubsequences: false).count
    for warning in root["warnings"]?.arrayValue ?? [] {
      let object = try check(warning, "warnings", ["ruleName", "description", "detail", "location"])
      for key in ["ruleName", "description", "detail"] { #expect(object[key]?.stringValue?.isEmpty == false) }
      if let url = object["url"]?.stringValue { #expect(URL(string: url)?.scheme == "https") }
      try check(location: object["location"], lines: lines)
    }
    let sources = try #require(root["sources"]?.arrayValue)
    #expect(sources.count == 1)
    let source = try check(sources.first, "sources", ["filename", "data", "language"])
    #expect(source["filename"]?.stringValue == "Dockerfile" && source["language"]?.stringValue == "Dockerfile")
    #expect(Data(base64Encoded: source["data"]?.stringValue ?? "") == Data(dockerfile.utf8))
    if let error = root["buildError"] {
      let object = try check(error, "buildError", ["message", "location"])
      #expect(object["message"]?.stringValue?.isEmpty == false)
      try check(location: object["location"], lines: lines)
    }
  }

  @Test func documentsHaveTheShape() async throws {
    let clean = "FROM scratch\nCOPY a /\n"
    let bad = "FROM scratch as A\nMAINTAINER x\nENV a b\nWORKDIR rel\nCOPY secret /\nRUN a \\\n\n  $B\nARG TOKEN\nEXPOSE 1:2/TCP\nCMD x\nCMD y\nenv c=$NOPE\n"
    let (none, ok) = try await document(clean)
    try check(none, clean)
    #expect(none["warnings"]?.arrayValue == nil && ok == "0")
    let (some, status) = try await document(bad)
    try check(some, bad)
    #expect((some["warnings"]?.arrayValue ?? []).count >= 12 && status == "1")
    for row in try MistakeTableTests.rows() {
      let (json, status) = try await document(row.dockerfile)
      try check(json, row.dockerfile)
      #expect(json["buildError"] != nil && status == "1", "\(row.title)")
    }
  }

  /// How the options can be written, in a comment and as the build argument, and what is left of three findings.
  @Test(arguments: [
    ("skip=all", [], false), ("skip=FromAsCasing", ["LegacyKeyValueFormat", "StageNameCasing"], false), ("skip=FromAsCasing,LegacyKeyValueFormat", ["StageNameCasing"], false),
    ("skip=FromAsCasing;error=true", ["LegacyKeyValueFormat", "StageNameCasing"], true), ("error=true;skip=all", [], false),
    ("error=true", ["FromAsCasing", "LegacyKeyValueFormat", "StageNameCasing"], true), ("error=false", ["FromAsCasing", "LegacyKeyValueFormat", "StageNameCasing"], false),
    ("error=1;skip=StageNameCasing", ["FromAsCasing", "LegacyKeyValueFormat"], true), ("experimental=all", ["FromAsCasing", "LegacyKeyValueFormat", "StageNameCasing"], false),
    ("skip=Unknown", ["FromAsCasing", "LegacyKeyValueFormat", "StageNameCasing"], false), ("skip=fromascasing", ["FromAsCasing", "LegacyKeyValueFormat", "StageNameCasing"], false),
    ("experimental=InvalidDefinitionDescription;skip=all;error=true", [], false), ("", ["FromAsCasing", "LegacyKeyValueFormat", "StageNameCasing"], false),
  ] as [(String, [String], Bool)])
  func options(_ text: String, _ rules: [String], _ fails: Bool) async throws {
    let file = "FROM scratch as A\nENV a b\n"
    for (dockerfile, attributes) in [("# check=\(text)\n" + file, [:]), (file, ["build-arg:BUILDKIT_DOCKERFILE_CHECK": text]), ("# check=skip=all\n" + file, ["build-arg:BUILDKIT_DOCKERFILE_CHECK": text])] {
      // The comment needs something after its =.
      if text.isEmpty, attributes.isEmpty { continue }
      let (json, _) = try await document(dockerfile, attributes)
      #expect(Set((json["warnings"]?.arrayValue ?? []).compactMap { $0["ruleName"]?.stringValue }) == Set(rules), "\(dockerfile) \(attributes)")
      let error = try await Trial(dockerfile).error(attributes)
      #expect((error?.code == .failedPrecondition) == fails, "\(dockerfile) \(attributes): \(error.map { "\($0)" } ?? "")")
    }
  }
}
