internal import BuildInterface

/// The `--cache-from` and `--cache-to` of a build, in buildx's syntax.
struct CacheSpecs: Sendable {
  private(set) var imports: [CacheOption]
  private(set) var exports: [CacheOption]

  init(from: [String], to: [String]) throws {
    imports = try CacheSpecs.parse(from, option: "--cache-from")
    exports = try CacheSpecs.parse(to, option: "--cache-to")
  }

  /// The images are to carry their own cache.
  mutating func addInline() {
    if !exports.contains(where: { $0.type == "inline" }) { exports.append(CacheOption(type: "inline")) }
  }

  /// Directories that the engine asks for, by name.
  var directories: [(name: String, path: String)] {
    (imports.filter { $0.type == "local" }.compactMap { $0.attributes["src"] } + exports.filter { $0.type == "local" }.compactMap { $0.attributes["dest"] })
      .map { (CacheOption.directoryName($0), $0) }
  }

  /// Each value is `key=value` fields with a type, or names images and nothing else: one a field. The same one twice counts once.
  private static func parse(_ values: [String], option: String) throws -> [CacheOption] {
    var found: [CacheOption] = []
    for text in values where !text.isEmpty {
      let fields = try CommaFields.parse(text, option: option)
      guard text.contains("=") else {
        found += fields.map { CacheOption(type: "registry", attributes: ["ref": $0]) }
        continue
      }
      var cache = CacheOption(type: "")
      for field in fields {
        guard let (key, value) = CommaFields.pair(field) else {
          throw BuildError.usage("\(option) \(text): \"\(field)\" is not key=value", suggestion: "For example: \(option) type=registry,ref=registry.example.com/me/app:cache")
        }
        if key == "type" { cache.type = value } else { cache.attributes[key] = value }
      }
      guard !cache.type.isEmpty else {
        throw BuildError.usage("\(option) \(text): the type is missing", suggestion: "For example: \(option) type=registry,ref=registry.example.com/me/app:cache")
      }
      found.append(cache)
    }
    var unique: [CacheOption] = []
    for cache in found where !unique.contains(cache) { unique.append(cache) }
    return unique
  }
}
