internal import HostOS
internal import OCIModel
internal import OCIRegistry

/// The proxies of Docker's `config.json`, which its clients hand to every build as build arguments.
enum ProxySettings {
  private static let names = [
    ("httpProxy", "HTTP_PROXY"), ("httpsProxy", "HTTPS_PROXY"), ("noProxy", "NO_PROXY"), ("ftpProxy", "FTP_PROXY"), ("allProxy", "ALL_PROXY"),
  ]

  /// In upper and lower case; empty without a file, or with one that cannot be read: whoever needs credentials of it says so.
  static func buildArguments(_ environment: [String: String]) -> [String: String] {
    guard let text = Files.text(DockerConfigCredentials.defaultPath(environment)), let proxies = try? JSONValue(parsing: text)["proxies"]?["default"] else {
      return [:]
    }
    var out: [String: String] = [:]
    for (member, variable) in names {
      guard let value = proxies[member]?.stringValue, !value.isEmpty else { continue }
      out[variable] = value
      out[variable.lowercased()] = value
    }
    return out
  }
}
