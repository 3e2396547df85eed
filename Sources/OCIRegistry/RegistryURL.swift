/// An absolute `http` or `https` address, just enough of RFC 3986 for a registry's Location, Link and realm values:
/// the path and query are kept percent-encoded exactly as received, because upload locations carry signed queries.
package struct RegistryURL: Hashable, Sendable, CustomStringConvertible {
  package enum Scheme: String, Hashable, Sendable {
    case http, https
    package var defaultPort: Int { self == .https ? 443 : 80 }
  }

  /// Where a request goes: two addresses share credentials only when all three agree.
  package struct Origin: Hashable, Sendable {
    package var scheme: Scheme
    package var host: String
    package var port: Int
  }

  package var scheme: Scheme
  /// Lowercase; an IPv6 address keeps its brackets.
  package var host: String
  /// nil for the scheme's own port.
  package var port: Int?
  /// Begins with `/`.
  package var path: String
  /// Without the `?`; nil when there is none.
  package var query: String?

  package init(scheme: Scheme, host: String, port: Int? = nil, path: String = "/", query: String? = nil) {
    self.scheme = scheme
    self.host = host.lowercased()
    self.port = port
    self.path = path.hasPrefix("/") ? path : "/" + path
    self.query = query
  }

  /// nil unless `text` is an absolute http or https address without user information, control characters or spaces.
  package init?(_ text: String) {
    guard RegistryURL.isClean(text), let mark = text.firstRange(of: "://"),
      let scheme = Scheme(rawValue: text[..<mark.lowerBound].lowercased())
    else { return nil }
    var rest = text[mark.upperBound...]
    if let hash = rest.firstIndex(of: "#") { rest = rest[..<hash] }
    let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    guard let (host, port) = RegistryURL.splitAuthority(rest[..<end]) else { return nil }
    let (path, query) = RegistryURL.splitQuery(rest[end...])
    self.init(scheme: scheme, host: host, port: port, path: path.isEmpty ? "/" : path, query: query)
  }

  /// The authority as written: `host`, `host:port`, `[v6]:port`.
  package init?(scheme: Scheme, authority: String, path: String = "/", query: String? = nil) {
    guard RegistryURL.isClean(authority), let (host, port) = RegistryURL.splitAuthority(authority[...]) else { return nil }
    self.init(scheme: scheme, host: host, port: port, path: path, query: query)
  }

  private static func isClean(_ text: String) -> Bool { text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f && $0 < 0x80 && $0 != 0x5c } }

  private static func splitAuthority(_ text: Substring) -> (String, Int?)? {
    guard !text.contains("@") else { return nil }
    var host = text
    var port: Int?
    let afterBracket = text.firstIndex(of: "]") ?? text.startIndex
    if let colon = text[afterBracket...].lastIndex(of: ":") {
      let digits = text[text.index(after: colon)...]
      if !digits.isEmpty {
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(digits), (1...65535).contains(number) else { return nil }
        port = number
      }
      host = text[..<colon]
    }
    let bracketed = host.first == "["
    guard !host.isEmpty, !host.contains("/"), bracketed == (host.last == "]"), bracketed || !host.contains(":") else { return nil }
    return (String(host), port)
  }

  private static func splitQuery(_ text: Substring) -> (String, String?) {
    guard let mark = text.firstIndex(of: "?") else { return (String(text), nil) }
    return (String(text[..<mark]), String(text[text.index(after: mark)...]))
  }

  /// `host` or `host:port` as written.
  package var authority: String { port.map { "\(host):\($0)" } ?? host }
  package var origin: Origin { Origin(scheme: scheme, host: host, port: port ?? scheme.defaultPort) }
  package var description: String { "\(scheme.rawValue)://\(authority)\(path)" + (query.map { "?" + $0 } ?? "") }
  /// For messages and logs: queries of upload locations and redirects can hold signatures.
  package var withoutQuery: String { "\(scheme.rawValue)://\(authority)\(path)" }

  /// Resolves a reference met in a response (RFC 3986, section 5.2). nil when it is not an http or https address.
  package func resolving(_ reference: String) -> RegistryURL? {
    guard RegistryURL.isClean(reference), !reference.isEmpty else { return nil }
    if reference.hasPrefix("//") { return RegistryURL("\(scheme.rawValue):\(reference)") }
    let beforeQuery = reference.prefix { $0 != "?" && $0 != "#" }
    if let colon = beforeQuery.firstIndex(of: ":"), !beforeQuery[..<colon].contains("/") { return RegistryURL(reference) }
    let (rawPath, newQuery) = RegistryURL.splitQuery(reference.prefix { $0 != "#" })
    var out = self
    if rawPath.isEmpty {
      if newQuery != nil { out.query = newQuery }
      return out
    }
    out.query = newQuery
    let joined = rawPath.hasPrefix("/") ? rawPath : String(path[...(path.lastIndex(of: "/") ?? path.startIndex)]) + rawPath
    out.path = RegistryURL.removingDotSegments(joined)
    return out
  }

  private static func removingDotSegments(_ path: String) -> String {
    var out: [Substring] = []
    let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
    for (i, segment) in segments.enumerated() {
      let last = i == segments.count - 1
      switch segment {
      case ".": if last { out.append("") }
      case "..":
        _ = out.popLast()
        if last { out.append("") }
      default: out.append(segment)
      }
    }
    return "/" + out.joined(separator: "/")
  }

  /// Adds query items after the existing ones, percent-encoded.
  package func adding(_ items: [(name: String, value: String)]) -> RegistryURL {
    guard !items.isEmpty else { return self }
    var out = self
    let added = items.map { PercentEncoding.encode($0.name) + "=" + PercentEncoding.encode($0.value) }.joined(separator: "&")
    out.query = query.map { $0.isEmpty ? added : $0 + "&" + added } ?? added
    return out
  }
}

package enum PercentEncoding {
  /// Leaves only RFC 3986's unreserved characters as they are, which is right for query values and form fields alike.
  package static func encode(_ text: String) -> String {
    var out = ""
    for c in text.utf8 {
      switch c {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: out.unicodeScalars.append(Unicode.Scalar(c))
      default: out += encode(c)
      }
    }
    return out
  }

  /// One byte, as `%2F`.
  static func encode(_ byte: UInt8) -> String { (byte < 16 ? "%0" : "%") + String(byte, radix: 16, uppercase: true) }

  /// What is not a well-formed escape stays as it is.
  package static func decode(_ text: String) -> String {
    var out = [UInt8](), rest = Array(text.utf8)[...]
    while let c = rest.popFirst() {
      if c == 0x25, rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
        out.append(value)
        rest = rest.dropFirst(2)
      } else {
        out.append(c)
      }
    }
    return String(decoding: out, as: UTF8.self)
  }
}
