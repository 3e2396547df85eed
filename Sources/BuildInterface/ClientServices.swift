
/// What the client offers a build (BuildKit's session): each a small protocol, so that the embedded door answers from the
/// local disk and the daemon over a session.
package protocol ClientServices: Sendable {
  var files: any FileService { get }
  var secrets: any SecretService { get }
  var credentials: any CredentialService { get }
  var exports: any ExportService { get }
  /// None unless the client says otherwise.
  var uploads: any UploadService { get }
  /// None unless the client says otherwise.
  var layouts: any LayoutService { get }
  /// The SSH agents that it lends, perhaps none.
  var agents: any AgentService { get }
}

extension ClientServices {
  package var uploads: any UploadService { NoOffers() }
  package var layouts: any LayoutService { NoOffers() }
}

/// Of a client that offers neither uploads nor layouts.
private struct NoOffers: UploadService, LayoutService {
  func upload(id: String) async throws -> ClientUpload { throw BuildError(.notFound, .usage, "the build asks for the upload \"\(id)\", which was not given") }
  func layout(id: String) async throws -> LocalDirectory { throw BuildError(.notFound, .usage, "the build asks for the OCI layout \"\(id)\", which was not given") }
}

/// Streams of the client, which builds name as `http://buildkit-session/ID`: a context from standard input.
package protocol UploadService: Sendable {
  /// Can be read once. Throws `BuildError.notFound` when the client offers none by that name.
  func upload(id: String) async throws -> ClientUpload
}

/// An open descriptor, and what was read of it already. Whoever made it closes it.
package struct ClientUpload: Sendable {
  /// The host in addresses of uploads.
  package static let host = "buildkit-session"
  package static func address(_ id: String) -> String { "http://\(host)/\(id)" }
  package var head: [UInt8]
  package var descriptor: Int32
  package init(head: [UInt8], descriptor: Int32) { (self.head, self.descriptor) = (head, descriptor) }
}

/// OCI image layouts of the client, by the names that LLB uses.
package protocol LayoutService: Sendable {
  /// Throws `BuildError.notFound` when the client offers none by that name.
  func layout(id: String) async throws -> LocalDirectory
}

/// SSH agents that the client lends to a build (`--ssh`), by id; without one it is `default`.
package protocol AgentService: Sendable {
  /// Whether the client lends an agent by this id.
  func hasAgent(id: String) async throws -> Bool
  /// Speaks the agent's protocol over a connected stream socket until either side ends it, then closes the socket, which is the client's from now on. Answers at once.
  /// Keys can be listed and used by it, and neither taken out, added nor removed.
  func serve(id: String, connection: Int32)
  /// Which servers have which keys, as far as the client knows: lines of OpenSSH's known_hosts; empty when it does not tell.
  func knownHosts() async throws -> [UInt8]
}

/// Local directories of the client: `context`, `dockerfile`, and named contexts.
package protocol FileService: Sendable {
  /// Throws `BuildError.notFound` when the client offers no directory by that name.
  func directory(named name: String) async throws -> LocalDirectory
}

/// A client's directory as the engine can reach it.
package enum LocalDirectory: Sendable {
  /// On this machine, read in place: the absolute path.
  case inPlace(path: String)
  /// Behind a connection.
  case remote(any RemoteDirectory)

  /// Where it is on this machine; nil when it is not.
  package var path: String? {
    switch self {
    case .inPlace(let path): path
    case .remote: nil
    }
  }
}

package protocol SecretService: Sendable {
  /// The secret's bytes (at most 500 KiB, BuildKit's limit), or nil when the client has none by that id.
  func secret(id: String) async throws -> [UInt8]?
}

/// Registry credentials of the client.
package protocol CredentialService: Sendable {
  /// For the registry `host`; nil for anonymous access.
  func credential(host: String) async throws -> BuildCredential?
}
package struct BuildCredential: Sendable, Hashable {
  package var username: String
  /// A password, or with an empty user name an identity token.
  package var secret: String
  /// A ready bearer token, used as it is when not empty.
  package var registryToken: String
  package init(username: String, secret: String, registryToken: String = "") {
    self.username = username
    self.secret = secret
    self.registryToken = registryToken
  }
}

/// Where exporters put files on the client's side.
package protocol ExportService: Sendable {
  /// Throws `BuildError` when the client named no destination for output `id`.
  func target(id: String) async throws -> ExportTarget
}
package enum ExportTarget: Sendable {
  /// A directory on this machine, made if missing.
  case directory(path: String)
  /// A file on this machine, written whole or not at all.
  case file(path: String)
  /// An open descriptor (standard output); the exporter writes and does not close it.
  case descriptor(Int32)
  /// Taken by a client behind a connection.
  case remote(any RemoteExport)
}
