internal import GoTemplate
internal import OCIModel

/// An image's documents as the values that buildx's templates see (Go's structs of the image specification, their fields in order).
enum ImageTemplateData {
  /// One field of a struct: how templates name it, how JSON does, and what it holds.
  struct Field: Sendable {
    indirect enum Kind: Sendable {
      case text, time, int, bool, texts, map, any
      case object(String, [Field]), objects(String, [Field])
    }
    var name: String
    var json: String
    var kind: Kind
    /// An absent or empty value is left out of JSON.
    var omitsEmpty: Bool
    init(_ name: String, _ json: String, _ kind: Kind, keepsEmpty: Bool = false) { (self.name, self.json, self.kind, omitsEmpty) = (name, json, kind, !keepsEmpty) }
  }

  private static let platform = [
    Field("Architecture", "architecture", .text, keepsEmpty: true), Field("OS", "os", .text, keepsEmpty: true), Field("OSVersion", "os.version", .text),
    Field("OSFeatures", "os.features", .texts), Field("Variant", "variant", .text),
  ]
  static let descriptor = [
    Field("MediaType", "mediaType", .text, keepsEmpty: true), Field("Digest", "digest", .text, keepsEmpty: true), Field("Size", "size", .int, keepsEmpty: true),
    Field("URLs", "urls", .texts), Field("Annotations", "annotations", .map), Field("Data", "data", .text), Field("Platform", "platform", .object("v1.Platform", platform)),
    Field("ArtifactType", "artifactType", .text),
  ]
  static let index = [
    Field("SchemaVersion", "schemaVersion", .int, keepsEmpty: true), Field("MediaType", "mediaType", .text), Field("Digest", "digest", .text, keepsEmpty: true),
    Field("Size", "size", .int, keepsEmpty: true), Field("Manifests", "manifests", .objects("v1.Descriptor", descriptor), keepsEmpty: true),
    Field("Annotations", "annotations", .map),
  ]
  private static let runConfig = [
    Field("User", "User", .text), Field("ExposedPorts", "ExposedPorts", .map), Field("Env", "Env", .texts), Field("Entrypoint", "Entrypoint", .texts),
    Field("Cmd", "Cmd", .texts), Field("Volumes", "Volumes", .map), Field("WorkingDir", "WorkingDir", .text), Field("Labels", "Labels", .map),
    Field("StopSignal", "StopSignal", .text), Field("ArgsEscaped", "ArgsEscaped", .bool),
  ]
  private static let history = [
    Field("Created", "created", .time), Field("CreatedBy", "created_by", .text), Field("Author", "author", .text), Field("Comment", "comment", .text),
    Field("EmptyLayer", "empty_layer", .bool),
  ]
  static let image =
    [Field("Created", "created", .time), Field("Author", "author", .text)] + platform + [
      Field("Config", "config", .object("v1.ImageConfig", runConfig), keepsEmpty: true),
      Field("RootFS", "rootfs", .object("v1.RootFS", [Field("Type", "type", .text, keepsEmpty: true), Field("DiffIDs", "diff_ids", .texts, keepsEmpty: true)]), keepsEmpty: true),
      Field("History", "history", .objects("v1.History", history)),
    ]

  /// A document read as a struct: members that the struct has not are left out.
  static func object(_ type: String, _ fields: [Field], _ document: JSONValue) -> TemplateValue {
    .object(
      TemplateObject(
        type: type,
        fields: fields.map { field in
          let value = value(field.kind, document[field.json])
          let isEmpty: Bool
          switch value {
          // A struct is left out only where it is a pointer that is nil.
          case .object: isEmpty = false
          default: isEmpty = !value.isTrue
          }
          return .init(field.name, json: isEmpty && field.omitsEmpty ? nil : field.json, value)
        }))
  }

  private static func value(_ kind: Field.Kind, _ json: JSONValue?) -> TemplateValue {
    switch kind {
    case .text: .string(json?.stringValue ?? "")
    case .time: json?.stringValue.map(time) ?? .none
    case .int: .int(json?.intValue ?? 0)
    case .bool: .bool(json?.boolValue ?? false)
    case .texts: .list((json?.arrayValue ?? []).compactMap(\.stringValue).map { .string($0) })
    case .map: any(json?.objectValue == nil ? .object(JSONObject()) : json)
    case .any: any(json)
    case .object(let type, let fields): json?.objectValue == nil && type == "v1.Platform" ? .none : object(type, fields, json ?? .null)
    case .objects(let type, let fields): .list((json?.arrayValue ?? []).map { object(type, fields, $0) })
    }
  }

  /// As Go prints it: `2026-01-02 03:04:05.6 +0000 UTC`.
  private static func time(_ text: String) -> TemplateValue {
    guard let t = text.firstIndex(of: "T"), let zone = text[t...].firstIndex(where: { "Z+-".contains($0) }) else { return .string(text) }
    let offset = text[zone] == "Z" ? "+0000 UTC" : text[zone...].filter { $0 != ":" } + " " + text[zone...].filter { $0 != ":" }
    return .object(TemplateObject(type: "time.Time", printed: "\(text[..<t]) \(text[text.index(after: t)..<zone]) \(offset)", json: text))
  }

  /// Any document.
  static func any(_ json: JSONValue?) -> TemplateValue {
    switch json {
    case nil, .null?: return .none
    case .bool(let value)?: return .bool(value)
    case .number(let text)?: return Int64(text).map { .int($0) } ?? .float(Double(text) ?? 0)
    case .string(let text)?: return .string(text)
    case .array(let list)?: return .list(list.map(any))
    case .object(let object)?:
      var map: [String: TemplateValue] = [:]
      for member in object.members { map[member.key] = any(member.value) }
      return .map(map)
    }
  }
}
