#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The files that every container gets mounted and no layer holds: /etc/hosts and /etc/resolv.conf, in the form BuildKit gives them.
package enum HostFiles {
  package static let defaultHostname = "buildkitsandbox"

  package static func hosts(hostname: String?, extra: [ProcessSpec.ExtraHost]) -> String {
    let name = hostname.flatMap { $0.isEmpty ? nil : $0 } ?? defaultHostname
    var text = "127.0.0.1\tlocalhost \(name)\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    for host in extra { text += "\(host.address)\t\(host.name)\n" }
    return text
  }

  /// Nameservers, search list, options and the rest of the host's file, each once and in this order. A host without any nameserver gets
  /// public ones. The container shares the host's network, so a resolver on the loopback device is one for it too.
  package static func resolverConfiguration(from host: String) -> String {
    var servers: [Substring] = [], search: [Substring] = [], options: [Substring] = [], other: [Substring] = []
    for line in host.split(whereSeparator: \.isNewline) {
      if line.first == "#" || line.first == ";" { continue }
      let fields = line.split(whereSeparator: \.isWhitespace)
      switch fields.first {
      case nil: continue
      case "nameserver": if fields.count > 1, isAddress(String(fields[1])) { servers.append(fields[1]) }
      case "domain", "search": if fields.count > 1 { search = Array(fields.dropFirst()) }
      case "options": options += fields.dropFirst()
      default: other.append(line)
      }
    }
    if servers.isEmpty { servers = ["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"] }
    var text = servers.map { "nameserver \($0)\n" }.joined()
    if !search.isEmpty { text += "search \(search.joined(separator: " "))\n" }
    if !options.isEmpty { text += "options \(options.joined(separator: " "))\n" }
    for line in other { text += "\(line)\n" }
    return text
  }

  /// An IPv4 or IPv6 address; IPv6 may have a zone.
  static func isAddress(_ text: String) -> Bool {
    var bytes = in6_addr()
    if inet_pton(AF_INET, text, &bytes) == 1 { return true }
    let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    return (parts.count == 1 || !parts[1].isEmpty) && inet_pton(AF_INET6, String(parts[0]), &bytes) == 1
  }
}
