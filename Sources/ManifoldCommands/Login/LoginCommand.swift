internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import HostOS
internal import OCIModel
internal import OCIRegistry

/// `manifold login`: docker's, in the same file.
struct LoginCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "login", abstract: "Log in to a registry.", usage: "manifold login [options] [server]",
    discussion: """
      Examples:
        manifold login registry.example
        echo "$TOKEN" | manifold login -u me --password-stdin registry.example:5000

      Without a server it is Docker Hub. The credentials are tried, then kept by a credential helper where ~/.docker/config.json names one, else in that file.
      """)

  @OptionGroup var global: GlobalOptions
  @Option(name: [.customShort("u"), .customLong("username")], parsing: .unconditional, help: ArgumentHelp("The user's name.", valueName: "name")) var user: String?
  @Option(name: [.customShort("p"), .customLong("password")], parsing: .unconditional, help: ArgumentHelp("The password or token; - reads it from standard input.", valueName: "password")) var password: String?
  @Flag(name: .customLong("password-stdin"), help: "Read the password from standard input.") var passwordFromInput = false
  @Argument(help: ArgumentHelp("The registry: host[:port].", valueName: "server")) var server: String?

  private var readsInput: Bool { passwordFromInput || password == "-" }

  func validate() throws {
    if passwordFromInput, let password, password != "-" { throw ValidationError("conflicting options: cannot specify both --password and --password-stdin") }
    if readsInput, user == nil { throw ValidationError("the --password-stdin option requires --username to be set") }
    if let user, user.isEmpty { throw ValidationError("username is empty") }
    if let password, password.isEmpty { throw ValidationError("password is empty") }
    let host = CredentialStore.hostname(server ?? "")
    if let server, !server.isEmpty, RegistryMirror(host) == nil || host.isEmpty { throw ValidationError("\"\(server)\" is not a registry's address: host[:port]") }
  }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    var secret = password
    if readsInput {
      let piped = try await Blocking.run { try LoginPrompt.piped() }
      guard !piped.trimmed.isEmpty else { throw BuildError.usage("password is empty") }
      secret = piped
    } else if password != nil {
      Terminal.error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    }
    LoginText.warnOfVariable(facts.environment)
    let key = CredentialStore.key(server ?? ""), store = CredentialStore(environment: facts.environment)
    let login = Login(global: global, key: key, store: store)
    var usual = ""
    if user == nil, secret == nil, let stored = try await store.stored(key) {
      usual = stored.user
      if case .password(_, let password) = stored.credential, !password.isEmpty, try await login.withStored(stored.user, password) { return }
    }
    let (name, answer) = try await ask(secret, usual, key, facts)
    try await login.run(name, answer)
  }

  /// What the command line does not say.
  private func ask(_ secret: String?, _ usual: String, _ key: String, _ facts: CommandFacts) async throws -> (String, String) {
    if let user, let secret { return (user, secret) }
    guard facts.standardInputIsTerminal else {
      throw BuildError.usage("cannot perform an interactive login from a non-TTY device", suggestion: "Give -u and --password-stdin.")
    }
    let given = user
    return try await Blocking.run {
      var name = given ?? ""
      if name.isEmpty {
        if key == CredentialStore.key("") { Terminal.output(LoginText.hub) }
        name = LoginPrompt.line(usual.isEmpty ? "Username: " : "Username (\(TerminalText.singleLine(usual))): ") ?? ""
        if name.isEmpty { name = usual }
        guard !name.isEmpty else { throw BuildError.usage("username is required") }
      }
      let password = try secret ?? LoginPrompt.secret("Password: ")
      guard !password.isEmpty else { throw BuildError.usage("password is required") }
      return (name, password)
    }
  }
}

/// Tries credentials and keeps them.
struct Login: Sendable {
  let global: GlobalOptions
  let key: String
  let store: CredentialStore

  /// As references name the registry.
  private var domain: String { key == CredentialStore.key("") ? "docker.io" : key }

  func run(_ user: String, _ password: String) async throws {
    let domain = domain
    let outcome = try await RegistryAccess.withClient(global) { client in try await client.login(domain, .password(user: user, password: password)) }
    switch outcome {
    case .accepted: try await keep(.password(user: user, password: password))
    case .identityToken(let token): try await keep(.identityToken(user: user, token: token))
    }
    Terminal.output("Login Succeeded\n")
  }

  /// False when the person has to be asked again.
  func withStored(_ user: String, _ password: String) async throws -> Bool {
    Terminal.error("Authenticating with existing credentials... [Username: \(TerminalText.singleLine(user))]\n\n Info -> To login with a different account, run 'manifold logout' followed by 'manifold login'\n\n\n")
    do {
      try await run(user, password)
      return true
    } catch let error as RegistryError {
      Terminal.error(error.code == .unauthorized ? "Stored credentials invalid or expired\n" : "Login did not succeed, error: \(TerminalText.multiLine("\(error)"))\n")
      return false
    }
  }

  private func keep(_ entry: DockerConfigEditor.Entry) async throws {
    if case .file(changed: true) = try await store.store(entry, for: key), case .password = entry { Terminal.error(LoginText.unencrypted(store.path)) }
  }
}

/// `manifold logout`: docker's.
struct LogoutCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logout", abstract: "Log out from a registry.", usage: "manifold logout [server]",
    discussion: "Without a server it is Docker Hub. What a credential helper or ~/.docker/config.json keeps for the registry goes; the registry is not told.")

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The registry: host[:port].", valueName: "server")) var server: String?

  mutating func run() async throws {
    let environment = try CommandFacts.current().environment
    LoginText.warnOfVariable(environment)
    let given = server ?? "", key = CredentialStore.key(given)
    var keys = [key]
    if key != CredentialStore.key("") {
      // Old versions kept it under other names.
      for name in [given, "http://" + key, "https://" + key] where !keys.contains(name) { keys.append(name) }
    } else if given == "docker.io" { keys.append(given) }
    Terminal.output("Removing login credentials for \(TerminalText.singleLine(key))\n")
    do { try await CredentialStore(environment: environment).erase(keys) } catch let error as RegistryError {
      Terminal.error("WARNING: could not erase credentials:\n\(TerminalText.multiLine("\(error)"))\n")
    }
  }
}

/// docker's words.
enum LoginText {
  static let hub = """
    Log in with your Docker ID or email address to push and pull images from Docker Hub. If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.
    You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT grants better security and is required for organizations using SSO. \
    Learn more at https://docs.docker.com/go/access-tokens/


    """

  static func unencrypted(_ path: String) -> String {
    "\nWARNING! Your credentials are stored unencrypted in '\(TerminalText.singleLine(path))'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\n"
  }

  static func warnOfVariable(_ environment: [String: String]) {
    guard let value = environment["DOCKER_AUTH_CONFIG"], !value.isEmpty else { return }
    Terminal.error("WARNING: DOCKER_AUTH_CONFIG is set and takes precedence.\nUnset DOCKER_AUTH_CONFIG to restore the CLI auth behaviour.\n")
  }
}
