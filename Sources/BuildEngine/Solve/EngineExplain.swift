package import BuildInterface
internal import ContentStore
internal import OCIModel

extension Engine {
  /// Why each step of a build was taken from the cache, or was not. `ref` may be cut short; nil takes the last build. Throws `BuildError`.
  package func explain(_ ref: String?) async throws -> BuildExplanation {
    let history = BuildHistory(store: store)
    do {
      let record = try await history.build(ref)
      let previous = try await history.before(record)
      var listings: [Digest: TreeListing] = [:]
      for key in (record.steps + (previous?.steps ?? [])).flatMap(\.inputs).compactMap(\.content) where listings[key] == nil {
        listings[key] = try await history.listing(key)
      }
      return BuildExplanation(
        build: BuildSummary(record), previous: previous.map { BuildSummary($0) }, steps: Explanation(record: record, previous: previous, listings: listings).steps)
    } catch let error as HistoryError {
      throw BuildError(.notFound, .usage, error.description, suggestion: "manifold explain --list shows the builds that are remembered.")
    } catch { throw ErrorTranslation.buildError(error) }
  }

  /// The builds that are remembered, newest first.
  package func builds() async throws -> [BuildSummary] {
    do { return try await BuildHistory(store: store).builds().map { BuildSummary($0) } } catch { throw ErrorTranslation.buildError(error) }
  }
}

extension BuildSummary {
  fileprivate init(_ record: BuildRecord) {
    self.init(
      ref: record.ref, context: record.context, dockerfile: record.dockerfile, target: record.target, started: Timestamp(nanosecondsSinceEpoch: record.started),
      duration: record.completed - record.started, outcome: .init(rawValue: record.outcome.rawValue) ?? .failed, error: record.error)
  }
}
