internal import BuildInterface
internal import FoundationEssentials
internal import OCIModel

/// Completes the config that a frontend made with what is known once the layers are: their digests, lines of history for those that have none, and
/// times. The bytes are those that BuildKit writes (exporter/containerimage, `normalizeLayersAndHistory` and `patchImageConfig`): members sorted by name,
/// their values as the frontend wrote them, members that nobody knows included.
struct ImageConfigPatch {
  /// What the solver knows of a layer.
  struct Layer: Sendable {
    var diffID: Digest
    var description: String
    var created: Timestamp?
  }
  var layers: [Layer]
  var epoch: Timestamp?
  /// The records of a build cache inside the image; nil: none.
  var cache: [UInt8]?
  /// The base image's lines of history.
  var baseHistory: [ImageConfig.History] = []

  static let comment = "buildkit.exporter.image.v0"

  /// `config` empty: a config that says no more than the platform.
  func apply(to config: [UInt8], platform: Platform) throws -> [UInt8] {
    let config = config.isEmpty ? Self.defaultConfig(platform) : config
    let parsed: ImageConfig
    let object: JSONObject
    do {
      parsed = try ImageConfig(parsing: config)
      guard let members = try JSONValue(parsing: config).objectValue else { throw OCIError(.invalidDocument, "it is not an object") }
      object = members
    } catch { throw BuildError(.invalidArgument, .build, "the image config cannot be exported", cause: error) }
    for (member, value) in [("os", parsed.platform.os), ("architecture", parsed.platform.architecture)] where value.isEmpty {
      throw BuildError(.invalidArgument, .build, "the image config cannot be exported: it has no \(member)")
    }
    var members: [String: JSONValue] = [:]
    for (key, value) in object.members { members[key] = value }
    var history = normalized(parsed.history)
    if let epoch { clamp(&history, to: epoch) }
    members["rootfs"] = .object(
      JSONObject([("type", "layers"), ("diff_ids", layers.isEmpty ? .null : .array(layers.map { .string($0.diffID.description) }))]))
    members["history"] = history.isEmpty ? .null : .array(history.map(\.json))
    if object["created"] == nil {
      members["created"] = history.last { $0.created != nil }?.created.map { .string($0.description) } ?? .null
    } else if let epoch, let created = parsed.created, created > epoch {
      members["created"] = .string(epoch.description)
    }
    if let cache { members[InlineCacheConfig.member] = .string(Data(cache).base64EncodedString()) }
    // Go marshals a map with its keys in byte order.
    let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
    return JSONValue.object(JSONObject(sorted.map { ($0.key, $0.value) })).encoded()
  }

  /// One line a layer, and a time in each.
  func normalized(_ given: [ImageConfig.History]) -> [ImageConfig.History] {
    var history = given
    var covered = 0
    for i in history.indices where !history[i].emptyLayer {
      // More lines than layers: those from the bottom on have theirs.
      if covered == layers.count { history[i].emptyLayer = true } else { covered += 1 }
    }
    for layer in layers.dropFirst(covered) {
      history.append(
        ImageConfig.History(created: layer.created, createdBy: layer.description.isEmpty ? "created by buildkit" : layer.description, comment: Self.comment))
    }
    var next = 0
    for i in history.indices where !history[i].emptyLayer {
      if history[i].created == nil { history[i].created = layers[next].created }
      next += 1
    }
    // A line without a time, such as the first ENV after the base image's lines, takes that of the first new layer; without one, the last there is.
    var time: Timestamp?
    var missing = false
    for line in history {
      guard let created = line.created else {
        missing = true
        continue
      }
      time = created
      if missing { break }
    }
    missing = false
    for i in history.indices {
      if let created = history[i].created {
        if missing { time = created }
      } else {
        missing = true
        history[i].created = time
      }
    }
    return history
  }

  /// No time after `epoch`, but for the base image's lines, which stay as they are.
  private func clamp(_ history: inout [ImageConfig.History], to epoch: Timestamp) {
    let kept = zip(history, baseHistory).prefix { $0 == $1 }.count
    for i in history.indices.dropFirst(kept) {
      if let created = history[i].created, created <= epoch { continue }
      history[i].created = epoch
    }
  }

  private static func defaultConfig(_ platform: Platform) -> [UInt8] {
    let platform = platform.normalized
    var config = ImageConfig(platform: platform)
    if platform.os != "windows" { config.config.env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] }
    config.config.workingDir = "/"
    return config.json.encoded()
  }
}
