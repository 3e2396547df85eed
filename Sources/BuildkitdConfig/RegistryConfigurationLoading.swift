internal import HostOS
package import OCIRegistry

extension RegistryConfiguration {
  /// What a command or an engine on this machine goes by: the flags given, the configuration file (`config`, else MANIFOLD_CONFIG, else the default place; a
  /// file that was named must be there; `file` is one that was read already), the environment, and Docker's proxies for what the environment does not say. Throws `ConfigError`.
  package static func load(
    config: String?, file given: BuildkitdFile? = nil, insecureHosts: Set<String> = [], environment: [String: String] = RegistryConfiguration.processEnvironment
  ) async throws -> RegistryConfiguration {
    var out = RegistryConfiguration(insecureHosts: insecureHosts, environment: environment)
    (out.registries, out.proxies) = try await Blocking.run {
      let named = config ?? environment["MANIFOLD_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
      let file = try given ?? (named ?? BuildkitdFile.defaultPath(environment)).map { try BuildkitdFile(reading: $0) } ?? BuildkitdFile()
      let docker = Files.text(DockerConfigCredentials.defaultPath(environment)).map { Array($0.utf8) } ?? []
      return (file.registries, DockerProxies.variables(in: docker, daemonHost: DockerProxies.daemonHost(environment)))
    }
    return out
  }
}
