/// An image's config document: what it runs, on which platform, from which layers (image-spec, config.md; with Docker's
/// Healthcheck, OnBuild and Shell). Unknown members are kept, at the top and inside `config`.
public struct ImageConfig: Hashable, Sendable {
  public var created: Timestamp?
  public var author: String
  public var platform: Platform
  public var config: RunConfig
  /// Digests of the uncompressed layers, bottom first.
  public var diffIDs: [Digest]
  public var history: [History]
  public var unknown: JSONObject

  /// One line of `docker history`: a layer, or a change of the config alone (`emptyLayer`).
  public struct History: Hashable, Sendable {
    public var created: Timestamp?
    public var createdBy: String
    public var author: String
    public var comment: String
    public var emptyLayer: Bool
    public init(created: Timestamp? = nil, createdBy: String = "", author: String = "", comment: String = "", emptyLayer: Bool = false) {
      self.created = created
      self.createdBy = createdBy
      self.author = author
      self.comment = comment
      self.emptyLayer = emptyLayer
    }
  }

  /// Docker's HEALTHCHECK. Durations in nanoseconds; 0 inherits.
  public struct Healthcheck: Hashable, Sendable {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", command]`; empty inherits.
    public var test: [String]
    public var interval: Int64, timeout: Int64, startPeriod: Int64, startInterval: Int64
    public var retries: Int64
    public init(test: [String], interval: Int64 = 0, timeout: Int64 = 0, startPeriod: Int64 = 0, startInterval: Int64 = 0, retries: Int64 = 0) {
      self.test = test
      self.interval = interval
      self.timeout = timeout
      self.startPeriod = startPeriod
      self.startInterval = startInterval
      self.retries = retries
    }
  }

  /// The `config` member: execution parameters.
  public struct RunConfig: Hashable, Sendable {
    public var user = ""
    public var exposedPorts: Set<String> = []
    /// `NAME=value`, in order.
    public var env: [String] = []
    /// nil where the document has none: an empty list resets what a base image set.
    public var entrypoint: [String]?
    public var cmd: [String]?
    public var volumes: Set<String> = []
    public var workingDir = ""
    public var labels: [String: String] = [:]
    public var stopSignal = ""
    public var argsEscaped = false
    public var healthcheck: Healthcheck?
    public var onBuild: [String] = []
    public var shell: [String] = []
    public var unknown = JSONObject()
    public init() {}
  }

  public init(platform: Platform) {
    created = nil
    author = ""
    self.platform = platform
    config = RunConfig()
    diffIDs = []
    history = []
    unknown = JSONObject()
  }

  /// Reads a config document, OCI or Docker. Throws `OCIError`.
  public init(parsing bytes: [UInt8]) throws(OCIError) {
    guard bytes.count <= DocumentLimits.config else { throw OCIError(.tooLarge, "image config of \(bytes.count) bytes is larger than the limit of \(DocumentLimits.config)") }
    guard let object = try JSONValue(parsing: bytes).objectValue else { throw OCIError(.invalidDocument, "image config is not a JSON object") }
    created = try ImageConfig.time(object["created"])
    author = try object.text("author", "image config") ?? ""
    platform = try Platform(json: .object(object))
    config = try RunConfig(json: object["config"])
    diffIDs = []
    if let rootfs = object["rootfs"], !rootfs.isNull {
      guard let rootfs = rootfs.objectValue else { throw OCIError(.invalidDocument, "image config: rootfs is not an object") }
      for id in try rootfs.list("diff_ids", "image config") ?? [] {
        guard let text = id.stringValue else { throw OCIError(.invalidDocument, "image config: a diff_id is not a string") }
        diffIDs.append(try Digest(parsing: text))
      }
    }
    history = []
    for item in try object.list("history", "image config") ?? [] {
      guard let item = item.objectValue else { throw OCIError(.invalidDocument, "image config: an entry of history is not an object") }
      let what = "image config: history"
      history.append(
        History(
          created: try ImageConfig.time(item["created"]), createdBy: try item.text("created_by", what) ?? "", author: try item.text("author", what) ?? "",
          comment: try item.text("comment", what) ?? "", emptyLayer: try item.flag("empty_layer", what)))
    }
    unknown = ImageDocument.unknown(
      object, known: ["created", "author", "architecture", "os", "os.version", "os.features", "variant", "config", "rootfs", "history"])
  }

  static func time(_ json: JSONValue?) throws(OCIError) -> Timestamp? {
    guard let json, !json.isNull else { return nil }
    guard let text = json.stringValue else { throw OCIError(.invalidDocument, "image config: a time is not a string") }
    guard !text.isEmpty else { return nil }
    return try Timestamp(rfc3339: text)
  }

  /// In the member order of Docker's Go type as BuildKit's Dockerfile frontend writes it.
  public var json: JSONValue {
    var object = JSONObject()
    if let created { object["created"] = .string(created.description) }
    if !author.isEmpty { object["author"] = .string(author) }
    for (key, value) in platform.json.objectValue?.members ?? [] { object[key] = value }
    object["rootfs"] = .object(JSONObject([("type", "layers"), ("diff_ids", diffIDs.isEmpty ? .null : .array(diffIDs.map { .string($0.description) }))]))
    if !history.isEmpty { object["history"] = .array(history.map(\.json)) }
    object["config"] = config.json
    object.merge(unknown)
    return .object(object)
  }
}

extension ImageConfig.History {
  /// In the member order of image-spec's Go type.
  public var json: JSONValue {
    var object = JSONObject()
    if let created { object["created"] = .string(created.description) }
    if !createdBy.isEmpty { object["created_by"] = .string(createdBy) }
    if !author.isEmpty { object["author"] = .string(author) }
    if !comment.isEmpty { object["comment"] = .string(comment) }
    if emptyLayer { object["empty_layer"] = true }
    return .object(object)
  }
}

extension ImageConfig.RunConfig {
  init(json: JSONValue?) throws(OCIError) {
    self.init()
    guard let json, !json.isNull else { return }
    guard let object = json.objectValue else { throw OCIError(.invalidDocument, "image config: config is not an object") }
    let what = "image config: config"
    func names(_ key: String) throws(OCIError) -> Set<String> {
      guard let json = object[key], !json.isNull else { return [] }
      guard let members = json.objectValue else { throw OCIError(.invalidDocument, "\(what): \(key) is not an object") }
      return Set(members.keys)
    }
    user = try object.text("User", what) ?? ""
    exposedPorts = try names("ExposedPorts")
    env = try object.texts("Env", what) ?? []
    // Docker writes null where there is none.
    entrypoint = try object.texts("Entrypoint", what)
    cmd = try object.texts("Cmd", what)
    volumes = try names("Volumes")
    workingDir = try object.text("WorkingDir", what) ?? ""
    labels = try Descriptor.stringMap(object["Labels"], "image config: Labels")
    stopSignal = try object.text("StopSignal", what) ?? ""
    argsEscaped = try object.flag("ArgsEscaped", what)
    if let json = object["Healthcheck"], !json.isNull {
      guard let h = json.objectValue else { throw OCIError(.invalidDocument, "\(what): Healthcheck is not an object") }
      func number(_ key: String) throws(OCIError) -> Int64 {
        guard let json = h[key], !json.isNull else { return 0 }
        guard let number = json.intValue else { throw OCIError(.invalidDocument, "\(what): Healthcheck: \(key) is not a whole number") }
        return number
      }
      healthcheck = ImageConfig.Healthcheck(
        test: try h.texts("Test", what) ?? [], interval: try number("Interval"), timeout: try number("Timeout"), startPeriod: try number("StartPeriod"),
        startInterval: try number("StartInterval"), retries: try number("Retries"))
    }
    onBuild = try object.texts("OnBuild", what) ?? []
    shell = try object.texts("Shell", what) ?? []
    unknown = ImageDocument.unknown(
      object,
      known: [
        "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "ArgsEscaped", "Healthcheck", "OnBuild", "Shell",
      ])
  }

  public var json: JSONValue {
    func strings(_ a: [String]) -> JSONValue { .array(a.map { .string($0) }) }
    func set(_ s: Set<String>) -> JSONValue {
      .object(JSONObject(s.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { ($0, .object(JSONObject())) }))
    }
    var object = JSONObject()
    if !user.isEmpty { object["User"] = .string(user) }
    if !exposedPorts.isEmpty { object["ExposedPorts"] = set(exposedPorts) }
    if !env.isEmpty { object["Env"] = strings(env) }
    if let entrypoint, !entrypoint.isEmpty { object["Entrypoint"] = strings(entrypoint) }
    if let cmd, !cmd.isEmpty { object["Cmd"] = strings(cmd) }
    if !volumes.isEmpty { object["Volumes"] = set(volumes) }
    if !workingDir.isEmpty { object["WorkingDir"] = .string(workingDir) }
    if !labels.isEmpty { object["Labels"] = .object(JSONObject(sorted: labels)) }
    if !stopSignal.isEmpty { object["StopSignal"] = .string(stopSignal) }
    if argsEscaped { object["ArgsEscaped"] = true }
    if let healthcheck { object["Healthcheck"] = healthcheck.json }
    if !onBuild.isEmpty { object["OnBuild"] = strings(onBuild) }
    if !shell.isEmpty { object["Shell"] = strings(shell) }
    object.merge(unknown)
    return .object(object)
  }
}

extension ImageConfig.Healthcheck {
  public var json: JSONValue {
    var object = JSONObject()
    if !test.isEmpty { object["Test"] = .array(test.map { .string($0) }) }
    for (key, value) in [("Interval", interval), ("Timeout", timeout), ("StartPeriod", startPeriod), ("StartInterval", startInterval), ("Retries", retries)] where value != 0 {
      object[key] = .int(value)
    }
    return .object(object)
  }
}
