package import OCIModel

/// The registries that a build's outputs and caches say may be spoken to without a certificate that holds, or in clear text (`registry.insecure=true`).
package enum InsecureRegistries {
  /// `host[:port]` of each.
  package static func of(_ request: SolveRequest) -> Set<String> {
    let outputs = request.exports.filter { isTold($0.attributes) }.flatMap { ($0.attributes["name"] ?? "").split(separator: ",").map(String.init) }
    let caches = (request.cacheImports + request.cacheExports).filter { $0.type == "registry" && isTold($0.attributes) }.compactMap { $0.attributes["ref"] }
    return Set((outputs + caches).compactMap { try? Reference(parsing: $0).domain })
  }

  private static func isTold(_ attributes: [String: String]) -> Bool {
    attributes["registry.insecure"].map { ["", "1", "t", "T", "true", "TRUE", "True"].contains($0) } ?? false
  }
}
