package import OCIModel

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
  /// The client went away and answers nothing any more: a step that another build wants as well asks that one's client. Never, unless the client says otherwise.
  var isGone: Bool { get }
  /// nil unless the client says otherwise: then builds that want to ask it fail.
  var policies: (any PolicyService)? { get }
}

extension ClientServices {
  package var uploads: any UploadService { NoOffers() }
  package var layouts: any LayoutService { NoOffers() }
  package var isGone: Bool { false }
  package var policies: (any PolicyService)? { nil }
}

/// Of a client that offers neither uploads nor layouts.
private struct NoOffers: UploadService, LayoutService {
  func upload(id: String) async throws -> ClientUpload { throw BuildError(.notFound, .usage, "the build asks for the upload \"\(id)\", which was not given") }
  func layout(id: String) async throws -> ClientLayout { throw BuildError(.notFound, .usage, "the build asks for the OCI layout \"\(id)\", which was not given") }
}

/// Streams of the client, which builds name as `http://buildkit-session/ID`: a context from standard input.
package protocol UploadService: Sendable {
  /// Can be read once. Throws `BuildError.notFound` when the client offers none by that name.
  func upload(id: String) async throws -> ClientUpload
}

/// A stream of the client's: an open descriptor and what was read of it already, or one behind a connection. Whoever made a descriptor closes it.
package struct ClientUpload: Sendable {
  /// The host in addresses of uploads.
  package static let host = "buildkit-session"
  package static func address(_ id: String) -> String { "http://\(host)/\(id)" }
  package enum Source: Sendable { case descriptor(head: [UInt8], Int32), stream(any UploadStream) }
  package var source: Source
  package init(head: [UInt8], descriptor: Int32) { source = .descriptor(head: head, descriptor) }
  package init(stream: any UploadStream) { source = .stream(stream) }
}

/// A stream that a client sends over a connection.
package protocol UploadStream: Sendable {
  /// Hands all of it over piece by piece, and takes no more from the client while `body` is at work. Throws `BuildError` when the client fails, goes away or has no such stream.
  func read(_ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws
}

/// OCI image layouts of the client, by the names that LLB uses.
package protocol LayoutService: Sendable {
  /// Throws `BuildError.notFound` when the client offers none by that name.
  func layout(id: String) async throws -> ClientLayout
}

package enum ClientLayout: Sendable {
  /// On this machine: the absolute path.
  case inPlace(path: String)
  /// Behind a connection.
  case remote(any RemoteLayout)
}

/// Blobs of a client's OCI layout, which are nobody's word for anything until their digests were checked. Throws `BuildError`.
package protocol RemoteLayout: Sendable {
  /// In bytes; nil when the layout has no such blob.
  func size(of digest: Digest) async throws -> Int64?
  /// Hands over exactly `count` bytes from an offset on, piece by piece, and takes no more from the client while `body` is at work.
  func read(_ digest: Digest, from offset: Int64, count: Int64, _ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws
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
  /// Whether the client fetches tokens from token servers itself, and so need not give its password away. It does not, unless it says otherwise.
  func fetchesTokens(host: String) async throws -> Bool
  /// A token of the registry's token server, from a client that fetches them. Throws `BuildError`.
  func token(_ request: TokenRequest) async throws -> FetchedToken
}

extension CredentialService {
  package func fetchesTokens(host: String) async throws -> Bool { false }
  package func token(_ request: TokenRequest) async throws -> FetchedToken {
    throw BuildError(.unimplemented, .registry, "the client fetches no tokens for \(request.host)")
  }
}

/// What a registry's challenge asks for (distribution's token authentication).
package struct TokenRequest: Sendable, Hashable {
  /// The registry as references name it.
  package var host: String
  package var realm: String
  package var service: String
  package var scopes: [String]
  package init(host: String, realm: String, service: String, scopes: [String]) {
    (self.host, self.realm, self.service, self.scopes) = (host, realm, service, scopes)
  }
}
package struct FetchedToken: Sendable, Hashable {
  package var token: String
  /// Seconds; nil when the token server does not say.
  package var lifetime: Int64?
  package init(token: String, lifetime: Int64?) { (self.token, self.lifetime) = (token, lifetime) }
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
