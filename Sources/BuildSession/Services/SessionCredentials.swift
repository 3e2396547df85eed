internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import Crypto
package import Foundation
internal import GRPCCore

/// Logins of a session's client (session/auth). A client that says it fetches tokens itself is never asked for a password, unless the registry wants one (Basic).
struct SessionCredentials: CredentialService {
  let session: ClientSession

  /// As BuildKit's: a helper program of the client may ask a person.
  private static let options: CallOptions = {
    var options = CallOptions.defaults
    options.timeout = .seconds(60)
    return options
  }()
  /// New with each daemon, so that the keys that clients show are not of use to another.
  private static let salt: [UInt8] = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }

  /// What clients know Docker Hub as.
  private static func host(_ domain: String) -> String { domain == "docker.io" ? "registry-1.docker.io" : domain }

  func credential(host: String) async throws -> BuildCredential? {
    do {
      let found = try await session.ask("the login for \(host)") { client in
        var request = Moby_Filesync_V1_CredentialsRequest()
        request.host = Self.host(host)
        return try await Moby_Filesync_V1_Auth.Client(wrapping: client).credentials(request, options: Self.options)
      }
      return found.secret.isEmpty ? nil : BuildCredential(username: found.username, secret: found.secret)
    } catch let error as SessionError {
      if error.code == .unsupported { return nil }
      throw error.buildError
    }
  }

  func fetchesTokens(host: String) async throws -> Bool {
    do {
      let answer = try await session.ask("the token authority for \(host)") { client in
        var request = Moby_Filesync_V1_GetTokenAuthorityRequest()
        request.host = Self.host(host)
        request.salt = Data(Self.salt)
        return try await Moby_Filesync_V1_Auth.Client(wrapping: client).getTokenAuthority(request, options: Self.options)
      }
      guard answer.publicKey.count == 32 else {
        throw SessionError(.invalidAnswer, "the client's token authority for \(host) has a key of \(answer.publicKey.count) bytes, not of 32").buildError
      }
      return true
    } catch let error as SessionError {
      if error.code == .unsupported || error.status == .unavailable { return false }
      throw error.buildError
    }
  }

  func token(_ wanted: TokenRequest) async throws -> FetchedToken {
    let answer = try await session.build("a token for \(wanted.host)") { client in
      var request = Moby_Filesync_V1_FetchTokenRequest()
      request.clientID = "buildkit-client"
      request.host = Self.host(wanted.host)
      request.realm = wanted.realm
      request.service = wanted.service
      request.scopes = wanted.scopes
      return try await Moby_Filesync_V1_Auth.Client(wrapping: client).fetchToken(request, options: Self.options)
    }
    guard !answer.token.isEmpty, answer.token.utf8.count <= 1 << 20, answer.token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      throw SessionError(.invalidAnswer, "the client's token for \(wanted.host) is not one").buildError
    }
    return FetchedToken(token: answer.token, lifetime: answer.expiresIn > 0 ? answer.expiresIn : nil)
  }
}

extension ClientSession {
  /// Whether the client holds the private key of a token authority that was seen before (session/auth): so that two sessions are known to have the same login.
  package func holdsTokenAuthority(for host: String, publicKey: [UInt8], salt: [UInt8]) async throws -> Bool {
    let payload = SymmetricKey(size: .bits256).withUnsafeBytes { Data($0) }
    let answer = try await ask("a signature of the token authority for \(host)") { client in
      var request = Moby_Filesync_V1_VerifyTokenAuthorityRequest()
      request.host = host
      request.salt = Data(salt)
      request.payload = payload
      return try await Moby_Filesync_V1_Auth.Client(wrapping: client).verifyTokenAuthority(request)
    }
    // NaCl's form: the signature, then what was signed.
    guard answer.signed.count == 64 + payload.count, answer.signed.suffix(payload.count) == payload, let key = try? Curve25519.Signing.PublicKey(rawRepresentation: publicKey) else { return false }
    return key.isValidSignature(answer.signed.prefix(64), for: payload)
  }
}
