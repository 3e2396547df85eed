package import BuildKitProto
package import OCIModel

/// A container that a frontend, or a client that builds with a function, runs processes in (BuildKit's NewContainer).
package struct ContainerRequest: Sendable {
  /// As LLB's exec op has it; what `input` and `output` say there the reference does here.
  package struct Mount: Sendable {
    package var mount: Pb_Mount
    package var reference: (any FrontendReference)?
    package init(mount: Pb_Mount, reference: (any FrontendReference)? = nil) { (self.mount, self.reference) = (mount, reference) }
  }
  package var mounts: [Mount]
  package var network: Pb_NetMode
  package var hostname: String
  package var extraHosts: [Pb_HostIP]
  /// nil is the machine's own.
  package var platform: Platform?
  package init(mounts: [Mount], network: Pb_NetMode = .unset, hostname: String = "", extraHosts: [Pb_HostIP] = [], platform: Platform? = nil) {
    self.mounts = mounts
    self.network = network
    self.hostname = hostname
    self.extraHosts = extraHosts
    self.platform = platform
  }
}

/// One process of it.
package struct ContainerProcessRequest: Sendable {
  package var meta: Pb_Meta
  package var secretEnvironment: [Pb_SecretEnv]
  package var security: Pb_SecurityMode
  /// The process gets a terminal, on its standard input and output.
  package var hasTerminal: Bool
  /// Whether anything is to be written to its standard input; without, it is at its end from the first.
  package var hasInput: Bool
  package init(meta: Pb_Meta, secretEnvironment: [Pb_SecretEnv] = [], security: Pb_SecurityMode = .sandbox, hasTerminal: Bool = false, hasInput: Bool = false) {
    self.meta = meta
    self.secretEnvironment = secretEnvironment
    self.security = security
    self.hasTerminal = hasTerminal
    self.hasInput = hasInput
  }
}

package protocol FrontendContainer: Sendable {
  /// Starts a process: the container's own, or, while that runs, one beside it. What it writes goes to `output`, stream 1 or 2, as it comes. Throws `BuildError`.
  func start(_ process: ContainerProcessRequest, output: @escaping @Sendable (_ stream: UInt32, _ bytes: [UInt8]) async -> Void) async throws -> any FrontendProcess
  /// Of the mount at a place of the request.
  func readFile(_ path: String, mount: Int, offset: Int64, length: Int64?, limit: Int) async throws -> [UInt8]
  func readDirectory(_ path: String, mount: Int, matching pattern: String) async throws -> [Fsutil_Types_Stat]
  func status(of path: String, mount: Int) async throws -> Fsutil_Types_Stat
  /// Kills its processes, and takes back all that it was made of. May be called more than once.
  func release() async
}

package protocol FrontendProcess: Sendable {
  /// Until it has ended and all its output was handed over: its exit status. Throws `BuildError` when it could not be run.
  func wait() async throws -> Int32
  /// To its standard input; passed over when it has none any more.
  func write(_ bytes: [UInt8]) async
  func closeInput() async
  func resize(rows: UInt16, columns: UInt16)
  /// A signal's number, for the process.
  func signal(_ number: Int32)
}

/// Speaks with a frontend that is a program: it asks a gateway in BuildKit's words, over its standard streams. The engine knows no transport; whoever composes the program hands one in.
package protocol FrontendServer: Sendable {
  /// Serves until the program closes its end, or has returned a result and the time is over that it may take after that; answers what it returned. Throws what it
  /// returned as an error; nil when it returned nothing. `connection` is a connected stream socket, the program's standard input and output at its other end; it is
  /// the server's from now on.
  func serve(_ gateway: any FrontendGateway, connection: Int32) async throws -> NestedResult?
}
