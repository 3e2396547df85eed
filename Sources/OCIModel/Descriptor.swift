/// Points at content: media type, digest and size (OCI image-spec, descriptor.md). Fields unknown here are kept and written back.
public struct Descriptor: Hashable, Sendable {
  public var mediaType: MediaType
  public var digest: Digest
  /// Bytes; never negative.
  public var size: Int64
  public var urls: [String]
  public var annotations: [String: String]
  public var platform: Platform?
  public var artifactType: String
  /// The embedded content (base64 in the document), kept as written.
  public var data: String?
  /// Members this type does not model, in their order.
  public var unknown: JSONObject

  public init(
    mediaType: MediaType, digest: Digest, size: Int64, urls: [String] = [], annotations: [String: String] = [:], platform: Platform? = nil, artifactType: String = "",
    data: String? = nil, unknown: JSONObject = JSONObject()
  ) {
    self.mediaType = mediaType
    self.digest = digest
    self.size = size
    self.urls = urls
    self.annotations = annotations
    self.platform = platform
    self.artifactType = artifactType
    self.data = data
    self.unknown = unknown
  }

  /// Describes `bytes` with their SHA-256.
  public init(mediaType: MediaType, of bytes: [UInt8], annotations: [String: String] = [:], platform: Platform? = nil) {
    self.init(mediaType: mediaType, digest: .sha256(of: bytes), size: Int64(bytes.count), annotations: annotations, platform: platform)
  }

  private static let known: Set<String> = ["mediaType", "digest", "size", "urls", "annotations", "platform", "artifactType", "data"]

  /// Throws `OCIError.invalidDocument` unless media type, digest and a size of 0 or more are there.
  public init(json: JSONValue) throws(OCIError) {
    guard let object = json.objectValue else { throw OCIError(.invalidDocument, "descriptor is not an object") }
    try object.checkSpelling(Descriptor.known, "descriptor")
    guard let type = object["mediaType"]?.stringValue else { throw OCIError(.invalidDocument, "descriptor has no mediaType") }
    guard let digest = object["digest"]?.stringValue else { throw OCIError(.invalidDocument, "descriptor has no digest") }
    guard let size = object["size"]?.intValue, size >= 0 else { throw OCIError(.invalidDocument, "descriptor of \(digest.prefix(80)) has no valid size") }
    self.init(
      mediaType: MediaType(type), digest: try Digest(parsing: digest), size: size, urls: try object.texts("urls", "descriptor") ?? [],
      annotations: try Descriptor.stringMap(object["annotations"], "annotations"), platform: nil,
      artifactType: try object.text("artifactType", "descriptor") ?? "", data: try object.text("data", "descriptor"),
      unknown: JSONObject(object.members.filter { !Descriptor.known.contains($0.key) }.map { ($0.key, $0.value) }))
    if let platform = object["platform"], !platform.isNull { self.platform = try Platform(json: platform) }
  }

  static func stringMap(_ json: JSONValue?, _ what: String) throws(OCIError) -> [String: String] {
    guard let json, !json.isNull else { return [:] }
    guard let object = json.objectValue else { throw OCIError(.invalidDocument, "\(what) is not an object") }
    var out: [String: String] = [:]
    for (key, value) in object.members {
      guard let text = value.stringValue else { throw OCIError(.invalidDocument, "\(what): \"\(key.prefix(60))\" is not a string") }
      out[key] = text
    }
    return out
  }

  /// In the member order of image-spec's Go type: mediaType, digest, size, urls, annotations, data, platform, artifactType, then unknown ones.
  public var json: JSONValue {
    var object = JSONObject([("mediaType", .string(mediaType.rawValue)), ("digest", .string(digest.description)), ("size", .int(size))])
    if !urls.isEmpty { object["urls"] = .array(urls.map { .string($0) }) }
    if !annotations.isEmpty { object["annotations"] = .object(JSONObject(sorted: annotations)) }
    if let data { object["data"] = .string(data) }
    if let platform { object["platform"] = platform.json }
    if !artifactType.isEmpty { object["artifactType"] = .string(artifactType) }
    object.merge(unknown)
    return .object(object)
  }
}
