internal import BuildInterface
internal import HostOS
internal import OCIRegistry

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A build's client on this machine: directories in place, secrets from files and the environment, registry logins from docker's config.
struct LocalClient: ClientServices, FileService, SecretService, ExportService, UploadService, LayoutService, AgentService {
  let description: ClientDescription
  let credentials: any CredentialService
  init(_ description: ClientDescription, credentials: any CredentialService) {
    self.description = description
    self.credentials = credentials
  }
  var files: any FileService { self }
  var secrets: any SecretService { self }
  var exports: any ExportService { self }
  var uploads: any UploadService { self }
  var layouts: any LayoutService { self }
  var agents: any AgentService { self }

  /// BuildKit's (session/secrets): 500 KiB.
  private static let secretLimit = 500 << 10

  func directory(named name: String) async throws -> LocalDirectory {
    guard let path = description.directories[name] else {
      throw BuildError(.notFound, .usage, "the build asks for the local directory \"\(name)\", which was not given")
    }
    return .inPlace(path: path)
  }

  func upload(id: String) async throws -> ClientUpload {
    guard let upload = description.uploads[id] else { throw BuildError(.notFound, .usage, "the build asks for the upload \"\(id)\", which was not given") }
    return upload
  }

  func layout(id: String) async throws -> ClientLayout {
    guard let path = description.layouts[id] else { throw BuildError(.notFound, .usage, "the build asks for the OCI layout \"\(id)\", which was not given") }
    return .inPlace(path: path)
  }

  func secret(id: String) async throws -> [UInt8]? {
    switch description.secrets[id] {
    case nil: return nil
    case .environment(let name)?: return getenv(name).map { Array(String(cString: $0).utf8) }
    case .file(let path)?:
      do {
        return try await Blocking.run { try Files.read(path, limit: LocalClient.secretLimit) }
      } catch let error as HostError {
        throw BuildError(error.code == .notFound ? .notFound : .invalidArgument, .usage, "cannot read secret \"\(id)\"", suggestion: "secrets are files of at most 500 KiB", cause: error)
      }
    }
  }

  func hasAgent(id: String) async throws -> Bool { description.agents[id] != nil }

  func serve(id: String, connection: Int32) {
    let connection = HostOS.Descriptor(owning: connection)
    guard let path = description.agents[id] else { return }
    DedicatedThread.start { AgentRelay.run(connection, socket: path) }
  }

  /// The user's file and the machine's, as ssh reads them.
  func knownHosts() async throws -> [UInt8] {
    let home = getenv("HOME").map { String(cString: $0) } ?? ""
    let places = (home.isEmpty ? [] : [home + "/.ssh/known_hosts"]) + ["/etc/ssh/ssh_known_hosts"]
    return try await Blocking.run { places.flatMap { place in ((try? Files.read(place, limit: 16 << 20)) ?? []) + [UInt8(ascii: "\n")] } }
  }

  func target(id: String) async throws -> ExportTarget {
    guard let target = description.exports[id] else { throw BuildError(.invalidArgument, .usage, "output \(id) has no destination", suggestion: "add dest=PATH to it") }
    return target
  }
}

/// Logins of docker's config file and its credential helpers.
struct DockerCredentials: CredentialService {
  private let provider: any RegistryCredentialProvider
  init(_ provider: any RegistryCredentialProvider) { self.provider = provider }

  func credential(host: String) async throws -> BuildCredential? {
    switch try await provider.credential(for: host) {
    case nil: nil
    case .password(let user, let password)?: BuildCredential(username: user, secret: password)
    case .identityToken(let token)?: BuildCredential(username: "", secret: token)
    case .registryToken(let token)?: BuildCredential(username: "", secret: "", registryToken: token)
    }
  }
}
