package import NIOHTTP1
internal import NIOSSL

/// Fetches what is at an address that is no registry's (`ADD https://…`), through the same proxies and with the same trusted authorities. Whoever
/// makes one calls `shutdown()`.
package final class WebClient: Sendable {
  package struct Failure: Error, CustomStringConvertible { package var description: String }

  private let transport: RegistryTransport
  private let roots: TrustedRoots.Cache

  package init(_ configuration: RegistryConfiguration) {
    transport = RegistryTransport(configuration)
    roots = TrustedRoots.Cache(configuration.environment)
  }

  package func shutdown() async { await transport.shutdown() }

  /// Follows redirects, and hands the answer over whatever its status. A user and password in the address prove who asks, at its own origin only.
  /// Throws `Failure`, `TransportFailure` or `CancellationError`.
  package func get(_ address: String, headers: HTTPHeaders) async throws -> RegistryResponse {
    let (start, userInfo) = try WebClient.parse(address)
    var url = start
    for _ in 0...RegistryConnection.maximumRedirects {
      var request = RegistryRequest(.GET, url, headers: headers)
      if let userInfo, url.origin == start.origin { request.headers.replaceOrAdd(name: "Authorization", value: "Basic " + Base64.encode(PercentEncoding.decode(userInfo).utf8)) }
      // Who asks is told to whom it was meant for alone.
      if url.origin != start.origin { request.headers.remove(name: "Authorization") }
      let response = try await transport.send(request, tls: url.scheme == .https ? try await roots.roots().configuration : nil)
      guard [301, 302, 303, 307, 308].contains(response.status), let location = response.headers.first(name: "Location") else { return response }
      await response.drain()
      guard let next = url.resolving(location) else { throw Failure(description: "\(url.authority) redirects to something that is not an address") }
      url = next
    }
    throw Failure(description: "\(start.authority) redirects more than \(RegistryConnection.maximumRedirects) times")
  }

  /// What an address may not hold as it is, people write all the same: it is percent-encoded.
  static func parse(_ address: String) throws -> (RegistryURL, userInfo: String?) {
    var text = ""
    for byte in address.utf8 {
      if byte > 0x20, byte < 0x7f, byte != 0x5c { text.unicodeScalars.append(Unicode.Scalar(byte)) } else { text += PercentEncoding.encode(byte) }
    }
    var userInfo: String?
    if let mark = text.firstRange(of: "://") {
      let end = text[mark.upperBound...].firstIndex { "/?#".contains($0) } ?? text.endIndex
      if let at = text[mark.upperBound..<end].lastIndex(of: "@") {
        userInfo = String(text[mark.upperBound..<at])
        text.removeSubrange(mark.upperBound...at)
      }
    }
    guard let url = RegistryURL(text) else { throw Failure(description: "it is not an http or https address") }
    return (url, userInfo)
  }
}
