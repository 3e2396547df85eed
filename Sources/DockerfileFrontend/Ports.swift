/// EXPOSE's port specifications: `[ip:]public:private/protocol`, of which an image keeps `private/protocol`.
enum Ports {
  /// Why a specification is wrong.
  struct Failure: Error { let message: String }

  /// The `port/protocol` entries of one specification; ranges give one each.
  static func parse(_ text: String) throws(Failure) -> [String] {
    let (ip, host, container) = split(text)
    let slash = container.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let ports = slash[0], written = slash.count > 1 ? slash[1].lowercased() : ""
    guard !ports.isEmpty else { throw Failure(message: "invalid port: \(GoText.quoted(text)): no port specified") }
    guard ["", "tcp", "udp", "sctp"].contains(written) else { throw Failure(message: "invalid port: \(GoText.quoted(text)): invalid proto: \(slash[1])") }
    if !ip.isEmpty {
      let bare = ip.hasPrefix("[") && ip.hasSuffix("]") ? String(ip.dropFirst().dropLast()) : ip
      guard IPAddress(parsing: bare) != nil else { throw Failure(message: "invalid IP address: \(bare)") }
    }
    guard let range = range(ports) else { throw Failure(message: "invalid containerPort: \(ports)") }
    if !host.isEmpty {
      guard let hostRange = Ports.range(host) else { throw Failure(message: "invalid hostPort: \(host)") }
      if range.count != hostRange.count, range.count != 1 {
        throw Failure(message: "invalid ranges specified for container and host Ports: \(ports) and \(host)")
      }
    }
    return range.map { "\($0)/\(written.isEmpty ? "tcp" : written)" }
  }

  /// How a specification is written, when its protocol is one: the protocol's letters, and whether it names an address or a port of the host.
  static func form(of text: String) -> (transport: String, mapsToHost: Bool)? {
    let (ip, host, container) = split(text)
    let slash = container.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let transport = slash.count > 1 ? slash[1] : ""
    guard !slash[0].isEmpty, ["", "tcp", "udp", "sctp"].contains(transport.lowercased()) else { return nil }
    return (transport, !ip.isEmpty || !host.isEmpty)
  }

  private static func split(_ text: String) -> (ip: String, host: String, container: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    switch parts.count {
    case 1: return ("", "", parts[0])
    case 2: return ("", parts[0], parts[1])
    default: return (parts.dropLast(2).joined(separator: ":"), parts[parts.count - 2], parts[parts.count - 1])
    }
  }

  private static func range(_ text: String) -> ClosedRange<Int>? {
    let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { Int($0) }
    guard let first = ends[0], let last = ends.last ?? first, (0...65535).contains(first), (0...65535).contains(last), first <= last else { return nil }
    return first...last
  }
}
