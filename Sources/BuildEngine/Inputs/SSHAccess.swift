internal import BuildInterface
internal import HostOS

/// The client's SSH agent for a program of this machine (git's ssh), and which servers may be believed. Lives as long as what it is needed for.
final class SSHAccess: Sendable {
  static let defaultID = "default"
  /// Variables for git.
  let environment: [String: String]
  private let directory: String
  private let listener: SocketListener?

  static func missing(_ id: String) -> BuildError {
    let how = id == defaultID ? "--ssh default lends the agent that SSH_AUTH_SOCK names; --ssh default=KEYFILE a key" : "add --ssh \(id)=SOCKET or --ssh \(id)=KEYFILE to the command"
    return BuildError(.notFound, .usage, "the SSH agent \"\(id)\" is needed, but was not given", suggestion: how)
  }

  /// Gives a connection to the client's agent.
  static func hand(_ connection: HostOS.Descriptor, to agents: any AgentService, _ id: String) {
    // A number of its own, which the client closes.
    guard let copy = try? connection.released() else { return }
    agents.serve(id: id, connection: copy)
  }

  /// - Parameters:
  ///   - id: of the agent; nil for none.
  ///   - hosts: the servers' keys, as the definition has them: others are refused. Empty: those that the client knows must be right, and others are believed.
  static func open(id: String?, hosts: String, agents: any AgentService) async throws -> SSHAccess {
    if let id, try await !agents.hasAgent(id: id) { throw missing(id) }
    let known = hosts.isEmpty ? try await agents.knownHosts() : Array(hosts.utf8)
    return try await Blocking.run {
      let directory = try Files.makeTemporaryDirectory(prefix: "manifold-ssh-")
      do { return try SSHAccess(directory, id, known, isStrict: !hosts.isEmpty, agents) } catch {
        try? Files.removeTree(directory)
        throw error
      }
    }
  }

  private init(_ directory: String, _ id: String?, _ known: [UInt8], isStrict: Bool, _ agents: any AgentService) throws {
    self.directory = directory
    let hosts = directory + "/known_hosts"
    try Files.writeAtomically(known, to: hosts, mode: 0o600, durable: false)
    // Nothing of the user's own configuration, no key but the agent's, and no question that nobody could answer.
    let options = ["UserKnownHostsFile=" + hosts, "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=" + (isStrict ? "yes" : "accept-new"), "IdentityFile=none", "BatchMode=yes"]
    var environment = ["GIT_SSH_COMMAND": "ssh -F /dev/null " + options.map { "-o " + $0 }.joined(separator: " ")]
    guard let id else {
      listener = nil
      self.environment = environment
      return
    }
    let listener = try SocketListener(at: "agent", in: try Directory.open(directory), mode: 0o600)
    listener.serve { connection in SSHAccess.hand(connection, to: agents, id) }
    environment["SSH_AUTH_SOCK"] = directory + "/agent"
    self.listener = listener
    self.environment = environment
  }

  deinit {
    listener?.close()
    try? Files.removeTree(directory)
  }
}
