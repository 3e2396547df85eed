internal import BuildInterface
internal import BuildKitProto
internal import BuildSolver
internal import HostOS
internal import OCIModel

/// `local://`: a directory of the client, read in place or brought up to date in a directory of ours.
struct LocalSourceOperation: Op {
  let name: String
  /// nil is a list that the definition does not have.
  private let lists: (include: [String]?, exclude: [String]?, follow: [String]?)
  private let hint: String
  private let comparesNothing: Bool
  /// Only what matches comes with its content.
  private let metadataOnlyExcept: [String]?
  let services: EngineServices

  init(_ source: Pb_SourceOp, services: EngineServices) throws {
    let plain = String(source.identifier.dropFirst("local://".count))
    // A session may be named with the target of several that it is for; whose session it is, is the build's to say.
    let session = source.attrs["local.session"]?.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false) ?? []
    name = session.count == 2 ? "\(session[0])-\(plain)" : plain
    func list(_ key: String) throws -> [String]? {
      guard let text = source.attrs[key] else { return nil }
      guard let array = try JSONValue(parsing: text).arrayValue else { throw InvalidDefinition("local source \(source.identifier): \(key) is not a list") }
      return array.compactMap(\.stringValue)
    }
    lists = (try list("local.includepattern"), try list("local.excludepatterns"), try list("local.followpaths"))
    hint = source.attrs["local.sharedkeyhint"] ?? ""
    comparesNothing = source.attrs["local.differ"] == "none"
    metadataOnlyExcept = ["1", "t", "T", "true", "TRUE", "True"].contains(source.attrs["local.metadatatransfer"] ?? "") ? try list("local.metadatatransferexclude") ?? [] : nil
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
    let directory = try await session.client.files.directory(named: name)
    let status = context.progress.transfer(directory.path == nil ? "transferring \(name):" : "reading \(name)", total: 0)
    defer { status.finish() }
    let source = try await open(directory, id: context.vertex.digest.hex + "-" + session.id) { status.update($0) }
    await context.cleanup { await source.close() }
    return [TreeResult(.local(source))]
  }

  /// Whoever opens it calls `close`.
  func opened(for session: SolveSession, id: String) async throws -> LocalSource {
    try await open(try await session.client.files.directory(named: name), id: id) { _ in }
  }

  private func open(_ directory: LocalDirectory, id: String, progress: @escaping @Sendable (Int64) -> Void) async throws -> LocalSource {
    switch directory {
    case .remote(let remote):
      let filter = DirectoryFilter(includePatterns: lists.include, excludePatterns: lists.exclude, followPaths: lists.follow)
      let source = RemoteSource(
        name: name, directory: remote, filter: filter, hint: hint, comparesNothing: comparesNothing, metadataOnlyExcept: metadataOnlyExcept, services: services)
      return try await source.open(id: id, progress: progress)
    case .inPlace(let path):
      let hashes = services.fileHashes
      let filter = LocalFilter(includePatterns: lists.include ?? [], excludePatterns: lists.exclude ?? [], followPaths: lists.follow ?? [])
      let tree = try await Blocking.run {
        try LocalTree(try Directory.open(path), filter: filter, rememberedHashes: hashes)
      }
      return LocalSource(id: id, name: name, tree: tree)
    // Comes with its receiver.
    case .remote: throw BuildError(.unimplemented, .usage, "the directory \(name) is behind a connection, which is not read yet")
    }
  }

  func acquire(_ slots: JobSlots) async throws -> JobSlots.Lease? { nil }
}
