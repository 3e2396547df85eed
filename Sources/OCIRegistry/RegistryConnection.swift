internal import AsyncHTTPClient
internal import NIOHTTP1
internal import NIOSSL
internal import OCIModel
internal import Synchronization

/// Speaks to one registry: authorises, follows redirects, waits and tries again, and makes errors of refusals.
final class RegistryConnection: Sendable {
  /// A request as the protocol knows it, before host, authorisation and redirects.
  struct Call: Sendable {
    var method: HTTPMethod
    /// After the endpoint's base, or an absolute address given by the registry.
    var target: Target
    var headers: HTTPHeaders = [:]
    var body: (@Sendable () async throws -> HTTPClientRequest.Body)?
    var scopes: RegistryScopes
    var operation: RegistryOperation
    /// Statuses that are answers; all others become errors.
    var accepts: @Sendable (Int) -> Bool
    /// Whether sending it twice is the same as once, so that a broken connection may be answered by another try.
    var isRepeatable = true
  }
  enum Target: Sendable {
    case path(String, query: [(name: String, value: String)] = [])
    case url(RegistryURL)
  }

  /// The registry's name as in references; a mirror's own.
  let domain: String
  /// What it is a mirror of; nil for a registry itself.
  let role: MirrorRole?
  private let configuration: RegistryConfiguration
  private let transport: RegistryTransport
  private let hosts: RegistryHosts
  private let clock: RegistryClock
  private let authorizer: RegistryAuthorizer
  private let requests: ConcurrencyLimiter
  /// Whether the registry ever answered: one that did and then refuses connections is being restarted, not absent.
  private let hasAnswered = Atomic<Bool>(false)
  /// Whether it was found not to take uploads in chunks: the next blob need not find that out again.
  let refusesChunks = Atomic<Bool>(false)

  static let maximumRedirects = 10

  init(
    domain: String, role: MirrorRole? = nil, _ configuration: RegistryConfiguration, _ transport: RegistryTransport, _ hosts: RegistryHosts, credentials: any RegistryCredentialProvider,
    _ clock: RegistryClock
  ) {
    self.domain = domain
    self.role = role
    self.configuration = configuration
    self.transport = transport
    self.hosts = hosts
    self.clock = clock
    requests = ConcurrencyLimiter(configuration.maximumRequestsPerHost)
    authorizer = RegistryAuthorizer(domain: domain, provider: credentials, clock: clock) { request in
      try await RegistryConnection.askTokenServer(request, domain, configuration, transport, hosts, clock)
    }
  }

  /// A small exchange: the whole body, at most `limit` bytes of it, else an error.
  func exchange(_ call: Call, limit: Int) async throws -> (status: Int, headers: HTTPHeaders, body: [UInt8], url: RegistryURL) {
    try await requests.run {
      var attempt = 1
      while true {
        let response = try await self.open(call)
        do {
          guard let body = try await response.collect(limit: limit) else {
            throw self.error(.invalidResponse, call, "its answer is larger than \(limit) bytes", response.url)
          }
          return (response.status, response.headers, body, response.url)
        } catch {
          // The body broke off: as good as no answer.
          try await self.pause(after: RegistryTransport.failure(error), &attempt, call, response.url)
        }
      }
    }
  }

  /// Sends until there is an accepted answer, whose body the caller reads. Throws `RegistryError` or `CancellationError`.
  func open(_ call: Call) async throws -> RegistryResponse {
    let call = role?.rewritten(call) ?? call
    let (endpoint, challenges) = try await hosts.endpoint(for: domain)
    let url = try self.url(call, endpoint)
    let authorizes = url.origin == endpoint.base.origin
    if !authorizes { try checkPlainHTTP(url, call, endpoint) }
    if authorizes, !challenges.isEmpty, try await authorizer.header(for: call.scopes, call.operation) == nil {
      _ = try await authorizer.challenged(challenges, sent: nil, for: call.scopes)
    }
    var attempt = 1
    var challengesLeft = 2
    while true {
      try Task.checkCancellation()
      let header = authorizes ? try await authorizer.header(for: call.scopes, call.operation) : nil
      let response: RegistryResponse
      do {
        response = try await follow(call, from: url, endpoint, header)
      } catch {
        try await pause(after: error, &attempt, call, url)
        continue
      }
      hasAnswered.store(true, ordering: .relaxed)
      reportWarnings(response)
      if call.accepts(response.status) { return response }
      if response.status == 401, authorizes, challengesLeft > 0 {
        challengesLeft -= 1
        let challenges = AuthChallenge.parse(response.headers["WWW-Authenticate"])
        if try await authorizer.challenged(challenges, sent: header, for: call.scopes) {
          await response.drain()
          continue
        }
      }
      let refusal = await refusal(response, call)
      // A signed address that a redirect led to may have expired on the way here; the registry signs another.
      let isStale = authorizes && response.url.origin != endpoint.base.origin && [400, 401, 403].contains(response.status)
      let kind = RetryPolicy.Failure.status(refusal.code == .rateLimited ? 429 : isStale ? 503 : response.status, retryAfter: refusal.retryAfterSeconds.map { .seconds($0) })
      guard call.isRepeatable || refusal.code == .rateLimited, try await again(kind, &attempt, refusal.host, refusal.request, refusal.summary) else {
        throw await explained(refusal, response, call, attempt)
      }
    }
  }

  /// Tells of another try and waits for it; false when there is none.
  func again(_ failure: RetryPolicy.Failure, _ attempt: inout Int, _ host: String, _ request: String, _ reason: String) async throws -> Bool {
    guard case .retry(let delay) = configuration.retry.decision(afterAttempt: attempt, failure, random: clock.random()) else { return false }
    attempt += 1
    let retry = RegistryRetry(host: host, request: request, reason: reason, wait: delay, attempt: attempt, maximumAttempts: configuration.retry.maximumAttempts)
    (RegistryRetry.observer ?? configuration.onRetry)?(retry)
    try await clock.sleep(delay)
    return true
  }

  private func url(_ call: Call, _ endpoint: RegistryEndpoint) throws -> RegistryURL {
    switch call.target {
    case .url(let url): return url
    case .path(let path, let query):
      var url = endpoint.base
      url.path = path
      return url.adding(query)
    }
  }

  /// Sends, and follows redirects. Only the registry's own origin sees the authorisation.
  private func follow(_ call: Call, from start: RegistryURL, _ endpoint: RegistryEndpoint, _ authorization: String?) async throws -> RegistryResponse {
    var url = start
    var method = call.method
    for _ in 0...RegistryConnection.maximumRedirects {
      var request = RegistryRequest(method, url, headers: call.headers)
      if let body = call.body, method == call.method { request.body = body }
      let isOwn = url.origin == endpoint.base.origin
      if isOwn, let authorization { request.headers.replaceOrAdd(name: "Authorization", value: authorization) }
      let response = try await transport.send(request, tls: isOwn ? endpoint.tls : try await hosts.settings(for: url, of: domain))
      guard [301, 302, 303, 307, 308].contains(response.status), !call.accepts(response.status), let location = response.headers.first(name: "Location") else { return response }
      let isRead = method == .GET || method == .HEAD
      guard isRead || response.status == 307 || response.status == 308 else { return response }
      await response.drain()
      guard let next = url.resolving(location) else { throw error(.invalidResponse, call, "it redirects to something that is not an address", url) }
      try checkPlainHTTP(next, call, endpoint)
      if response.status == 303, method != .HEAD { method = .GET }
      url = next
    }
    throw error(.invalidResponse, call, "it redirects more than \(RegistryConnection.maximumRedirects) times", start)
  }

  private func checkPlainHTTP(_ url: RegistryURL, _ call: Call, _ endpoint: RegistryEndpoint) throws {
    guard url.scheme == .http, url.origin != endpoint.base.origin, !hosts.allowsPlainHTTP(to: url, from: endpoint) else { return }
    var refused = error(.invalidResponse, call, "it sends us to \(url.authority) without TLS", endpoint.base)
    refused.advice = "If that host is trusted and the way to it too, use --insecure-registry \(url.authority)."
    throw refused
  }

  /// Waits before the next try, or throws what ends the operation.
  private func pause(after failure: any Error, _ attempt: inout Int, _ call: Call, _ url: RegistryURL) async throws {
    guard let failure = failure as? TransportFailure else { throw failure }
    let request = "\(call.method.rawValue) \(url.withoutQuery)"
    guard call.isRepeatable, try await again(isTransient(failure) ? .connection : .permanent, &attempt, url.authority, request, failure.description) else {
      var error = RegistryConnection.error(failure, call.operation, host: url.authority, request: request, attempts: attempt)
      error.isTransient = isTransient(failure)
      throw error
    }
  }

  func isTransient(_ failure: TransportFailure) -> Bool {
    failure.kind.isTransient || ([.refused, .unknownHost, .garbled].contains(failure.kind) && hasAnswered.load(ordering: .relaxed))
  }

  static func error(_ failure: TransportFailure, _ operation: RegistryOperation, host: String, request: String, attempts: Int) -> RegistryError {
    let code: RegistryError.Code = failure.kind == .tls ? .tls : failure.kind == .shutDown ? .shutDown : .network
    let advice =
      switch failure.kind {
      case .tls: "If this registry is trusted without a known certificate, put its authority at /etc/docker/certs.d/\(host)/ca.crt, or use --insecure-registry \(host)."
      case .refused: "Is the registry running, and is its port right?"
      case .unknownHost: "Check the registry's name and this machine's network."
      default: ""
      }
    let tries = attempts > 1 ? " (tried \(attempts) times)" : ""
    return RegistryError(code, "\(operation.sentence): \(host): \(failure)\(tries)", host: host, repository: operation.repository.path, request: request, advice: advice)
  }

  func error(_ code: RegistryError.Code, _ call: Call, _ why: String, _ url: RegistryURL) -> RegistryError {
    RegistryError(
      code, "\(call.operation.sentence): \(url.authority): \(why)", host: url.authority, repository: call.operation.repository.path, request: "\(call.method.rawValue) \(url.withoutQuery)")
  }

  private func refusal(_ response: RegistryResponse, _ call: Call) async -> RegistryError {
    let body = (try? await response.collect(limit: RegistryErrorBody.limit)) ?? []
    let headers = response.headers
    return RegistryError(
      call.operation, status: response.status, host: response.url.authority, request: "\(call.method.rawValue) \(response.url.withoutQuery)", body: body,
      contentType: headers.first(name: "Content-Type") ?? "", retryAfter: headers.first(name: "Retry-After").flatMap { HTTPFields.retryAfter($0, now: clock.now()) },
      rateLimit: RegistryRateLimit(limit: headers.first(name: "RateLimit-Limit"), remaining: headers.first(name: "RateLimit-Remaining"), source: headers.first(name: "Docker-RateLimit-Source")))
  }

  /// A refusal that ends the operation, with all that can be said of it.
  private func explained(_ refusal: RegistryError, _ response: RegistryResponse, _ call: Call, _ attempts: Int) async -> RegistryError {
    var error = refusal
    if attempts > 1 { error.message += " (tried \(attempts) times)" }
    if call.method == .HEAD, let (body, type) = await explanation(call, response.url) {
      error.details = RegistryErrorBody.details(body, contentType: type)
    }
    if response.status == 401 || response.status == 403 {
      if let failure = authorizer.credentialFailure { error.cause = failure }
      if response.status == 401, authorizer.hasCredential {
        error.advice = "The credentials stored for \(domain) were refused. " + error.advice
      }
    }
    return error
  }

  /// The answer to a HEAD has no body; the same question by GET tells why.
  private func explanation(_ call: Call, _ url: RegistryURL) async -> ([UInt8], String)? {
    guard let (endpoint, _) = try? await hosts.endpoint(for: domain), url.origin == endpoint.base.origin else { return nil }
    var request = RegistryRequest(.GET, url, headers: call.headers)
    if let header = try? await authorizer.header(for: call.scopes, call.operation) { request.headers.replaceOrAdd(name: "Authorization", value: header) }
    guard let response = try? await transport.send(request, tls: endpoint.tls) else { return nil }
    guard !(200..<300).contains(response.status), let body = try? await response.collect(limit: RegistryErrorBody.limit) else { return nil }
    return (body, response.headers.first(name: "Content-Type") ?? "")
  }

  private func reportWarnings(_ response: RegistryResponse) {
    guard let tell = configuration.onWarning else { return }
    for value in response.headers["Warning"].prefix(8) {
      // Only `299 - "text"` is defined; anything else is ignored, as the specification says.
      guard value.hasPrefix("299 - \""), value.hasSuffix("\""), value.utf8.count > 8 else { continue }
      tell(response.url.authority, RegistryErrorBody.clean(String(value.dropFirst(7).dropLast()), limit: 400))
    }
  }

  private static func askTokenServer(
    _ request: RegistryRequest, _ domain: String, _ configuration: RegistryConfiguration, _ transport: RegistryTransport, _ hosts: RegistryHosts, _ clock: RegistryClock
  ) async throws -> (status: Int, headers: HTTPHeaders, body: [UInt8]) {
    let tls = try await hosts.settings(for: request.url, of: domain)
    if request.url.scheme == .http {
      let (endpoint, _) = try await hosts.endpoint(for: domain)
      guard hosts.allowsPlainHTTP(to: request.url, from: endpoint) else {
        throw RegistryError(.invalidResponse, "\(domain) names a token server without TLS (\(request.url.withoutQuery)); credentials are not sent there", host: domain)
      }
    }
    var attempt = 1
    while true {
      let failure: RetryPolicy.Failure
      var last: (Int, HTTPHeaders, [UInt8])?
      var broken = TransportFailure(kind: .other, description: "")
      do {
        let response = try await transport.send(request, tls: tls)
        guard let body = try await response.collect(limit: RegistryAuthorizer.tokenLimit) else {
          throw RegistryError(.invalidResponse, "the token server \(request.url.authority) of \(domain) answered with more than \(RegistryAuthorizer.tokenLimit) bytes", host: request.url.authority)
        }
        last = (response.status, response.headers, body)
        failure = .status(response.status, retryAfter: response.headers.first(name: "Retry-After").flatMap { HTTPFields.retryAfter($0, now: clock.now()) })
      } catch {
        guard let transportFailure = RegistryTransport.failure(error) as? TransportFailure else { throw RegistryTransport.failure(error) }
        broken = transportFailure
        failure = broken.kind.isTransient ? .connection : .permanent
      }
      if case .retry(let delay) = configuration.retry.decision(afterAttempt: attempt, failure, random: clock.random()) {
        attempt += 1
        let reason = last.map { RegistryError.words($0.0, RegistryErrorBody.details($0.2, contentType: $0.1.first(name: "Content-Type") ?? "")) } ?? broken.description
        let told = RegistryRetry(
          host: request.url.authority, request: "\(request.method.rawValue) \(request.url.withoutQuery)", reason: reason, wait: delay, attempt: attempt,
          maximumAttempts: configuration.retry.maximumAttempts)
        (RegistryRetry.observer ?? configuration.onRetry)?(told)
        try await clock.sleep(delay)
        continue
      }
      if let last { return (last.0, last.1, last.2) }
      let code: RegistryError.Code = broken.kind == .tls ? .tls : broken.kind == .shutDown ? .shutDown : .network
      throw RegistryError(
        code, "cannot get a token for \(domain): \(request.url.authority): \(broken)", host: request.url.authority, request: "\(request.method.rawValue) \(request.url.withoutQuery)")
    }
  }
}
