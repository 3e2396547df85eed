internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import Foundation
internal import GRPCCore

/// Secrets of a session's client (session/secrets).
struct SessionSecrets: SecretService {
  let session: ClientSession
  /// BuildKit's: 500 KiB.
  static let limit = 500 << 10

  func secret(id: String) async throws -> [UInt8]? {
    let found: [UInt8]?
    do {
      found = try await session.ask("the secret \"\(id)\"") { client -> [UInt8]? in
        var request = Moby_Buildkit_Secrets_V1_GetSecretRequest()
        request.id = id
        return Array(try await Moby_Buildkit_Secrets_V1_Secrets.Client(wrapping: client).getSecret(request).data)
      }
    } catch let error as SessionError {
      // A client without secrets, and one without this one, are the same to a step.
      if error.code == .unsupported || error.status == .notFound { return nil }
      throw error.buildError
    }
    if let found, found.count > Self.limit {
      throw BuildError(.invalidArgument, .usage, "the secret \"\(id)\" has \(found.count) bytes", suggestion: "secrets are of at most 500 KiB")
    }
    return found
  }
}
