/// The parts of a URL that decide what a source of ADD is, as Go's `net/url` finds them.
enum URLText {
  /// The scheme in lower case, when the text begins with letters or digits and `://`.
  static func scheme(_ text: String) -> String? {
    let name = text.utf8.prefix { ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x41 && $0 <= 0x5a) || ($0 >= 0x61 && $0 <= 0x7a) }
    guard !name.isEmpty, text.utf8[name.endIndex...].starts(with: "://".utf8) else { return nil }
    return String(Substring(name)).lowercased()
  }

  /// The path, percent-decoded; empty for none or a malformed one.
  static func path(_ text: String) -> String {
    guard let scheme = scheme(text) else { return "" }
    let rest = text.utf8.dropFirst(scheme.utf8.count + 3)
    let authority = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    let path = rest[authority.endIndex...].prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    var out = [UInt8](), bytes = Array(path)[...]
    while let byte = bytes.popFirst() {
      guard byte == UInt8(ascii: "%") else { out.append(byte); continue }
      let digits = bytes.prefix(2)
      guard digits.count == 2, digits.first != UInt8(ascii: "+"), let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) else { return "" }
      out.append(value)
      bytes = bytes.dropFirst(2)
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// What a download is called: the last element of the path.
  static func filename(_ text: String) -> String? {
    let parts = path(text).split(separator: "/", omittingEmptySubsequences: true)
    guard let last = parts.last, last != "." else { return nil }
    return String(last)
  }
}

/// chmod's symbolic form: clauses of who, operator and permissions, `u=rwX,go-w`.
enum SymbolicMode {
  static func isValid(_ text: String) -> Bool {
    text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { clause in
      let rest = Array(clause.utf8.drop { "augo".utf8.contains($0) })
      guard let first = rest.first, "+-=".utf8.contains(first) else { return false }
      return rest.allSatisfy { "+-=rwxXstugo".utf8.contains($0) }
    }
  }
}
