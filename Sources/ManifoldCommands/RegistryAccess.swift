internal import BuildProgress
internal import BuildkitdConfig
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

/// A registry client for the length of one command.
enum RegistryAccess {
  /// As flags, configuration and environment have it; what is worth a word goes to standard error.
  static func configuration(_ global: GlobalOptions, insecure references: [Reference] = []) async throws -> RegistryConfiguration {
    var out = try await RegistryConfiguration.load(config: global.config, insecureHosts: Set(global.insecureRegistries + references.map(\.domain)))
    out.maximumRequestsPerHost = ImageAccess.requestsAtOnce
    out.onNotice = { Terminal.error("\(TerminalText.singleLine($0.description))\n") }
    out.onRetry = { Terminal.error("\(TerminalText.singleLine($0.description))\n") }
    return out
  }

  /// As `withOpenClient`; Ctrl-C ends it.
  static func withClient<T: Sendable>(
    _ global: GlobalOptions, insecure references: [Reference] = [], _ body: @Sendable @escaping (RegistryClient) async throws -> T
  ) async throws -> T {
    try await Interruption.guarding { _ in try await withOpenClient(global, insecure: references, body) }
  }

  /// Makes a client, and shuts it down however `body` ends.
  static func withOpenClient<T: Sendable>(
    _ global: GlobalOptions, insecure references: [Reference] = [], _ body: @Sendable (RegistryClient) async throws -> T
  ) async throws -> T {
    let client = RegistryClient(try await configuration(global, insecure: references), credentials: DockerConfigCredentials())
    do {
      let result = try await body(client)
      await client.shutdown()
      return result
    } catch {
      await client.shutdown()
      throw error
    }
  }
}
