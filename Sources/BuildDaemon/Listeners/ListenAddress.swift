/// An address to listen on, in buildkitd's words.
package enum ListenAddress: Sendable, Hashable, CustomStringConvertible {
  case unix(path: String)
  case tcp(host: String, port: Int)
  /// A socket that whoever started the daemon has opened (systemd). By name (FileDescriptorName=) or number; empty takes the first.
  case inherited(String)

  package init(_ text: String) throws {
    guard let range = Self.separator(in: text) else {
      throw DaemonError(.setting, "the address \(text) does not say how to listen; you meant unix://\(text.hasPrefix("/") ? "" : "/")\(text)?")
    }
    let kind = String(text[..<range.lowerBound]), rest = String(text[range.upperBound...])
    switch kind {
    case "unix":
      // A terminating zero has to fit behind it.
      guard rest.hasPrefix("/"), rest.utf8.count <= 107 else {
        throw DaemonError(.setting, rest.hasPrefix("/") ? "the socket's path is too long (107 bytes at most): \(rest)" : "a socket's path begins with a slash: \(text)")
      }
      self = .unix(path: rest)
    case "tcp": self = try Self.tcp(rest, text)
    case "fd": self = .inherited(rest)
    default: throw DaemonError(.setting, "the address \(text) cannot be listened on", suggestion: "Addresses are unix:///path, tcp://host:port and fd://.")
    }
  }

  private static func separator(in text: String) -> Range<String.Index>? {
    guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else { return nil }
    return colon..<text.index(colon, offsetBy: 3)
  }

  private static func tcp(_ rest: String, _ text: String) throws -> ListenAddress {
    guard let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...]) else {
      throw DaemonError(.setting, "the address \(text) needs a port: tcp://127.0.0.1:1234")
    }
    var host = String(rest[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) } else if host.contains(":") {
      throw DaemonError(.setting, "the address \(text): an IPv6 address stands in brackets, tcp://[::1]:1234")
    }
    return .tcp(host: host, port: Int(port))
  }

  /// Whether only this machine reaches it.
  package var isLoopback: Bool {
    guard case .tcp(let host, _) = self else { return true }
    if host == "localhost" || host == "::1" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }

  package var description: String {
    switch self {
    case .unix(let path): "unix://\(path)"
    case .tcp(let host, let port): host.contains(":") ? "tcp://[\(host)]:\(port)" : "tcp://\(host):\(port)"
    case .inherited(let name): "fd://\(name)"
    }
  }
}
