package import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import ContentStore
internal import Crypto
internal import Foundation
package import GRPCCore
internal import HostOS
internal import NIOCore
internal import OCIModel

extension SessionServer {
  /// Serves what a client offers: secrets, logins, agents, uploads and OCI layouts; `services` are those beside these (files, outputs).
  package init(id: String = SessionServer.newID(), name: String = "", sharedKey: String = "", client: any ClientServices, services: [any RegistrableRPCService] = []) {
    self.init(
      id: id, name: name, sharedKey: sharedKey,
      services: [
        OfferedSecrets(client: client), OfferedLogins(client: client, seed: SymmetricKey(size: .bits256)), OfferedAgents(client: client), OfferedUploads(client: client), OfferedLayouts(client: client),
      ] + services)
  }
}

extension RPCError {
  /// What a client's own service failed with, told to the builder.
  fileprivate init(telling error: any Error) {
    if let error = error as? RPCError {
      self = error
      return
    }
    let code: RPCError.Code =
      switch (error as? BuildError)?.code {
      case .notFound?: .notFound
      case .invalidArgument?: .invalidArgument
      case .permissionDenied?: .permissionDenied
      case .failedPrecondition?: .failedPrecondition
      case .resourceExhausted?: .resourceExhausted
      case .unimplemented?: .unimplemented
      case .unavailable?: .unavailable
      default: .unknown
      }
    self.init(code: code, message: "\(error)")
  }
}

private func telling<Value>(_ body: () async throws -> Value) async throws -> Value {
  do { return try await body() } catch let error as CancellationError { throw error } catch { throw RPCError(telling: error) }
}

struct OfferedSecrets: Moby_Buildkit_Secrets_V1_Secrets.SimpleServiceProtocol {
  let client: any ClientServices

  func getSecret(request: Moby_Buildkit_Secrets_V1_GetSecretRequest, context: ServerContext) async throws -> Moby_Buildkit_Secrets_V1_GetSecretResponse {
    guard let bytes = try await telling({ try await client.secrets.secret(id: request.id) }) else { throw RPCError(code: .notFound, message: "secret \(request.id): not found") }
    guard bytes.count <= SessionSecrets.limit else { throw RPCError(code: .invalidArgument, message: "invalid secret size \(bytes.count)") }
    var response = Moby_Buildkit_Secrets_V1_GetSecretResponse()
    response.data = Data(bytes)
    return response
  }
}

/// Logins. A client that fetches tokens itself shows a token authority, by which a builder knows that two sessions have the same login, and which tells nothing of that.
struct OfferedLogins: Moby_Filesync_V1_Auth.SimpleServiceProtocol {
  let client: any ClientServices
  /// Random, so that a builder cannot find out a password by guessing.
  let seed: SymmetricKey

  /// What references call the host.
  private func domain(_ host: String) -> String { host == "registry-1.docker.io" ? "docker.io" : host }

  func credentials(request: Moby_Filesync_V1_CredentialsRequest, context: ServerContext) async throws -> Moby_Filesync_V1_CredentialsResponse {
    var response = Moby_Filesync_V1_CredentialsResponse()
    if let found = try await telling({ try await client.credentials.credential(host: domain(request.host)) }) {
      response.username = found.username
      response.secret = found.secret
    }
    return response
  }

  func fetchToken(request: Moby_Filesync_V1_FetchTokenRequest, context: ServerContext) async throws -> Moby_Filesync_V1_FetchTokenResponse {
    let found = try await telling {
      try await client.credentials.token(TokenRequest(host: domain(request.host), realm: request.realm, service: request.service, scopes: request.scopes))
    }
    var response = Moby_Filesync_V1_FetchTokenResponse()
    response.token = found.token
    response.expiresIn = found.lifetime ?? 60
    return response
  }

  func getTokenAuthority(request: Moby_Filesync_V1_GetTokenAuthorityRequest, context: ServerContext) async throws -> Moby_Filesync_V1_GetTokenAuthorityResponse {
    var response = Moby_Filesync_V1_GetTokenAuthorityResponse()
    response.publicKey = try await key(request.host, Array(request.salt)).publicKey.rawRepresentation
    return response
  }

  func verifyTokenAuthority(request: Moby_Filesync_V1_VerifyTokenAuthorityRequest, context: ServerContext) async throws -> Moby_Filesync_V1_VerifyTokenAuthorityResponse {
    guard request.payload.count <= 4096 else { throw RPCError(code: .invalidArgument, message: "a payload of \(request.payload.count) bytes to sign") }
    var response = Moby_Filesync_V1_VerifyTokenAuthorityResponse()
    response.signed = try await key(request.host, Array(request.salt)).signature(for: request.payload) + request.payload
    return response
  }

  private func key(_ host: String, _ salt: [UInt8]) async throws -> Curve25519.Signing.PrivateKey {
    guard try await telling({ try await client.credentials.fetchesTokens(host: domain(host)) }) else {
      throw RPCError(code: .unavailable, message: "client side tokens disabled")
    }
    var mac = HMAC<SHA256>(key: SymmetricKey(data: salt))
    mac.update(data: seed.withUnsafeBytes { Data($0) })
    mac.update(data: Data(host.utf8))
    do { return try Curve25519.Signing.PrivateKey(rawRepresentation: Data(mac.finalize())) } catch { throw RPCError(code: .internalError, message: "no token authority for \(host): \(error)") }
  }
}

struct OfferedAgents: Moby_Sshforward_V1_SSH.SimpleServiceProtocol {
  let client: any ClientServices

  func checkAgent(request: Moby_Sshforward_V1_CheckAgentRequest, context: ServerContext) async throws -> Moby_Sshforward_V1_CheckAgentResponse {
    let id = request.id.isEmpty ? "default" : request.id
    guard try await telling({ try await client.agents.hasAgent(id: id) }) else { throw RPCError(code: .unknown, message: "unset ssh forward key \(id)") }
    return Moby_Sshforward_V1_CheckAgentResponse()
  }

  func forwardAgent(
    request: RPCAsyncSequence<Moby_Sshforward_V1_BytesMessage, any Error>, response: RPCWriter<Moby_Sshforward_V1_BytesMessage>, context: ServerContext
  ) async throws {
    // Without the stream's headers there is no telling which agent: see `registerMethods`.
    throw RPCError(code: .internalError, message: "an agent's connection without its headers")
  }

  /// With the headers, which say which agent.
  func forwardAgent(request: StreamingServerRequest<Moby_Sshforward_V1_BytesMessage>, context: ServerContext) async throws -> StreamingServerResponse<Moby_Sshforward_V1_BytesMessage> {
    let named = request.metadata[stringValues: SessionAgents.header].first { _ in true } ?? ""
    let id = named.isEmpty ? "default" : named
    guard try await telling({ try await client.agents.hasAgent(id: id) }) else { throw RPCError(code: .unknown, message: "unset ssh forward key \(id)") }
    return StreamingServerResponse { writer in
      let (ours, theirs) = try SocketBridge.pair()
      client.agents.serve(id: id, connection: theirs)
      try await SocketBridge.run(ours) { inbound, outbound in
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            for try await message in request.messages where !message.data.isEmpty { try await outbound.write(ByteBuffer(bytes: message.data)) }
            outbound.finish()
          }
          // The agent's end ends the call, the builder's only its half.
          for try await bytes in inbound {
            var message = Moby_Sshforward_V1_BytesMessage()
            message.data = Data(bytes.readableBytesView)
            try await writer.write(message)
          }
          group.cancelAll()
        }
      }
      return [:]
    }
  }
}

struct OfferedUploads: Moby_Upload_V1_Upload.SimpleServiceProtocol {
  let client: any ClientServices

  func pull(request: RPCAsyncSequence<Moby_Upload_V1_BytesMessage, any Error>, response: RPCWriter<Moby_Upload_V1_BytesMessage>, context: ServerContext) async throws {
    throw RPCError(code: .internalError, message: "an upload without its headers")
  }

  /// With the headers, which say which upload.
  func pull(request: StreamingServerRequest<Moby_Upload_V1_BytesMessage>, context: ServerContext) async throws -> StreamingServerResponse<Moby_Upload_V1_BytesMessage> {
    let path = request.metadata[stringValues: SessionUploads.path].first { _ in true } ?? ""
    let id = path.split(separator: "/").last.map(String.init) ?? ""
    let upload = try await telling { try await client.uploads.upload(id: id) }
    return StreamingServerResponse { writer in
      @Sendable func send(_ bytes: [UInt8]) async throws {
        var message = Moby_Upload_V1_BytesMessage()
        message.data = Data(bytes)
        try await writer.write(message)
      }
      switch upload.source {
      case .stream(let stream): try await telling { try await stream.read(send) }
      case .descriptor(let head, let descriptor):
        if !head.isEmpty { try await send(head) }
        let source = try await Blocking.run { try HostOS.Descriptor.duplicate(of: descriptor) }
        while true {
          let piece = try await DedicatedThread.run { Result { try Self.piece(of: source) } }.get()
          if piece.isEmpty { break }
          try await send(piece)
        }
      }
      return [:]
    }
  }

  private static func piece(of source: HostOS.Descriptor) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in count = try source.read(into: UnsafeMutableRawBufferPointer(buffer)) }
  }
}
