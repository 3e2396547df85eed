internal import AsyncHTTPClient
internal import HostOS
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
package import OCIModel

/// What an engine says of itself.
package struct DockerFacts: Sendable, Hashable {
  package var version: String
  package var apiVersion: String
  /// What it runs natively.
  package var platform: Platform
  /// Whether its image store is containerd's, which keeps images of several platforms and takes OCI archives.
  package var keepsIndexes: Bool
  package init(version: String, apiVersion: String, platform: Platform, keepsIndexes: Bool) {
    (self.version, self.apiVersion, self.platform, self.keepsIndexes) = (version, apiVersion, platform, keepsIndexes)
  }
}

/// One line of what an engine tells while it does something.
package struct DockerMessage: Sendable, Hashable {
  package var text: String
  /// A part's name (a layer's), when the line is about one; then `current` and `total` are bytes.
  package var id = ""
  package var current: Int64 = 0
  package var total: Int64 = 0
}

/// A connection to a Docker engine, by its HTTP API. `shutdown` ends it.
package final class DockerClient: Sendable {
  package let endpoint: DockerEndpoint
  private let client: HTTPClient
  private let tls: TLSConfiguration?
  /// One for the process, never shut down.
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  /// Of a document.
  private static let longestAnswer = 4 << 20

  /// Throws `DockerError.configuration` for certificates that cannot be used. Reads files: blocks.
  package init(_ endpoint: DockerEndpoint) throws {
    self.endpoint = endpoint
    var settings = HTTPClient.Configuration()
    settings.redirectConfiguration = .disallow
    settings.timeout = .init(connect: .seconds(10))
    settings.connectionPool.retryConnectionEstablishment = false
    tls = try endpoint.tls.map { try Self.configuration($0) }
    client = HTTPClient(eventLoopGroupProvider: .shared(Self.group), configuration: settings)
  }

  private static func configuration(_ tls: DockerEndpoint.TLS) throws -> TLSConfiguration {
    do {
      var out = TLSConfiguration.makeClientConfiguration()
      if !tls.isVerified { out.certificateVerification = .none }
      if !tls.authority.isEmpty { out.trustRoots = .file(tls.authority) }
      if !tls.certificate.isEmpty { out.certificateChain = try NIOSSLCertificate.fromPEMFile(tls.certificate).map { .certificate($0) } }
      if !tls.key.isEmpty { out.privateKey = .privateKey(try NIOSSLPrivateKey(file: tls.key, format: .pem)) }
      return out
    } catch { throw DockerError(.configuration, "the certificates for the Docker engine cannot be read", cause: error) }
  }

  package func shutdown() async { try? await client.shutdown() }

  // MARK: - Questions

  /// What it is. Throws `unreachable` within seconds when nobody answers.
  package func facts() async throws -> DockerFacts {
    let version = try await document("/version"), info = try await document("/info")
    guard let os = version["Os"]?.stringValue, let architecture = version["Arch"]?.stringValue, let platform = try? Platform(parsing: "\(os)/\(architecture)") else {
      throw DockerError(.invalidResponse, "what answers at \(endpoint.text) does not say for what platform it is: it seems to be no Docker engine")
    }
    let status = info["DriverStatus"]?.arrayValue ?? []
    let keepsIndexes = status.contains { pair in
      guard let pair = pair.arrayValue, pair.count == 2 else { return false }
      return pair[0] == .string("driver-type") && pair[1] == .string("io.containerd.snapshotter.v1")
    }
    return DockerFacts(
      version: version["Version"]?.stringValue ?? "", apiVersion: version["ApiVersion"]?.stringValue ?? "", platform: platform.normalized, keepsIndexes: keepsIndexes)
  }

  private func document(_ path: String) async throws -> JSONValue {
    let response = try await send(.GET, path, deadline: .now() + .seconds(20))
    let bytes = try await read(response)
    do { return try JSONValue(parsing: bytes) } catch { throw DockerError(.invalidResponse, "what answers at \(endpoint.text) is no Docker engine", cause: error) }
  }

  // MARK: - Loading images

  /// Sends the archive that comes out of the descriptor, an image as `docker load` takes it. When its first byte is there `body` is called, and what it is given sends it and
  /// tells what the engine says meanwhile. At the end the descriptor is closed. Answers false when no byte came: then nothing is done.
  package func load(
    from descriptor: Int32, _ body: (_ send: (_ told: @escaping @Sendable (DockerMessage) -> Void) async throws -> Void) async throws -> Void
  ) async throws -> Bool {
    let channel = try await NIOPipeBootstrap(group: Self.group).takingOwnershipOfDescriptor(input: descriptor) { channel in
      channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel<ByteBuffer, Never>(wrappingChannelSynchronously: channel) }
    }
    return try await channel.executeThenClose { inbound in
      let rest = Upload(inbound.makeAsyncIterator())
      guard try await rest.waitForFirst() else { return false }
      try await body { told in
        let response = try await self.send(.POST, "/images/load?quiet=0", body: .stream(rest, length: .unknown))
        guard response.status == .ok else { throw await self.refusal(response) }
        try await self.follow(response, told)
      }
      return true
    }
  }

  /// Lines of JSON until the answer ends; one with an error is the end of it.
  private func follow(_ response: HTTPClientResponse, _ told: @Sendable (DockerMessage) -> Void) async throws {
    var rest: [UInt8] = []
    do {
      for try await part in response.body {
        rest.append(contentsOf: part.readableBytesView)
        guard rest.count <= Self.longestAnswer else { throw DockerError(.invalidResponse, "the Docker engine answers with a line of more than \(Self.longestAnswer) bytes") }
        while let end = rest.firstIndex(of: 0x0a) {
          try tell(rest[..<end], told)
          rest.removeSubrange(...end)
        }
      }
    } catch let error as DockerError { throw error } catch { throw failure(error) }
    try tell(rest[...], told)
  }

  private func tell(_ line: ArraySlice<UInt8>, _ told: @Sendable (DockerMessage) -> Void) throws {
    guard line.contains(where: { $0 != 0x20 && $0 != 0x0d }) else { return }
    guard let json = try? JSONValue(parsing: line) else { throw DockerError(.invalidResponse, "the Docker engine answers with what is not JSON: \(String(decoding: line.prefix(200), as: UTF8.self))") }
    if let error = json["error"]?.stringValue ?? json["errorDetail"]?["message"]?.stringValue { throw DockerError(.refused, "the Docker engine: \(error)") }
    var message = DockerMessage(text: Self.line(json["stream"]?.stringValue ?? json["status"]?.stringValue ?? ""), id: json["id"]?.stringValue ?? "")
    message.current = json["progressDetail"]?["current"]?.intValue ?? 0
    message.total = json["progressDetail"]?["total"]?.intValue ?? 0
    told(message)
  }

  private static func line(_ text: String) -> String {
    var text = text[...]
    while let last = text.unicodeScalars.last, last == "\n" || last == "\r" { text.unicodeScalars.removeLast() }
    return String(text)
  }

  // MARK: - Requests

  private func send(_ method: HTTPMethod, _ path: String, body: HTTPClientRequest.Body? = nil, deadline: NIODeadline = .distantFuture) async throws -> HTTPClientResponse {
    var request = HTTPClientRequest(url: url + path)
    request.method = method
    // The socket's path is no name of a host.
    if case .unix = endpoint.address { request.headers.add(name: "Host", value: "docker") }
    request.headers.add(name: "User-Agent", value: "manifold")
    if let body {
      request.headers.add(name: "Content-Type", value: "application/x-tar")
      request.body = body
    }
    if let tls { request.tlsConfiguration = tls }
    do { return try await client.execute(request, deadline: deadline) } catch { throw failure(error) }
  }

  private var url: String {
    switch endpoint.address {
    case .unix(let path): "http+unix://" + Self.escaped(path)
    case .tcp(let host, let port): "\(tls == nil ? "http" : "https")://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
  }

  private static func escaped(_ path: String) -> String {
    var out = ""
    for byte in path.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: out.unicodeScalars.append(UnicodeScalar(byte))
      default: out += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return out
  }

  private func read(_ response: HTTPClientResponse) async throws -> [UInt8] {
    guard response.status == .ok else { throw await refusal(response) }
    do { return Array(buffer: try await response.body.collect(upTo: Self.longestAnswer)) } catch { throw failure(error) }
  }

  /// The engine's own words.
  private func refusal(_ response: HTTPClientResponse) async -> DockerError {
    let bytes = (try? await response.body.collect(upTo: 64 << 10)).map { Array(buffer: $0) } ?? []
    let message = (try? JSONValue(parsing: bytes))?["message"]?.stringValue
    return DockerError(.refused, "the Docker engine at \(endpoint.text) says \(response.status.code)" + (message.map { ": \($0)" } ?? ""))
  }

  private func failure(_ error: any Error) -> any Error {
    if error is CancellationError || Task.isCancelled || (error as? HTTPClientError) == .cancelled { return CancellationError() }
    if (error as? HTTPClientError) == .remoteConnectionClosed {
      return DockerError(.refused, "the Docker engine at \(endpoint.text) ended the connection in the middle", advice: "Its log may say why.")
    }
    let errno = Self.errno(error)
    let place = "the Docker engine at \(endpoint.text) (\(endpoint.source))"
    switch errno {
    case 13, 1: return DockerError(.denied, "no permission to use \(place)", advice: "Join the group that owns the socket (usually docker), or run as root.")
    case 2, 111, 61: return DockerError(.unreachable, "nobody answers at \(place)", advice: "Start it, or say where it is with DOCKER_HOST or a Docker context.")
    default: return DockerError(.unreachable, "\(place) cannot be reached", advice: "Start it, or say where it is with DOCKER_HOST or a Docker context.", cause: error)
    }
  }

  private static func errno(_ error: any Error) -> Int32? {
    switch error {
    case let error as IOError: error.errnoCode
    case let error as NIOConnectionError: error.connectionErrors.lazy.compactMap { errno($0.error) }.first
    default: nil
    }
  }
}

/// A pipe's bytes as a request's body, of which the first are waited for beforehand.
/// @unchecked: one task waits, and then one reads.
private final class Upload: AsyncSequence, AsyncIteratorProtocol, @unchecked Sendable {
  typealias Element = ByteBuffer
  private var iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
  private var first: ByteBuffer?

  init(_ iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator) { self.iterator = iterator }

  func waitForFirst() async throws -> Bool {
    first = try await iterator.next()
    return first != nil
  }
  func makeAsyncIterator() -> Upload { self }
  func next() async throws -> ByteBuffer? {
    if let first {
      self.first = nil
      return first
    }
    return try await iterator.next()
  }
}
