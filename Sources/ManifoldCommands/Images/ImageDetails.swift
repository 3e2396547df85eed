internal import BuildInterface
internal import ContentStore
internal import GoTemplate
internal import ImageTools
internal import OCIModel

/// What `image inspect` says of an image: the document of docker's API (InspectResponse), of one of its platforms.
struct ImageDetails: Sendable {
  var found: FoundImage
  var chosen: PlatformImage
  var config: JSONValue

  /// Blocks.
  init(_ found: FoundImage, _ wanted: Platform?, host: Platform, _ store: ContentStore) throws {
    self.found = found
    chosen = try found.image.image(for: wanted, host: host, name: found.text)
    guard let manifest = chosen.manifest else { throw ImageToolsError(.notHere, "of \(found.text) nothing is in the local store") }
    config = try JSONValue(parsing: store.bytes(manifest.config.digest, limit: DocumentLimits.config), maxDepth: 512)
  }

  private typealias Field = ImageTemplateData.Field
  private static let runConfig = [
    Field("User", "User", .text), Field("ExposedPorts", "ExposedPorts", .map), Field("Env", "Env", .texts), Field("Entrypoint", "Entrypoint", .texts),
    Field("Cmd", "Cmd", .texts), Field("Volumes", "Volumes", .map), Field("WorkingDir", "WorkingDir", .text), Field("Labels", "Labels", .map),
    Field("StopSignal", "StopSignal", .text), Field("ArgsEscaped", "ArgsEscaped", .bool), Field("Healthcheck", "Healthcheck", .any),
    Field("OnBuild", "OnBuild", .texts), Field("Shell", "Shell", .texts),
  ]
  private static let fields = [
    Field("Id", "Id", .text, keepsEmpty: true), Field("RepoTags", "RepoTags", .texts, keepsEmpty: true), Field("RepoDigests", "RepoDigests", .texts, keepsEmpty: true),
    Field("Comment", "Comment", .text), Field("Created", "Created", .text), Field("Author", "Author", .text),
    Field("Config", "Config", .object("v1.DockerOCIImageConfig", runConfig), keepsEmpty: true), Field("Architecture", "Architecture", .text, keepsEmpty: true),
    Field("Variant", "Variant", .text), Field("Os", "Os", .text, keepsEmpty: true), Field("OsVersion", "OsVersion", .text), Field("Size", "Size", .int, keepsEmpty: true),
    Field("RootFS", "RootFS", .object("image.RootFS", [Field("Type", "Type", .text), Field("Layers", "Layers", .texts)]), keepsEmpty: true),
    Field("Metadata", "Metadata", .object("image.Metadata", [Field("LastTagTime", "LastTagTime", .text)]), keepsEmpty: true),
    Field("Descriptor", "Descriptor", .object("v1.Descriptor", ImageTemplateData.descriptor)),
    // Ours: the platforms that are in the store.
    Field("Platforms", "Platforms", .texts),
  ]

  /// As templates see it: fields by their names in docker's Go and in JSON.
  var value: TemplateValue {
    guard case .object(var object) = ImageTemplateData.object("image.InspectResponse", Self.fields, document) else { return .none }
    let size = TemplateValue.int(chosen.size)
    // What older engines said, for templates that ask.
    let driver = TemplateValue.object(TemplateObject(type: "storage.DriverData", fields: [.init("Data", .none), .init("Name", .string("manifold"))]))
    object.fields += [
      .init("ID", json: nil, .string(found.image.root.digest.description)), .init("Parent", json: nil, .string("")), .init("DockerVersion", json: nil, .string("")),
      .init("VirtualSize", json: nil, size), .init("GraphDriver", json: nil, driver),
    ]
    return .object(object)
  }

  private var document: JSONValue {
    let named = found.names.filter { !$0.isUnnamed }
    let tags = named.filter { $0.reference.tag != nil }.map { $0.reference.familiar }.sorted()
    let digests = Set(named.map { "\($0.reference.familiarName)@\(found.image.root.digest)" }).sorted()
    func list(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
    let platform = (try? Platform(json: config)) ?? chosen.platform ?? Platform(os: "", architecture: "")
    let comments = config["history"]?.arrayValue ?? []
    var root = found.image.root
    root.annotations = [:]
    return .object(
      JSONObject([
        ("Id", .string(found.image.root.digest.description)), ("RepoTags", list(tags)), ("RepoDigests", list(digests)),
        ("Comment", comments.last?["comment"] ?? ""), ("Created", config["created"] ?? ""), ("Author", config["author"] ?? ""), ("Config", config["config"] ?? .null),
        ("Architecture", .string(platform.architecture)), ("Variant", .string(platform.variant)), ("Os", .string(platform.os)), ("OsVersion", .string(platform.osVersion)),
        ("Size", .int(chosen.size)), ("RootFS", .object(JSONObject([("Type", config["rootfs"]?["type"] ?? ""), ("Layers", config["rootfs"]?["diff_ids"] ?? .null)]))),
        ("Metadata", .object(JSONObject([("LastTagTime", .string(found.names.first?.created.description ?? "0001-01-01T00:00:00Z"))]))), ("Descriptor", root.json),
        ("Platforms", list(found.image.platforms.map(\.fullDescription))),
      ]))
  }
}
