package import OCIModel

/// Frontend attributes that hold for one platform alone: a Dockerfile for each under one tag. Of our own frontend, and named so that BuildKit's
/// attributes are never meant: `manifold.platform:linux/arm64:filename`.
package enum PlatformAttributes {
  package static let prefix = "manifold.platform:"
  /// What a platform can have of its own.
  package static let keys: Set<String> = ["filename", "dockerfilekey", "target"]
  package static let prefixes = ["build-arg:"]

  /// The attribute that stands for `key` on one platform.
  package static func name(_ key: String, for platform: Platform) -> String { "\(prefix)\(platform.normalized.fullDescription):\(key)" }

  /// The platform and the key of such an attribute; nil for another. Throws `BuildError` where it is malformed.
  package static func parse(_ name: String) throws -> (platform: Platform, key: String)? {
    guard name.hasPrefix(prefix) else { return nil }
    let rest = name.dropFirst(prefix.count)
    guard let colon = rest.firstIndex(of: ":"), let platform = try? Platform(parsing: String(rest[..<colon])) else {
      throw BuildError(.invalidArgument, .usage, "the attribute \(name) names no platform")
    }
    let key = String(rest[rest.index(after: colon)...])
    guard keys.contains(key) || prefixes.contains(where: { key.hasPrefix($0) && key.count > $0.count }) else {
      throw BuildError(.invalidArgument, .usage, "the attribute \(name): no platform has a \(key) of its own")
    }
    return (platform.normalized, key)
  }

  /// The attributes of one platform: those for all, and its own in their place. None is left that is another platform's. Throws `BuildError`.
  package static func of(_ platform: Platform, in attributes: [String: String]) throws -> [String: String] {
    var out: [String: String] = [:], own: [String: String] = [:]
    for (name, value) in attributes {
      guard let (other, key) = try parse(name) else {
        out[name] = value
        continue
      }
      if other == platform.normalized { own[key] = value }
    }
    return out.merging(own) { _, own in own }
  }

  /// The platforms that have attributes of their own. Throws `BuildError`.
  package static func platforms(in attributes: [String: String]) throws -> Set<Platform> {
    try Set(attributes.keys.compactMap { try parse($0)?.platform })
  }
}
