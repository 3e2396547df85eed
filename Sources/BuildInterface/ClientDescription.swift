/// What a command offers a build from this machine, before it is known which door the build goes through: the embedded
/// engine reads it in place, a remote builder is served it over a session.
package struct ClientDescription: Sendable {
  /// A secret's value comes from a file or an environment variable, read when a step asks for it.
  package enum SecretSource: Sendable, Hashable { case file(path: String), environment(name: String) }
  /// Local directories by the names that LLB uses: `context`, `dockerfile`.
  package var directories: [String: String]
  package var secrets: [String: SecretSource]
  /// Destinations of exporters by output id.
  package var exports: [String: ExportTarget]
  /// Streams by their names (`UploadService`).
  package var uploads: [String: ClientUpload] = [:]
  /// Paths of OCI layouts by the names that LLB uses.
  package var layouts: [String: String] = [:]
  /// Sockets of SSH agents by the ids that steps name.
  package var agents: [String: String]
  package init(directories: [String: String] = [:], secrets: [String: SecretSource] = [:], exports: [String: ExportTarget] = [:], agents: [String: String] = [:]) {
    self.directories = directories
    self.secrets = secrets
    self.exports = exports
    self.agents = agents
  }
}
