internal import BuildInterface
internal import OCIModel

/// `--annotation [TYPE[[PLATFORM]][,TYPE…]:]KEY=VALUE`, in buildx's syntax: what is asked of the exporters that make images.
enum AnnotationSpec {
  static let types = ["index", "index-descriptor", "manifest", "manifest-descriptor"]

  /// By the exporters' names (`annotation-manifest[linux/arm64].KEY`).
  static func attributes(_ texts: [String]) throws -> [String: String] {
    var out: [String: String] = [:]
    for text in texts where !text.isEmpty {
      guard let equals = text.firstIndex(of: "=") else { throw BuildError.usage("--annotation \(text): expected key=value") }
      let value = String(text[text.index(after: equals)...])
      let name = text[..<equals]
      guard let colon = name.firstIndex(of: ":") else {
        guard !name.isEmpty else { throw BuildError.usage("--annotation \(text): the key is empty") }
        out["annotation.\(name)"] = value
        continue
      }
      let key = name[name.index(after: colon)...]
      guard !key.isEmpty else { throw BuildError.usage("--annotation \(text): the key is empty") }
      for type in name[..<colon].split(separator: ",", omittingEmptySubsequences: false) { out["annotation-\(try checked(type, text)).\(key)"] = value }
    }
    return out
  }

  /// A type and perhaps a platform in brackets.
  private static func checked(_ text: Substring, _ whole: String) throws -> String {
    let type = text.prefix { $0 != "[" }
    guard types.contains(String(type)) else {
      throw BuildError.usage(
        "--annotation \(whole): there is no annotation type \"\(type)\"", suggestion: "Types are \(types.joined(separator: ", ")); a key with a colon needs one: manifest:\(whole)")
    }
    guard text.count > type.count else { return String(type) }
    guard text.hasSuffix("]") else { throw BuildError.usage("--annotation \(whole): expected a platform in brackets after \(type)") }
    let name = String(text.dropFirst(type.count + 1).dropLast())
    do { return "\(type)[\(try Platform(parsing: name).normalized.description)]" } catch { throw BuildError.usage("--annotation \(whole): \(error)") }
  }
}
