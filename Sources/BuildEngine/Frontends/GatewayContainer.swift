internal import BuildExecutor
internal import BuildInterface
internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import OCIModel
internal import PathPatterns
internal import Synchronization

extension Engine {
  /// A container over results of a build, for its frontend or its client. Throws `BuildError`.
  func newContainer(_ request: ContainerRequest, build: RunningBuild) async throws -> any FrontendContainer {
    try build.steps.check(host: request.network == .host, insecure: false)
    let platform = (request.platform ?? options.platform).normalized
    if let refusal = ExecOperation.refusal(platform, host: options.platform) { throw refusal }
    var mounts = ContainerMounts(build: build)
    do { try await mounts.prepare(request.mounts) } catch {
      await mounts.release()
      throw ErrorTranslation.buildError(error)
    }
    let container = GatewayContainer(request: request, platform: platform, mounts: mounts, build: build)
    // Whoever asked may be gone without having given it back.
    await build.job.cleanup { await container.release() }
    return container
  }
}

/// The mounts of a container: layers of its own over what is to be written to, which go with it.
struct ContainerMounts: Sendable {
  let build: RunningBuild
  private(set) var root: MountPlan?
  private(set) var processMounts: [ProcessMount] = []
  /// In the order of the request: what can be read from outside.
  private(set) var trees: [MountPlan?] = []
  private var layers: [MutableRef] = []
  private var caches: [CacheMountRef] = []

  init(build: RunningBuild) { self.build = build }

  private var client: any ClientServices { build.session.client }

  mutating func prepare(_ mounts: [ContainerRequest.Mount]) async throws {
    guard mounts.count <= 512 else { throw BuildError(.resourceExhausted, .usage, "a container with \(mounts.count) mounts") }
    for item in mounts {
      let mount = item.mount
      if mount.dest == "/", mount.mountType != .bind { throw BuildError(.invalidArgument, .usage, "invalid mount type \(mount.mountType) for /") }
      switch mount.mountType {
      case .bind: try await bind(item)
      case .cache: try await cache(item)
      case .tmpfs:
        let size = mount.hasTmpfsOpt && mount.tmpfsOpt.size > 0 ? UInt64(mount.tmpfsOpt.size) : nil
        add(mount, .tmpfs(size: size))
        trees.append(nil)
      case .secret:
        try await secret(mount)
        trees.append(nil)
      case .ssh:
        try await agent(mount)
        trees.append(nil)
      case .UNRECOGNIZED(let type): throw BuildError(.invalidArgument, .usage, "mount type \(type) not implemented")
      }
    }
    guard root != nil else { throw BuildError(.invalidArgument, .usage, "a container needs a root: a mount at /") }
    processMounts.sort { $0.destination.utf8.lexicographicallyPrecedes($1.destination.utf8) }
  }

  private func ref(_ item: ContainerRequest.Mount) async throws -> ImmutableRef? {
    guard let reference = item.reference else { return nil }
    guard let own = reference as? EngineReference, own.build === build else { throw BuildError(.invalidArgument, .usage, "a mount at \(item.mount.dest) of another build's result") }
    guard let built = try await own.built() else { return nil }
    return try await TreeResult.of(built).snapshot(build.engine.refs)
  }

  private mutating func bind(_ item: ContainerRequest.Mount) async throws {
    let mount = item.mount, ref = try await ref(item)
    let plan: MountPlan
    if let ref, mount.readonly, mount.dest != "/" {
      try await ref.prepare()
      plan = try await ref.mountPlan()
    } else {
      // What is written goes with the container.
      let layer = try await build.engine.refs.newMutable(parent: ref, description: "mount \(mount.dest) of a container", recordType: .regular)
      layers.append(layer)
      plan = try await layer.mountPlan()
    }
    trees.append(plan.readOnly)
    if mount.dest == "/" { root = plan } else { add(mount, plan) }
  }

  private mutating func cache(_ item: ContainerRequest.Mount) async throws {
    let mount = item.mount, base = try await ref(item)
    let sharing: CacheSharing =
      switch mount.cacheOpt.sharing {
      case .private: .private
      case .locked: .locked
      default: .shared
      }
    let handle = try await build.engine.refs.cacheMount(id: mount.cacheOpt.id.isEmpty ? mount.dest : mount.cacheOpt.id, sharing: sharing, base: base)
    caches.append(handle)
    let plan = try await handle.mountPlan()
    trees.append(plan.readOnly)
    add(mount, plan)
  }

  private mutating func secret(_ mount: Pb_Mount) async throws {
    let option = mount.secretOpt
    guard let bytes = try await client.secrets.secret(id: option.id) else {
      if option.optional { return }
      throw ExecOperation.missingSecret(option.id)
    }
    processMounts.append(
      ProcessMount(destination: destination(mount), source: .memory(bytes: bytes, mode: option.mode & 0o777, uid: option.uid, gid: option.gid), readOnly: true))
  }

  private mutating func agent(_ mount: Pb_Mount) async throws {
    let option = mount.sshopt, id = option.id.isEmpty ? SSHAccess.defaultID : option.id, agents = client.agents
    guard try await agents.hasAgent(id: id) else {
      if option.optional { return }
      throw SSHAccess.missing(id)
    }
    processMounts.append(
      ProcessMount(
        destination: destination(mount),
        source: .socket(mode: option.mode & 0o777, uid: option.uid, gid: option.gid) { connection in SSHAccess.hand(connection, to: agents, id) }))
  }

  private func destination(_ mount: Pb_Mount) -> String { mount.dest.hasPrefix("/") ? SlashPath.clean(mount.dest) : SlashPath.join("/", mount.dest) }

  private mutating func add(_ mount: Pb_Mount, _ plan: MountPlan) {
    processMounts.append(ProcessMount(destination: destination(mount), plan: plan, subpath: mount.selector == "/" ? "" : mount.selector, readOnly: mount.readonly))
  }

  mutating func release() async {
    for handle in caches { await handle.release() }
    for layer in layers { await layer.discard() }
    (caches, layers) = ([], [])
  }
}

final class GatewayContainer: FrontendContainer {
  private let request: ContainerRequest
  private let platform: Platform
  private let build: RunningBuild
  private let trees: [MountPlan?]
  private struct State {
    var mounts: ContainerMounts?
    var running: GatewayProcess?
    var isReleased = false
  }
  private let state: Mutex<State>

  init(request: ContainerRequest, platform: Platform, mounts: ContainerMounts, build: RunningBuild) {
    self.request = request
    self.platform = platform
    self.build = build
    trees = mounts.trees
    state = Mutex(State(mounts: mounts))
  }

  func start(_ process: ContainerProcessRequest, output: @escaping @Sendable (UInt32, [UInt8]) async -> Void) async throws -> any FrontendProcess {
    try build.steps.check(host: false, insecure: process.security == .insecure)
    guard let mounts = state.withLock({ $0.isReleased ? nil : $0.mounts }), let root = mounts.root else { throw BuildError(.notFound, .usage, "the container was released") }
    let spec = try await spec(process, mounts)
    let started = try await GatewayProcess.prepare(process, output: output)
    let isFirst = state.withLock { state in
      guard !state.isReleased, state.running == nil else { return false }
      state.running = started
      return true
    }
    guard isFirst else {
      // A runtime would have to be let into a running container.
      throw BuildError(.unimplemented, .usage, "a second process of a container, while one runs in it, is not supported yet")
    }
    started.run(spec, root: root, executor: build.engine.services.executor) { [weak self] in self?.state.withLock { $0.running = nil } }
    return started
  }

  private func spec(_ process: ContainerProcessRequest, _ mounts: ContainerMounts) async throws -> ProcessSpec {
    let meta = process.meta
    var environment = meta.env
    if !environment.contains(where: { $0.hasPrefix("PATH=") }) { environment.append("PATH=" + ImageDefaults.path) }
    if process.hasTerminal, !environment.contains(where: { $0.hasPrefix("TERM=") }) { environment.append("TERM=xterm") }
    for secret in process.secretEnvironment {
      guard !secret.id.isEmpty else { throw BuildError(.invalidArgument, .usage, "secret ID missing for \"\(secret.name)\" environment variable") }
      let bytes = try await build.session.client.secrets.secret(id: secret.id)
      if bytes == nil, !secret.optional { throw ExecOperation.missingSecret(secret.id) }
      environment.append("\(secret.name)=\(String(decoding: bytes ?? [], as: UTF8.self))")
    }
    guard !meta.args.isEmpty else { throw BuildError(.invalidArgument, .usage, "a process without a command") }
    let network: ProcessSpec.Network =
      switch request.network {
      case .none: .none
      case .host: .host
      default: .sandbox
      }
    return ProcessSpec(
      arguments: meta.args, environment: environment, workingDirectory: meta.cwd.isEmpty ? "/" : meta.cwd, user: meta.user,
      hostname: request.hostname.isEmpty ? nil : request.hostname, network: network, isInsecure: process.security == .insecure,
      extraHosts: request.extraHosts.map { .init(name: $0.host, address: $0.ip) }, mounts: mounts.processMounts, platform: platform)
  }

  // MARK: files

  private func read<T: Sendable>(_ mount: Int, _ path: String, _ body: @escaping @Sendable (any TreeReader) throws -> T) async throws -> T {
    guard trees.indices.contains(mount) else { throw BuildError(.invalidArgument, .usage, "mount index \(mount) is out of bounds (\(trees.count) available)") }
    guard path.hasPrefix("/") else { throw BuildError(.invalidArgument, .usage, "can't make \(path) relative to /") }
    guard let plan = trees[mount] else { throw BuildError(.unimplemented, .usage, "mount \(mount) of the container exists in its processes only, and cannot be read from outside") }
    if state.withLock({ $0.isReleased }) { throw BuildError(.notFound, .usage, "the container was released") }
    do { return try await Blocking.run { try body(MountedTree(try Mounts.open(plan))) } } catch let error as TreeError {
      throw BuildError(error.code == .notFound ? .notFound : .invalidArgument, .usage, error.description)
    }
  }

  func readFile(_ path: String, mount: Int, offset: Int64, length: Int64?, limit: Int) async throws -> [UInt8] {
    try await read(mount, path) { try ReferenceFiles.read(path, offset: offset, length: length, limit: limit, in: $0) }
  }
  func readDirectory(_ path: String, mount: Int, matching pattern: String) async throws -> [Fsutil_Types_Stat] {
    try await read(mount, path) { try ReferenceFiles.list(path, matching: pattern, in: $0) }
  }
  func status(of path: String, mount: Int) async throws -> Fsutil_Types_Stat { try await read(mount, path) { try ReferenceFiles.status(of: path, in: $0) } }

  func release() async {
    let (running, mounts) = state.withLock { state in
      state.isReleased = true
      defer { state.mounts = nil }
      return (state.running, state.mounts)
    }
    // Killed, and gone, before its files are.
    if let running { await running.end() }
    if var mounts { await mounts.release() }
  }
}
