/// How to prove to a registry who is asking.
public enum RegistryCredential: Hashable, Sendable {
  /// Basic authentication, at the registry or at its token server.
  case password(user: String, password: String)
  /// An OAuth 2 refresh token: exchanged for access tokens at the registry's token server.
  case identityToken(String)
  /// A bearer token sent to the registry as it is.
  case registryToken(String)
}

/// Whoever knows credentials: a configuration file, a session's client, a test.
public protocol RegistryCredentialProvider: Sendable {
  /// The credential for a registry named as in a reference (`docker.io`, `localhost:5000`); nil to go on anonymously.
  /// Asked at most once a host and client unless the credential is refused. Throws to stop the operation.
  func credential(for host: String) async throws -> RegistryCredential?
  /// Whether this provider fetches tokens from token servers itself, so that no credential is asked for there. It does not, unless it says otherwise.
  func fetchesTokens(for host: String) async throws -> Bool
  /// A token from the registry's token server; asked only where `fetchesTokens`.
  func token(for host: String, realm: String, service: String, scopes: [String]) async throws -> RegistryToken
}

extension RegistryCredentialProvider {
  public func fetchesTokens(for host: String) async throws -> Bool { false }
  public func token(for host: String, realm: String, service: String, scopes: [String]) async throws -> RegistryToken {
    throw RegistryError(.unauthorized, "no token for \(host): whoever keeps the credentials fetches none", host: host)
  }
}

/// A bearer token, and for how many seconds it is good; nil when not said (then 60).
public struct RegistryToken: Hashable, Sendable {
  public var token: String
  public var lifetime: Int64?
  public init(token: String, lifetime: Int64? = nil) { (self.token, self.lifetime) = (token, lifetime) }
}

/// No credentials for anyone.
public struct AnonymousCredentials: RegistryCredentialProvider {
  public init() {}
  public func credential(for host: String) async throws -> RegistryCredential? { nil }
}

/// Fixed credentials by host.
public struct StaticCredentials: RegistryCredentialProvider {
  private let byHost: [String: RegistryCredential]
  public init(_ byHost: [String: RegistryCredential]) { self.byHost = byHost }
  public func credential(for host: String) async throws -> RegistryCredential? { byHost[host] }
}
