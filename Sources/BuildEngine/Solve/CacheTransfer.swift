internal import BuildInterface
internal import BuildOutputs
internal import BuildProgress
internal import BuildSnapshots
internal import BuildSolver
internal import HostOS
internal import OCIModel
internal import OCIRegistry

/// What one build reads of caches elsewhere, and what it writes to them.
struct CacheTransfer: Sendable {
  let sources: [CacheSource]
  let destinations: [CacheDestination]
  /// Whether the images carry their own cache.
  let isInline: Bool

  /// Throws `BuildError` for options that cannot be served, before any work.
  init(_ request: SolveRequest) throws {
    var sources: [CacheSource] = []
    for option in request.cacheImports {
      let source = try CacheSource(option)
      if !sources.contains(where: { $0.place == source.place }) { sources.append(source) }
    }
    self.sources = sources
    let all = try request.cacheExports.map { try CacheDestination($0) }
    destinations = all.filter { $0.place != .inline }
    isInline = all.contains { $0.place == .inline }
    for (i, one) in destinations.enumerated() where destinations[..<i].contains(where: { $0.place == one.place }) {
      throw BuildError(.invalidArgument, .usage, "two caches are to be written to \(one.name)")
    }
  }

  // MARK: - Import

  /// Runs a build while the caches are read: from its first moment on, and no longer than it takes.
  func withImports<T: Sendable>(
    session: SolveSession, refs: RefStore, progress: any ProgressSink, _ body: (BuildImports) async throws -> T
  ) async throws -> T {
    let imports = BuildImports(session: session, refs: refs, progress: progress)
    imports.add(sources)
    let outcome: Result<T, any Error>
    do {
      outcome = .success(try await withTaskCancellationHandler { try await body(imports) } onCancel: { imports.cancel() })
    } catch {
      outcome = .failure(error)
    }
    await imports.end()
    return try outcome.get()
  }

  // MARK: - Export

  /// One platform's result.
  struct Target: Sendable {
    var id: String
    var result: CachedResult
    /// Of the tree that is exported; nil for an empty one.
    var ref: ImmutableRef?
  }

  private func tolerated(
    _ targets: [Target], _ destination: CacheDestination, _ job: Job, _ environment: ExportEnvironment, _ files: any FileService
  ) async throws -> [String: String] {
    do { return try await export(targets, to: destination, job, environment, files) } catch {
      if error is CancellationError || !destination.ignoresError { throw error }
      return [:]
    }
  }

  /// Writes all of them at once. Answers what the peers do (`cache.manifest`).
  func export(_ targets: [Target], job: Job, environment: ExportEnvironment, files: any FileService) async throws -> [String: String] {
    try await withThrowingTaskGroup(of: (Int, [String: String]).self) { group in
      for (i, destination) in destinations.enumerated() {
        group.addTask { (i, try await tolerated(targets, destination, job, environment, files)) }
      }
      var answers: [Int: [String: String]] = [:]
      for try await (i, answer) in group { answers[i] = answer }
      return answers.sorted { $0.key < $1.key }.reduce(into: [:]) { $0.merge($1.value) { _, new in new } }
    }
  }

  private func export(
    _ targets: [Target], to destination: CacheDestination, _ job: Job, _ environment: ExportEnvironment, _ files: any FileService
  ) async throws -> [String: String] {
    try await ProgressTask(destination.title, id: "\(job.id):\(destination.title):\(destination.name)", environment.progress).run { vertex in
      do {
        let chains = try await vertex.step("preparing build cache for export") {
          var chains = CacheChains()
          for target in targets {
            try await job.exportCache(of: target.result, to: &chains, options(target, destination.mode, destination.form, environment.refs))
          }
          return chains
        }
        return try await vertex.tellingRetries { try await destination.write(chains, in: environment, files: files, vertex) }
      } catch {
        if error is CancellationError { throw error }
        var failure = ErrorTranslation.buildError(error) as? BuildError ?? BuildError(.unknown, .build, "\(error)", cause: error)
        failure.message = "the build cache could not be written to \(destination.name): \(failure.message)"
        if failure.suggestion == nil { failure.suggestion = "with ignore-error=true among its attributes the build succeeds without it" }
        throw failure
      }
    }
  }

  private func options(_ target: Target, _ mode: CacheExportOptions.Mode, _ form: RemoteForm, _ refs: RefStore) async throws -> CacheExportOptions {
    var providers: [String: any LayerProvider] = [:]
    for layer in try await target.ref?.layers() ?? [] {
      for (digest, provider) in layer.providers { providers[LayerFetch.option(digest)] = provider }
    }
    return CacheExportOptions(mode: mode, form: form, lookup: { [providers] keys in providers.filter { keys.contains($0.key) } }) { result in
      guard case .snapshot(let ref) = try TreeResult.of(result).tree else { return nil }
      return try await ref.cacheRemote(form, makes: true)
    }
  }

  /// The cache that goes into a platform's image config; nil when there is nothing to say.
  func inline(_ target: Target, form: RemoteForm, job: Job, refs: RefStore) async throws -> [UInt8]? {
    guard let remote = try await target.ref?.cacheRemote(form, makes: true) else { return nil }
    var chains = CacheChains()
    try await job.exportCache(of: target.result, to: &chains, options(target, .minimum, form, refs))
    return try InlineCache.records(chains, layers: remote.layers.map(\.descriptor.digest))
  }
}
