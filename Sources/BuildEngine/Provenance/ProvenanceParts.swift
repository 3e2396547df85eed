internal import OCIModel

extension ProvenanceRecord {
  /// What the two forms of the predicate have in common, member for member as BuildKit writes them.
  struct Parts {
    var started: Timestamp
    var finished: Timestamp
    var materials: [JSONValue] = []
    var vcs: JSONValue?
    var configSource: (uri: String, digest: JSONValue?, path: String) = ("", nil, "")
    var request: JSONValue = [:]
    var buildConfig: JSONValue?
    var source: JSONValue?
    var layers: JSONValue?
    var isRequestComplete = false

    private func config(_ pathName: String) -> JSONValue {
      var out = JSONObject()
      if !configSource.uri.isEmpty { out["uri"] = .string(configSource.uri) }
      out["digest"] = configSource.digest
      if !configSource.path.isEmpty { out[pathName] = .string(configSource.path) }
      return .object(out)
    }

    private var buildKitMetadata: JSONValue {
      var out = JSONObject()
      out["vcs"] = vcs
      out["source"] = source
      out["layers"] = layers
      return .object(out)
    }

    private func isHermetic(_ record: ProvenanceRecord) -> Bool { !record.hasUnnamedSources && !record.capture.usesNetwork }

    /// SLSA 1 (https://slsa.dev/spec/v1.0/provenance).
    func v1(_ record: ProvenanceRecord) -> JSONValue {
      var definition = JSONObject([("buildType", "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md")])
      if !materials.isEmpty { definition["resolvedDependencies"] = .array(materials) }
      definition["externalParameters"] = ["configSource": config("path"), "request": request]
      var parameters = JSONObject()
      parameters["buildConfig"] = buildConfig
      parameters["builderPlatform"] = .string(record.builderPlatform.normalized.description)
      definition["internalParameters"] = JSONValue.object(parameters).sorted
      var metadata = JSONObject([
        ("invocationId", .string(record.invocationID)), ("startedOn", .string(started.description)), ("finishedOn", .string(finished.description)),
        ("buildkit_metadata", buildKitMetadata),
      ])
      if isHermetic(record) { metadata["buildkit_hermetic"] = true }
      metadata["buildkit_completeness"] = ["request": .bool(isRequestComplete), "resolvedDependencies": .bool(!record.hasUnnamedSources)]
      if record.options.isReproducible { metadata["buildkit_reproducible"] = true }
      return [
        "buildDefinition": .object(definition),
        "runDetails": ["builder": ["id": .string(record.options.builderID)], "metadata": .object(metadata)],
      ]
    }

    /// SLSA 0.2 (https://slsa.dev/spec/v0.2/provenance).
    func v02(_ record: ProvenanceRecord) -> JSONValue {
      var out = JSONObject([("builder", ["id": .string(record.options.builderID)]), ("buildType", "https://mobyproject.org/buildkit@v1")])
      if !materials.isEmpty { out["materials"] = .array(materials) }
      out["invocation"] = [
        "configSource": config("entryPoint"), "parameters": request, "environment": ["platform": .string(record.builderPlatform.normalized.description)],
      ]
      out["buildConfig"] = buildConfig
      var metadata = JSONObject([
        ("buildInvocationID", .string(record.invocationID)), ("buildStartedOn", .string(started.description)),
        ("buildFinishedOn", .string(finished.description)),
        ("completeness", ["parameters": .bool(isRequestComplete), "environment": true, "materials": .bool(!record.hasUnnamedSources)]),
        ("reproducible", .bool(record.options.isReproducible)), ("https://mobyproject.org/buildkit@v1#metadata", buildKitMetadata),
      ])
      if isHermetic(record) { metadata["https://mobyproject.org/buildkit@v1#hermetic"] = true }
      out["metadata"] = .object(metadata)
      return .object(out)
    }
  }
}

extension JSONValue {
  /// Members by name all the way down: Go's encoding of a value that went through a map.
  fileprivate var sorted: JSONValue {
    switch self {
    case .object(let object):
      .object(JSONObject(object.members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { ($0.key, $0.value.sorted) }))
    case .array(let items): .array(items.map(\.sorted))
    default: self
    }
  }
}
