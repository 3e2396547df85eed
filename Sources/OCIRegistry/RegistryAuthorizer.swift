internal import AsyncHTTPClient
internal import NIOHTTP1
internal import OCIModel
internal import Synchronization

/// Proves to one registry who is asking: learns from its challenges how, then does so before being asked again.
final class RegistryAuthorizer: Sendable {
  private enum Mode: Hashable, Sendable {
    case unknown
    case fixed(String)
    case bearer(TokenCache.Key)
  }
  private enum Credential: Sendable {
    case notAsked
    case known(RegistryCredential?)
  }
  private struct State: Sendable {
    var mode = Mode.unknown
    var credential = Credential.notAsked
    /// Why the provider gave nothing; told when the registry then refuses.
    var credentialFailure: (any Error)?
    /// Whether the provider fetches tokens itself, once it was asked.
    var delegates: Bool?
    var tokens = TokenCache()
    /// What the registry's challenges asked for beyond what was thought to be enough.
    var additions: [RegistryScopes: RegistryScopes] = [:]
  }
  private struct FetchKey: Hashable, Sendable {
    var key: TokenCache.Key
    var scopes: RegistryScopes
  }

  private let domain: String
  private let provider: any RegistryCredentialProvider
  private let clock: RegistryClock
  /// Sends to the token server; retries are its business.
  private let send: @Sendable (RegistryRequest) async throws -> (status: Int, headers: HTTPHeaders, body: [UInt8])
  private let state = Mutex(State())
  private let fetches = SharedWork<FetchKey, String, Never>()

  static let tokenLimit = 1 << 20

  init(
    domain: String, provider: any RegistryCredentialProvider, clock: RegistryClock,
    send: @escaping @Sendable (RegistryRequest) async throws -> (status: Int, headers: HTTPHeaders, body: [UInt8])
  ) {
    self.domain = domain
    self.provider = provider
    self.clock = clock
    self.send = send
  }

  /// The `Authorization` field for a request that needs `scopes`; nil while nothing is known to be needed.
  func header(for scopes: RegistryScopes, _ operation: RegistryOperation) async throws -> String? {
    let now = clock.now()
    let (mode, wanted, cached) = state.withLock { state -> (Mode, RegistryScopes, String?) in
      let wanted = state.additions[scopes].map { scopes.union($0) } ?? scopes
      guard case .bearer(let key) = state.mode else { return (state.mode, wanted, nil) }
      return (state.mode, wanted, state.tokens.token(key, wanted, now: now))
    }
    switch mode {
    case .unknown: return nil
    case .fixed(let header): return header
    case .bearer(let key):
      if let cached { return "Bearer " + cached }
      return "Bearer " + (try await token(key, wanted, operation))
    }
  }

  /// Takes in what a 401 said. True when the same request is worth sending again with a new header.
  func challenged(_ challenges: [AuthChallenge], sent: String?, for scopes: RegistryScopes) async throws -> Bool {
    guard let challenge = AuthChallenge.preferred(challenges) else { return false }
    // Whoever fetches tokens itself keeps its password, unless the registry takes nothing else.
    var credential: RegistryCredential?
    if challenge.scheme == .bearer, try await delegates() { credential = nil } else { credential = try await self.credential() }
    switch (challenge.scheme, credential) {
    case (_, .registryToken(let token)?):
      let header = "Bearer " + token
      state.withLock { $0.mode = .fixed(header) }
      return sent != header
    case (.basic, .password(let user, let password)?):
      let header = "Basic " + Base64.encode("\(user):\(password)".utf8)
      state.withLock { $0.mode = .fixed(header) }
      return sent != header
    case (.bearer, _):
      let key = TokenCache.Key(realm: challenge.parameters["realm"] ?? "", service: challenge.parameters["service"] ?? "")
      let asked = RegistryScopes(challenge: challenge.parameters["scope"] ?? "")
      state.withLock { state in
        state.mode = .bearer(key)
        if !scopes.covers(asked) { state.additions[scopes] = (state.additions[scopes] ?? RegistryScopes()).union(asked) }
        if let sent, sent.hasPrefix("Bearer ") { state.tokens.remove(String(sent.dropFirst(7))) }
      }
      return true
    default: return false
    }
  }

  /// Why no credential could be had, for the error that follows.
  var credentialFailure: (any Error)? { state.withLock { $0.credentialFailure } }
  /// Whether a credential was used at all.
  var hasCredential: Bool { state.withLock { if case .known(.some) = $0.credential { true } else { false } } }

  private func credential() async throws -> RegistryCredential? {
    if case .known(let credential) = state.withLock({ $0.credential }) { return credential }
    do {
      let credential = try await provider.credential(for: domain)
      state.withLock { $0.credential = .known(credential) }
      return credential
    } catch let error as CancellationError {
      throw error
    } catch {
      // A missing credential helper must not keep anyone from a public image.
      state.withLock { state in
        state.credential = .known(nil)
        state.credentialFailure = error
      }
      return nil
    }
  }

  /// Asked once; a provider that cannot say is asked for its credential.
  private func delegates() async throws -> Bool {
    if let known = state.withLock({ $0.delegates }) { return known }
    let answer = try await provider.fetchesTokens(for: domain)
    state.withLock { $0.delegates = answer }
    return answer
  }

  private func token(_ key: TokenCache.Key, _ scopes: RegistryScopes, _ operation: RegistryOperation) async throws -> String {
    while true {
      let outcome = try await fetches.run(FetchKey(key: key, scopes: scopes), observer: { _ in }) { _ in
        // Another task may have fetched it between the look into the cache and here.
        let now = self.clock.now()
        if let token = self.state.withLock({ $0.tokens.token(key, scopes, now: now) }) { return token }
        return try await self.fetchToken(key, scopes, operation)
      }
      switch outcome {
      case .own(let token), .joined(let token): return token
      case .joinedFailure(let error): if !(error is CancellationError) { throw error }
      }
    }
  }

  private func fetchToken(_ key: TokenCache.Key, _ scopes: RegistryScopes, _ operation: RegistryOperation) async throws -> String {
    guard let realm = RegistryURL(key.realm) else {
      throw RegistryError(.invalidResponse, "\(operation.sentence): \(domain) names \"\(key.realm.prefix(200))\" as its token server, which is not an address", host: domain)
    }
    if try await delegates() {
      let answer = try await provider.token(for: domain, realm: key.realm, service: key.service, scopes: scopes.strings)
      state.withLock { $0.tokens.insert(answer.token, key, scopes, lifetime: answer.lifetime, now: clock.now()) }
      return answer.token
    }
    let request = RegistryAuthorizer.tokenRequest(realm, key.service, scopes, try await credential())
    let (status, headers, body) = try await send(request)
    let now = clock.now()
    guard (200..<300).contains(status) else {
      var error = RegistryError(
        operation, status: status, host: realm.authority, request: "\(request.method.rawValue) \(realm.withoutQuery)", body: body, contentType: headers.first(name: "Content-Type") ?? "",
        retryAfter: headers.first(name: "Retry-After").flatMap { HTTPFields.retryAfter($0, now: now) }, rateLimit: nil)
      error.message += ": the token server of \(domain) refused"
      if let failure = credentialFailure, error.cause == nil { error.cause = failure }
      throw error
    }
    let answer = try TokenAnswer(parsing: body, domain: domain, server: realm.authority)
    state.withLock { $0.tokens.insert(answer.token, key, scopes, lifetime: answer.lifetime, now: now) }
    return answer.token
  }

  /// GET with Basic authentication (distribution, "Token Authentication Specification"), or POST with an identity token
  /// ("OAuth2 Token Authentication").
  static func tokenRequest(_ realm: RegistryURL, _ service: String, _ scopes: RegistryScopes, _ credential: RegistryCredential?) -> RegistryRequest {
    if case .identityToken(let token)? = credential {
      var fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("service", service), ("client_id", "manifold")]
      if !scopes.isEmpty { fields.append(("scope", scopes.strings.joined(separator: " "))) }
      let form = fields.map { PercentEncoding.encode($0.0) + "=" + PercentEncoding.encode($0.1) }.joined(separator: "&")
      return RegistryRequest(.POST, realm, headers: ["Content-Type": "application/x-www-form-urlencoded"]) { .bytes(Array(form.utf8)) }
    }
    var items = service.isEmpty ? [] : [(name: "service", value: service)]
    items += scopes.strings.map { (name: "scope", value: $0) }
    var request = RegistryRequest(.GET, realm.adding(items))
    if case .password(let user, let password)? = credential {
      request.url = realm.adding([(name: "account", value: user)] + items)
      request.headers.add(name: "Authorization", value: "Basic " + Base64.encode("\(user):\(password)".utf8))
    }
    return request
  }
}

/// What a token server answers.
struct TokenAnswer {
  var token: String
  /// Seconds; nil when not said.
  var lifetime: Int64?

  init(parsing body: [UInt8], domain: String, server: String) throws {
    guard let json = try? JSONValue(parsing: body), let object = json.objectValue else {
      throw RegistryError(.invalidResponse, "the token server \(server) of \(domain) did not answer with a JSON object", host: server)
    }
    let named = [object["token"], object["access_token"]].compactMap { $0?.stringValue }.first { !$0.isEmpty }
    guard let named, named.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      throw RegistryError(.invalidResponse, "the token server \(server) of \(domain) answered without a usable token", host: server)
    }
    token = named
    lifetime = object["expires_in"]?.intValue
  }
}
