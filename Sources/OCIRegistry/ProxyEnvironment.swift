internal import OCIModel

/// Which proxy a request goes through, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in either case, with the rules that Go
/// programs (so every other container tool) follow. Pure.
package struct ProxyEnvironment: Sendable {
  package struct Proxy: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
      case http, socks5
      /// What cannot be used, and why: told when a request should go through it, since going around a proxy is not what was asked for.
      case unusable(String)
    }
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

    /// Without its user and password.
    package var address: String { "\(kind == .socks5 ? "socks5" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)" }
    /// The value of a `Proxy-Authorization` field.
    package var authorization: String? { userInfo.map { "Basic " + Base64.encode(PercentEncoding.decode($0).utf8) } }
  }

  private let httpProxy: Proxy?
  private let httpsProxy: Proxy?
  private let exceptions: [ProxyException]

  /// `configured` holds variables for what the environment does not say: Docker's configuration has such.
  package init(_ environment: [String: String], configured: [String: String] = [:]) {
    func value(_ name: String) -> String {
      for source in [environment, configured] {
        for name in [name, name.lowercased()] { if let v = source[name], !v.isEmpty { return v } }
      }
      return ""
    }
    let all = value("ALL_PROXY")
    // In a CGI program HTTP_PROXY is a request header under the client's control.
    let http = environment["REQUEST_METHOD"] == nil ? value("HTTP_PROXY") : environment["http_proxy"] ?? ""
    let https = value("HTTPS_PROXY")
    httpProxy = ProxyEnvironment.parse(http.isEmpty ? all : http)
    httpsProxy = ProxyEnvironment.parse(https.isEmpty ? all : https)
    exceptions = value("NO_PROXY").split(separator: ",").compactMap { ProxyException(HTTPFields.trimmed($0).lowercased()) }
  }

  /// nil for what is no proxy's address at all, which Go passes over too.
  package static func parse(_ text: String) -> Proxy? {
    guard !text.isEmpty else { return nil }
    var rest = text[...]
    var kind = Proxy.Kind.http
    if let mark = rest.firstRange(of: "://") {
      switch rest[..<mark.lowerBound].lowercased() {
      case "http": kind = .http
      case "socks5", "socks5h": kind = .socks5
      case "https": kind = .unusable("TLS to the proxy itself is not supported: name it by http://")
      case let other: kind = .unusable("a proxy's address begins with http:// or socks5://, not with \(other)://")
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
    if kind == .socks5, userInfo != nil { kind = .unusable("a SOCKS proxy with a user and password is not supported") }
    return Proxy(kind: kind, host: LoopbackHosts.bare(url.host), port: url.port ?? (kind == .socks5 ? 1080 : 80), userInfo: userInfo)
  }

  /// nil to connect directly. Loopback hosts never go through a proxy.
  package func proxy(for url: RegistryURL) -> Proxy? {
    guard let proxy = url.scheme == .https ? httpsProxy : httpProxy, !LoopbackHosts.contains(url.host) else { return nil }
    let host = LoopbackHosts.bare(url.host), port = url.port ?? url.scheme.defaultPort
    let address = IPAddress(host)
    return exceptions.contains { $0.matches(host: host, address: address, port: port) } ? nil : proxy
  }
}

/// One entry of NO_PROXY.
private enum ProxyException: Sendable {
  case everything
  case network(IPAddress, bits: Int)
  case address(IPAddress, port: Int?)
  /// The host itself unless `onlyBelow`, and every name under it. Never an IP address.
  case domain(String, onlyBelow: Bool, port: Int?)

  /// nil for what means nothing.
  init?(_ entry: String) {
    if entry == "*" {
      self = .everything
      return
    }
    if let slash = entry.firstIndex(of: "/") {
      guard let network = IPAddress(entry[..<slash]), let bits = Int(entry[entry.index(after: slash)...]), (0...network.bytes.count * 8).contains(bits) else { return nil }
      self = .network(network, bits: bits)
      return
    }
    var name = entry[...]
    var port: Int?
    if IPAddress(name) == nil, let colon = name.lastIndex(of: ":"), name.hasPrefix("[") ? name[..<colon].hasSuffix("]") : name.firstIndex(of: ":") == colon {
      guard let number = Int(name[name.index(after: colon)...]) else { return nil }
      port = number
      name = name[..<colon]
    }
    name = LoopbackHosts.bare(name)[...]
    if let address = IPAddress(name) {
      self = .address(address, port: port)
      return
    }
    if name.hasPrefix("*.") { name = name.dropFirst() }
    let onlyBelow = name.hasPrefix(".")
    if onlyBelow { name = name.dropFirst() }
    guard !name.isEmpty else { return nil }
    self = .domain(String(name), onlyBelow: onlyBelow, port: port)
  }

  func matches(host: String, address: IPAddress?, port: Int) -> Bool {
    switch self {
    case .everything: true
    case .network(let network, let bits): address.map { $0.isWithin(network, bits: bits) } ?? false
    case .address(let own, let ownPort): own == address && (ownPort ?? port) == port
    case .domain(let name, let onlyBelow, let ownPort):
      address == nil && (ownPort ?? port) == port && (host.hasSuffix("." + name) || (!onlyBelow && host == name))
    }
  }
}

/// An IPv4 or IPv6 address in its textual form; an IPv4 address mapped into IPv6 equals the plain one.
package struct IPAddress: Hashable, Sendable {
  /// Four or sixteen.
  package let bytes: [UInt8]

  package init?(_ text: some StringProtocol) {
    if let v4 = IPv4.parse(Substring(text)) {
      bytes = (0..<4).map { UInt8(truncatingIfNeeded: v4 >> UInt32(24 - 8 * $0)) }
      return
    }
    guard let v6 = IPAddress.v6(Substring(text)) else { return nil }
    bytes = v6[..<10].allSatisfy({ $0 == 0 }) && v6[10] == 0xff && v6[11] == 0xff ? Array(v6[12...]) : v6
  }

  package func isWithin(_ network: IPAddress, bits: Int) -> Bool {
    guard bytes.count == network.bytes.count else { return false }
    return (0..<bits).allSatisfy { bit in
      let mask = UInt8(0x80) >> UInt8(bit % 8)
      return bytes[bit / 8] & mask == network.bytes[bit / 8] & mask
    }
  }

  /// RFC 4291, section 2.2.
  private static func v6(_ text: Substring) -> [UInt8]? {
    guard text.contains(":") else { return nil }
    let halves = text.firstRange(of: "::").map { [text[..<$0.lowerBound], text[$0.upperBound...]] } ?? [text]
    var parts: [[UInt8]] = []
    for half in halves {
      var out = [UInt8]()
      let groups = half.isEmpty ? [] : half.split(separator: ":", omittingEmptySubsequences: false)
      for (i, group) in groups.enumerated() {
        if i == groups.count - 1, let v4 = IPv4.parse(group) {
          out += (0..<4).map { UInt8(truncatingIfNeeded: v4 >> UInt32(24 - 8 * $0)) }
          continue
        }
        guard (1...4).contains(group.utf8.count), let value = UInt16(group, radix: 16), !group.hasPrefix("+") else { return nil }
        out += [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)]
      }
      parts.append(out)
    }
    let length = parts.reduce(0) { $0 + $1.count }
    guard parts.count == 2 ? length <= 14 : length == 16 else { return nil }
    return parts[0] + [UInt8](repeating: 0, count: 16 - length) + (parts.count == 2 ? parts[1] : [])
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
    let name = bare(host.lowercased())
    if name == "localhost" || name.hasSuffix(".localhost") { return true }
    guard let address = IPAddress(name) else { return false }
    return address.bytes.count == 4 ? address.bytes[0] == 127 : address.bytes == [UInt8](repeating: 0, count: 15) + [1]
  }

  /// Without the brackets of an IPv6 address.
  static func bare(_ host: some StringProtocol) -> String { host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : String(host) }
}
