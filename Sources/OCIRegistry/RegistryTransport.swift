package import AsyncHTTPClient
internal import NIOCore
package import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// One request as it goes on the wire. The body is made anew for every try, since a try may have consumed it.
package struct RegistryRequest: Sendable {
  package var method: HTTPMethod
  package var url: RegistryURL
  package var headers: HTTPHeaders
  package var body: (@Sendable () async throws -> HTTPClientRequest.Body)?

  package init(_ method: HTTPMethod, _ url: RegistryURL, headers: HTTPHeaders = [:], body: (@Sendable () async throws -> HTTPClientRequest.Body)? = nil) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
  }
}

/// A response's head, with the body still to be read. Whoever holds it reads or drains the body, else the connection cannot be used again.
package struct RegistryResponse: Sendable {
  package var status: Int
  package var headers: HTTPHeaders
  package var body: HTTPClientResponse.Body
  /// Where it came from, after redirects.
  package var url: RegistryURL
  /// What Content-Length says of the body that follows; nil when it does not.
  package var announcedLength: Int64?

  /// Reads up to `limit` bytes; nil when there are more. The rest is not read: the connection is given up.
  package func collect(limit: Int) async throws -> [UInt8]? {
    // What announces more than may be is not waited for. (The answer to a HEAD announces what it does not send.)
    if let length = announcedLength, length > Int64(limit) { return nil }
    var out = [UInt8]()
    for try await buffer in body {
      guard out.count + buffer.readableBytes <= limit else { return nil }
      out.append(contentsOf: buffer.readableBytesView)
    }
    return out
  }
  /// Reads what is short enough to be worth a kept connection.
  package func drain() async { _ = try? await collect(limit: RegistryErrorBody.limit) }
}

/// Why no response came.
package struct TransportFailure: Error, CustomStringConvertible {
  package enum Kind: Hashable, Sendable {
    case refused, unknownHost, timeout, broken, garbled, tls, shutDown, other
    /// Whether the same request may work a moment later.
    package var isTransient: Bool { self == .timeout || self == .broken }
  }
  package var kind: Kind
  package var description: String
}

/// The HTTP clients of a `RegistryClient`: one a proxy, made when first needed, on one small event-loop group that all share.
final class RegistryTransport: Sendable {
  /// Where a client's connections go.
  private enum Way: Hashable {
    case direct
    case tunnel(ProxyEnvironment.Proxy)
    /// Plain HTTP, which a proxy forwards.
    case forwarded
  }
  private struct State {
    var clients: [Way: HTTPClient] = [:]
    var isShutDown = false
  }
  private let state = Mutex(State())
  private let configuration: RegistryConfiguration
  private let proxies: ProxyEnvironment
  /// One for the process, never shut down: a name that is still being looked up when its client goes answers to its loop later.
  // One loop moves more than a gigabyte a second; hashing and writing happen elsewhere. A second one is for TLS on larger machines.
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount >= 4 ? 2 : 1)

  init(_ configuration: RegistryConfiguration) {
    self.configuration = configuration
    proxies = ProxyEnvironment(configuration.environment, configured: configuration.proxies)
  }

  private func client(_ way: Way) throws -> HTTPClient {
    try state.withLock { state in
      if state.isShutDown { throw TransportFailure(kind: .shutDown, description: "the registry client has been shut down") }
      if let client = state.clients[way] { return client }
      var settings = HTTPClient.Configuration()
      settings.redirectConfiguration = .disallow
      settings.timeout = .init(
        connect: .milliseconds(Int64(configuration.connectTimeoutSeconds * 1000)), read: .milliseconds(Int64(configuration.idleTimeoutSeconds * 1000)),
        write: .milliseconds(Int64(configuration.idleTimeoutSeconds * 1000)))
      settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.maximumTransfersPerHost + configuration.maximumRequestsPerHost
      // Failures to connect are this module's to judge and to retry.
      settings.connectionPool.retryConnectionEstablishment = false
      switch way {
      case .direct: break
      case .tunnel(let proxy):
        let authorization = proxy.userInfo.map { HTTPClient.Authorization.basic(credentials: Base64.encode(PercentEncoding.decode($0).utf8)) }
        settings.proxy = proxy.kind == .socks5 ? .socksServer(host: proxy.host, port: proxy.port) : .server(host: proxy.host, port: proxy.port, authorization: authorization)
      case .forwarded: settings.http1_1ConnectionDebugInitializer = ForwardedRequestForm.install
      }
      let client = HTTPClient(eventLoopGroupProvider: .shared(RegistryTransport.group), configuration: settings)
      state.clients[way] = client
      return client
    }
  }

  /// Sends once, follows nothing. Throws `TransportFailure`, or `CancellationError` when the task was cancelled.
  func send(_ request: RegistryRequest, tls: TLSConfiguration?) async throws -> RegistryResponse {
    let proxy = proxies.proxy(for: request.url)
    if let proxy, case .unusable(let why) = proxy.kind { throw TransportFailure(kind: .other, description: "the proxy \(proxy.host):\(proxy.port): \(why)") }
    var wire = HTTPClientRequest(url: request.url.description)
    var way = proxy.map(Way.tunnel) ?? .direct
    wire.headers = request.headers
    if let proxy, proxy.kind == .http, request.url.scheme == .http {
      way = .forwarded
      wire.url = proxy.address + request.url.path + (request.url.query.map { "?" + $0 } ?? "")
      wire.headers.replaceOrAdd(name: "Host", value: request.url.authority)
      if let authorization = proxy.authorization { wire.headers.replaceOrAdd(name: "Proxy-Authorization", value: authorization) }
    }
    wire.method = request.method
    wire.headers.replaceOrAdd(name: "User-Agent", value: configuration.userAgent)
    if request.url.scheme == .https { wire.tlsConfiguration = tls }
    if let body = request.body { wire.body = try await body() }
    do {
      let response = try await client(way).execute(wire, deadline: .distantFuture)
      if response.status == .proxyAuthenticationRequired, way == .forwarded { throw HTTPClientError.proxyAuthenticationRequired }
      return RegistryResponse(status: Int(response.status.code), headers: response.headers, body: response.body, url: request.url,
        announcedLength: request.method == .HEAD ? nil : response.headers.first(name: "Content-Length").flatMap { Int64($0) })
    } catch {
      throw RegistryTransport.failure(error, through: proxy)
    }
  }

  /// The same, saying which proxy it was at: only what the proxy itself did is told apart from what came of the registry behind it.
  private static func failure(_ error: any Error, through proxy: ProxyEnvironment.Proxy?) -> any Error {
    let error = failure(error)
    guard let proxy, var failure = error as? TransportFailure else { return error }
    switch failure.kind {
    case .refused, .unknownHost:
      // Of the proxy, and no other try helps.
      failure.description = "the proxy \(proxy.address): \(failure.description)"
      failure.kind = .other
    case .shutDown: break
    default: failure.description = "through the proxy \(proxy.address): \(failure.description)"
    }
    return failure
  }

  /// Makes an error of the network stack ours. Errors of a request body's source pass through as they are.
  static func failure(_ error: any Error) -> any Error {
    if error is CancellationError || Task.isCancelled { return CancellationError() }
    if error is TransportFailure || error is RegistryError { return error }
    func make(_ kind: TransportFailure.Kind, _ text: String) -> TransportFailure { TransportFailure(kind: kind, description: text) }
    switch error {
    case let error as HTTPClientError:
      switch error {
      case .cancelled: return CancellationError()
      case .connectTimeout: return make(.timeout, "no connection in time")
      case .tlsHandshakeTimeout: return make(.timeout, "the TLS handshake did not end in time")
      case .readTimeout: return make(.timeout, "no answer in time")
      case .writeTimeout: return make(.timeout, "it took no bytes for too long")
      case .deadlineExceeded, .getConnectionFromPoolTimeout: return make(.timeout, "no connection in time")
      case .remoteConnectionClosed, .uncleanShutdown, .requestStreamCancelled: return make(.broken, "the connection was closed")
      case .alreadyShutdown: return make(.shutDown, "the registry client has been shut down")
      case .proxyAuthenticationRequired: return make(.other, "the proxy wants other credentials (http://user:password@host:port in HTTPS_PROXY or HTTP_PROXY)")
      case .invalidProxyResponse: return make(.other, "it refused the connection")
      default: return make(.other, error.shortDescription)
      }
    case let error as NIOConnectionError:
      if error.dnsAError != nil || error.dnsAAAAError != nil, error.connectionErrors.isEmpty { return make(.unknownHost, "no address is known for \(error.host)") }
      let kinds = error.connectionErrors.map { failure($0.error) as? TransportFailure }
      return kinds.compactMap { $0 }.first ?? make(.other, "no connection to \(error.host):\(error.port)")
    case let error as IOError: return failure(errno: error.errnoCode)
    case is ChannelError: return make(.broken, "the connection was closed")
    case let error as HTTPParserError:
      // A reply that ends early is a broken connection; one that is not HTTP is not going to be later.
      return error == .invalidEOFState ? make(.broken, "the connection was closed before the answer was complete") : make(.garbled, "it does not speak HTTP (\(error))")
    case is NIOSSLError, is BoringSSLError: return make(.tls, tlsText(error))
    default:
      let text = String(describing: error)
      return make(text.contains("ertificate") || text.contains("handshake") ? .tls : .other, text)
    }
  }

  private static func failure(errno code: Int32) -> TransportFailure {
    switch code {
    case ECONNREFUSED: TransportFailure(kind: .refused, description: "connection refused")
    case ETIMEDOUT: TransportFailure(kind: .timeout, description: "no connection in time")
    case ECONNRESET, EPIPE, ECONNABORTED, ENOTCONN: TransportFailure(kind: .broken, description: "the connection was reset")
    case ENETUNREACH, EHOSTUNREACH: TransportFailure(kind: .other, description: "no route to the host")
    default: TransportFailure(kind: .other, description: String(cString: strerror(code)))
    }
  }

  private static func tlsText(_ error: any Error) -> String {
    let text = String(describing: error)
    if text.contains("CERTIFICATE_VERIFY_FAILED") || text.contains("unableToValidateCertificate") { return "its certificate is not signed by an authority this machine trusts" }
    if text.contains("WRONG_VERSION_NUMBER") { return "it does not speak TLS on this port" }
    return "TLS failed: \(text)"
  }

  /// Closes all connections; requests under way fail. Can be called twice.
  func shutdown() async {
    let clients = state.withLock { state -> [HTTPClient]? in
      guard !state.isShutDown else { return nil }
      state.isShutDown = true
      defer { state.clients = [:] }
      return Array(state.clients.values)
    }
    guard let clients else { return }
    for client in clients { try? await client.shutdown() }
  }
}
