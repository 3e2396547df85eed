internal import BuildInterface
internal import BuildKitProto
internal import BuildOutputs
internal import FoundationEssentials
internal import LLB
internal import OCIModel

/// All that is to be said about how one target was built.
struct ProvenanceRecord: Sendable {
  var options: ProvenanceOptions
  var capture: ProvenanceCapture
  /// Empty where a definition was solved without one.
  var frontend: String
  /// Its attributes.
  var attributes: [String: String]
  /// What made the target; nil for an empty one.
  var definition: Pb_Definition?
  var builderPlatform: Platform
  var invocationID: String
  var started: Timestamp

  static let predicateTypes: [ProvenanceOptions.Version: String] = [.v1: "https://slsa.dev/provenance/v1", .v02: "https://slsa.dev/provenance/v0.2"]
  var predicateType: String { ProvenanceRecord.predicateTypes[options.version] ?? "" }

  /// Some of the sources are not named, or cannot be.
  var hasUnnamedSources: Bool { !capture.locals.isEmpty }

  /// Throws `BuildError` where the sources must all be named and are not.
  func check() throws {
    guard options.needsCompleteMaterials, hasUnnamedSources else { return }
    throw BuildError(
      .failedPrecondition, .build,
      "the provenance is to name all sources (complete-materials), and directories of this machine have no name: \(capture.locals.sorted().joined(separator: ", "))")
  }

  /// What BuildKit calls the output's form, of which this engine makes the newest.
  private static let compatibilityVersion = 30

  /// - Parameters:
  ///   - version: in another form than asked for.
  ///   - layers: of vertices, by their names in the steps, as they are in the image.
  func predicate(finished: Timestamp, version: ProvenanceOptions.Version? = nil, layers: (BuildSteps) async throws -> [String: [Descriptor]]) async throws -> JSONValue {
    let redaction = Redaction()
    for (key, value) in attributes where key.hasPrefix("build-arg:") { redaction.learn(String(key.dropFirst("build-arg:".count)), value) }
    var parts = Parts(started: started, finished: finished)
    let steps = options.isMax ? try definition.map { try BuildSteps($0) } : nil
    steps?.learnSecrets(redaction)
    parts.materials = materials(redaction)
    parts.vcs = vcs(redaction)
    parts.configSource = configSource(redaction)
    // What was asked for is told whole although an address is masked.
    redaction.startAnew()
    parts.request = request(redaction)
    if let steps, let definition {
      let json = OpJSON(filter: redaction.filter, isWhole: false)
      if let list = steps.list(json) {
        var config = JSONObject([("llbDefinition", list)])
        config["digestMapping"] = steps.digests(unless: redaction.happened)
        parts.buildConfig = .object(config)
      }
      parts.source = try source(definition, steps, json, redaction)
      let layers = try await layers(steps).sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      if !layers.isEmpty { parts.layers = .object(JSONObject(layers.map { ($0.key, .array([.array($0.value.map(\.json))])) })) }
    }
    parts.isRequestComplete = !frontend.isEmpty && !leavesArgumentsOut && !redaction.happened
    return switch version ?? options.version {
    case .v1: parts.v1(self)
    case .v02: parts.v02(self)
    }
  }

  // MARK: Parts

  private func materials(_ redaction: Redaction) -> [JSONValue] {
    func material(_ uri: String, _ digest: Digest) -> JSONValue { ["uri": .string(redaction.text(uri)), "digest": digest.set] }
    return capture.images.map { material(PackageURL.image($0.reference, platform: $0.platform, isLocal: $0.isLocal), $0.digest) }
      + capture.repositories.map { ["uri": .string(redaction.text($0.url)), "digest": ProvenanceRecord.digest(ofCommit: $0.commit)] }
      + capture.downloads.map { material($0.url, $0.digest) }
  }

  private static func digest(ofCommit commit: String) -> JSONValue { .object(JSONObject([(commit.utf8.count == 64 ? "sha256" : "sha1", .string(commit))])) }

  private var contextKey: String {
    if let key = attributes["contextkey"], !key.isEmpty { return key }
    return (attributes["input:context"] ?? "").isEmpty ? "context" : "input:context"
  }

  /// Where the Dockerfile is from.
  private func configSource(_ redaction: Redaction) -> (uri: String, digest: JSONValue?, path: String) {
    let uri = attributes[contextKey] ?? "", path = redaction.text(attributes["filename"] ?? "")
    // A repository is named with its ref and directory in one form, whichever it was given in.
    if let address = try? GitAddress(parsing: uri, context: true) {
      let remote = uri.hasPrefix("github.com/") ? String(address.remote.dropFirst("https://".count)) : address.remote
      let plain = remote + (address.ref.isEmpty ? "" : "#" + address.ref)
      if let found = capture.repositories.first(where: { $0.url == plain || $0.url == address.remote + (address.ref.isEmpty ? "" : "#" + address.ref) }) {
        let full = address.subdirectory.isEmpty ? plain : "\(remote)#\(address.ref):\(address.subdirectory)"
        return (redaction.text(full), ProvenanceRecord.digest(ofCommit: found.commit), path)
      }
    }
    let digest = capture.downloads.first { $0.url == uri }?.digest
    return (redaction.text(uri), digest?.set, path)
  }

  /// `oci-layout://NAME:TAG@DIGEST` looks as if it held a login.
  private static func isLayout(_ key: String, _ value: String) -> Bool { key.hasPrefix("context:") && value.hasPrefix("oci-layout://") }

  private static let ofThisHost: Set<String> = ["cgroup-parent", "image-resolve-mode", "platform", "cache-imports", "filename"]

  private func isForgotten(_ key: String) -> Bool { !options.isMax && (key.hasPrefix("build-arg:") || key.hasPrefix("label:")) }
  private var leavesArgumentsOut: Bool { attributes.keys.contains(where: isForgotten) }

  private func request(_ redaction: Redaction) -> JSONValue {
    var out = JSONObject()
    if !frontend.isEmpty { out["frontend"] = .string(frontend) }
    var arguments: [String: String] = [:]
    for (key, value) in attributes {
      if ProvenanceRecord.ofThisHost.contains(key) || key == contextKey || key.hasPrefix("attest:") || key.hasPrefix("vcs:") || isForgotten(key) { continue }
      arguments[key] = key.hasPrefix("build-arg:") ? redaction.value(value, of: String(key.dropFirst("build-arg:".count))) : ProvenanceRecord.isLayout(key, value) ? value : redaction.text(value)
    }
    if !arguments.isEmpty { out["args"] = .object(JSONObject(sorted: arguments)) }
    func lent(_ list: [ProvenanceCapture.Lent]) -> JSONValue? {
      guard options.isMax, !list.isEmpty else { return nil }
      return .array(
        list.map { item in
          var object = JSONObject([("id", .string(redaction.text(item.id)))])
          if item.isOptional { object["optional"] = true }
          return .object(object)
        })
    }
    out["secrets"] = lent(capture.secrets)
    out["ssh"] = lent(capture.agents)
    if !capture.locals.isEmpty { out["locals"] = .array(capture.locals.sorted().map { ["name": .string($0)] }) }
    out["compatibilityVersion"] = .int(ProvenanceRecord.compatibilityVersion)
    return .object(out)
  }

  private func vcs(_ redaction: Redaction) -> JSONValue? {
    var found: [String: String] = [:]
    for (key, value) in attributes where key.hasPrefix("vcs:") && !value.isEmpty { found[String(key.dropFirst("vcs:".count))] = redaction.text(value) }
    return found.isEmpty ? nil : .object(JSONObject(sorted: found))
  }

  /// The files that the steps were read from, and where in them each is.
  private func source(_ definition: Pb_Definition, _ steps: BuildSteps, _ json: OpJSON, _ redaction: Redaction) throws -> JSONValue? {
    guard definition.hasSource, !definition.source.infos.isEmpty else { return nil }
    var out = JSONObject()
    let locations = definition.source.locations.compactMap { digest, value in Digest(digest).flatMap(steps.name).map { ($0, value) } }
    if !locations.isEmpty {
      out["locations"] = .object(JSONObject(locations.sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }.map { ($0.0, ProvenanceRecord.places($0.1)) }))
    }
    out["infos"] = .array(
      try definition.source.infos.map { info in
        let own = try BuildSteps(info.definition)
        var object = JSONObject()
        if !info.filename.isEmpty { object["filename"] = .string(redaction.text(info.filename)) }
        if !info.language.isEmpty { object["language"] = .string(info.language) }
        if !info.data.isEmpty { object["data"] = .string(json.base64([UInt8](info.data))) }
        object["llbDefinition"] = own.list(json)
        object["digestMapping"] = own.digests(unless: false)
        return .object(object)
      })
    return .object(out)
  }

  private static func places(_ locations: Pb_Locations) -> JSONValue {
    func position(_ position: Pb_Position) -> JSONValue {
      var object = JSONObject()
      if position.line != 0 { object["line"] = .int(position.line) }
      if position.character != 0 { object["character"] = .int(position.character) }
      return .object(object)
    }
    let list: [JSONValue] = locations.locations.map { location in
      var object = JSONObject()
      if location.sourceIndex != 0 { object["sourceIndex"] = .int(location.sourceIndex) }
      if !location.ranges.isEmpty {
        object["ranges"] = .array(
          location.ranges.map { range in
            var object = JSONObject()
            if range.hasStart { object["start"] = position(range.start) }
            if range.hasEnd { object["end"] = position(range.end) }
            return .object(object)
          })
      }
      return .object(object)
    }
    return .object(list.isEmpty ? JSONObject() : JSONObject([("locations", .array(list))]))
  }
}

extension Digest {
  /// As in-toto has digests.
  fileprivate var set: JSONValue { .object(JSONObject([(algorithm.rawValue, .string(hex))])) }
}
