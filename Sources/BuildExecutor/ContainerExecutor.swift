#if os(Linux)
  package import HostOS
  import OCIModel

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// Runs steps in containers of the system's OCI runtime, each under a supervisor that does not outlive this program.
  package final class ContainerExecutor: StepExecutor {
    package struct Configuration: Sendable {
      /// A directory of ours, best empty: mount point of each container's private tmpfs. Made when missing.
      package var scratch: String
      /// An OCI runtime to use instead of the first found (MANIFOLD_RUNTIME).
      package var runtime: String?
      /// Where QEMU's programs are looked for before PATH (MANIFOLD_QEMU).
      package var qemuDirectory: String?
      /// The host's resolver configuration.
      package var resolverFile: String
      /// Why no container can be started here; nil when nothing is known to stand in the way.
      package var obstacle: String?
      /// Instead of what the host's file says.
      package var resolver = HostFiles.Resolver()
      /// The control group above steps that name none; empty is this program's own.
      package var cgroupParent = ""
      /// An AppArmor profile that is loaded; nil for none.
      package var apparmorProfile: String?
      /// Where specifications of devices are, and which of these builds may have without asking.
      package var deviceDirectories: [String] = ["/etc/cdi", "/var/run/cdi"]
      package var autoAllowedDevices: [String] = []
      package init(
        scratch: String, runtime: String? = nil, qemuDirectory: String? = nil, resolverFile: String = "/etc/resolv.conf", obstacle: String? = nil
      ) {
        self.obstacle = obstacle
        self.scratch = scratch
        self.runtime = runtime
        self.qemuDirectory = qemuDirectory
        self.resolverFile = resolverFile
      }

      /// With MANIFOLD_RUNTIME and MANIFOLD_QEMU of this process's environment.
      package static func fromEnvironment(scratch: String, obstacle: String? = nil) -> Configuration {
        func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 } }
        return Configuration(scratch: scratch, runtime: value("MANIFOLD_RUNTIME"), qemuDirectory: value("MANIFOLD_QEMU"), obstacle: obstacle)
      }
    }

    package let emulation: Emulation
    package let configuration: Configuration
    let machine: MachineFacts
    private let server = SupervisorServer()
    private let runtime: Result<Runtime, any Error>
    /// Networks of steps of their own; nil: steps are in the host's.
    private let networks: StepNetworks?

    /// `networks` are closed by whoever opened them. Blocks a little; call through Blocking.run. A missing runtime is an error of `run` only: a build without RUN needs none.
    package init(_ configuration: Configuration, networks: StepNetworks? = nil) throws {
      self.networks = networks
      try Files.makeDirectories(configuration.scratch, mode: 0o711)
      self.configuration = configuration
      machine = MachineFacts()
      runtime = Result { try Runtime.find(named: configuration.runtime) }
      let host = Emulation.Host.current(server: server, scratch: configuration.scratch, qemuDirectory: configuration.qemuDirectory)
      let memory = EmulationMemory(path: configuration.scratch + "/emulation.json", qemuDirectory: configuration.qemuDirectory, entries: host.entries())
      emulation = Emulation(host: host, obstacle: configuration.obstacle, recall: memory.recall, record: memory.record)
    }

    package func obstacle(to resources: StepResources) async -> (any Error)? {
      guard !resources.isEmpty, let runtime = try? runtime.get(), runtime.kind == .crun || machine.inUserNamespace else { return nil }
      do {
        _ = try await Blocking.run { try LimitCgroups.places(for: resources.controllers, .current) }
        return nil
      } catch { return error }
    }

    package func devices() -> DeviceSpecs { DeviceSpecs(directories: configuration.deviceDirectories, autoAllowed: configuration.autoAllowedDevices) }

    package func run(_ spec: ProcessSpec, root: MountPlan, locks: [HostOS.Descriptor], streams: StepStreams) async throws -> StepExit {
      guard let networks, spec.network == .sandbox else { return try await run(spec, root: root, locks: locks, streams: streams, network: nil) }
      let namespace = try await networks.take(hostname: spec.hostname)
      let isReusable = !spec.isInsecure
      do {
        let exit = try await run(spec, root: root, locks: locks, streams: streams, network: namespace.descriptor)
        await networks.give(namespace, isReusable: isReusable)
        return exit
      } catch {
        await networks.give(namespace, isReusable: isReusable)
        throw error
      }
    }

    private func run(
      _ spec: ProcessSpec, root: MountPlan, locks: [HostOS.Descriptor], streams: StepStreams, network: HostOS.Descriptor?
    ) async throws -> StepExit {
      var spec = spec
      if spec.cgroupParent.isEmpty { spec.cgroupParent = configuration.cgroupParent }
      let request = spec
      if let obstacle = configuration.obstacle { throw ExecutorError(.platformImpossible, "steps cannot run here: \(obstacle)") }
      let runtime = try runtime.get()
      let support = await emulation.support(for: spec.platform)
      if case .impossible(let reason, let mend) = support {
        throw ExecutorError(.platformImpossible, reason + (mend.isEmpty ? "" : "; mend it with: \(mend)"))
      }
      let started = try await Blocking.run { [self] in
        let step = try PreparedStep(request, root: root, support: support, runtime: runtime, executor: self, locks: locks, streams: streams, network: network)
        do { return try start(step, streams) } catch {
          step.cleanUp()
          throw error
        }
      }
      let outcome: StepWatch.Outcome
      do {
        outcome = try await withTaskCancellationHandler {
          let signals = forward(streams, to: started.watch)
          defer { signals?.cancel() }
          return try await DedicatedThread.run {
            let outcome = started.watch.follow()
            if outcome.code == nil || outcome.failure != nil { started.watch.cancel() }
            return outcome
          }
        } onCancel: {
          started.watch.cancel()
        }
      } catch {
        started.watch.cancel()
        try? await Blocking.run { started.step.cleanUp() }
        throw error
      }
      // Not Blocking.run: a cancelled task is to be cleaned up after all the same.
      let wasCancelled = Task.isCancelled
      let exit = try await DedicatedThread.run { [self] in
        // Killed: nothing is to be touched before all is gone.
        if wasCancelled || outcome.code == nil { started.watch.waitForEnd(seconds: 30) }
        defer { started.step.cleanUp() }
        return Result { try result(of: outcome, started.step) }
      }.get()
      try Task.checkCancellation()
      return exit
    }

    private struct Started: Sendable {
      let step: PreparedStep
      let watch: StepWatch
    }

    private func start(_ step: PreparedStep, _ streams: StepStreams) throws -> Started {
      switch streams {
      case .captured(let sink):
        let null = try Descriptor.open("/dev/null", flags: .readWrite)
        let output = try Descriptor.pipe(), error = try Descriptor.pipe()
        let control = try server.start(step.plan, input: null, output: output.write, error: error.write)
        // The write ends are the container's alone from here on.
        try output.write.close()
        try error.write.close()
        return Started(step: step, watch: StepWatch(control: control, output: output.read, error: error.read, sink: sink))
      case .attached(let input, let output, let error, _, _):
        let control = try server.start(step.plan, input: input, output: output, error: error)
        return Started(step: step, watch: StepWatch(control: control, output: nil, error: nil) { _ in })
      }
    }

    private func forward(_ streams: StepStreams, to watch: StepWatch) -> Task<Void, Never>? {
      guard case .attached(_, _, _, _, let signals?) = streams else { return nil }
      return Task { for await number in signals { watch.signal(number) } }
    }

    private func result(of outcome: StepWatch.Outcome, _ step: PreparedStep) throws -> StepExit {
      if let failure = outcome.failure {
        throw ExecutorError(.supervisor, "cannot set up the step's container: \(Emulation.Host.explain(failure))")
      }
      guard let code = outcome.code else { throw ExecutorError(.supervisor, "the step's supervisor was killed") }
      guard code != 0 else { return StepExit(code: 0) }
      let outOfMemory = code == 128 + SIGKILL && MachineFacts.killsForMemory() > step.killsBefore
      return StepExit(code: code, outOfMemory: outOfMemory, runtimeMessage: Runtime.message(inLog: outcome.runtimeLog))
    }
  }

  /// What of this machine decides how containers are set up; does not change while a build runs.
  struct MachineFacts: Sendable {
    let inUserNamespace = HostFacts.inUserNamespace
    let hasTTYGroup = HostFacts.groupIDMap.contains(5)
    let users = HostFacts.idMap
    let groups = HostFacts.groupIDMap
    let cgroups = HostFacts.cgroupMode
    let hasSeccomp = Files.exists("/proc/sys/kernel/seccomp/actions_avail")
    let hasCgroupNamespaces = Files.exists("/proc/self/ns/cgroup")
    let devices = DeviceCgroups()

    /// How many processes the kernel has killed for want of memory since it started.
    static func killsForMemory() -> UInt64 {
      guard let text = Files.text("/proc/vmstat"), let line = text.split(separator: "\n").first(where: { $0.hasPrefix("oom_kill ") }) else { return 0 }
      return UInt64(line.dropFirst(9)) ?? 0
    }
  }
#endif
