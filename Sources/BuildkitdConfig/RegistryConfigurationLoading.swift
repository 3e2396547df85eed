internal import HostOS
package import OCIRegistry

extension RegistryConfiguration {
  /// What a command or an engine on this machine goes by: the flags given, the configuration file (`config`, else MANIFOLD_CONFIG, else the default place; a
  /// file that was named must be there), the environment, and Docker's proxies for what the environment does not say. Throws `ConfigError`.
  package static func load(
    config: String?, insecureHosts: Set<String> = [], environment: [String: String] = RegistryConfiguration.processEnvironment
  ) async throws -> RegistryConfiguration {
    var out = RegistryConfiguration(insecureHosts: insecureHosts, environment: environment)
    (out.registries, out.proxies) = try await Blocking.run {
      let named = config ?? environment["MANIFOLD_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
      let file = try (named ?? BuildkitdFile.defaultPath(environment)).map { try BuildkitdFile(reading: $0) } ?? BuildkitdFile()
      let docker = Files.text(DockerConfigCredentials.defaultPath(environment)).map { Array($0.utf8) } ?? []
      return (file.registries, DockerProxies.variables(in: docker, daemonHost: DockerProxies.daemonHost(environment)))
    }
    return out
  }
}
