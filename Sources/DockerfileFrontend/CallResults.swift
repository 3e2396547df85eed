internal import BuildInterface
internal import BuildKitProto
internal import DockerfileSyntax
internal import LLB
internal import OCIModel

/// A question that a client asks of the frontend instead of a build (the attribute `requestid`).
enum FrontendCall: String, CaseIterable {
  case outline = "frontend.outline"
  case targets = "frontend.targets"
  case describe = "frontend.subrequests.describe"
  case lint = "frontend.lint"

  init?(_ attributes: [String: String]) throws {
    guard let id = attributes["requestid"] else { return nil }
    guard let call = FrontendCall(rawValue: id) else {
      let known = FrontendCall.allCases.map { $0.rawValue.dropping(prefix: "frontend.") ?? $0.rawValue }
      // As BuildKit's frontend refuses it: a newer client may ask for what only newer frontends know.
      throw BuildError(.unimplemented, .usage, "unsupported request \(id)", suggestion: "what can be asked is \(known.joined(separator: ", "))")
    }
    self = call
  }

  /// The answer's documents, in the form of BuildKit's.
  static func metadata(_ json: JSONValue, text: String) -> [String: [UInt8]] {
    ["result.json": json.encoded(.indented("  ")), "result.txt": Array(text.utf8), "version": Array("1.0.0".utf8)]
  }

  /// What can be asked. Lint is left out, as BuildKit does.
  static var description: [String: [UInt8]] {
    func named(_ name: String, _ text: String = "") -> JSONValue { .object(JSONObject([("name", .string(name)), ("description", .string(text))])) }
    let documents: JSONValue = .array([named("result.json"), named("result.txt")])
    let requests: [(name: String, text: String, options: JSONValue)] = [
      (FrontendCall.outline.rawValue, "List all parameters current build target supports", .array([named("target", "Target build stage")])),
      (FrontendCall.targets.rawValue, "List all targets current build supports", .array([])),
      (FrontendCall.describe.rawValue, "List available subrequest types", .null),
    ]
    let json = requests.map { request in
      JSONValue.object(
        JSONObject([
          ("name", .string(request.name)), ("version", "1.0.0"), ("type", "rpc"), ("description", .string(request.text)), ("opts", request.options),
          ("inputs", .null), ("metadata", documents), ("refs", .null),
        ]))
    }
    let rows = [["NAME", "VERSION", "DESCRIPTION"]] + requests.map { [$0.name.dropping(prefix: "frontend.") ?? $0.name, "1.0.0", $0.text] }
    return metadata(.array(json), text: Columns.text(rows, padding: 1))
  }
}

// MARK: - The answers in JSON

extension CheckReport {
  /// As BuildKit's LintResults; a patch is a member of our own. Of several files each is a source, and locations say by `sourceIndex` which.
  static func metadata(_ reports: [(report: CheckReport, map: SourceMap)], failsOnOwn: Bool) -> [String: [UInt8]] {
    var json = JSONObject()
    let warnings = reports.enumerated().flatMap { i, one in one.report.entries.map { $0.json(source: i) } }
    json["warnings"] = warnings.isEmpty ? .null : .array(warnings)
    json["sources"] = .array(reports.map(\.map.json))
    if let i = reports.firstIndex(where: { $0.report.failure != nil }), let failure = reports[i].report.failure {
      json["buildError"] = .object(JSONObject([("message", .string(failure.message)), ("location", failure.ranges.location(source: i))]))
    }
    var out = FrontendCall.metadata(.object(json), text: reports.map { $0.report.text(fileName: $0.map.filename) }.joined())
    let counts = reports.flatMap(\.report.entries).contains { failsOnOwn || CheckRule.named($0.rule)?.isOwn != true }
    out["result.places"] = places(reports.map(\.report)).encoded()
    out["result.statuscode"] = Array((counts || json["buildError"] != nil ? "1" : "0").utf8)
    return out
  }
}

extension CheckReport {
  /// Which words the findings and the mistake are about, for who shows them: BuildKit's documents have lines only.
  private static func places(_ reports: [CheckReport]) -> JSONValue {
    func place(_ focus: SourceRange?) -> JSONValue {
      focus.map { .array([$0.start.line, $0.start.column, $0.end.line, $0.end.column].map { .int($0) }) } ?? .null
    }
    return .object(
      JSONObject([
        ("warnings", .array(reports.flatMap(\.entries).map { place($0.focus) })), ("buildError", place(reports.lazy.compactMap(\.failure).first?.focus)),
      ]))
  }
}

extension CheckReport.Entry {
  fileprivate func json(source: Int) -> JSONValue {
    var out = JSONObject()
    out["ruleName"] = .string(rule)
    out.put("description", description)
    out.put("url", url)
    out.put("detail", message)
    out["location"] = ranges.location(source: source)
    out.put("patch", patch)
    return .object(out)
  }
}

extension BuildOutline {
  func metadata(_ data: [UInt8]) -> [String: [UInt8]] {
    var out = JSONObject()
    out.put("name", name)
    out.put("description", documentation)
    func put(_ key: String, _ list: [JSONValue]) { if !list.isEmpty { out[key] = .array(list) } }
    put("args", arguments.map { argument in
      var one = JSONObject()
      one["name"] = .string(argument.name)
      one.put("description", argument.documentation)
      one.put("value", argument.value)
      one["location"] = argument.ranges.location
      return .object(one)
    })
    for (key, needs) in [("secrets", secrets), ("ssh", agents)] {
      put(key, needs.map { need in
        var one = JSONObject()
        one["name"] = .string(need.name)
        if need.required { one["required"] = true }
        one["location"] = need.ranges.location
        return .object(one)
      })
    }
    out["sources"] = .array([.string(Base64Text.of(data))])
    return FrontendCall.metadata(.object(out), text: text)
  }
}

extension Dockerfile {
  func targetsMetadata(_ data: [UInt8]) -> [String: [UInt8]] {
    let list = stages.enumerated().map { i, stage in
      var one = JSONObject()
      one.put("name", stage.name ?? "")
      if i == stages.count - 1 { one["default"] = true }
      one.put("description", stage.documentation ?? "")
      one.put("base", stage.baseName)
      one.put("platform", stage.platform ?? "")
      one["location"] = stage.origin.range.lineRanges.location
      return JSONValue.object(one)
    }
    let json = JSONObject([("targets", list.isEmpty ? .null : .array(list)), ("sources", .array([.string(Base64Text.of(data))]))])
    return FrontendCall.metadata(.object(json), text: targetsText)
  }
}

extension [SourceRange] {
  /// As pb.Location in Go's JSON: what is zero is left out.
  fileprivate var location: JSONValue { location(source: 0) }

  fileprivate func location(source: Int) -> JSONValue {
    let file: [(String, JSONValue)] = source == 0 ? [] : [("sourceIndex", .int(source))]
    guard !isEmpty else { return .object(JSONObject(file)) }
    func position(_ position: SourcePosition) -> JSONValue { .object(position.line == 0 ? JSONObject() : JSONObject([("line", .int(position.line))])) }
    return .object(JSONObject(file + [("ranges", .array(map { .object(JSONObject([("start", position($0.start)), ("end", position($0.end))])) }))]))
  }
}

extension JSONObject {
  /// Go's `omitempty`.
  fileprivate mutating func put(_ key: String, _ text: String) { if !text.isEmpty { self[key] = .string(text) } }
}

extension SourceMap {
  /// As pb.SourceInfo in Go's JSON.
  fileprivate var json: JSONValue {
    var out = JSONObject()
    out.put("filename", filename)
    if !data.isEmpty { out["data"] = .string(Base64Text.of(data)) }
    if let definition { out["definition"] = definition.json }
    out.put("language", language)
    return .object(out)
  }
}

extension Definition {
  /// As pb.Definition in Go's JSON. Of its own sources only which vertices have some: the Dockerfile's own definition has none.
  fileprivate var json: JSONValue {
    var out = JSONObject()
    if !proto.def.isEmpty { out["def"] = .array(proto.def.map { .string(Base64Text.of([UInt8]($0))) }) }
    func sorted(_ keys: some Collection<String>) -> [String] { keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } }
    if !proto.metadata.isEmpty {
      out["metadata"] = .object(JSONObject(sorted(proto.metadata.keys).map { digest in
        let metadata = proto.metadata[digest] ?? .init()
        var one = JSONObject()
        if metadata.ignoreCache { one["ignore_cache"] = true }
        if !metadata.description_p.isEmpty {
          one["description"] = .object(JSONObject(sorted(metadata.description_p.keys).map { ($0, .string(metadata.description_p[$0] ?? "")) }))
        }
        if !metadata.caps.isEmpty { one["caps"] = .object(JSONObject(sorted(metadata.caps.keys).map { ($0, .bool(metadata.caps[$0] ?? false)) })) }
        return (digest, .object(one))
      }))
    }
    if proto.hasSource {
      var source = JSONObject()
      if !proto.source.locations.isEmpty {
        source["locations"] = .object(JSONObject(sorted(proto.source.locations.keys).map { ($0, .object(JSONObject())) }))
      }
      out["Source"] = .object(source)
    }
    return .object(out)
  }
}

/// RFC 4648, with padding.
enum Base64Text {
  private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  static func of(_ bytes: [UInt8]) -> String {
    var out: [UInt8] = []
    out.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let (a, b, c) = (bytes[start], start + 1 < bytes.count ? bytes[start + 1] : 0, start + 2 < bytes.count ? bytes[start + 2] : 0)
      out.append(letters[Int(a >> 2)])
      out.append(letters[Int((a & 3) << 4 | b >> 4)])
      out.append(start + 1 < bytes.count ? letters[Int((b & 15) << 2 | c >> 6)] : UInt8(ascii: "="))
      out.append(start + 2 < bytes.count ? letters[Int(c & 63)] : UInt8(ascii: "="))
    }
    return String(decoding: out, as: UTF8.self)
  }
}
