internal import OCIModel
internal import OCIRegistry

/// A registry client for the length of one command, which Ctrl-C ends.
enum RegistryAccess {
  static func withClient<T: Sendable>(
    _ global: GlobalOptions, insecure references: [Reference] = [], _ body: @Sendable @escaping (RegistryClient) async throws -> T
  ) async throws -> T {
    let configuration = RegistryConfiguration(insecureHosts: Set(global.insecureRegistries + references.map(\.domain)))
    return try await Interruption.guarding { _ in
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
}
