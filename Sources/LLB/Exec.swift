public import BuildKitProto
internal import SwiftProtobuf

/// A command and what it may see. The state it runs on gives root filesystem, environment, directory, user, network and security.
public struct ExecOptions: Sendable {
  public var arguments: [String]
  /// Mounts beside the root.
  public var mounts: [ExecMount] = []
  public var secrets: [ExecSecret] = []
  public var sshSockets: [ExecSSH] = []
  public var readOnlyRoot = false
  public var proxy: Pb_ProxyEnv?
  public var extraHosts: [(host: String, ip: String)] = []
  /// Soft and hard limits by their rlimit name without `RLIMIT_`, lowercase.
  public var ulimits: [Pb_Ulimit] = []
  public var devices: [Pb_CDIDevice] = []
  /// Exit codes that count as success; nil is 0 alone.
  public var validExitCodes: [Int32]?
  /// Takes the place of the state's.
  public var network: Pb_NetMode?
  public var security: Pb_SecurityMode?
  public var cgroupParent: String?
  public init(_ arguments: [String]) { self.arguments = arguments }
}

public struct ExecMount: Sendable {
  public enum Kind: Sendable {
    /// The source, read-only or with its changes dropped or kept.
    case bind
    /// Memory; `size` in bytes, 0 for half of the memory.
    case tmpfs(size: Int64)
    /// A folder that outlives the build, by its id.
    case cache(id: String, sharing: Pb_CacheSharingOpt)
  }
  /// Absolute path in the container.
  public var target: String
  public var source: State
  public var kind: Kind
  /// A path within the source; empty is its root.
  public var selector: String
  public var readOnly: Bool
  /// Changes are allowed and dropped.
  public var discardsChanges: Bool
  public var contentCache: Pb_MountContentCache

  public init(
    _ target: String, source: State, kind: Kind = .bind, selector: String = "", readOnly: Bool = false, discardsChanges: Bool = false,
    contentCache: Pb_MountContentCache = .default
  ) {
    (self.target, self.source, self.kind, self.selector) = (target, source, kind, selector)
    (self.readOnly, self.discardsChanges, self.contentCache) = (readOnly, discardsChanges, contentCache)
  }
}

/// A secret of the client as a file, a variable, or both.
public struct ExecSecret: Sendable {
  public var id: String
  /// Path of the file; nil for none.
  public var target: String?
  /// Name of the variable; nil for none.
  public var variable: String?
  public var uid: UInt32 = 0, gid: UInt32 = 0, mode: UInt32 = 0o400
  public var optional = false
  public init(id: String, target: String?, variable: String? = nil) { (self.id, self.target, self.variable) = (id, target, variable) }
}

/// The client's SSH agent as a socket.
public struct ExecSSH: Sendable {
  public var id: String
  /// Path of the socket; empty is `/run/buildkit/ssh_agent.N`.
  public var target: String = ""
  public var uid: UInt32 = 0, gid: UInt32 = 0, mode: UInt32 = 0o600
  public var optional = false
  public init(id: String) { self.id = id }
}

struct ExecOperation: Sendable {
  struct Mount: Sendable {
    var proto: Pb_Mount
    var source: Output?
    /// nil where the mount gives no output.
    var output: Int64?
  }
  /// `mounts` without the input numbers, which depend on the inputs' digests.
  var proto: Pb_ExecOp
  /// Sorted by target.
  var mounts: [Mount]
  var trailingMounts: [Pb_Mount]
}

/// A state after a command, and what the command left in its mounts.
public struct ExecState: Sendable {
  /// The root filesystem after the command, with the environment as before it.
  public let root: State
  let mountOutputs: [String: Output]

  /// A mount's content after the command. Throws `LLBError.invalidOption` for a mount whose changes are not kept.
  public func mount(_ target: String) throws(LLBError) -> State {
    guard let output = mountOutputs[target] else {
      throw LLBError(.invalidOption, "the mount at \(target) has no output: it is read-only, temporary, a cache, or does not exist")
    }
    return State(graph: root.graph, output: output)
  }
}

extension State {
  /// Runs a command on this filesystem. Throws `LLBError.invalidOption` for no arguments or a tmpfs mount with a source.
  public func run(_ exec: ExecOptions, options: VertexOptions = VertexOptions()) throws(LLBError) -> ExecState {
    guard !exec.arguments.isEmpty else { throw LLBError(.invalidOption, "a command needs at least one argument") }
    var options = options
    options.platform = options.platform ?? platform
    var operation = ExecOperation(proto: Pb_ExecOp(), mounts: [], trailingMounts: [])
    describe(exec, in: &operation.proto, &options)
    try addMounts(exec, to: &operation, &options)
    addSecretsAndSockets(exec, to: &operation, &options)
    let mounts = operation.mounts
    let id = graph.add(Vertex(operation: .exec(operation), options: options))

    var outputs: [String: Output] = [:]
    for mount in mounts { if let index = mount.output { outputs[mount.proto.dest] = Output(node: .vertex(id), index: index) } }
    var root = self
    if let output = outputs["/"] { root = replacing(output: output) }
    return ExecState(root: root, mountOutputs: outputs)
  }

  private func describe(_ exec: ExecOptions, in proto: inout Pb_ExecOp, _ options: inout VertexOptions) {
    var environment = environment
    if let socket = exec.sshSockets.first, environment["SSH_AUTH_SOCK"] == nil {
      environment["SSH_AUTH_SOCK"] = socket.target.isEmpty ? "/run/buildkit/ssh_agent.0" : socket.target
    }
    options.capabilities.formUnion([.execSetsDefaultPath, .execBase])
    var meta = Pb_Meta()
    meta.args = exec.arguments
    meta.env = environment.list
    meta.cwd = directory
    meta.user = user
    meta.hostname = hostname
    meta.cgroupParent = exec.cgroupParent ?? cgroupParent
    meta.removeMountStubsRecursive = true
    if let codes = exec.validExitCodes {
      meta.validExitCodes = codes
      options.capabilities.insert(.execValidExitCodes)
    }
    meta.extraHosts = exec.extraHosts.map { host in .with { $0.host = host.host; $0.ip = host.ip } }
    if !exec.ulimits.isEmpty {
      meta.ulimit = exec.ulimits
      options.capabilities.insert(.execUlimit)
    }
    if options.linuxResources != nil { options.capabilities.insert(.execLinuxResources) }
    if let proxy = exec.proxy {
      meta.proxyEnv = proxy
      options.capabilities.insert(.execProxy)
    }
    proto.meta = meta
    proto.network = exec.network ?? network
    proto.security = exec.security ?? security
    if proto.network != .unset { options.capabilities.insert(.execNetwork) }
    if proto.security != .sandbox { options.capabilities.insert(.execSecurity) }
    if !exec.devices.isEmpty {
      proto.cdiDevices = exec.devices
      options.capabilities.insert(.execDevices)
    }
  }

  private func addMounts(_ exec: ExecOptions, to operation: inout ExecOperation, _ options: inout VertexOptions) throws(LLBError) {
    let root = ExecMount("/", source: self, readOnly: exec.readOnlyRoot)
    var mounts = [root] + exec.mounts
    mounts.sort { $0.target.precedesInBytes($1.target) }
    var next: Int64 = 0
    for mount in mounts {
      var proto = Pb_Mount()
      proto.dest = mount.target
      proto.readonly = mount.readOnly
      proto.selector = mount.selector
      proto.contentCache = mount.contentCache
      if !mount.selector.isEmpty { options.capabilities.insert(.execMountSelector) }
      if mount.contentCache != .default { options.capabilities.insert(.execMountContentCache) }
      var keepsChanges = !mount.readOnly && !mount.discardsChanges
      switch mount.kind {
      case .bind:
        if mount.source.output != nil { options.capabilities.insert(.execMountBind) }
      case .tmpfs(let size):
        guard mount.source.output == nil else { throw LLBError(.invalidOption, "the tmpfs mount at \(mount.target) must start from scratch") }
        proto.mountType = .tmpfs
        proto.tmpfsOpt = .with { $0.size = size }
        options.capabilities.insert(.execMountTmpfs)
        if size > 0 { options.capabilities.insert(.execMountTmpfsSize) }
        keepsChanges = false
      case .cache(let id, let sharing):
        proto.mountType = .cache
        proto.cacheOpt = .with { $0.id = id; $0.sharing = sharing }
        options.capabilities.formUnion([.execMountCache, .execMountCacheSharing])
        keepsChanges = false
      }
      proto.output = keepsChanges ? next : -1
      operation.mounts.append(ExecOperation.Mount(proto: proto, source: mount.source.output, output: keepsChanges ? next : nil))
      if keepsChanges { next += 1 }
    }
  }

  private func addSecretsAndSockets(_ exec: ExecOptions, to operation: inout ExecOperation, _ options: inout VertexOptions) {
    if !exec.secrets.isEmpty { options.capabilities.insert(.execMountSecret) }
    for secret in exec.secrets {
      if let name = secret.variable {
        options.capabilities.insert(.execSecretEnvironment)
        operation.proto.secretenv.append(.with { $0.id = secret.id; $0.name = name; $0.optional = secret.optional })
      }
      guard let target = secret.target else { continue }
      operation.trailingMounts.append(
        .with {
          $0.input = -1
          $0.dest = target
          $0.mountType = .secret
          $0.secretOpt = .with { $0.id = secret.id; $0.uid = secret.uid; $0.gid = secret.gid; $0.mode = secret.mode; $0.optional = secret.optional }
        })
    }
    if !exec.sshSockets.isEmpty { options.capabilities.insert(.execMountSSH) }
    for (i, socket) in exec.sshSockets.enumerated() {
      operation.trailingMounts.append(
        .with {
          $0.input = -1
          $0.dest = socket.target.isEmpty ? "/run/buildkit/ssh_agent.\(i)" : socket.target
          $0.mountType = .ssh
          $0.sshopt = .with { $0.id = socket.id; $0.uid = socket.uid; $0.gid = socket.gid; $0.mode = socket.mode; $0.optional = socket.optional }
        })
    }
  }
}
