internal import BuildInterface
internal import DockerfileSyntax
internal import OCIModel

/// `--call name[,format=json|text][,ignorestatus=true]`: a question about the build instead of a build.
struct CallSpec: Sendable, Equatable {
  /// As the frontend knows it: `lint`, `outline`, `targets`, `subrequests.describe`.
  var name: String
  var isJSON = false
  var ignoresStatus = false

  /// Answered by the engine, all others by the frontend.
  static let plan = "plan"
  static let names = ["build", "check", "lint", "outline", "targets", plan, "subrequests.describe"]

  init(name: String, isJSON: Bool = false) { (self.name, self.isJSON) = (name, isJSON) }

  /// nil for `build`, which is no question.
  init?(parsing text: String) throws {
    if text.isEmpty { return nil }
    var name: String?
    for field in try CommaFields.parse(text, option: "--call") {
      guard let (key, value) = CommaFields.pair(field) else {
        guard name == nil else { throw BuildError.usage("--call \(text): more than one question") }
        name = field
        continue
      }
      switch key {
      case "format":
        guard ["json", "text", ""].contains(value) else { throw BuildError.usage("--call \(text): formats are text and json") }
        isJSON = value == "json"
      case "ignorestatus":
        guard let flag = TruthWord.parse(value) else { throw BuildError.usage("--call \(text): ignorestatus is true or false") }
        ignoresStatus = flag
      default: throw BuildError.usage("--call \(text): there is no setting \"\(key)\"", suggestion: "Settings are format=json, format=text and ignorestatus=true.")
      }
    }
    guard let name, !name.isEmpty else { throw BuildError.usage("--call \(text): the question is missing", suggestion: "Questions are \(Self.names.dropFirst().joined(separator: ", ")).") }
    guard Self.names.contains(name) else {
      let meant = Spelling.nearest(to: name, among: Self.names).map { "Did you mean \($0)? " } ?? ""
      throw BuildError.usage("--call \(text): there is no question \"\(name)\"", suggestion: "\(meant)Questions are \(Self.names.dropFirst().joined(separator: ", ")).")
    }
    if name == "build" { return nil }
    self.name = name == "check" ? "lint" : name
  }

  /// `--format`, which stands for `,format=`.
  mutating func setFormat(_ format: String?) throws {
    guard let format else { return }
    guard format == "json" || format == "text" else { throw BuildError.usage("--format \(format): the formats of an answer are text and json") }
    isJSON = format == "json"
  }

  var inquiry: Inquiry? { name == Self.plan ? .forecast : nil }
  var attributes: [String: String] { inquiry != nil ? [:] : ["requestid": "frontend." + name, "frontend.caps": "moby.buildkit.frontend.subrequests+forward"] }
}

/// The answer to a question, as buildx prints it.
struct CallAnswer: Sendable {
  let call: CallSpec
  let documents: [String: [UInt8]]
  /// How the person names the Dockerfile.
  let fileName: String

  private func text(_ name: String) -> String { String(decoding: documents[name] ?? [], as: UTF8.self) }

  /// What goes to standard output, what is an error after it, and the exit status.
  func rendered() throws -> (output: String, error: String?, status: Int32) {
    if call.name == "lint", !call.isJSON, let several = try severalReports() { return several }
    let report = call.name == "lint" ? try CheckReport(json: documents["result.json"] ?? [], places: documents["result.places"] ?? []) : nil
    var out = ""
    if call.isJSON {
      out = text("result.json") + "\n"
    } else if let report {
      if !report.entries.isEmpty {
        out = "Check complete, " + (report.entries.count == 1 ? "1 warning has been found!" : "\(report.entries.count) warnings have been found!") + "\n"
      }
      out += report.text(fileName: fileName)
      if report.failure != nil, !report.entries.isEmpty { out += "\n" }
      if report.failure == nil, report.entries.isEmpty { out += "Check complete, no warnings found.\n" }
    } else {
      out = text("result.txt")
    }
    if let failure = report?.failureText(fileName: fileName) { return (out, failure, 1) }
    return (out, nil, call.ignoresStatus ? 0 : Int32(text("result.statuscode")) ?? 0)
  }
}

extension CallAnswer {
  /// Of a Dockerfile for each platform; nil where there is one for all.
  private func severalReports() throws -> (output: String, error: String?, status: Int32)? {
    guard let document = try? JSONValue(parsing: documents["result.json"] ?? []), let sources = document["sources"]?.arrayValue, sources.count > 1 else { return nil }
    var out = "", error: String?, count = 0
    for (i, source) in sources.enumerated() {
      let name = source["filename"]?.stringValue ?? fileName
      let report = try CheckReport(json: documents["result.json"] ?? [], places: documents["result.places"] ?? [], source: i)
      out += report.text(fileName: name)
      count += report.entries.count
      if error == nil { error = report.failureText(fileName: name) }
    }
    let head = count == 0 ? "" : "Check complete, " + (count == 1 ? "1 warning has been found!" : "\(count) warnings have been found!") + "\n"
    if let error { return (head + out, error, 1) }
    return (count == 0 ? "Check complete, no warnings found.\n" : head + out, nil, call.ignoresStatus ? 0 : Int32(text("result.statuscode")) ?? 0)
  }
}

extension CheckReport {
  /// Reads `result.json`, of any frontend, and the words that it is about, of ours; what is about the source at a place.
  init(json bytes: [UInt8], places: [UInt8] = [], source place: Int = 0) throws {
    guard let document = try? JSONValue(parsing: bytes) else { throw BuildError(.internal, .build, "the frontend's answer is no JSON") }
    func isHere(_ item: JSONValue) -> Bool { (item["location"]?["sourceIndex"]?.intValue ?? 0) == Int64(place) }
    let sources = document["sources"]?.arrayValue ?? []
    let source = (sources.indices.contains(place) ? sources[place] : nil)?["data"]?.stringValue.flatMap(MetadataFile.base64) ?? []
    let words = try? JSONValue(parsing: places), focuses = words?["warnings"]?.arrayValue ?? []
    let entries = (document["warnings"]?.arrayValue ?? []).enumerated().filter { isHere($0.element) }.map { i, warning in
      Entry(
        rule: warning["ruleName"]?.stringValue ?? "", description: warning["description"]?.stringValue ?? "", url: warning["url"]?.stringValue ?? "",
        message: warning["detail"]?.stringValue ?? "", ranges: Self.ranges(warning["location"]), patch: warning["patch"]?.stringValue ?? "",
        focus: i < focuses.count ? Self.focus(focuses[i]) : nil)
    }
    let failure = document["buildError"].flatMap { isHere($0) ? $0 : nil }.map {
      Failure(message: $0["message"]?.stringValue ?? "", ranges: Self.ranges($0["location"]), focus: Self.focus(words?["buildError"]))
    }
    self.init(entries: entries, source: String(decoding: source, as: UTF8.self), failure: failure)
  }

  private static func focus(_ place: JSONValue?) -> SourceRange? {
    let numbers = (place?.arrayValue ?? []).compactMap { $0.intValue.flatMap { Int(exactly: $0) } }
    guard numbers.count == 4, numbers.allSatisfy({ $0 >= 0 }) else { return nil }
    return SourceRange(start: SourcePosition(line: numbers[0], column: numbers[1]), end: SourcePosition(line: numbers[2], column: numbers[3]))
  }

  private static func ranges(_ location: JSONValue?) -> [SourceRange] {
    (location?["ranges"]?.arrayValue ?? []).compactMap { range in
      guard let start = range["start"]?["line"]?.intValue, let first = Int(exactly: start) else { return nil }
      let last = range["end"]?["line"]?.intValue.flatMap { Int(exactly: $0) } ?? first
      return SourceRange(lines: first...max(first, last))
    }
  }
}
