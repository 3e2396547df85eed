internal import BuildExecutor
internal import BuildInterface
internal import BuildKitProto
internal import BuildOutputs
internal import BuildProgress
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import OCIModel
internal import Synchronization

/// What all frontends of one build share, those that another asked included.
final class RunningBuild: Sendable {
  let engine: Engine
  let job: Job
  let session: SolveSession
  let steps: StepGate
  let caches: BuildImports
  let progress: any ProgressSink
  private struct Asked {
    var references: [EngineReference] = []
    var images: [ProvenanceCapture.Image] = []
    var warnings: [VertexWarning] = []
  }
  private let asked = Mutex(Asked())

  init(engine: Engine, job: Job, session: SolveSession, steps: StepGate, caches: BuildImports, progress: any ProgressSink) {
    self.engine = engine
    self.job = job
    self.session = session
    self.steps = steps
    self.caches = caches
    self.progress = progress
  }

  /// What frontends had solved so far, and the images that they looked up: the build's sources, too.
  var references: [EngineReference] { asked.withLock { $0.references } }
  var images: [ProvenanceCapture.Image] { asked.withLock { $0.images } }
  var warnings: [VertexWarning] { asked.withLock { $0.warnings } }
  /// At the build's end: nothing of it stays.
  func forget() { asked.withLock { $0 = Asked() } }
  func note(_ reference: EngineReference) { asked.withLock { $0.references.append(reference) } }
  func note(_ image: ProvenanceCapture.Image) { asked.withLock { $0.images.append(image) } }
  func note(_ warning: VertexWarning) { asked.withLock { $0.warnings.append(warning) } }
}

/// The caches of elsewhere that a build reads: those that it was started with, and those that frontends name on the way. Each once.
final class BuildImports: Sendable {
  private let session: SolveSession
  private let refs: RefStore
  private let progress: any ProgressSink
  private let opened = Mutex<[(place: CacheSource.Place, cache: ImportedCache)]>([])

  init(session: SolveSession, refs: RefStore, progress: any ProgressSink) {
    self.session = session
    self.refs = refs
    self.progress = progress
  }

  /// All that are open.
  var caches: [ImportedCache] { opened.withLock { $0.map(\.cache) } }

  /// Begins to read those that are not open yet. Their layers' client is the build's.
  @discardableResult
  func add(_ sources: [CacheSource]) -> [ImportedCache] {
    sources.map { source in
      opened.withLock { opened in
        if let known = opened.first(where: { $0.place == source.place }) { return known.cache }
        let cache = cache(source)
        opened.append((source.place, cache))
        return cache
      }
    }
  }

  private func cache(_ source: CacheSource) -> ImportedCache {
    // Another build's cache of the same name has another client behind it.
    let id = "import:\(source.name):\(session.id)"
    return ImportedCache(id: id) { [session, refs, progress] in
      let title = "importing cache manifest from \(source.name)"
      do {
        let content = try await ProgressTask(title, id: id, progress).run { vertex in
          do { return try await vertex.tellingRetries { try await source.load(registry: session.registry, files: session.client.files, vertex) } } catch {
            throw error is CancellationError ? error : ErrorTranslation.buildError(error)
          }
        }
        return StoredCache(id: id, keys: content.records, results: ImportedResults(content, refs: refs))
      } catch {
        if !(error is CancellationError) {
          progress.emit(
            ProgressEvent(warnings: [
              VertexWarning(vertex: .sha256(of: id), short: "The build goes on without the cache \(source.name)", detail: ["\(error)"])
            ]))
        }
        throw error
      }
    }
  }

  func cancel() { for cache in caches { cache.cancel() } }
  func end() async { for cache in caches { await cache.end() } }
}

/// Looks at the steps of a graph before any of them starts: refuses what this engine does not do, what was not allowed, and platforms that cannot run here.
final class StepGate: Sendable {
  private let platform: Platform
  private let entitlements: Set<String>
  private let executor: any StepExecutor
  private let emulation: any EmulationPlanning
  private let progress: any ProgressSink
  private struct Seen {
    var vertices = Set<Digest>()
    var platforms: [Platform] = []
  }
  private let seen = Mutex(Seen())

  init(platform: Platform, entitlements: Set<String>, executor: any StepExecutor, emulation: any EmulationPlanning, progress: any ProgressSink) {
    self.platform = platform
    self.entitlements = entitlements
    self.executor = executor
    self.emulation = emulation
    self.progress = progress
  }

  private static func insecureWithoutRoot(_ step: String) -> String { "\(step): without root, --security=insecure gives the privileges of this build's own user namespace only" }
  private static let insecureDetail = "All capabilities count for what belongs to that namespace: the step can mount and change its own network, and gets no device, no kernel setting and no other user's file of this machine."

  /// Each vertex is looked at once a build. Throws `BuildError`.
  func check(_ edges: [Edge]) async throws {
    let known = seen.withLock { $0 }
    var passed = known.vertices, platforms: [Platform] = []
    var rest = edges.map(\.vertex)
    while let vertex = rest.popLast() {
      guard passed.insert(vertex.digest).inserted else { continue }
      rest += vertex.inputs.map(\.vertex)
      guard let payload = vertex.payload as? OpPayload, case .exec(let exec)? = payload.op.op else { continue }
      if let lacking = ExecOperation.lacking(exec, allowed: entitlements) { throw ErrorTranslation.placed(lacking, vertex, payload) }
      if let refusal = try await ExecOperation.refusal(devices: exec, allowed: entitlements, executor) { throw ErrorTranslation.placed(refusal, vertex, payload) }
      if exec.security == .insecure, HostFacts.inUserNamespace {
        progress.emit(ProgressEvent(warnings: [VertexWarning(vertex: vertex.digest, short: Self.insecureWithoutRoot(vertex.name), detail: [Self.insecureDetail])]))
      }
      if let refusal = ExecOperation.refusal(payload.platform, host: platform) ?? ExecOperation.refusal(exec) { throw ErrorTranslation.placed(refusal, vertex, payload) }
      if let obstacle = await executor.obstacle(to: StepResources(payload.resources)) {
        throw ErrorTranslation.placed(BuildError(.failedPrecondition, .build, "\(obstacle)"), vertex, payload)
      }
      if !known.platforms.contains(payload.platform), !platforms.contains(payload.platform) { platforms.append(payload.platform) }
    }
    if !platforms.isEmpty {
      for item in await emulation.support(for: platforms.sorted { $0.description < $1.description }) {
        if case .impossible(let reason) = item.kind { throw BuildError(.failedPrecondition, .build, "steps for \(item.platform) cannot run on this machine: \(reason)") }
      }
    }
    // What failed is to fail again.
    let added = passed, more = platforms
    seen.withLock { seen in
      seen.vertices.formUnion(added)
      seen.platforms += more.filter { !seen.platforms.contains($0) }
    }
  }

  /// Throws for a process of a container that a frontend runs, as for a step.
  func check(host: Bool, insecure: Bool) throws {
    let needed: [(isAsked: Bool, what: String, entitlement: String)] = [
      (host, "a container on the host's network", "network.host"), (insecure, "a process without the sandbox's limits", "security.insecure"),
    ]
    guard let lacking = needed.first(where: { $0.isAsked && !entitlements.contains($0.entitlement) }) else { return }
    throw BuildError(
      .permissionDenied, .usage, "\(lacking.what) needs the entitlement \(lacking.entitlement), which was not allowed",
      suggestion: "if you trust what is built, add --allow \(lacking.entitlement) to the command")
  }

  /// Says which steps run emulated though nobody asked for their platform (a stage that is pinned to one). How the platforms asked for run, the command shows.
  func tellEmulated(except asked: [Platform], of build: String) async throws {
    let platforms = seen.withLock { $0.platforms }.filter { !asked.contains($0) }.sorted { $0.description < $1.description }
    guard !platforms.isEmpty else { return }
    var untold: [String] = []
    for item in await emulation.support(for: platforms) {
      if case .emulated(let by) = item.kind { untold.append("steps for \(item.platform) are emulated by \(by)") }
    }
    guard !untold.isEmpty else { return }
    let lines = untold
    try await ProgressTask("[internal] emulation", id: "internal:\(build):emulation", progress).run { task in lines.forEach { task.log($0, stream: 1) } }
  }
}
