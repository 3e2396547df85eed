internal import BuildExecutor
internal import BuildInterface
internal import BuildProgress
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import HostOS
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

/// What the ops of one engine share.
final class EngineServices: Sendable {
  let store: ContentStore
  let refs: RefStore
  let executor: any StepExecutor
  let stepLogs: StepLogs
  let failedSteps = FailedSteps()
  let collector: StoreCollector
  /// For what no registry has.
  let web: WebClient

  init(store: ContentStore, refs: RefStore, executor: any StepExecutor, collector: StoreCollector, network: RegistryConfiguration) {
    self.store = store
    self.refs = refs
    self.executor = executor
    stepLogs = StepLogs(directory: store.root + "/logs")
    self.collector = collector
    web = WebClient(network)
  }

  func shutdown() async { await web.shutdown() }

  // MARK: Sessions

  /// A build on whose behalf an op works: any of those that want its vertex. Whoever asks a client goes by `sessions(of:)`, since that client may go away meanwhile.
  func session(of context: OpContext) throws -> SolveSession {
    guard let found = sessions(of: context).sessions.first else { throw CancellationError() }
    return found
  }

  /// From the client of any build that wants the vertex.
  func secret(_ id: String, context: OpContext) async throws -> [UInt8]? {
    try await sessions(of: context).find { try await $0.client.secrets.secret(id: id) }
  }

  // MARK: Cache keys

  /// The solver's form of a key: content keys are computed from an input's tree, and inputs are brought here before a step runs that `reads` them.
  func cacheMap(_ key: OpCacheKey, reads: Bool = true) -> CacheMap {
    CacheMap(
      digest: CacheDigest(key.digest),
      dependencies: key.inputs.enumerated().map { i, input in
        var dependency = CacheMap.Dependency(selector: input.selector)
        if let selectors = input.content {
          dependency.computeDigest = { result, context in
            let digest = try await self.contentDigest(of: result, selectors)
            if let digest { await self.remember(digest, of: result, selectors, input: i, context) }
            return digest
          }
        }
        if !reads { return dependency }
        dependency.preprocess = { result, _ in
          guard case .snapshot(let ref) = try TreeResult.of(result).tree, !ref.isPrepared else { return }
          try await self.collector.beforeStep()
          try await ref.prepare()
        }
        return dependency
      })
  }

  /// For the history: by which key an input was looked up, and which files are behind it. Only a client's own files are listed: what steps made is explained
  /// by those steps.
  private func remember(_ key: Digest, of result: any SolverResult, _ selectors: [ContentSelector], input: Int, _ context: OpContext) async {
    let sessions = context.jobs.compactMap { $0.value(SolveSession.key) as? SolveSession }
    for session in sessions { session.recorder.content(key, of: context.vertex.digest, input: input) }
    guard !sessions.isEmpty, case .local(let source)? = try? TreeResult.of(result).tree else { return }
    let history = BuildHistory(store: store)
    // Without it the next build can only say that something changed.
    guard (try? await history.hasListing(key)) == false, let listing = try? await Blocking.run({ try TreeListing(source.hash, selectors) }) else { return }
    try? await history.save(listing, key)
  }

  private func contentDigest(of result: any SolverResult, _ selectors: [ContentSelector]) async throws -> Digest? {
    switch try TreeResult.of(result).tree {
    case .scratch: return try ContentHash(EmptyTree()).digest(of: selectors)
    case .local(let source):
      return try await Blocking.run {
        do { return try source.hash.digest(of: selectors) } catch let error as TreeError where error.code == .notFound {
          throw MissingPath.error(error, selectors, in: source.tree, context: source.name)
        }
      }
    case .snapshot(let ref):
      do { return try await ContentKeys(store: store).digest(of: ref, selectors) } catch let error as TreeError where error.code == .notFound {
        throw try await ref.withMounted { MissingPath.error(error, selectors, in: MountedTree($0)) }
      }
    }
  }

  /// Hashes of files of clients' directories, remembered across builds.
  var fileHashes: any RememberedHashes { StoredFileHashes(FileHashCache(store, kind: "buildkit.contenthash")) }
}

/// One build's own, never used for another's: its client, its registry connections, what it resolved.
final class SolveSession: Sendable {
  /// Under which a job carries its own.
  static let key = "session"
  let id: String
  let client: any ClientServices
  let registry: RegistryClient
  let images: ImageResolver
  let layouts: LayoutImages
  let downloads = KeyedFlights()
  let recorder: BuildRecorder
  private let ended = Mutex(false)
  /// The build ended, or its client went away: nothing more is to be had from it.
  var isOver: Bool { client.isGone || ended.withLock { $0 } }
  /// Before what it has is closed, so that ops that were at work for it see why they fail.
  func end() { ended.withLock { $0 = true } }
  /// What its client allowed (`--allow`).
  let entitlements: Set<String>
  /// Which sources it may read.
  let policies: SourcePolicies
  let keepsFailedStep: Bool
  /// Seconds.
  let stepTimeout: Double?

  init(id: String, client: any ClientServices, registry: RegistryClient, images: ImageResolver, recorder: BuildRecorder, entitlements: Set<String> = [], policies: SourcePolicies = .none,
    keepsFailedStep: Bool = false, stepTimeout: Double? = nil
  ) {
    self.stepTimeout = stepTimeout
    (self.entitlements, self.policies) = (entitlements, policies)
    self.id = id
    self.client = client
    self.registry = registry
    self.images = images
    layouts = LayoutImages(client.layouts)
    self.recorder = recorder
    self.keepsFailedStep = keepsFailedStep
  }
}

/// Work done once per key for all of one build that ask.
final class KeyedFlights: Sendable {
  private let flights = Mutex<[String: any Sendable]>([:])
  func value<Value: Sendable>(for key: String, _ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let flight = flights.withLock { flights in
      if let flight = flights[key] as? SingleFlight<Value> { return flight }
      let flight = SingleFlight<Value>()
      flights[key] = flight
      return flight
    }
    return try await flight.value(body)
  }
}

/// The client's credentials as the registry client asks for them.
struct ClientCredentials: RegistryCredentialProvider {
  let service: any CredentialService
  func credential(for host: String) async throws -> RegistryCredential? {
    guard let found = try await service.credential(host: host) else { return nil }
    if !found.registryToken.isEmpty { return .registryToken(found.registryToken) }
    return found.username.isEmpty ? .identityToken(found.secret) : .password(user: found.username, password: found.secret)
  }
  func fetchesTokens(for host: String) async throws -> Bool { try await service.fetchesTokens(host: host) }
  func token(for host: String, realm: String, service name: String, scopes: [String]) async throws -> RegistryToken {
    let found = try await service.token(TokenRequest(host: host, realm: realm, service: name, scopes: scopes))
    return RegistryToken(token: found.token, lifetime: found.lifetime)
  }
}
