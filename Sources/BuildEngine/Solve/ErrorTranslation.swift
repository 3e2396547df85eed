internal import BuildInterface
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import HostOS
internal import LayerArchive
internal import LLB
internal import OCIModel
internal import OCIRegistry

/// Turns whatever a part of the engine threw into the build's one error, with the vertex and the source lines it came from.
enum ErrorTranslation {
  static func buildError(_ error: any Error) -> any Error {
    if error is CancellationError { return error }
    if let error = error as? SolverError { return solver(error) }
    return plain(error)
  }

  private static func solver(_ error: SolverError) -> any Error {
    if let cause = error.cause, cause is CancellationError { return cause }
    let result = error.cause.map(plain) ?? BuildError(.internal, .build, error.message)
    return placed(result, digest: error.vertex?.digest, name: error.vertex?.name, error.payload as? OpPayload)
  }

  /// The error, with the step it is about and the lines that step came from.
  static func placed(_ error: BuildError, _ vertex: Vertex, _ payload: OpPayload) -> BuildError {
    placed(error, digest: vertex.digest, name: vertex.name, payload)
  }

  static func placed(_ error: BuildError, digest: Digest?, name: String?, _ payload: OpPayload?) -> BuildError {
    var result = error
    if let digest, let name, result.vertex == nil { result.vertex = VertexPlace(digest: digest, name: name, platform: payload?.platform) }
    if result.sources.isEmpty, let payload { result.sources = (payload.locations.isEmpty ? payload.readerLocations : payload.locations).compactMap(\.place) }
    return result
  }

  private static func plain(_ error: any Error) -> BuildError {
    switch error {
    case let error as BuildError: return error
    case let error as RegistryError where error.code == .local:
      // This machine's fault, not the registry's.
      return BuildError(isFullDisk(error) ? .resourceExhausted : .unknown, .build, error.description, suggestion: advice(error))
    case let error as RegistryError: return BuildError(.unavailable, .registry, error.description, cause: nil)
    case let error as OCIError: return BuildError(.invalidArgument, .build, error.description)
    case let error as TreeError: return BuildError(error.code == .notFound ? .notFound : .invalidArgument, .build, error.description, suggestion: error.suggestion)
    case let error as LLBError: return BuildError(error.code == .unsupported ? .unimplemented : .invalidArgument, .usage, "failed to load LLB: \(error)")
    case let error as InvalidDefinition: return BuildError(.invalidArgument, .usage, error.description)
    default: return BuildError(isFullDisk(error) ? .resourceExhausted : .unknown, .build, "\(error)", suggestion: advice(error))
    }
  }

  /// For errors of the system that come from where nobody knows what they mean for a build.
  private static func advice(_ error: any Error) -> String? {
    if isFullDisk(error) {
      return "\(error)".contains("--root") ? nil : "The disk that holds the store is full: free some space, or put the store elsewhere with --root."
    }
    if let error = error as? HostError, error.code == .notSupported, error.operation == "chown", OwnerRecords.need != .none {
      return "The store's filesystem cannot remember owners that this user may not give to files: use a --root on ext4, xfs, btrfs or (from Linux 6.6) tmpfs."
    }
    if let error = error as? HostError, error.code == .invalid, error.operation == "chown", HostFacts.idMap.count == 1 {
      return "This user has one id only, so files cannot be given to others: have subordinate ids added (sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER), then use another --root."
    }
    return nil
  }

  static func isFullDisk(_ error: any Error) -> Bool {
    switch error {
    case let error as HostError: error.code == .noSpace
    case let error as StoreError: error.code == .noSpace
    case let error as LayerArchiveError: error.cause.map(isFullDisk) ?? false
    case let error as SnapshotError: error.cause.map(isFullDisk) ?? false
    case let error as RegistryError: error.cause.map(isFullDisk) ?? false
    case let error as BuildError: error.cause.map(isFullDisk) ?? false
    default: false
    }
  }
}

extension SourceLocation {
  /// The first range of it.
  var place: SourcePlace? {
    guard let range = ranges.first else { return nil }
    let first = max(1, range.startLine), last = max(first, range.endLine)
    return SourcePlace(filename: map.filename, data: map.data, lines: first...last)
  }
}
