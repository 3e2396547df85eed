internal import HostOS
internal import OCIRegistry

/// The proxies of Docker's `config.json`, which its clients hand to every build as build arguments.
enum ProxySettings {
  /// In upper and lower case; empty without a file.
  static func buildArguments(_ environment: [String: String]) -> [String: String] {
    guard let text = Files.text(DockerConfigCredentials.defaultPath(environment)) else { return [:] }
    var out: [String: String] = [:]
    for (variable, value) in DockerProxies.variables(in: Array(text.utf8), daemonHost: DockerProxies.daemonHost(environment)) {
      out[variable] = value
      out[variable.lowercased()] = value
    }
    return out
  }
}
