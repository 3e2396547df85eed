internal import FoundationEssentials
internal import HostOS
internal import OCIModel
internal import Synchronization

/// Credentials as Docker's tools keep them: `config.json` in `$DOCKER_CONFIG` or `~/.docker` (`auths`, `credsStore`, `credHelpers`), and
/// before it the `DOCKER_AUTH_CONFIG` variable. The file is read once, when first asked.
public final class DockerConfigCredentials: RegistryCredentialProvider {
  private let environment: [String: String]
  private let path: String
  private let loaded = Mutex<(file: DockerConfig, variable: DockerConfig)?>(nil)

  static let fileLimit = 4 << 20

  /// Reads `path`, or the file the environment leads to.
  public init(path: String? = nil, environment: [String: String] = RegistryConfiguration.processEnvironment) {
    self.environment = environment
    self.path = path ?? DockerConfigCredentials.defaultPath(environment)
  }

  /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; empty without a home.
  public static func defaultPath(_ environment: [String: String]) -> String {
    if let folder = environment["DOCKER_CONFIG"], !folder.isEmpty { return folder + "/config.json" }
    guard let home = environment["HOME"], !home.isEmpty else { return "" }
    return home + "/.docker/config.json"
  }

  /// Throws `RegistryError(.credentials)` when the file cannot be read or a helper fails; a helper that knows nothing of the host gives nil.
  public func credential(for host: String) async throws -> RegistryCredential? {
    let (file, variable) = try await configuration()
    if let credential = variable.stored(for: host) { return credential }
    switch file.source(for: host) {
    case .none: return nil
    case .stored(let credential): return credential
    case .helper(let helper, let server): return try await CredentialHelper(helper, environment: environment).get(server) ?? file.stored(for: host)
    }
  }

  private func configuration() async throws -> (DockerConfig, DockerConfig) {
    if let loaded = loaded.withLock({ $0 }) { return loaded }
    let (path, variable) = (path, environment["DOCKER_AUTH_CONFIG"] ?? "")
    let read = try await Blocking.run { () throws -> (DockerConfig, DockerConfig) in
      var file = DockerConfig()
      if !path.isEmpty, let bytes = try DockerConfigCredentials.read(path) {
        do { file = try DockerConfig(parsing: bytes) } catch { throw RegistryError(.credentials, "cannot read \(path)", cause: error) }
      }
      do { return (file, try DockerConfig(parsing: Array(variable.utf8))) } catch { throw RegistryError(.credentials, "cannot read the variable DOCKER_AUTH_CONFIG", cause: error) }
    }
    loaded.withLock { $0 = read }
    return read
  }

  /// nil when there is no such file. Blocks.
  private static func read(_ path: String) throws -> [UInt8]? {
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    do {
      let data = try Data(contentsOf: URL(fileURLWithPath: path))
      guard data.count <= fileLimit else { throw RegistryError(.credentials, "\(path) is larger than \(fileLimit) bytes") }
      return Array(data)
    } catch let error as RegistryError {
      throw error
    } catch {
      throw RegistryError(.credentials, "cannot read \(path)", cause: error)
    }
  }
}
