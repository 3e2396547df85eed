internal import OCIModel

/// The cache-map digests of sources.
extension OpCacheKey {
  /// `key` is what a source says identifies its content.
  static func source(_ key: String) -> Digest { .sha256(of: "buildkit.source.v0:" + key) }

  /// The definition key of an image: what the name resolved to, for a platform.
  static func image(_ digest: Digest, platform: Platform, layerLimit: Int? = nil) -> Digest {
    var document = JSONObject([("Digest", .string(digest.description)), ("OS", .string(platform.os)), ("Arch", .string(platform.architecture))])
    addOptional(platform, to: &document)
    if let layerLimit { document["Limit"] = .int(layerLimit) }
    return source(Digest.sha256(of: JSONValue.object(document).encoded()).description)
  }

  /// The content key of an image: its layers' chain id (image-spec, "Layer ChainID"), whatever the name; nil without layers.
  static func imageContent(_ config: ImageConfig, layerLimit: Int? = nil) -> Digest? {
    guard var chain = config.diffIDs.first else { return nil }
    for id in config.diffIDs.prefix(layerLimit ?? .max).dropFirst() { chain = .sha256(of: "\(chain) \(id)") }
    return source(chain.description)
  }

  /// A file from the web: what it is called, how it is to lie there, and its content. `lastModified` as HTTP's own form writes it
  /// (`Mon, 02 Jan 2006 15:04:05 GMT`); "" when the server did not tell, or was not asked because a checksum is known.
  static func http(
    filename: String, mode: Int64 = 0, uid: Int64 = 0, gid: Int64 = 0, checksum: Digest, lastModified: String = "", authHeaderSecret: String = "",
    headers: [(name: String, value: String)] = []
  ) -> Digest {
    var document = JSONObject([
      ("Filename", .string(filename)), ("Perm", .int(mode)), ("UID", .int(uid)), ("GID", .int(gid)), ("Checksum", .string(checksum.description)),
    ])
    if !lastModified.isEmpty { document["LastModTime"] = .string(lastModified) }
    if !authHeaderSecret.isEmpty { document["AuthHeaderSecret"] = .string(authHeaderSecret) }
    if !headers.isEmpty { document["Header"] = .array(headers.map { ["Name": .string($0.name), "Value": .string($0.value)] }) }
    return source(Digest.sha256(of: JSONValue.object(document).encoded()).description)
  }

  /// A client's directory: for one session alone, since what is in it is compared where it is used. The solver marks it as random
  /// (`random:` and this digest's hex). nil is a list that the definition does not have.
  static func local(session: String, name: String, includePatterns: [String]?, excludePatterns: [String]?, followPaths: [String]?) -> Digest {
    func list(_ values: [String]?) -> JSONValue { values.map { .array($0.map { .string($0) }) } ?? .null }
    let document = JSONObject([
      ("SessionID", .string(session)), ("IncludePatterns", list(includePatterns)), ("ExcludePatterns", list(excludePatterns)), ("FollowPaths", list(followPaths)),
    ])
    return source("session:\(name):\(Digest.sha256(of: JSONValue.object(document).encoded()))")
  }
}
