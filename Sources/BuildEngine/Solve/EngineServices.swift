internal import AsyncHTTPClient
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
  private let http = Mutex<HTTPClient?>(nil)

  init(store: ContentStore, refs: RefStore, executor: any StepExecutor) {
    self.store = store
    self.refs = refs
    self.executor = executor
  }

  /// Made at first use: most builds need none.
  var httpClient: HTTPClient {
    http.withLock { client in
      if let client { return client }
      let made = HTTPClient(eventLoopGroupProvider: .singleton, configuration: .init(redirectConfiguration: .follow(max: 10, allowCycles: false)))
      client = made
      return made
    }
  }

  func shutdown() async {
    let client = http.withLock { client in
      defer { client = nil }
      return client
    }
    try? await client?.shutdown()
  }

  // MARK: Sessions

  /// A build on whose behalf an op works: any of those that want its vertex.
  func session(of context: OpContext) throws -> SolveSession {
    let found = context.jobs.lazy.compactMap { $0.value(SolveSession.key) as? SolveSession }.first
    guard let found else { throw CancellationError() }
    return found
  }

  /// From the client of any build that wants the vertex.
  func secret(_ id: String, context: OpContext) async throws -> [UInt8]? {
    try await session(of: context).client.secrets.secret(id: id)
  }

  // MARK: Cache keys

  /// The solver's form of a key: content keys are computed from an input's tree, and inputs are brought here before a step runs.
  func cacheMap(_ key: OpCacheKey) -> CacheMap {
    CacheMap(
      digest: CacheDigest(key.digest),
      dependencies: key.inputs.map { input in
        var dependency = CacheMap.Dependency(selector: input.selector)
        if let selectors = input.content {
          dependency.computeDigest = { result, _ in try await self.contentDigest(of: result, selectors) }
        }
        dependency.preprocess = { result, _ in
          if case .snapshot(let ref) = try TreeResult.of(result).tree { try await ref.prepare() }
        }
        return dependency
      })
  }

  private func contentDigest(of result: any SolverResult, _ selectors: [ContentSelector]) async throws -> Digest? {
    switch try TreeResult.of(result).tree {
    case .scratch: return try ContentHash(EmptyTree()).digest(of: selectors)
    case .local(let source):
      return try await Blocking.run {
        do { return try source.hash.digest(of: selectors) } catch let error as TreeError where error.code == .notFound {
          throw MissingPath.error(error, selectors, in: source.tree)
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

/// One build's own: its client, its registry connections, what it resolved.
final class SolveSession: Sendable {
  /// Under which a job carries its own.
  static let key = "session"
  let id: String
  let client: any ClientServices
  let registry: RegistryClient
  let images: ImageResolver
  let downloads = KeyedFlights()

  init(id: String, client: any ClientServices, registry: RegistryClient, images: ImageResolver) {
    self.id = id
    self.client = client
    self.registry = registry
    self.images = images
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
}
