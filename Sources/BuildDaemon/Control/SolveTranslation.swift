package import BuildInterface
package import BuildKitProto
internal import OCIModel

/// A client's request in the engine's words: the fields of today, and those that older clients send in their place.
package enum SolveTranslation {
  /// BuildKit's versions of what a definition means. All of them mean the same here.
  private static let compatibilityVersions = [0, 10, 20, 30]
  /// Exporters, cache options and attributes beyond any that a person wrote.
  private static let listLimit = 1000

  /// `allowed`: the entitlements that this daemon gives. Throws `BuildError`.
  package static func request(_ wire: Moby_Buildkit_V1_SolveRequest, allowed: Set<String>) throws -> SolveRequest {
    try checkVersion(wire.compatibilityVersion)
    var out = SolveRequest(ref: wire.ref)
    out.frontend = wire.frontend
    out.frontendAttributes = wire.frontendAttrs
    // A gateway that is told to be our own frontend.
    if out.frontend == "gateway.v0", wire.frontendAttrs["source"] == "dockerfile.v0",
      !wire.frontendAttrs.keys.contains(where: { $0 == "context:dockerfile.v0" || $0.hasPrefix("context:dockerfile.v0::") })
    {
      out.frontend = "dockerfile.v0"
      out.frontendAttributes["source"] = nil
    }
    if wire.hasDefinition, !wire.definition.def.isEmpty { out.definition = wire.definition }
    out.isInternal = wire.internal
    out.frontendInputs = wire.frontendInputs
    out.exports = exports(wire)
    (out.cacheImports, out.cacheExports) = try caches(wire.cache)
    if wire.hasSourcePolicy { out.sourcePolicies = [wire.sourcePolicy] }
    // `sourcePolicySession` is passed over: clients are told that they are not asked (GatewayCapabilities), and refuse by themselves what must be asked.
    out.sessionID = wire.session
    out.entitlements = try entitlements(wire.entitlements, allowed: allowed)
    for (count, what) in [(out.exports.count, "outputs"), (out.cacheImports.count + out.cacheExports.count, "caches")] where count > listLimit {
      throw BuildError(.invalidArgument, .usage, "\(count) \(what) are more than one build can have (\(listLimit))")
    }
    // A way out of the daemon's network that only a proxy sees: our steps have no such network, and without it the promise would be broken.
    if wire.proxyNetwork { throw BuildError(.unimplemented, .usage, "builds with an enforced proxy network (proxy-network) are not supported here") }
    return out
  }

  private static func checkVersion(_ version: Int64) throws {
    if compatibilityVersions.contains(Int(clamping: version)) { return }
    let newest = compatibilityVersions.last ?? 0
    let advice = version > newest ? ": upgrade the daemon (max supported: \(newest))" : " (supported: \(compatibilityVersions.dropFirst().map(String.init).joined(separator: " ")))"
    throw BuildError(.invalidArgument, .usage, "unsupported compatibility-version \(version)\(advice)")
  }

  private static func exports(_ wire: Moby_Buildkit_V1_SolveRequest) -> [ExportRequest] {
    var list = wire.exporters.map { ExportRequest(type: $0.type, attributes: $0.attrs) }
    if list.isEmpty, !wire.exporterDeprecated.isEmpty { list = [ExportRequest(type: wire.exporterDeprecated, attributes: wire.exporterAttrsDeprecated)] }
    let epoch = wire.frontendAttrs["build-arg:SOURCE_DATE_EPOCH"]
    return list.enumerated().map { position, export in
      var export = export
      export.id = "\(position)"
      if let epoch, export.attributes["source-date-epoch"] == nil { export.attributes["source-date-epoch"] = epoch }
      return export
    }
  }

  private static func caches(_ wire: Moby_Buildkit_V1_CacheOptions) throws -> (imports: [CacheOption], exports: [CacheOption]) {
    var exports = wire.exports.map { CacheOption(type: $0.type, attributes: $0.attrs) }
    if !wire.exportRefDeprecated.isEmpty {
      exports.append(CacheOption(type: "registry", attributes: wire.exportAttrsDeprecated.merging(["ref": wire.exportRefDeprecated]) { _, new in new }))
    }
    let imports = wire.imports.map { CacheOption(type: $0.type, attributes: $0.attrs) } + wire.importRefsDeprecated.map { CacheOption(type: "registry", attributes: ["ref": $0]) }
    var seen: Set<CacheOption> = [], references: Set<String> = [], rest: [CacheOption] = [], twice: [String] = []
    for export in exports {
      if export.type == "inline", rest.contains(where: { $0.type == "inline" }) { continue }
      let isNew = export.type == "registry" && export.attributes["ref"] != nil ? references.insert(export.attributes["ref"] ?? "").inserted : seen.insert(export).inserted
      if !isNew { twice.append(export.type) }
      rest.append(export)
    }
    if !twice.isEmpty { throw BuildError(.invalidArgument, .usage, "duplicate cache exports [\(twice.joined(separator: " "))]") }
    return (imports, rest)
  }

  private static func entitlements(_ asked: [String], allowed: Set<String>) throws -> Set<String> {
    for one in asked {
      let name = one.split(separator: "=", maxSplits: 1).first.map(String.init) ?? one
      guard ["network.host", "security.insecure", "device"].contains(name) else { throw BuildError(.invalidArgument, .usage, "unknown entitlement \(one)") }
      if !allowed.contains(name) {
        throw BuildError(
          .permissionDenied, .usage, "granting entitlement \(one) is not allowed by build daemon configuration",
          suggestion: "Whoever runs the daemon can allow it: --allow-insecure-entitlement \(name), or insecure-entitlements in buildkitd.toml.")
      }
    }
    return Set(asked)
  }
}
