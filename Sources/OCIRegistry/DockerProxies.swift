internal import OCIModel

/// The `proxies` of Docker's `config.json`, which its clients hand to every build as build arguments. Pure.
package enum DockerProxies {
  private static let names = [
    ("httpProxy", "HTTP_PROXY"), ("httpsProxy", "HTTPS_PROXY"), ("noProxy", "NO_PROXY"), ("ftpProxy", "FTP_PROXY"), ("allProxy", "ALL_PROXY"),
  ]

  /// By the names of the variables, in upper case: the entry of the engine at `daemonHost` (`unix:///var/run/docker.sock`) where there is one, else
  /// `default`. Empty for a document that cannot be read: whoever needs credentials of it says so.
  package static func variables(in configuration: [UInt8], daemonHost: String) -> [String: String] {
    guard let proxies = try? JSONValue(parsing: configuration)["proxies"], let chosen = proxies[daemonHost] ?? proxies["default"] else { return [:] }
    var out: [String: String] = [:]
    for (member, variable) in names {
      if let value = chosen[member]?.stringValue, !value.isEmpty { out[variable] = value }
    }
    return out
  }

  /// Where docker's client would look for its engine, as its configuration names it.
  package static func daemonHost(_ environment: [String: String]) -> String {
    if let host = environment["DOCKER_HOST"], !host.isEmpty { return host }
    return "unix:///var/run/docker.sock"
  }
}
