internal import BuildInterface
internal import BuildKitProto
internal import BuildSolver
internal import HostOS
internal import OCIModel

/// `local://`: a directory of the client, read in place.
struct LocalSourceOperation: Op {
  let name: String
  /// nil is a list that the definition does not have.
  private let lists: (include: [String]?, exclude: [String]?, follow: [String]?)
  let services: EngineServices

  init(_ source: Pb_SourceOp, services: EngineServices) throws {
    name = String(source.identifier.dropFirst("local://".count))
    func list(_ key: String) throws -> [String]? {
      guard let text = source.attrs[key] else { return nil }
      guard let array = try JSONValue(parsing: text).arrayValue else { throw InvalidDefinition("local source \(source.identifier): \(key) is not a list") }
      return array.compactMap(\.stringValue)
    }
    lists = (try list("local.includepattern"), try list("local.excludepatterns"), try list("local.followpaths"))
    self.services = services
  }

  /// A key that only this build has: files are compared by content where they are used.
  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    let session = try services.session(of: context)
    let key = OpCacheKey.local(
      session: session.id, name: name, includePatterns: lists.include, excludePatterns: lists.exclude, followPaths: lists.follow)
    return CacheMapAnswer(CacheMap(digest: CacheDigest(random: key)))
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    let session = try services.session(of: context)
    let status = context.progress.transfer("reading \(name)", total: 0)
    defer { status.finish() }
    let source = try await opened(for: session, id: context.vertex.digest.hex + "-" + session.id)
    await context.cleanup { await source.close() }
    return [TreeResult(.local(source))]
  }

  /// Whoever opens it calls `close`.
  func opened(for session: SolveSession, id: String) async throws -> LocalSource {
    switch try await session.client.files.directory(named: name) {
    case .inPlace(let path):
      let hashes = services.fileHashes
      let filter = LocalFilter(includePatterns: lists.include ?? [], excludePatterns: lists.exclude ?? [], followPaths: lists.follow ?? [])
      let tree = try await Blocking.run {
        try LocalTree(try Directory.open(path), filter: filter, rememberedHashes: hashes)
      }
      return LocalSource(id: id, name: name, tree: tree)
    case .remote: throw BuildError(.unimplemented, .build, "the directory \(name) is not on this machine")
    }
  }

  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { nil }
}
