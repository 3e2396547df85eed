internal import AsyncHTTPClient
internal import NIOHTTP1
internal import NIOSSL
internal import OCIModel

/// Asks a registry whether it takes a credential: its base address, by whatever it challenges with. One try; nothing is kept of it.
package struct RegistryLogin: Sendable {
  /// What the registry said.
  package enum Outcome: Hashable, Sendable {
    /// It takes the credential as it is, or asks for none.
    case accepted
    /// Its token server gave this to be kept in place of the password.
    case identityToken(String)
  }

  let domain: String
  let configuration: RegistryConfiguration
  let transport: RegistryTransport
  let hosts: RegistryHosts

  /// Throws `RegistryError`, with the registry's or its token server's own words.
  func run(_ credential: RegistryCredential) async throws -> Outcome {
    let (endpoint, _) = try await hosts.endpoint(for: domain)
    let first = try await ask(endpoint, nil)
    if first.status == 200 { return .accepted }
    guard first.status == 401 else { throw refusal(first, endpoint.base) }
    guard let challenge = AuthChallenge.preferred(AuthChallenge.parse(first.headers["WWW-Authenticate"])) else {
      throw RegistryError(.invalidResponse, "cannot log in to \(domain): it wants a login, but none of a kind that is known", host: endpoint.base.authority)
    }
    switch (challenge.scheme, credential) {
    case (.basic, .password(let user, let password)):
      return try await confirm(endpoint, "Basic " + Base64.encode("\(user):\(password)".utf8), .accepted)
    case (_, .registryToken(let token)): return try await confirm(endpoint, "Bearer " + token, .accepted)
    case (.basic, _): throw RegistryError(.unauthorized, "cannot log in to \(domain): it wants a user and a password", host: endpoint.base.authority)
    default:
      let answer = try await token(challenge, credential, endpoint)
      return try await confirm(endpoint, "Bearer " + answer.token, answer.refreshToken.map { .identityToken($0) } ?? .accepted)
    }
  }

  private typealias Answer = (status: Int, headers: HTTPHeaders, body: [UInt8], url: RegistryURL)

  private func ask(_ endpoint: RegistryEndpoint, _ authorization: String?) async throws -> Answer {
    var request = RegistryRequest(.GET, endpoint.base)
    request.url.path = "/v2/"
    if let authorization { request.headers.add(name: "Authorization", value: authorization) }
    return try await send(request, endpoint.tls)
  }

  private func send(_ request: RegistryRequest, _ tls: TLSConfiguration?) async throws -> Answer {
    let method = request.method.rawValue, url = request.url
    do {
      let response = try await transport.send(request, tls: tls)
      guard let body = try await response.collect(limit: RegistryAuthorizer.tokenLimit) else {
        throw RegistryError(.invalidResponse, "cannot log in to \(domain): \(url.authority) answered with more than \(RegistryAuthorizer.tokenLimit) bytes", host: url.authority)
      }
      return (response.status, response.headers, body, url)
    } catch {
      guard let failure = RegistryTransport.failure(error) as? TransportFailure else { throw RegistryTransport.failure(error) }
      throw RegistryConnection.error(failure, try operation, host: url.authority, request: "\(method) \(url.withoutQuery)", attempts: 1)
    }
  }

  private var operation: RegistryOperation {
    get throws { RegistryOperation("log in to", domain, in: try Reference(parsing: (LoopbackHosts.contains(domain) || domain.contains(".") || domain.contains(":") ? domain + "/" : "") + "login")) }
  }

  private func confirm(_ endpoint: RegistryEndpoint, _ authorization: String, _ outcome: Outcome) async throws -> Outcome {
    let answer = try await ask(endpoint, authorization)
    guard answer.status == 200 else { throw refusal(answer, answer.url) }
    return outcome
  }

  private func refusal(_ answer: Answer, _ url: RegistryURL) -> RegistryError {
    guard let operation = try? operation else { return RegistryError(.refused, "cannot log in to \(domain)", host: url.authority, status: answer.status) }
    var error = RegistryError(
      operation, status: answer.status, host: answer.url.authority, request: "GET \(answer.url.withoutQuery)", body: answer.body, contentType: answer.headers.first(name: "Content-Type") ?? "",
      retryAfter: nil, rateLimit: nil)
    error.repository = ""
    error.advice = [.unauthorized, .denied].contains(error.code) ? "Check the user and the password; some registries want a token in its place." : ""
    return error
  }

  /// As docker's client asks, so that servers that give identity tokens give one (distribution, "Token Authentication Specification", `offline_token`).
  private func token(_ challenge: AuthChallenge, _ credential: RegistryCredential, _ endpoint: RegistryEndpoint) async throws -> (token: String, refreshToken: String?) {
    guard let realm = RegistryURL(challenge.parameters["realm"] ?? "") else {
      throw RegistryError(.invalidResponse, "cannot log in to \(domain): what it names as its token server is not an address", host: endpoint.base.authority)
    }
    guard realm.scheme == .https || hosts.allowsPlainHTTP(to: realm, from: endpoint) else {
      throw RegistryError(.invalidResponse, "cannot log in to \(domain): it names a token server without TLS (\(realm.withoutQuery)); credentials are not sent there", host: domain)
    }
    var request = RegistryAuthorizer.tokenRequest(realm, challenge.parameters["service"] ?? "", RegistryScopes(challenge: challenge.parameters["scope"] ?? ""), credential)
    if request.method == .GET { request.url = request.url.adding([(name: "offline_token", value: "true"), (name: "client_id", value: "manifold")]) }
    let answer = try await send(request, try await hosts.settings(for: realm, of: domain))
    guard (200..<300).contains(answer.status) else { throw refusal(answer, realm) }
    let token = try TokenAnswer(parsing: answer.body, domain: domain, server: realm.authority).token
    return (token, (try? JSONValue(parsing: answer.body))?["refresh_token"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 })
  }
}
