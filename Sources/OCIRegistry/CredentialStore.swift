internal import HostOS
internal import OCIModel

/// Where `login` puts credentials and `logout` finds them, by docker's rules: the server's own helper, else the default helper, else the file itself.
package struct CredentialStore: Sendable {
  package let path: String
  private let environment: [String: String]

  /// `path` is Docker's `config.json`; nil takes the environment's.
  package init(path: String? = nil, environment: [String: String]) {
    self.path = path ?? DockerConfigCredentials.defaultPath(environment)
    self.environment = environment
  }

  /// The name of a server under which docker keeps it: Docker Hub has an old one, all others are hosts.
  package static func key(_ server: String) -> String {
    server.isEmpty || server == "docker.io" || server == DockerConfig.hubKey ? DockerConfig.hubKey : hostname(server)
  }

  /// `https://host:5000/v2/` is `host:5000`.
  package static func hostname(_ server: String) -> String { DockerConfig.hostname(server) }

  /// What is stored for a server, as `login` without a user asks: the user, and the secret.
  package func stored(_ key: String) async throws -> (user: String, credential: RegistryCredential)? {
    if let helper = try await helper(key).name { return try await CredentialHelper(helper, environment: environment).account(key) }
    guard let credential = try await configuration().stored(for: key == DockerConfig.hubKey ? "docker.io" : key) else { return nil }
    if case .password(let user, _) = credential { return (user, credential) }
    return ("", credential)
  }

  /// What became of it.
  package enum Outcome: Sendable, Hashable {
    case helper(String)
    /// In plain text in the file; `changed` false when it was there already.
    case file(changed: Bool)
  }

  package func store(_ entry: DockerConfigEditor.Entry, for key: String) async throws -> Outcome {
    let (name, isNew) = try await helper(key), editor = DockerConfigEditor(path: path)
    guard let name else {
      let changed = try await Blocking.run { try editor.set(entry, for: key) }
      return .file(changed: changed)
    }
    try await CredentialHelper(name, environment: environment).store(key, entry)
    try await Blocking.run { _ = try editor.set(.kept, for: key, credentialStore: isNew ? name : nil) }
    return .helper(name)
  }

  /// Under all of the names that old versions may have used. Throws only when none of them could be erased.
  package func erase(_ keys: [String]) async throws {
    var failure: (any Error)?
    var done = 0
    for key in keys {
      do {
        if let helper = try await helper(key).name { try await CredentialHelper(helper, environment: environment).erase(key) }
        done += 1
      } catch { failure = error }
    }
    let editor = DockerConfigEditor(path: path)
    if done > 0 { try await Blocking.run { _ = try editor.remove(keys) } }
    if done == 0, let failure { throw failure }
  }

  private func configuration() async throws -> DockerConfig {
    let path = path
    return try await Blocking.run {
      guard Files.exists(path) else { return DockerConfig() }
      do { return try DockerConfig(parsing: try Files.read(path, limit: DockerConfigCredentials.fileLimit)) } catch { throw RegistryError(.credentials, "cannot read \(path)", cause: error) }
    }
  }

  /// `isNew` where docker would choose one now, and remember it.
  private func helper(_ key: String) async throws -> (name: String?, isNew: Bool) {
    let file = try await configuration(), environment = environment
    if let own = file.helpers[key] { return (own, false) }
    if !file.defaultHelper.isEmpty { return (file.defaultHelper, false) }
    guard file.isEmpty else { return (nil, false) }
    let found = await (try? Blocking.run { CredentialHelper.detected(environment) }) ?? nil
    return (found, found != nil)
  }
}
