internal import BuildInterface
internal import HostOS

/// One `--ssh`, in buildx's syntax: `default|id[=socket|key[,key…]]`.
struct SSHSpec: Sendable, Hashable {
  enum Source: Sendable, Hashable { case socket(String), keys([String]) }
  static let defaultID = "default"
  var id: String
  var source: Source

  init(parsing text: String, facts: CommandFacts) throws {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    id = parts[0].isEmpty ? Self.defaultID : parts[0]
    var paths = parts.count > 1 ? parts[1].split(separator: ",", omittingEmptySubsequences: false).map(String.init) : []
    if paths.allSatisfy(\.isEmpty) {
      guard let own = facts.environment["SSH_AUTH_SOCK"], !own.isEmpty else {
        throw BuildError.usage("--ssh \(text): there is no SSH agent, since SSH_AUTH_SOCK is not set", suggestion: "Start one with eval $(ssh-agent) && ssh-add, or name a key: --ssh \(id)=$HOME/.ssh/id_ed25519")
      }
      paths = [own]
    }
    var keys: [String] = []
    var socket: String?
    for path in paths {
      let full = facts.absolute(path)
      guard let status = try? Files.status(full) else { throw BuildError.usage("--ssh \(text): there is no socket and no key file \(path)") }
      switch status.kind {
      case .socket:
        guard socket == nil else { throw BuildError.usage("--ssh \(text): an id stands for one socket only") }
        socket = full
      case .directory: throw BuildError.usage("--ssh \(text): \(path) is a directory, not a socket or a key file")
      default: keys.append(full)
      }
    }
    guard let socket else {
      source = .keys(keys)
      return
    }
    guard keys.isEmpty else { throw BuildError.usage("--ssh \(text): an id stands for a socket or for keys, not for both", suggestion: "Give the keys to the agent with ssh-add, or use two ids.") }
    source = .socket(socket)
  }

  /// All of a command line, by id.
  static func all(_ texts: [String], contextIsOverSSH: Bool, facts: CommandFacts) throws -> (sockets: [String: String], keys: [String: [String]]) {
    var texts = texts.filter { !$0.isEmpty }
    // As buildx: the repository that is the context needs it.
    if texts.isEmpty, contextIsOverSSH, facts.environment["SSH_AUTH_SOCK"]?.isEmpty == false { texts = [defaultID] }
    var sockets: [String: String] = [:]
    var keys: [String: [String]] = [:]
    for text in texts {
      let spec = try SSHSpec(parsing: text, facts: facts)
      guard sockets[spec.id] == nil, keys[spec.id] == nil else { throw BuildError.usage("--ssh \(text): the id \(spec.id) was given before") }
      switch spec.source {
      case .socket(let path): sockets[spec.id] = path
      case .keys(let paths): keys[spec.id] = paths
      }
    }
    return (sockets, keys)
  }
}
