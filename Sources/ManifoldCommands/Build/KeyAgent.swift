internal import BuildInterface
internal import HostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The system's ssh-agent with the keys of one `--ssh id=KEY,…`, for the length of a build. It asks for a passphrase where a key has one, and ends with this program, however that ends.
struct KeyAgent: Sendable {
  let socket: String
  private let directory: String
  private let program: Task<ProcessOutput, any Error>
  private let alive: HostOS.Descriptor

  /// Runs `body` with an agent for each id; answers sockets by id.
  static func during<Value: Sendable>(
    _ keys: [String: [String]], environment: [String: String], _ body: @Sendable ([String: String]) async throws -> Value
  ) async throws -> Value {
    var agents: [KeyAgent] = []
    var sockets: [String: String] = [:]
    do {
      for (id, paths) in keys.sorted(by: { $0.key < $1.key }) {
        let agent = try await KeyAgent()
        agents.append(agent)
        for path in paths { try await agent.add(path, environment) }
        sockets[id] = agent.socket
      }
      let value = try await body(sockets)
      for agent in agents { await agent.end() }
      return value
    } catch {
      for agent in agents { await agent.end() }
      throw error
    }
  }

  /// ssh-agent ends with the program that it starts, and that when nobody has the pipe open for writing any more: at `end`, or when this process is dead.
  private static let watch = #"""
    echo $SSH_AGENT_PID > "$1.new" && mv "$1.new" "$1"
    cat < "$2" > /dev/null
    kill $SSH_AGENT_PID
    """#

  private init() async throws {
    let directory = try await Blocking.run { try Files.makeTemporaryDirectory(prefix: "manifold-ssh-") }
    self.directory = directory
    let socket = directory + "/agent", pidFile = directory + "/pid", pipe = directory + "/alive"
    self.socket = socket
    do {
      guard mkfifo(pipe, 0o600) == 0 else { throw HostError(errno: errno, operation: "mkfifo", path: pipe) }
      alive = try HostOS.Descriptor.open(pipe, flags: .readWrite)
    } catch {
      try? Files.removeTree(directory)
      throw error
    }
    // Ended and waited for by `end`. An empty file of its number: it ended at once.
    program = Task {
      try await Processes.run("sh", ["-c", #"ssh-agent -a "$1" sh -c "$2" sh "$3" "$4" || : > "$3""#, "sh", socket, Self.watch, pidFile, pipe])
    }
    // A build that is cancelled meanwhile ends it, too.
    for _ in 0..<1200 where !Files.exists(pidFile) && !Task.isCancelled { try? await Task.sleep(for: .milliseconds(50)) }
    guard Files.text(pidFile)?.isEmpty == false else {
      await end()
      try Task.checkCancellation()
      throw BuildError.usage("keys for --ssh need ssh-agent and ssh-add, which are not there or do not start", suggestion: "Install them (apt-get install openssh-client), or lend an agent that runs: --ssh default")
    }
  }

  /// The key's bytes, and not its name: ssh-add refuses files that others may read, which is not this command's matter.
  private func add(_ path: String, _ environment: [String: String]) async throws {
    let bytes: [UInt8]
    do { bytes = try await Blocking.run { try Files.read(path, limit: 100 << 10) } } catch {
      throw BuildError(.invalidArgument, .usage, "--ssh: cannot read the key \(path)", cause: error)
    }
    let output = try await Processes.run("ssh-add", ["-q", "-"], environment: environment.merging(["SSH_AUTH_SOCK": socket]) { $1 }, input: bytes)
    guard output.succeeded else {
      let said = output.errorText.split(separator: "\n").last.map { $0.contains("passphrase") ? ": its passphrase is needed" : ": " + $0 } ?? ""
      throw BuildError.usage("--ssh: \(path) is no private key that can be used\(said)", suggestion: "A key with a passphrase needs a terminal to ask for it; or give it to an agent with ssh-add \(path), and build with --ssh default.")
    }
  }

  /// With all its processes.
  private func end() async {
    try? alive.close()
    _ = try? await program.value
    _ = try? await Blocking.run { [directory] in try Files.removeTree(directory) }
  }
}
