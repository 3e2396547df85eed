package import BuildKitProto
package import OCIModel

/// What a frontend, or a client that builds with a function, has solved within its build (BuildKit's gateway SolveRequest).
package struct NestedSolve: Sendable {
  /// Exactly one of this and `frontend`; with neither the result is empty.
  package var definition: Pb_Definition?
  package var frontend: String
  package var attributes: [String: String]
  package var inputs: [String: Pb_Definition]
  package var cacheImports: [CacheOption]
  package var sourcePolicies: [Moby_Buildkit_V1_Sourcepolicy_Policy] = []
  /// Solved before the answer, so that what fails is told by it.
  package var evaluates: Bool
  package init(
    definition: Pb_Definition? = nil, frontend: String = "", attributes: [String: String] = [:], inputs: [String: Pb_Definition] = [:], cacheImports: [CacheOption] = [],
    evaluates: Bool = false
  ) {
    self.definition = definition
    self.frontend = frontend
    self.attributes = attributes
    self.inputs = inputs
    self.cacheImports = cacheImports
    self.evaluates = evaluates
  }
}

/// What comes of it (BuildKit's gateway Result): one reference, or several by name, and metadata by the peers' keys.
package struct NestedResult: Sendable {
  /// nil for nothing, which is also scratch.
  package var reference: (any FrontendReference)?
  /// By platform, usually; nil when there is the one reference only. A missing reference is scratch.
  package var references: [String: (any FrontendReference)?]?
  package var metadata: [String: [UInt8]]
  package var attestations: [String: [ResultAttestation]]
  package init(
    reference: (any FrontendReference)? = nil, references: [String: (any FrontendReference)?]? = nil, metadata: [String: [UInt8]] = [:],
    attestations: [String: [ResultAttestation]] = [:]
  ) {
    self.reference = reference
    self.references = references
    self.metadata = metadata
    self.attestations = attestations
  }
  package var all: [any FrontendReference] { [reference].compactMap(\.self) + (references ?? [:]).sorted { $0.key < $1.key }.compactMap(\.value) }
}

/// A statement about a result, made by a frontend: an in-toto predicate in a file of a reference (BuildKit's gateway Attestation).
package struct ResultAttestation: Sendable {
  package var kind: Moby_Buildkit_V1_Frontend_AttestationKind
  package var metadata: [String: [UInt8]]
  package var reference: (any FrontendReference)?
  package var path: String
  package var predicateType: String
  package var subjects: [Moby_Buildkit_V1_Frontend_InTotoSubject]
  package init(
    kind: Moby_Buildkit_V1_Frontend_AttestationKind = .inToto, metadata: [String: [UInt8]] = [:], reference: (any FrontendReference)? = nil, path: String, predicateType: String,
    subjects: [Moby_Buildkit_V1_Frontend_InTotoSubject] = []
  ) {
    self.kind = kind
    self.metadata = metadata
    self.reference = reference
    self.path = path
    self.predicateType = predicateType
    self.subjects = subjects
  }
}

/// The peers' keys of a result's metadata.
package enum ResultMetadata {
  package static let platforms = "refs.platforms"
  package static let imageConfig = "containerimage.config"
  package static let baseImageConfig = "containerimage.base.config"
}

extension NestedResult {
  /// As BuildKit's frontends say the same.
  package init(_ result: FrontendResult) {
    self.init(metadata: result.metadata)
    if result.isMultiPlatform { references = [:] }
    for target in result.targets {
      let suffix = result.isMultiPlatform ? "/" + target.id : ""
      if result.isMultiPlatform { references?[target.id] = .some(target.reference) } else { reference = target.reference }
      if !target.imageConfig.isEmpty { metadata[ResultMetadata.imageConfig + suffix] = target.imageConfig }
      if let base = target.baseImageConfig { metadata[ResultMetadata.baseImageConfig + suffix] = base }
      if !target.attestations.isEmpty { attestations[target.id] = target.attestations }
    }
  }
}

extension FrontendResult {
  /// Names of platforms that a result has at most.
  package static let maximumTargets = 256

  /// Of what a frontend returned that is not our own. A single result without a word about its platform is of the one in its image config, else of `platform`.
  /// Throws `BuildError` for metadata that cannot be.
  package init(_ result: NestedResult, platform: Platform) throws {
    var targets: [Target] = []
    let isMultiPlatform = result.references != nil
    func config(_ key: String, _ id: String) -> [UInt8]? { result.metadata["\(key)/\(id)"] ?? (isMultiPlatform ? nil : result.metadata[key]) }
    func target(_ id: String, _ platform: Platform, _ reference: (any FrontendReference)?) -> Target {
      var target = Target(
        id: id, platform: platform, reference: reference, imageConfig: config(ResultMetadata.imageConfig, id) ?? [],
        baseImageConfig: config(ResultMetadata.baseImageConfig, id))
      target.attestations = result.attestations[id] ?? []
      return target
    }
    if let named = try Self.platforms(result.metadata) {
      for (id, platform) in named {
        guard let references = result.references else {
          targets.append(target(id, platform, result.reference))
          continue
        }
        // BuildKit takes what is missing for an empty filesystem.
        targets.append(target(id, platform, references[id] ?? nil))
      }
      if !isMultiPlatform, targets.count > 1 { throw BuildError(.invalidArgument, .usage, "the frontend named \(targets.count) platforms and returned one result") }
    } else if let references = result.references {
      // Without a platform they cannot be exported: each is its own name's.
      for (id, reference) in references.sorted(by: { $0.key < $1.key }) { targets.append(target(id, (try? Platform(parsing: id)) ?? platform, reference)) }
    } else {
      var own = platform
      if let bytes = result.metadata[ResultMetadata.imageConfig], let image = try? Platform(json: JSONValue(parsing: bytes)), !image.os.isEmpty, !image.architecture.isEmpty { own = image.normalized }
      if result.reference != nil || result.metadata[ResultMetadata.imageConfig] != nil { targets.append(target(own.fullDescription, own, result.reference)) }
    }
    guard targets.count <= Self.maximumTargets else { throw BuildError(.resourceExhausted, .usage, "the frontend returned \(targets.count) results; \(Self.maximumTargets) at most") }
    self.init(targets: targets, isMultiPlatform: isMultiPlatform, metadata: result.metadata)
  }

  private static func platforms(_ metadata: [String: [UInt8]]) throws -> [(id: String, platform: Platform)]? {
    guard let bytes = metadata[ResultMetadata.platforms] else { return nil }
    func wrong(_ what: String) -> BuildError { BuildError(.invalidArgument, .usage, "the frontend's result: \(ResultMetadata.platforms) \(what)") }
    let document: JSONValue
    do { document = try JSONValue(parsing: bytes) } catch { throw wrong("is no JSON: \(error)") }
    guard let list = document["Platforms"]?.arrayValue, !list.isEmpty else { throw wrong("names no platform") }
    guard list.count <= maximumTargets else { throw wrong("names \(list.count) platforms; \(maximumTargets) at most") }
    var seen = Set<String>()
    return try list.map { item in
      guard let id = item["ID"]?.stringValue, let platform = item["Platform"], let platform = try? Platform(json: platform) else { throw wrong("has an entry without id or platform") }
      guard seen.insert(id).inserted else { throw wrong("names \(id) twice") }
      return (id, platform)
    }
  }
}
