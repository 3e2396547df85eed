/// Limits on documents read from registries, archives and layouts, so that a hostile one cannot exhaust memory.
public enum DocumentLimits {
  /// Manifests and indexes: 4 MiB, what registries accept for a manifest (distribution-spec, "Pushing Manifests").
  public static let manifest = 4 << 20
  /// Image configs: 8 MiB, containerd's limit for a config that it reads whole.
  public static let config = 8 << 20
  /// Entries of one manifest or index. No image has so many layers, no index so many platforms; each may cost requests.
  public static let descriptors = 4096
}

/// What the bytes under a manifest digest turned out to be.
public enum ImageDocument: Sendable {
  case index(ImageIndex)
  case manifest(ImageManifest)

  /// Reads a manifest or index. The document's own `mediaType`, where present, must agree with `mediaType` (the one the
  /// descriptor or the Content-Type says); a document with both `manifests` and `layers` or `config` is refused
  /// (image-spec issue CVE-2021-41190: two readers would see two images). Throws `OCIError`.
  public init(parsing bytes: [UInt8], mediaType: MediaType) throws(OCIError) {
    guard bytes.count <= DocumentLimits.manifest else {
      throw OCIError(.tooLarge, "manifest of \(bytes.count) bytes is larger than the limit of \(DocumentLimits.manifest)")
    }
    let json = try JSONValue(parsing: bytes)
    guard let object = json.objectValue else { throw OCIError(.invalidDocument, "manifest is not a JSON object") }
    guard let schema = object["schemaVersion"]?.intValue else { throw OCIError(.invalidDocument, "manifest has no schemaVersion") }
    guard schema == 2 else { throw OCIError(.unsupported, "manifest has schema version \(schema); only version 2 is supported: push the image again with a current tool") }
    try object.checkSpelling(["schemaVersion", "mediaType", "manifests", "config", "layers", "annotations", "artifactType", "subject"], "manifest")
    let own = try object.text("mediaType", "manifest").map { MediaType($0) }
    if let own, own != mediaType {
      throw OCIError(.invalidDocument, "the document says it is \(own), but it was served as \(mediaType)")
    }
    let hasManifests = object["manifests"] != nil
    let hasImage = object["layers"] != nil || object["config"] != nil
    if hasManifests, hasImage { throw OCIError(.invalidDocument, "the document is both an index and a manifest") }
    if mediaType.isIndex {
      guard !hasImage else { throw OCIError(.invalidDocument, "served as an index (\(mediaType)), but it is a manifest") }
      self = .index(try ImageIndex(object: object, mediaType: mediaType))
    } else if mediaType.isManifest {
      guard !hasManifests else { throw OCIError(.invalidDocument, "served as a manifest (\(mediaType)), but it is an index") }
      self = .manifest(try ImageManifest(object: object, mediaType: mediaType))
    } else {
      throw OCIError(.unsupported, "media type \(mediaType) is neither an image manifest nor an index")
    }
  }

  static func descriptors(_ json: JSONValue?, _ what: String) throws(OCIError) -> [Descriptor] {
    guard let json, !json.isNull else { return [] }
    guard let array = json.arrayValue else { throw OCIError(.invalidDocument, "\(what) is not an array") }
    guard array.count <= DocumentLimits.descriptors else { throw OCIError(.tooLarge, "\(what): \(array.count) entries are more than the limit of \(DocumentLimits.descriptors)") }
    var out: [Descriptor] = []
    for element in array { out.append(try Descriptor(json: element)) }
    return out
  }
  static func unknown(_ object: JSONObject, known: Set<String>) -> JSONObject {
    JSONObject(object.members.filter { !known.contains($0.key) }.map { ($0.key, $0.value) })
  }
}

/// An image index (OCI) or manifest list (Docker): one entry a platform (image-spec, image-index.md).
public struct ImageIndex: Hashable, Sendable {
  public var mediaType: MediaType
  public var manifests: [Descriptor]
  public var annotations: [String: String]
  public var artifactType: String
  public var subject: Descriptor?
  public var unknown: JSONObject

  public init(mediaType: MediaType = .ociIndex, manifests: [Descriptor], annotations: [String: String] = [:], artifactType: String = "", subject: Descriptor? = nil) {
    self.mediaType = mediaType
    self.manifests = manifests
    self.annotations = annotations
    self.artifactType = artifactType
    self.subject = subject
    unknown = JSONObject()
  }

  init(object: JSONObject, mediaType: MediaType) throws(OCIError) {
    self.mediaType = mediaType
    manifests = try ImageDocument.descriptors(object["manifests"], "manifests")
    annotations = try Descriptor.stringMap(object["annotations"], "annotations")
    artifactType = try object.text("artifactType", "manifest") ?? ""
    if let s = object["subject"], !s.isNull { subject = try Descriptor(json: s) } else { subject = nil }
    unknown = ImageDocument.unknown(object, known: ["schemaVersion", "mediaType", "manifests", "annotations", "artifactType", "subject"])
  }

  /// Members in the order BuildKit writes them.
  public var json: JSONValue {
    var object = JSONObject([("schemaVersion", 2), ("mediaType", .string(mediaType.rawValue))])
    if !artifactType.isEmpty { object["artifactType"] = .string(artifactType) }
    object["manifests"] = .array(manifests.map(\.json))
    if let subject { object["subject"] = subject.json }
    if !annotations.isEmpty { object["annotations"] = .object(JSONObject(sorted: annotations)) }
    object.merge(unknown)
    return .object(object)
  }
  /// The document as BuildKit writes it: indented by two spaces.
  public var encoded: [UInt8] { json.encoded(.indented("  ")) }
}

/// An image manifest: a config and layers (image-spec, manifest.md; Docker schema 2).
public struct ImageManifest: Hashable, Sendable {
  public var mediaType: MediaType
  public var config: Descriptor
  public var layers: [Descriptor]
  public var annotations: [String: String]
  public var artifactType: String
  public var subject: Descriptor?
  public var unknown: JSONObject

  public init(
    mediaType: MediaType = .ociManifest, config: Descriptor, layers: [Descriptor], annotations: [String: String] = [:], artifactType: String = "", subject: Descriptor? = nil
  ) {
    self.mediaType = mediaType
    self.config = config
    self.layers = layers
    self.annotations = annotations
    self.artifactType = artifactType
    self.subject = subject
    unknown = JSONObject()
  }

  init(object: JSONObject, mediaType: MediaType) throws(OCIError) {
    self.mediaType = mediaType
    guard let c = object["config"] else { throw OCIError(.invalidDocument, "manifest has no config") }
    config = try Descriptor(json: c)
    layers = try ImageDocument.descriptors(object["layers"], "layers")
    annotations = try Descriptor.stringMap(object["annotations"], "annotations")
    artifactType = try object.text("artifactType", "manifest") ?? ""
    if let s = object["subject"], !s.isNull { subject = try Descriptor(json: s) } else { subject = nil }
    unknown = ImageDocument.unknown(object, known: ["schemaVersion", "mediaType", "config", "layers", "annotations", "artifactType", "subject"])
  }

  public var json: JSONValue {
    var object = JSONObject([("schemaVersion", 2), ("mediaType", .string(mediaType.rawValue))])
    if !artifactType.isEmpty { object["artifactType"] = .string(artifactType) }
    object["config"] = config.json
    object["layers"] = .array(layers.map(\.json))
    if let subject { object["subject"] = subject.json }
    if !annotations.isEmpty { object["annotations"] = .object(JSONObject(sorted: annotations)) }
    object.merge(unknown)
    return .object(object)
  }
  public var encoded: [UInt8] { json.encoded(.indented("  ")) }
}
