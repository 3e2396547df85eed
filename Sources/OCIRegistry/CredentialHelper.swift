internal import HostOS
internal import OCIModel

/// A `docker-credential-<name>` program (docker-credential-helpers' protocol): `get`, `store` and `erase`, with their words on standard input.
package struct CredentialHelper: Sendable {
  package let name: String
  private let environment: [String: String]

  /// One that gives no answer in this time is ended.
  static let timeout = Duration.seconds(60)

  package init(_ name: String, environment: [String: String]) {
    self.name = name
    self.environment = environment
  }

  var program: String { "docker-credential-" + name }

  /// What docker takes by itself on Linux where nothing is configured: `pass` where that is installed, else the desktop's secret service; nil without
  /// such a helper. Blocks.
  package static func detected(_ environment: [String: String]) -> String? {
    let name = Processes.executablePath("pass", path: environment["PATH"]) == nil ? "secretservice" : "pass"
    return Processes.executablePath("docker-credential-" + name, path: environment["PATH"]) == nil ? nil : name
  }

  /// nil when it knows nothing of the server.
  package func get(_ server: String) async throws -> RegistryCredential? { try await account(server)?.credential }

  /// With the user's name, which an identity token has lost.
  package func account(_ server: String) async throws -> (user: String, credential: RegistryCredential)? {
    guard let answer = try await run("get", Array(server.utf8), server) else { return nil }
    do {
      guard let credential = try DockerConfig.helperAnswer(answer) else { return nil }
      if case .password(let user, _) = credential { return (user, credential) }
      return ("", credential)
    } catch { throw RegistryError(.credentials, "\(program) gave an answer that cannot be read", cause: error) }
  }

  package func store(_ server: String, _ entry: DockerConfigEditor.Entry) async throws {
    let (user, secret) =
      switch entry {
      case .password(let user, let password): (user, password)
      case .identityToken(_, let token): ("<token>", token)
      case .kept: ("", "")
      }
    let message = JSONObject([("ServerURL", .string(server)), ("Username", .string(user)), ("Secret", .string(secret))])
    _ = try await run("store", JSONValue.object(message).encoded(), server)
  }

  package func erase(_ server: String) async throws { _ = try await run("erase", Array(server.utf8), server) }

  /// Standard output; nil when it says that it has nothing.
  private func run(_ verb: String, _ input: [UInt8], _ server: String) async throws -> [UInt8]? {
    guard !name.contains("/") else { throw RegistryError(.credentials, "\"\(name)\" is not the name of a credential helper") }
    let (program, environment) = (program, environment)
    let result: ProcessOutput
    do {
      result = try await withThrowingTaskGroup(of: ProcessOutput?.self) { group in
        group.addTask {
          guard let path = try await Blocking.run({ Processes.executablePath(program, path: environment["PATH"]) }) else { throw RegistryError(.credentials, "it is not installed") }
          return try await Processes.run(path, [verb], environment: environment, input: input)
        }
        group.addTask {
          try await Task.sleep(for: CredentialHelper.timeout)
          return nil
        }
        defer { group.cancelAll() }
        guard let first = try await group.next(), let answer = first else { throw RegistryError(.credentials, "it did not answer in 60 s") }
        return answer
      }
    } catch let error as CancellationError {
      throw error
    } catch {
      throw RegistryError(
        .credentials, "cannot run the credential helper \(program) that Docker's configuration names for \(server)", advice: "Install it, or take it out of that file.", cause: error)
    }
    if result.succeeded { return result.output }
    let said = RegistryErrorBody.clean(result.output.isEmpty ? result.errorText : result.outputText, limit: 300)
    if said.contains("credentials not found") { return nil }
    throw RegistryError(.credentials, "\(program) failed for \(server): \(said.isEmpty ? "\(result.status)" : said)")
  }
}
