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

  /// What is said of a step's resolver instead of what the host's file says.
  package struct Resolver: Sendable, Hashable {
    package var nameservers: [String]
    package var options: [String]
    package var searchDomains: [String]
    package init(nameservers: [String] = [], options: [String] = [], searchDomains: [String] = []) {
      (self.nameservers, self.options, self.searchDomains) = (nameservers, options, searchDomains)
    }
  }

  /// Nameservers, search list, options and the rest of the host's file, each once and in this order; `instead` replaces what it names. A host without any nameserver gets
  /// public ones. For a container that shares the host's network, a resolver on the loopback device is one too; with a network of its own (`isolated`) it is none.
  package static func resolverConfiguration(from host: String, instead: Resolver = Resolver(), isolated: Bool = false) -> String {
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
    if isolated { servers.removeAll { $0.hasPrefix("127.") || $0 == "::1" } }
    if !instead.nameservers.isEmpty { servers = instead.nameservers.map { $0[...] } }
    if !instead.searchDomains.isEmpty { search = instead.searchDomains.map { $0[...] } }
    if !instead.options.isEmpty { options = instead.options.map { $0[...] } }
    if servers.isEmpty { servers = ["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"] }
    var text = servers.map { "nameserver \($0)\n" }.joined()
    if !search.isEmpty { text += "search \(search.joined(separator: " "))\n" }
    if !options.isEmpty { text += "options \(options.joined(separator: " "))\n" }
    for line in other { text += "\(line)\n" }
    return text
  }

  /// systemd-resolved's own file, which names the servers behind its local one: for containers that do not reach that.
  package static let resolvedFile = "/run/systemd/resolve/resolv.conf"
  package static func asksResolved(_ host: String) -> Bool {
    let servers = host.split(whereSeparator: \.isNewline).map { $0.split(whereSeparator: \.isWhitespace) }.filter { $0.first == "nameserver" && $0.count > 1 }
    return servers.map { $0[1] } == ["127.0.0.53"]
  }

  /// An IPv4 or IPv6 address; IPv6 may have a zone.
  package static func isAddress(_ text: String) -> Bool {
    var bytes = in6_addr()
    if inet_pton(AF_INET, text, &bytes) == 1 { return true }
    let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    return (parts.count == 1 || !parts[1].isEmpty) && inet_pton(AF_INET6, String(parts[0]), &bytes) == 1
  }
}
