internal import BuildInterface
internal import BuildKitProto
internal import FoundationEssentials
internal import OCIModel
internal import SwiftProtobuf

/// One typed detail of an error as BuildKit sends it: JSON in an Any, under a URL that names the type (solver/errdefs, util/stack).
enum ErrorDetail: Sendable, Hashable {
  case vertex(digest: String)
  case source(Errdefs_Source)
  case solve(Errdefs_Solve)
  case capability(String)
  case subrequest(String)
  /// How a step's process ended.
  case exit(code: UInt32)
  /// What only our own programs know of: see `BuildErrorDocument`.
  case own(JSONValue)

  private static let prefix = "github.com/moby/buildkit/errdefs."
  private static let exitType = "github.com/moby/buildkit/gatewayapi.ExitMessage+json"
  static let ownType = "manifold/build.Error+json"

  init(parsing any: Google_Protobuf_Any) throws {
    func text(_ key: String) throws -> String { try JSONValue(parsing: any.value)[key]?.stringValue ?? "" }
    switch any.typeURL {
    case Self.prefix + "Vertex+json": self = .vertex(digest: try text("digest"))
    case Self.prefix + "Source+json": self = .source(try SourceJSON.parse(any.value))
    case Self.prefix + "Solve+json":
      var options = JSONDecodingOptions()
      options.ignoreUnknownFields = true
      self = .solve(try Errdefs_Solve(jsonUTF8Bytes: Array(any.value), options: options))
    case Self.prefix + "FrontendCap+json": self = .capability(try text("name"))
    case Self.prefix + "Subrequest+json": self = .subrequest(try text("name"))
    case Self.exitType: self = .exit(code: UInt32(clamping: try JSONValue(parsing: any.value)["Code"]?.intValue ?? 0))
    case Self.ownType: self = .own(try JSONValue(parsing: any.value))
    default: throw UnknownDetail()
    }
  }

  /// Of a newer peer; passed over.
  struct UnknownDetail: Error {}

  func packed() throws -> Google_Protobuf_Any {
    func make(_ type: String, _ value: [UInt8]) -> Google_Protobuf_Any {
      var out = Google_Protobuf_Any()
      out.typeURL = type
      out.value = .init(value)
      return out
    }
    func named(_ key: String, _ value: String) -> [UInt8] { JSONValue.object(JSONObject(value.isEmpty ? [] : [(key, .string(value))])).encoded() }
    switch self {
    case .vertex(let digest): return make(Self.prefix + "Vertex+json", named("digest", digest))
    case .source(let source): return make(Self.prefix + "Source+json", SourceJSON.encoded(source))
    case .solve(let solve): return make(Self.prefix + "Solve+json", try solve.jsonUTF8Bytes())
    case .capability(let name): return make(Self.prefix + "FrontendCap+json", named("name", name))
    case .subrequest(let name): return make(Self.prefix + "Subrequest+json", named("name", name))
    case .exit(let code): return make(Self.exitType, JSONValue.object(JSONObject([("Code", .int(code))])).encoded())
    case .own(let value): return make(Self.ownType, value.encoded())
    }
  }
}

/// errdefs.Source as Go's encoding/json has it: not protobuf's JSON form.
enum SourceJSON {
  /// More ranges than a source of any size has at fault.
  private static let rangeLimit = 1000

  static func encoded(_ source: Errdefs_Source) -> [UInt8] {
    var out: [(String, JSONValue)] = []
    if source.hasInfo {
      var info: [(String, JSONValue)] = []
      if !source.info.filename.isEmpty { info.append(("filename", .string(source.info.filename))) }
      if !source.info.data.isEmpty { info.append(("data", .string(source.info.data.base64EncodedString()))) }
      if !source.info.language.isEmpty { info.append(("language", .string(source.info.language))) }
      out.append(("info", .object(JSONObject(info))))
    }
    if !source.ranges.isEmpty {
      out.append(("ranges", .array(source.ranges.map { .object(JSONObject([("start", position($0.start)), ("end", position($0.end))])) })))
    }
    return JSONValue.object(JSONObject(out)).encoded()
  }

  private static func position(_ value: Pb_Position) -> JSONValue {
    var out: [(String, JSONValue)] = []
    if value.line != 0 { out.append(("line", .int(value.line))) }
    if value.character != 0 { out.append(("character", .int(value.character))) }
    return .object(JSONObject(out))
  }

  static func parse(_ bytes: some Collection<UInt8>) throws -> Errdefs_Source {
    let value = try JSONValue(parsing: bytes)
    var out = Errdefs_Source()
    if let info = value["info"], info.objectValue != nil {
      out.info.filename = info["filename"]?.stringValue ?? ""
      out.info.data = .init(base64Encoded: info["data"]?.stringValue ?? "") ?? .init()
      out.info.language = info["language"]?.stringValue ?? ""
    }
    func position(_ value: JSONValue?) -> Pb_Position {
      var out = Pb_Position()
      out.line = Int32(clamping: value?["line"]?.intValue ?? 0)
      out.character = Int32(clamping: value?["character"]?.intValue ?? 0)
      return out
    }
    for range in (value["ranges"]?.arrayValue ?? []).prefix(rangeLimit) {
      var one = Pb_Range()
      one.start = position(range["start"])
      one.end = position(range["end"])
      out.ranges.append(one)
    }
    return out
  }
}
