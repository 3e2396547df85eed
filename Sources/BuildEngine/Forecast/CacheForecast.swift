internal import BuildInterface
internal import BuildKitProto
internal import BuildSolver
internal import HostOS
internal import OCIModel

/// Which steps this engine's own cache has the results of, as far as their keys are known before anything runs: by definition, by what an image's
/// name stands for, and by the content of the client's files. What a step will make has no key yet.
struct CacheForecast {
  let services: EngineServices
  let session: SolveSession
  let cache: any CacheManager

  private enum Known {
    /// Any of these keys names it.
    case keys([CacheKey])
    /// It will be made, under a key that nothing is known by.
    case new
    case unknown
  }
  private struct Output: Hashable {
    var vertex: Digest
    var index: Int
  }
  private var known: [Output: Known] = [:]
  private var opKeys: [Digest: OpCacheKey] = [:]
  private var directories: [Digest: LocalSource] = [:]

  init(services: EngineServices, session: SolveSession, cache: any CacheManager) { (self.services, self.session, self.cache) = (services, session, cache) }

  func close() async { for directory in directories.values { await directory.close() } }

  /// Inputs are asked about before their users. `outputs` are those that somebody reads. Throws `BuildError` for a file that is not in the context.
  mutating func look(up vertex: Vertex, _ payload: OpPayload, outputs: Set<Int>) async throws -> BuildForecast.Step.Cache {
    switch payload.op.op {
    case .source(let source):
      known[Output(vertex: vertex.digest, index: 0)] = try await self.source(source, vertex, payload)
      return .unknown
    case .exec(let exec): opKeys[vertex.digest] = try OpCacheKey.exec(exec, platform: payload.platform, inputCount: vertex.inputs.count)
    case .file(let file): opKeys[vertex.digest] = try OpCacheKey.file(file, inputCount: vertex.inputs.count)
    case .merge(let merge): opKeys[vertex.digest] = OpCacheKey.merge(merge, inputCount: vertex.inputs.count)
    case .diff(let diff): opKeys[vertex.digest] = OpCacheKey.diff(diff)
    case .build, .passthrough, nil: return .unknown
    }
    if vertex.options.ignoreCache { return .miss }
    var answer = BuildForecast.Step.Cache.hit
    for output in outputs.sorted() {
      switch try await state(of: vertex, output: output) {
      case .new: return .miss
      case .unknown: answer = .unknown
      case .keys(let keys):
        var isThere = false
        for key in keys where !isThere { isThere = try await !cache.records(key, context: CacheContext()).isEmpty }
        if !isThere { return .miss }
      }
    }
    return answer
  }

  private mutating func source(_ source: Pb_SourceOp, _ vertex: Vertex, _ payload: OpPayload) async throws -> Known {
    switch try services.resolve(vertex) {
    case let image as ImageSource:
      guard let base = try? await session.images.resolve(image.reference, platform: image.platform, mode: image.mode) else { return .unknown }
      let digests = [OpCacheKey.image(base.digest, platform: image.platform), OpCacheKey.imageContent(base.config)].compactMap { $0 }
      return .keys(digests.map { CacheKey(digest: CacheDigest($0), output: 0) })
    case let local as LocalSourceOperation:
      directories[vertex.digest] = try await local.opened(for: session, id: vertex.digest.hex + "-forecast")
      return .unknown
    default: return .unknown
    }
  }

  private mutating func state(of vertex: Vertex, output: Int) async throws -> Known {
    let place = Output(vertex: vertex.digest, index: output)
    if let found = known[place] { return found }
    let found = try await query(vertex, output: output)
    known[place] = found
    return found
  }

  private mutating func query(_ vertex: Vertex, output: Int) async throws -> Known {
    guard let key = opKeys[vertex.digest] else { return .unknown }
    let digest = CacheDigest(key.digest)
    if vertex.inputs.isEmpty {
      let found = try await cache.query([], input: 0, digest: digest, output: output)
      return found.isEmpty ? .new : .keys(found)
    }
    var common: [String: CacheKey]?
    var isUnsure = false
    for (i, edge) in vertex.inputs.enumerated() {
      let input = i < key.inputs.count ? key.inputs[i] : OpCacheKey.Input()
      let state = try await state(of: edge.vertex, output: edge.index)
      var candidates: [CacheKeyWithSelector] = []
      if case .keys(let keys) = state { candidates = keys.map { CacheKeyWithSelector($0, selector: input.selector) } }
      // Whether what is not known by its definition may yet be by its content.
      var mayMatch = input.content != nil
      if let directory = directories[edge.vertex.digest] {
        mayMatch = false
        if let selectors = input.content, let content = try await Self.digest(of: directory, selectors) {
          candidates.append(CacheKeyWithSelector(CacheKey(digest: CacheDigest(content), output: -1)))
        }
      } else if case .unknown = state {
        mayMatch = true
      }
      let found = candidates.isEmpty ? [] : try await cache.query(candidates, input: i, digest: digest, output: output)
      if found.isEmpty {
        if !mayMatch { return .new }
        isUnsure = true
        continue
      }
      let byID = Dictionary(found.map { ($0.id, $0) }) { first, _ in first }
      common = common?.filter { byID[$0.key] != nil } ?? byID
    }
    if isUnsure { return .unknown }
    guard let common, !common.isEmpty else { return .new }
    return .keys(common.sorted { $0.key < $1.key }.map(\.value))
  }

  private static func digest(of directory: LocalSource, _ selectors: [ContentSelector]) async throws -> Digest? {
    try await Blocking.run {
      do { return try directory.hash.digest(of: selectors) } catch let error as TreeError where error.code == .notFound {
        throw MissingPath.error(error, selectors, in: directory.tree)
      }
    }
  }
}
