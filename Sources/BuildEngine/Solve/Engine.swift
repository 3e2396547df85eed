package import BuildExecutor
package import BuildInterface
package import BuildProgress
package import BuildKitProto
internal import SwiftProtobuf
internal import BuildOutputs
package import BuildSnapshots
internal import BuildSolver
package import ContentStore
internal import DockerfileFrontend
internal import HostOS
internal import LLB
package import OCIModel
package import OCIRegistry

/// Our own implementation of a node: executes LLB, its own frontends' and anyone's, on one store. Knows no transport.
/// Whoever opens it calls `shutdown`.
package final class Engine: Sendable {
  package struct Options: Sendable {
    /// Steps at once.
    package var jobs: Int
    package var registry: RegistryConfiguration
    /// Where native steps run.
    package var platform: Platform
    /// How large the store may grow by itself.
    package var storeLimit: StoreLimit
    package var history = HistoryOptions()
    /// What frontends are told of this engine; its platforms are filled in when there are none.
    package var worker = Moby_Buildkit_V1_Types_WorkerRecord()
    /// Speaks with frontends that are programs; nil: frontend images are refused.
    package var frontendServer: (any FrontendServer)?
    package init(jobs: Int, registry: RegistryConfiguration, platform: Platform = .current, storeLimit: StoreLimit = .automatic) {
      self.jobs = jobs
      self.registry = registry
      self.platform = platform
      self.storeLimit = storeLimit
    }
  }

  package let store: ContentStore
  package let images: LocalImages
  package let refs: RefStore
  let options: Options
  let services: EngineServices
  let collector: StoreCollector
  /// What builds leave behind.
  package let records: BuildRecords
  private let solver: Solver
  private let cache: StoredCache
  private let emulation: any EmulationPlanning

  /// What the engine keeps in the store's database.
  package static var migrations: [StoreMigration] { RefStore.migrations + [SQLiteCacheKeyStorage.migration, ContentKeys.migration, HTTPSource.migration, BuildHistory.migration, BuildRecords.migration] }

  /// The store must have been opened with `migrations`. Throws `BuildError` for rules of collection that cannot be read.
  package init(store: ContentStore, refs: RefStore, executor: any StepExecutor, emulation: any EmulationPlanning, options: Options) throws {
    self.store = store
    images = LocalImages(store)
    self.refs = refs
    self.options = options
    self.emulation = emulation
    records = BuildRecords(store: store, limits: options.history.limits)
    let collector = try StoreCollector(store: store, refs: refs, limit: options.storeLimit)
    self.collector = collector
    let services = EngineServices(store: store, refs: refs, executor: executor, collector: collector, network: options.registry)
    self.services = services
    let cache = StoredCache(
      id: "local", keys: SQLiteCacheKeyStorage(store: store), results: StoredResults(refs: refs))
    self.cache = cache
    var solving = SolverOptions(cache: cache, jobs: options.jobs, keyLocking: StoreKeyLocking(locks: store.locks)) { vertex in try services.resolve(vertex) }
    // What no further step is begun with: it would have others killed, or swapped out.
    solving.hasRoom = { HostFacts.availableMemory > min(256 << 20, HostFacts.memory / 16) }
    solver = Solver(solving)
  }

  package func shutdown() async {
    await services.failedSteps.releaseAll()
    await solver.shutdown()
    await services.shutdown()
  }

  // MARK: Solve

  /// Runs one build to its end. Cancelling the task stops it. Throws `BuildError` or `CancellationError`.
  package func solve(_ request: SolveRequest, client: any ClientServices, progress: any ProgressSink) async throws -> SolveResponse {
    let exporters = try request.exports.map { try Exporters.make($0) }
    let caches = try CacheTransfer(request)
    let place = Digest.sha256(of: "internal:\(request.ref):snapshots")
    var network = options.registry
    network.insecureHosts.formUnion(InsecureRegistries.of(request))
    // That a mirror was used is said where the image is looked up.
    network.onNotice = { notice in if case .mirrorFailed = notice { progress.emit(ProgressEvent(warnings: [VertexWarning(vertex: place, short: "\(notice)")])) } }
    let registry = RegistryClient(network, credentials: ClientCredentials(service: client.credentials))
    registry.remember(uploads: StoredUploads(store))
    let draft = request.inquiry != nil || request.isInternal ? nil : RecordDraft(request, in: records, status: options.history.status)
    let recorder = BuildRecorder(next: progress, history: BuildHistory(store: store), draft: draft)
    let session = SolveSession(
      id: request.ref, client: client, registry: registry, images: ImageResolver(store: store, images: images, client: registry), recorder: recorder,
      entitlements: request.entitlements, policies: try SourcePolicies(request, client), keepsFailedStep: request.keepsFailedStep, stepTimeout: request.stepTimeout)
    let context = (try? await client.files.directory(named: "context"))?.path ?? ""
    let listener = refs.notices.listen { notice in progress.emit(ProgressEvent(warnings: [VertexWarning(vertex: place, short: notice.text, detail: notice.detail)])) }
    defer { refs.notices.leave(listener) }
    do {
      let response = try await caches.withImports(session: session, refs: refs, progress: recorder) { imports in
        try await self.solver.withJob(id: request.ref, progress: recorder) { job in
          job.setValue(SolveSession.key, session)
          return try await self.run(request, job: job, session: session, exporters: exporters, caches: caches, imports: imports, progress: recorder)
        }
      }
      if request.inquiry == nil { await recorder.finish(request, context: context, outcome: .completed) }
      session.end()
      await draft?.finish()
      await registry.shutdown()
      await collector.afterBuild()
      return response
    } catch {
      let error = ErrorTranslation.buildError(error)
      if request.inquiry == nil {
        await recorder.finish(
          request, context: context, outcome: error is CancellationError ? .cancelled : .failed, error: error is CancellationError ? "" : "\(error)")
      }
      session.end()
      await draft?.finish(error)
      await registry.shutdown()
      await collector.afterBuild()
      throw error
    }
  }

  private func run(
    _ request: SolveRequest, job: Job, session: SolveSession, exporters: [any Exporter], caches: CacheTransfer, imports: BuildImports,
    progress: any ProgressSink
  ) async throws -> SolveResponse {
    let started = wallClock()
    // A mistake in it is told before any work.
    _ = try ProvenanceOptions.of(request.frontendAttributes)
    var environment = FrontendEnvironment(
      buildPlatform: options.platform, attributes: request.frontendAttributes, inputs: request.frontendInputs, sessionID: request.sessionID.isEmpty ? request.ref : request.sessionID)
    environment.workers = [worker]
    let steps = StepGate(platform: options.platform, entitlements: request.entitlements, executor: services.executor, emulation: emulation, progress: progress)
    let build = RunningBuild(engine: self, job: job, session: session, steps: steps, caches: imports, progress: progress)
    // References know their build, too.
    defer { build.forget() }
    let gateway = EngineGateway(environment: environment, build: build, caches: imports.caches)
    let result = try await frontendResult(request, gateway)
    session.recorder.draft?.add(result)
    if request.asksFrontend {
      var response = SolveResponse()
      response.answer = result.metadata
      return response
    }
    if let inquiry = request.inquiry { return try await answer(inquiry, result, request, build, session) }
    session.recorder.graph(result.targets.compactMap { ($0.reference as? EngineReference)?.edge })
    try await steps.check(result.targets.compactMap { ($0.reference as? EngineReference)?.edge })
    try await steps.tellEmulated(except: (request.frontendAttributes["platform"] ?? "").isEmpty ? [] : result.targets.map(\.platform.normalized), of: request.ref)
    var source = try await exportSource(result, request: request)
    if !exporters.isEmpty { try await ArchitectureCheck(mode: request.architectureCheck, progress: progress).run(source, result) }
    let cached = try await cacheTargets(result, source)
    if caches.isInline {
      source.inlineCache = { target, form in
        guard let one = cached.first(where: { $0.id == target }) else { return nil }
        return try await caches.inline(one, form: form, job: job, refs: self.refs)
      }
    }
    let provenance = try Provenance(
      result, request, build: build, job: job, session: session, builderPlatform: options.platform, started: started)
    if let provenance { for i in source.targets.indices { source.targets[i].attestations.append(provenance.attestation(i)) } }
    let exportEnvironment = ExportEnvironment(
      store: store, images: images, refs: refs, registry: session.registry, destinations: session.client.exports, progress: progress)
    var response = SolveResponse()
    for (i, exporter) in exporters.enumerated() {
      try await collector.beforeStep()
      var exportEnvironment = exportEnvironment
      exportEnvironment.imageMade = { session.recorder.draft?.add($0, of: i) }
      response.exporterResponse.merge(try await exporter.export(source, in: exportEnvironment)) { _, new in new }
    }
    // After the images: their layers' blobs are made then, and in a registry they can be mounted.
    response.exporterResponse.merge(try await caches.export(cached, job: job, environment: exportEnvironment, files: session.client.files)) { _, new in new }
    if let provenance { response.provenance = try await provenance.summaries() }
    if let draft = session.recorder.draft {
      // A record without it is better than a build that fails for it.
      try? await Provenance(
        result, HistoryOptions.recorded(request), build: build, job: job, session: session, builderPlatform: options.platform, started: started)?.record(in: draft)
    }
    return response
  }

  /// What frontends are told of this engine.
  private var worker: Moby_Buildkit_V1_Types_WorkerRecord {
    var worker = options.worker
    if worker.platforms.isEmpty {
      worker.platforms = [.with { platform in
        let own = options.platform.normalized
        (platform.os, platform.architecture, platform.variant) = (own.os, own.architecture, own.variant)
      }]
    }
    if worker.id.isEmpty { worker.id = "manifold" }
    return worker
  }

  private func answer(
    _ inquiry: Inquiry, _ result: FrontendResult, _ request: SolveRequest, _ build: RunningBuild, _ session: SolveSession
  ) async throws -> SolveResponse {
    var response = SolveResponse()
    switch inquiry {
    case .definitions:
      response.definitions = result.targets.map { target in
        TargetDefinition(id: target.id, definition: (target.reference as? EngineReference)?.definition ?? .init())
      }
    case .forecast:
      let builder = ForecastBuilder(services: services, session: session, cache: cache, emulation: emulation, buildPlatform: options.platform)
      let mode = ImageResolveMode(rawValue: request.frontendAttributes["image-resolve-mode"] ?? "") ?? .default
      var forecast = try await builder.forecast(result, images: build.images, mode: mode)
      forecast.warnings = build.warnings
      response.forecast = forecast
    }
    return response
  }

  private func frontendResult(_ request: SolveRequest, _ gateway: EngineGateway) async throws -> FrontendResult {
    if let own = request.ownFrontend { return try await own.build(gateway) }
    if !request.frontend.isEmpty { return try await frontend(request.frontend, request.frontendAttributes).build(gateway) }
    guard let definition = request.definition else { throw BuildError(.invalidArgument, .usage, "a build needs a frontend or a definition") }
    let reference = try await gateway.reference(definition)
    let platform = options.platform
    return FrontendResult(
      targets: [.init(id: platform.description, platform: platform, reference: reference, imageConfig: [])], isMultiPlatform: false)
  }

  /// All targets at once: what they share is built once.
  private func exportSource(_ result: FrontendResult, request: SolveRequest) async throws -> ExportSource {
    let trees = try await withThrowingTaskGroup(of: (Int, ImmutableRef?).self) { group in
      for (i, target) in result.targets.enumerated() {
        guard let reference = target.reference as? EngineReference else { continue }
        group.addTask {
          guard let built = try await reference.built() else { return (i, nil) }
          return (i, try await TreeResult.of(built).snapshot(self.refs))
        }
      }
      var trees: [Int: ImmutableRef] = [:]
      for try await (i, ref) in group { trees[i] = ref }
      return trees
    }
    // As the frontend found it, in the Dockerfile or among the build arguments; platforms do not differ in it.
    let epochs = result.metadata.filter { $0.key == "source.date.epoch" || $0.key.hasPrefix("source.date.epoch/") }
    let epoch = epochs.min { $0.key < $1.key }.flatMap { Int64(String(decoding: $0.value, as: UTF8.self)) }
    return ExportSource(
      targets: result.targets.enumerated().map { i, target in
        ExportSource.Target(id: target.id, platform: target.platform, ref: trees[i], imageConfig: target.imageConfig, baseImageConfig: target.baseImageConfig)
      }, isMultiPlatform: result.isMultiPlatform, sourceDateEpoch: epoch)
  }

  /// Those that have a result at all.
  private func cacheTargets(_ result: FrontendResult, _ source: ExportSource) async throws -> [CacheTransfer.Target] {
    var targets: [CacheTransfer.Target] = []
    for (target, exported) in zip(result.targets, source.targets) {
      guard let built = try await (target.reference as? EngineReference)?.built() else { continue }
      targets.append(CacheTransfer.Target(id: exported.id, result: built, ref: exported.ref))
    }
    return targets
  }
}

/// Says how steps of platforms run on this machine.
package protocol EmulationPlanning: Sendable {
  func support(for platforms: [Platform]) async -> [PlatformSupport]
}
