package import BuildInterface
internal import HostOS

/// A client behind a session, as the engine asks it. Errors are `BuildError`s; one that comes because the client went away is `.unavailable`, and `isGone` is true from then on.
package struct SessionClient: ClientServices {
  package let session: ClientSession
  package var files: any FileService
  package var exports: any ExportService

  package init(_ session: ClientSession, files: any FileService, exports: any ExportService) {
    (self.session, self.files, self.exports) = (session, files, exports)
  }

  package var secrets: any SecretService { SessionSecrets(session: session) }
  package var credentials: any CredentialService { SessionCredentials(session: session) }
  package var uploads: any UploadService { SessionUploads(session: session) }
  package var layouts: any LayoutService { SessionLayouts(session: session) }
  package var agents: any AgentService { SessionAgents(session: session) }
  package var isGone: Bool { !session.isOpen }
}

/// A client that offers nothing: of a build that names no session.
package struct OfferlessClient: ClientServices, FileService, SecretService, CredentialService, ExportService, AgentService {
  package init() {}
  package var files: any FileService { self }
  package var secrets: any SecretService { self }
  package var credentials: any CredentialService { self }
  package var exports: any ExportService { self }
  package var agents: any AgentService { self }

  package func directory(named name: String) async throws -> LocalDirectory {
    throw BuildError(.notFound, .usage, "the build asks for the local directory \"\(name)\", and names no session that has it")
  }
  package func secret(id: String) async throws -> [UInt8]? { nil }
  package func credential(host: String) async throws -> BuildCredential? { nil }
  package func target(id: String) async throws -> ExportTarget { throw BuildError(.notFound, .usage, "output \(id) goes to the client, and the build names no session") }
  package func hasAgent(id: String) async throws -> Bool { false }
  package func serve(id: String, connection: Int32) { _ = HostOS.Descriptor(owning: connection) }
  package func knownHosts() async throws -> [UInt8] { [] }
}

extension ClientSession {
  /// `ask`, with errors as builds fail with them.
  func build<Value: Sendable>(_ what: String, _ body: @Sendable @escaping (RPCClient) async throws -> Value) async throws -> Value {
    do { return try await ask(what, body) } catch let error as SessionError { throw error.buildError }
  }
}
