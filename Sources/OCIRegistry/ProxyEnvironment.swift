/// Which proxy a request goes through, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in either case, with the rules that Go
/// programs (so every other container tool) follow. Pure.
package struct ProxyEnvironment: Sendable {
  package struct Proxy: Hashable, Sendable {
    package enum Kind: Hashable, Sendable { case http, socks5 }
    package var kind: Kind
    package var host: String
    package var port: Int
    /// `user:password`, still percent-encoded as in the address; nil when there is none.
    package var userInfo: String?

    package init(kind: Kind, host: String, port: Int, userInfo: String?) {
      self.kind = kind
      self.host = host
      self.port = port
      self.userInfo = userInfo
    }
  }

  private let httpProxy: Proxy?
  private let httpsProxy: Proxy?
  private let exceptions: [String]

  package init(_ environment: [String: String]) {
    func value(_ names: String...) -> String {
      for name in names { if let v = environment[name], !v.isEmpty { return v } }
      return ""
    }
    let all = value("ALL_PROXY", "all_proxy")
    // In a CGI program HTTP_PROXY is a request header under the client's control.
    let http = environment["REQUEST_METHOD"] == nil ? value("HTTP_PROXY", "http_proxy") : value("http_proxy")
    let https = value("HTTPS_PROXY", "https_proxy")
    httpProxy = ProxyEnvironment.parse(http.isEmpty ? all : http)
    httpsProxy = ProxyEnvironment.parse(https.isEmpty ? all : https)
    exceptions = value("NO_PROXY", "no_proxy").split(separator: ",").map { HTTPFields.trimmed($0).lowercased() }.filter { !$0.isEmpty }
  }

  package static func parse(_ text: String) -> Proxy? {
    guard !text.isEmpty else { return nil }
    var rest = text[...]
    var kind = Proxy.Kind.http
    if let mark = rest.firstRange(of: "://") {
      switch rest[..<mark.lowerBound].lowercased() {
      case "http": kind = .http
      case "socks5", "socks5h": kind = .socks5
      // An https:// proxy needs TLS to the proxy itself, which the HTTP client cannot do.
      default: return nil
      }
      rest = rest[mark.upperBound...]
    }
    rest = rest.prefix { $0 != "/" }
    var userInfo: String?
    if let at = rest.lastIndex(of: "@") {
      userInfo = String(rest[..<at])
      rest = rest[rest.index(after: at)...]
    }
    guard let url = RegistryURL(scheme: .http, authority: String(rest)) else { return nil }
    let host = url.host.hasPrefix("[") ? String(url.host.dropFirst().dropLast()) : url.host
    return Proxy(kind: kind, host: host, port: url.port ?? (kind == .socks5 ? 1080 : 80), userInfo: userInfo)
  }

  /// nil to connect directly. Loopback hosts never go through a proxy.
  package func proxy(for url: RegistryURL) -> Proxy? {
    guard let proxy = url.scheme == .https ? httpsProxy : httpProxy, !LoopbackHosts.contains(url.host) else { return nil }
    let host = url.host.hasPrefix("[") ? String(url.host.dropFirst().dropLast()) : url.host
    let port = String(url.port ?? url.scheme.defaultPort)
    for entry in exceptions where ProxyEnvironment.matches(entry, host: host, port: port) { return nil }
    return proxy
  }

  private static func matches(_ entry: String, host: String, port: String) -> Bool {
    if entry == "*" { return true }
    if let slash = entry.firstIndex(of: "/") {
      guard let network = IPv4.parse(entry[..<slash]), let bits = Int(entry[entry.index(after: slash)...]), (0...32).contains(bits), let address = IPv4.parse(host[...]) else { return false }
      let mask: UInt32 = bits == 0 ? 0 : ~0 << UInt32(32 - bits)
      return network & mask == address & mask
    }
    var pattern = entry[...]
    if let colon = pattern.lastIndex(of: ":"), pattern.firstIndex(of: ":") == colon {
      guard pattern[pattern.index(after: colon)...] == port else { return false }
      pattern = pattern[..<colon]
    }
    if pattern.hasPrefix("*.") { pattern = pattern.dropFirst() }
    if pattern.hasPrefix(".") { return host.hasSuffix(pattern) }
    return host == pattern || host.hasSuffix("." + pattern)
  }
}

package enum IPv4 {
  package static func parse(_ text: Substring) -> UInt32? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var out: UInt32 = 0
    for part in parts {
      guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let byte = UInt8(part) else { return nil }
      out = out << 8 | UInt32(byte)
    }
    return out
  }
}

package enum LoopbackHosts {
  /// `localhost`, names under it, 127.0.0.0/8 and ::1 (brackets or not, no port).
  package static func contains(_ host: String) -> Bool {
    let name = host.lowercased()
    if name == "localhost" || name.hasSuffix(".localhost") || name == "[::1]" || name == "::1" { return true }
    return IPv4.parse(name[...]).map { $0 >> 24 == 127 } ?? false
  }
}
