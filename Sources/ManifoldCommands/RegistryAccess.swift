internal import BuildProgress
internal import OCIModel
internal import OCIRegistry

/// A registry client for the length of one command.
enum RegistryAccess {
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
    var configuration = RegistryConfiguration(insecureHosts: Set(global.insecureRegistries + references.map(\.domain)))
    configuration.onRetry = { Terminal.error("\(TerminalText.singleLine($0.description))\n") }
    let client = RegistryClient(configuration, credentials: DockerConfigCredentials())
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
