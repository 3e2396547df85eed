internal import FoundationEssentials
internal import HostOS
internal import OCIModel

/// Changes credentials in Docker's `config.json`, and leaves the rest of it as it was: members nobody here knows, and their order. Written as docker writes it (indented by tabs), in one
/// step, through a symbolic link. Every function blocks; call through `Blocking.run`. Throws `RegistryError(.credentials)`.
package struct DockerConfigEditor: Sendable {
  package let path: String
  package init(path: String) { self.path = path }

  /// What a login stores under a server's name.
  package enum Entry: Sendable, Hashable {
    case password(user: String, password: String)
    case identityToken(user: String, token: String)
    /// A mark that a helper keeps what belongs here, as docker leaves it.
    case kept

    var json: JSONValue {
      var out = JSONObject()
      switch self {
      case .password(let user, let password): out["auth"] = .string(Base64.encode("\(user):\(password)".utf8))
      case .identityToken(let user, let token):
        out["auth"] = .string(Base64.encode("\(user):".utf8))
        out["identitytoken"] = .string(token)
      case .kept: break
      }
      return .object(out)
    }
  }

  /// Puts an entry under `auths`. False when it was so already, and nothing was written.
  @discardableResult
  package func set(_ entry: Entry, for server: String, credentialStore: String? = nil) throws -> Bool {
    try edit { document in
      var auths = document["auths"]?.objectValue ?? JSONObject()
      let value = entry.json
      let isSame = auths[server] == value
      auths[server] = value
      document["auths"] = .object(auths)
      if let credentialStore, document["credsStore"]?.stringValue != credentialStore {
        document["credsStore"] = .string(credentialStore)
        return true
      }
      return !isSame
    }
  }

  /// Takes entries away from `auths`. False when there were none.
  @discardableResult
  package func remove(_ servers: [String]) throws -> Bool {
    guard Files.exists(path) else { return false }
    return try edit { document in
      guard let auths = document["auths"]?.objectValue else { return false }
      let kept = JSONObject(auths.members.filter { !servers.contains($0.key) }.map { ($0.key, $0.value) })
      guard kept.members.count < auths.members.count else { return false }
      document["auths"] = .object(kept)
      return true
    }
  }

  private func edit(_ change: (inout JSONObject) -> Bool) throws -> Bool {
    guard !path.isEmpty else { throw RegistryError(.credentials, "there is no place for Docker's configuration", advice: "Set HOME or DOCKER_CONFIG.") }
    var document = JSONObject()
    do {
      let goal = try target()
      // Kept as it is, but for others who could read it now that it holds a secret.
      var mode: UInt32 = 0o600
      if Files.exists(goal) {
        mode = try Files.status(goal).mode & 0o700
        let bytes = try Files.read(goal, limit: DockerConfigCredentials.fileLimit)
        if !bytes.allSatisfy({ $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }) {
          guard let object = try JSONValue(parsing: bytes).objectValue else { throw RegistryError(.credentials, "it is not a JSON object") }
          document = object
        }
      }
      guard change(&document) else { return false }
      try Files.writeAtomically(JSONValue.object(document).encoded(.indented("\t")), to: goal, mode: mode)
      return true
    } catch {
      throw RegistryError(.credentials, "cannot change \(path)", cause: error)
    }
  }

  /// The file itself, where `path` is a link to it; the link may dangle.
  private func target() throws -> String {
    var goal = path
    for _ in 0..<32 {
      guard (try? Files.status(goal, followLast: false))?.kind == .symbolicLink else { break }
      let link = try FileManager.default.destinationOfSymbolicLink(atPath: goal)
      goal = link.hasPrefix("/") ? link : (goal.lastIndex(of: "/").map { String(goal[..<$0]) } ?? ".") + "/" + link
    }
    if let slash = goal.lastIndex(of: "/"), slash > goal.startIndex { try Files.makeDirectories(String(goal[..<slash]), mode: 0o700) }
    return goal
  }
}
