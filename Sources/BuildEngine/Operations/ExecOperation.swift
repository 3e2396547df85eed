internal import BuildExecutor
internal import BuildInterface
internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import LLB
internal import OCIModel
internal import PathPatterns

/// Executes a process in a container over its inputs: `RUN`.
struct ExecOperation: Op {
  let op: Pb_ExecOp
  let platform: Platform
  let inputCount: Int
  let services: EngineServices
  var resources = StepResources()

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    let key = try OpCacheKey.exec(op, platform: platform, inputCount: inputCount)
    return CacheMapAnswer(services.cacheMap(key))
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    try await services.collector.beforeStep()
    var mounts = ExecMounts(op: op, trees: try inputs.map { try TreeResult.of($0) }, services: services, context: context)
    var started: (spec: ProcessSpec, root: MountPlan)?
    do {
      try await mounts.prepare()
      let spec = try await process(mounts)
      let root = try mounts.rootPlan()
      started = (spec, root)
      try await run(spec, root: root, context: context)
      started = nil
      let results = try await mounts.results()
      await mounts.release()
      return results
    } catch {
      let error = await FullDisk.told(error, writing: mounts.layers, store: services.store)
      if let started, !(error is CancellationError), let session = try? services.session(of: context), session.keepsFailedStep,
        services.failedSteps.keep(FailedStep(spec: started.spec, root: started.root, mounts: mounts), of: session.id)
      {
        throw error
      }
      await mounts.release()
      throw error
    }
  }

  /// What a step asks for and this engine does not do: said before the first step of a build runs, and never left out in silence.
  /// A step of another operating system: no emulator helps there.
  static func refusal(_ platform: Platform, host: Platform) -> BuildError? {
    guard platform.os == "windows", host.os != "windows" else { return nil }
    return BuildError(
      .failedPrecondition, .build, "RUN for \(platform.fullDescription) needs a Windows machine, and this one runs \(host)",
      suggestion:
        "build it with a BuildKit on Windows (buildkitd with containerd there; docker buildx create --driver remote NAME tcp://HOST:PORT), or make the files in a stage FROM --platform=$BUILDPLATFORM and COPY them: everything but RUN works here for Windows"
    )
  }

  static func refusal(_ op: Pb_ExecOp) -> BuildError? {
    if !op.meta.cgroupParent.isEmpty, HostFacts.inUserNamespace || !HostFacts.isRoot {
      return BuildError(.failedPrecondition, .usage, "--cgroup-parent \(op.meta.cgroupParent): only root can put steps into another control group", suggestion: "run the build as root, or in the group itself, and leave --cgroup-parent away")
    }
    return nil
  }

  /// What a step may do only when whoever asked for the build allowed it (`--allow`), and did not.
  static func lacking(_ op: Pb_ExecOp, allowed: Set<String>) -> BuildError? {
    var needed: [(entitlement: String, flag: String)] = []
    if op.network == .host { needed.append(("network.host", "RUN --network=host")) }
    if op.security == .insecure { needed.append(("security.insecure", "RUN --security=insecure")) }
    guard let lacking = needed.first(where: { !allowed.contains($0.entitlement) }) else { return nil }
    return BuildError(
      .permissionDenied, .usage, "\(lacking.flag) needs the entitlement \(lacking.entitlement), which was not allowed",
      suggestion: "if you trust this Dockerfile, add --allow \(lacking.entitlement) to the command")
  }

  private func process(_ mounts: ExecMounts) async throws -> ProcessSpec {
    let meta = op.meta
    var environment = meta.env
    if meta.hasProxyEnv {
      let proxy = meta.proxyEnv
      for (name, value) in [
        ("HTTP_PROXY", proxy.httpProxy), ("HTTPS_PROXY", proxy.httpsProxy), ("FTP_PROXY", proxy.ftpProxy), ("NO_PROXY", proxy.noProxy), ("ALL_PROXY", proxy.allProxy),
      ] where !value.isEmpty {
        environment += ["\(name)=\(value)", "\(name.lowercased())=\(value)"]
      }
    }
    if !environment.contains(where: { $0.hasPrefix("PATH=") }) { environment.append("PATH=" + ImageDefaults.path) }
    for secret in op.secretenv {
      guard let bytes = try await services.secret(secret.id, context: mounts.context) else {
        guard secret.optional else { throw ExecOperation.missingSecret(secret.id) }
        // As BuildKit: the variable is there, and empty.
        environment.append("\(secret.name)=")
        continue
      }
      environment.append("\(secret.name)=\(String(decoding: bytes, as: UTF8.self))")
    }
    var spec = ProcessSpec(
      arguments: meta.args, environment: environment, workingDirectory: meta.cwd.isEmpty ? "/" : meta.cwd, user: meta.user,
      hostname: meta.hostname.isEmpty ? nil : meta.hostname, cgroupParent: meta.cgroupParent, network: network(), isInsecure: op.security == .insecure, extraHosts: meta.extraHosts.map { .init(name: $0.host, address: $0.ip) },
      limits: meta.ulimit.map { .init(name: $0.name, soft: $0.soft, hard: $0.hard) }, resources: resources, mounts: mounts.processMounts, platform: platform,
      readOnlyRoot: mounts.readOnlyRoot, removesStubParents: meta.removeMountStubsRecursive)
    spec.devices = ExecOperation.devices(op)
    return spec
  }

  static func missingSecret(_ id: String) -> BuildError {
    BuildError(
      .notFound, .usage, "secret \"\(id)\" is required by a step, but was not given", suggestion: "add --secret id=\(id),src=FILE or --secret id=\(id),env=NAME to the command")
  }

  private func network() -> ProcessSpec.Network {
    switch op.network {
    case .none: .none
    case .host: .host
    default: .sandbox
    }
  }

  private func run(_ spec: ProcessSpec, root: MountPlan, context: OpContext) async throws {
    let tail = OutputTail()
    let log = services.stepLogs.log(of: context.vertex.digest, build: (try? services.session(of: context).id) ?? "")
    let locks = (context.keyLock as? StoreKeyLock)?.locks.map(\.descriptor) ?? []
    defer { log.discard() }
    let exit = try await StepDeadline.run(spec, root: root, locks: locks, seconds: try? services.session(of: context).stepTimeout, services.executor) { output in
      switch output {
      case .standardOutput(let bytes):
        tail.add(bytes)
        log.write(bytes)
        context.progress.log(bytes, stream: 1)
      case .standardError(let bytes):
        tail.add(bytes)
        log.write(bytes)
        context.progress.log(bytes, stream: 2)
      }
    }
    guard let exit else {
      throw BuildError(
        .deadlineExceeded, .build, "process \"\(op.meta.args.joined(separator: " "))\" took longer than --step-timeout allows, and was killed", output: tail.lines, logFile: log.keep())
    }
    let allowed = op.meta.validExitCodes.isEmpty ? [0] : op.meta.validExitCodes
    guard !allowed.contains(exit.code) else { return }
    try Task.checkCancellation()
    var message = "process \"\(op.meta.args.joined(separator: " "))\" did not complete successfully: exit code: \(exit.code)"
    if exit.outOfMemory { message += " (killed: out of memory)" }
    if let reason = exit.runtimeMessage { message += ": " + reason }
    throw BuildError(.unknown, .build, message, exitCode: exit.code, output: tail.lines, logFile: log.keep())
  }
}

/// What every Linux image is given when it says nothing else.
enum ImageDefaults {
  static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

/// The mounts of one execution: made from the inputs, turned into results, given back.
struct ExecMounts {
  private struct Output {
    /// What the step wrote, or an input that it could not change.
    var made: MutableRef?
    var kept: ImmutableRef?
  }
  let op: Pb_ExecOp
  let trees: [TreeResult]
  let services: EngineServices
  let context: OpContext
  private(set) var processMounts: [ProcessMount] = []
  private(set) var readOnlyRoot = false
  private var root: MountPlan?
  private var outputs: [Output] = []
  /// Writable mounts that nobody wants afterwards, and cache directories.
  private var scratch: [MutableRef] = []
  private var caches: [CacheMountRef] = []
  private var cachesByKey: [String: CacheMountRef] = [:]

  init(op: Pb_ExecOp, trees: [TreeResult], services: EngineServices, context: OpContext) {
    self.op = op
    self.trees = trees
    self.services = services
    self.context = context
  }

  func rootPlan() throws -> MountPlan {
    guard let root else { throw InvalidDefinition("exec has no root mount") }
    return root
  }

  mutating func prepare() async throws {
    for mount in op.mounts {
      switch mount.mountType {
      case .bind: try await bind(mount)
      case .cache: try await cache(mount)
      case .tmpfs:
        let size = mount.hasTmpfsOpt && mount.tmpfsOpt.size > 0 ? UInt64(mount.tmpfsOpt.size) : nil
        add(mount, .tmpfs(size: size))
      case .secret: try await secret(mount)
      case .ssh: try await agent(mount)
      // Refused before anything runs (`refusal`).
      case .UNRECOGNIZED: break
      }
    }
    processMounts.sort { $0.destination.utf8.lexicographicallyPrecedes($1.destination.utf8) }
  }

  private func input(_ mount: Pb_Mount) async throws -> ImmutableRef? {
    guard mount.input != -1 else { return nil }
    guard mount.input >= 0, mount.input < trees.count else { throw InvalidDefinition("exec mounts the input \(mount.input) of \(trees.count)") }
    return try await trees[Int(mount.input)].snapshot(services.refs)
  }

  private func newLayer(_ mount: Pb_Mount, over ref: ImmutableRef?) async throws -> MutableRef {
    try await services.refs.newMutable(
      parent: ref, description: "mount \(mount.dest) from exec \(op.meta.args.joined(separator: " "))", recordType: .regular)
  }

  private mutating func bind(_ mount: Pb_Mount) async throws {
    let ref = try await input(mount)
    let isRoot = mount.dest == "/"
    let plan: MountPlan
    if mount.makesOutput {
      if mount.readonly, let ref, !isRoot {
        outputs.append(Output(kept: ref.clone()))
        plan = try await ref.mountPlan()
      } else {
        let layer = try await newLayer(mount, over: ref)
        outputs.append(Output(made: layer))
        plan = try await layer.mountPlan()
      }
    } else if let ref, mount.readonly, !isRoot {
      plan = try await ref.mountPlan()
    } else {
      let layer = try await newLayer(mount, over: ref)
      scratch.append(layer)
      plan = try await layer.mountPlan()
    }
    if isRoot {
      root = plan
      readOnlyRoot = mount.readonly
    } else {
      add(mount, plan)
    }
  }

  private mutating func cache(_ mount: Pb_Mount) async throws {
    let ref = try await input(mount)
    let sharing: CacheSharing =
      switch mount.cacheOpt.sharing {
      case .private: .private
      case .locked: .locked
      default: .shared
      }
    // (A cache without an id is not named after its place, as one of a Dockerfile is by the frontend.)
    let id = mount.cacheOpt.id, key = "\(ref?.id ?? "")\0\(id)"
    if context.vertex.options.ignoreCache { try await clear(id, isOnTree: ref != nil) }
    let handle: CacheMountRef
    if let mounted = cachesByKey[key] {
      // A second lock on what this step has would be waited for without end.
      handle = mounted
    } else {
      let progress = context.progress
      handle = try await services.refs.cacheMount(id: id, sharing: sharing, base: ref) { progress.log("waiting for the cache \(id), which another step uses\n") }
      cachesByKey[key] = handle
      caches.append(handle)
    }
    if mount.makesOutput, let ref { outputs.append(Output(kept: ref.clone())) }
    add(mount, try await handle.mountPlan())
  }

  /// A build that is to forget its cache (`--no-cache`) begins with empty cache directories, those in use excepted.
  private func clear(_ id: String, isOnTree: Bool) async throws {
    let refs = services.refs
    try await services.session(of: context).downloads.value(for: "clear cache\0\(isOnTree)\0\(id)") { try await refs.clearCacheMounts(id: id, onTrees: isOnTree) }
  }

  private mutating func secret(_ mount: Pb_Mount) async throws {
    let option = mount.secretOpt
    guard let bytes = try await services.secret(option.id, context: context) else {
      if option.optional { return }
      throw ExecOperation.missingSecret(option.id)
    }
    processMounts.append(
      ProcessMount(destination: destination(mount), source: .memory(bytes: bytes, mode: option.mode & 0o777, uid: option.uid, gid: option.gid), readOnly: true))
  }

  private mutating func agent(_ mount: Pb_Mount) async throws {
    let option = mount.sshopt, id = option.id.isEmpty ? SSHAccess.defaultID : option.id
    guard let agents = try await services.sessions(of: context).find({ session in try await session.client.agents.hasAgent(id: id) ? session.client.agents : nil }) else {
      if option.optional { return }
      throw SSHAccess.missing(id)
    }
    processMounts.append(
      ProcessMount(
        destination: destination(mount),
        source: .socket(mode: option.mode & 0o777, uid: option.uid, gid: option.gid) { connection in SSHAccess.hand(connection, to: agents, id) }))
  }

  private func destination(_ mount: Pb_Mount) -> String {
    mount.dest.hasPrefix("/") ? SlashPath.clean(mount.dest) : SlashPath.join("/", op.meta.cwd, mount.dest)
  }

  private mutating func add(_ mount: Pb_Mount, _ plan: MountPlan) {
    processMounts.append(
      ProcessMount(destination: destination(mount), plan: plan, subpath: mount.selector == "/" ? "" : mount.selector, readOnly: mount.readonly))
  }

  /// Commits what the step wrote; in the order of the mounts, which is what BuildKit counts outputs by (`Pb_Mount.makesOutput`).
  mutating func results() async throws -> [any SolverResult] {
    var results: [any SolverResult] = []
    do {
      for i in outputs.indices {
        if let made = outputs[i].made {
          results.append(TreeResult(.snapshot(try await made.commit())))
          outputs[i].made = nil
        } else if let kept = outputs[i].kept {
          results.append(TreeResult(.snapshot(kept)))
          outputs[i].kept = nil
        }
      }
    } catch {
      for result in results { await result.release() }
      throw error
    }
    return results
  }

  /// What the step writes to.
  var layers: [MutableRef] { scratch + outputs.compactMap(\.made) }

  /// Gives back all that did not become a result.
  mutating func release() async {
    for handle in caches { await handle.release() }
    for layer in scratch { await layer.discard() }
    for output in outputs {
      await output.made?.discard()
      await output.kept?.release()
    }
    (caches, scratch, outputs) = ([], [], [])
  }
}
