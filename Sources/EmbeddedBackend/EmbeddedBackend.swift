package import BuildEngine
package import BuildExecutor
package import BuildInterface
package import BuildProgress
internal import BuildSnapshots
package import BuildkitdConfig
package import ContentStore
internal import HostOS
package import OCIModel
internal import OCIRegistry
internal import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The engine in this process, on one root, with the local disk as its client. Whoever opens it calls `shutdown`.
package final class EmbeddedBackend: BuildBackend, LocalEngine, BuildExplaining, FailedStepShell {
  package struct Options: Sendable {
    /// The store; nil takes the default place (StoreLayout.defaultRoot).
    package var root: String?
    /// Steps at once; nil is chosen from cores and memory.
    package var jobs: Int?
    /// Registries reached without TLS, or with a certificate nobody vouches for.
    package var insecureRegistries: Set<String>
    /// A `buildkitd.toml`; nil takes the default place's, if there is one.
    package var config: String?
    /// A daemon's settings, read already; `config` is not read then.
    package var settings: BuildkitdFile?
    /// Why this process could not enter namespaces of its own; steps cannot run then, and trees are whole copies.
    package var obstacle: String?
    /// How large the store may grow by itself.
    package var storeLimit: StoreLimit
    /// Which records of builds are kept, and in which form errors are.
    package var history = HistoryOptions()
    /// Speaks with frontends that are programs; without one, frontend images are refused.
    package var frontendServer: (any FrontendServer)?
    package init(root: String? = nil, jobs: Int? = nil, insecureRegistries: Set<String> = [], config: String? = nil, obstacle: String? = nil, storeLimit: StoreLimit = .automatic) {
      self.obstacle = obstacle
      self.root = root
      self.jobs = jobs
      self.insecureRegistries = insecureRegistries
      self.config = config
      self.storeLimit = storeLimit
    }
  }

  private let engine: Engine
  package let store: ContentStore
  private let refs: RefStore
  private let executor: ContainerExecutor
  private let networks: StepNetworks?
  /// Of a daemon: collects from time to time.
  private let collector = Mutex<Task<Void, Never>?>(nil)
  /// `host` or `cni`: what steps have that ask for nothing else.
  package let networkMode: String
  private let credentials: any CredentialService
  package let notes: [String]
  /// What builds leave behind.
  package var records: BuildRecords { engine.records }

  /// Opens the store, sweeping what dead processes left in it. Throws `ConfigError`, `StoreError`, `SnapshotError`, `ExecutorError`.
  package init(_ options: Options, environment: [String: String] = RegistryConfiguration.processEnvironment) async throws {
    let registry = try await RegistryConfiguration.load(config: options.config, file: options.settings, insecureHosts: options.insecureRegistries, environment: environment)
    let root = try options.root ?? StoreLayout.defaultRoot(environment: environment, isSystem: HostFacts.isRoot && !HostFacts.inUserNamespace)
    OwnerRecords.need = OwnerRecords.needed(hasNamespaces: options.obstacle == nil)
    store = try await ContentStore.open(root: root, migrations: Engine.migrations)
    refs = try await RefStore.open(store: store, snapshotter: options.obstacle == nil ? .automatic : .plain)
    let scratch = root + "/run"
    let setup = try await StepSetup(options.settings, scratch: scratch, records: root + "/net", obstacle: options.obstacle, environment: environment)
    (networks, networkMode) = (setup.networks, setup.networks == nil ? "host" : "cni")
    executor = try await Blocking.run { try ContainerExecutor(setup.executor, networks: setup.networks) }
    let overlayProblem = refs.overlayProblem
    notes = setup.notes + (try await Blocking.run { EnvironmentNotes.all(root: root, obstacle: options.obstacle, overlayProblem: overlayProblem) })
    credentials = DockerCredentials(DockerConfigCredentials(environment: environment))
    var engineOptions = Engine.Options(
      jobs: options.jobs ?? options.settings.flatMap { $0.worker.maxParallelism > 0 ? $0.worker.maxParallelism : nil } ?? EmbeddedBackend.defaultJobs, registry: registry,
      platform: executor.emulation.hostPlatform, storeLimit: try options.limit(ofStore: root))
    engineOptions.history = options.history
    engineOptions.frontendServer = options.frontendServer
    engine = try Engine(store: store, refs: refs, executor: executor, emulation: EmulationReport(executor.emulation), options: engineOptions)
    if options.settings != nil { collector.withLock { $0 = Task { [engine] in await EmbeddedBackend.collectRegularly(engine) } } }
  }

  /// Two steps a core, since steps wait for disks and networks too; fewer where memory is short (half a GiB a step).
  package static var defaultJobs: Int { max(1, min(max(4, 2 * HostFacts.cores), Int(HostFacts.availableMemory / (512 << 20)))) }

  package func shutdown() async {
    let collecting = collector.withLock { $0.take() }
    collecting?.cancel()
    await collecting?.value
    await engine.shutdown()
    await networks?.close()
    // Nothing is lost when these fail: every row was written when it was made, and what nobody needs is swept at the next opening.
    try? await refs.close()
    try? await store.close()
  }

  /// What nobody used for long goes though no build ends: rules have times in them.
  private static func collectRegularly(_ engine: Engine) async {
    while (try? await Task.sleep(for: .seconds(600))) != nil { await engine.collectGarbage() }
  }

  /// The devices that steps can have now.
  package func devices() async -> DeviceSpecs {
    let executor = executor
    return (try? await Blocking.run { executor.devices() }) ?? DeviceSpecs(directories: [], autoAllowed: [])
  }

  /// The local disk as a build's client.
  package func client(_ description: ClientDescription) -> any ClientServices { LocalClient(description, credentials: credentials) }

  package func solve(_ request: SolveRequest, client: any ClientServices, progress: any ProgressSink) async throws -> SolveResponse {
    try await engine.solve(request, client: client, progress: progress)
  }

  /// Where native steps run.
  package var hostPlatform: Platform { executor.emulation.hostPlatform }
  /// By BuildKit's names.
  package var snapshotter: String { refs.isPlain ? "native" : "overlayfs" }
  /// By which the store is kept small.
  package var collectionRules: [CollectionNote] { engine.collectionRules }

  package func platformSupport(for platforms: [Platform]) async -> [PlatformSupport] {
    // That nothing runs is among the notes.
    executor.configuration.obstacle == nil ? await EmulationReport(executor.emulation).support(for: platforms) : []
  }

  package func images() async throws -> [BuildInterface.LocalImage] { try await ImageList(store).images() }

  package func removeImage(_ reference: Reference) async throws -> Bool { try await engine.removeImage(reference) }
  package func diskUsage() async throws -> [UsageRecord] { try await engine.diskUsage() }
  @discardableResult
  package func prune(_ request: PruneRequest, removed: @escaping @Sendable (UsageRecord) -> Void) async throws -> [UsageRecord] {
    try await engine.prune(request, removed: removed)
  }
  package func verifyStore(repair: Bool) async throws -> StoreReport { try await engine.verifyStore(repair: repair) }

  package func run(_ request: RunRequest) async throws -> Int32 {
    let terminal = Engine.Terminal(
      input: try HostOS.Descriptor.duplicate(of: 0), output: try HostOS.Descriptor.duplicate(of: 1), error: try HostOS.Descriptor.duplicate(of: 2),
      signals: try Signals.events([Signals.interrupt, Signals.terminate, Signals.hangUp, Signals.quit, Signals.windowChange]))
    return try await engine.run(request, client: client(ClientDescription()), terminal: terminal) { line in
      _ = (TerminalText.singleLine(line) + "\n").withCString { write(2, $0, strlen($0)) }
    }
  }

  package func builds() async throws -> [BuildSummary] { try await engine.builds() }
  package func explain(_ ref: String?) async throws -> BuildExplanation { try await engine.explain(ref) }

  package func openShell(inFailedStepOf ref: String, terminal: Bool) async throws -> Int32? {
    let streams = Engine.Terminal(
      input: try HostOS.Descriptor.duplicate(of: 0), output: try HostOS.Descriptor.duplicate(of: 1), error: try HostOS.Descriptor.duplicate(of: 2),
      signals: terminal ? try Signals.events([Signals.windowChange]) : nil)
    return try await engine.openShell(inFailedStepOf: ref, terminal: terminal, streams)
  }
}
