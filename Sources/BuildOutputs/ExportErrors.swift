internal import BuildInterface
internal import ContentStore
internal import OCIModel
internal import OCIRegistry

/// Errors as exports tell them: with what was being done, and for which platform.
enum ExportErrors {
  /// Cancellation passes; others get a sentence before them.
  static func wrap(_ error: any Error, _ what: String) -> any Error {
    switch error {
    case is CancellationError: return error
    case var error as BuildError:
      error.message = "\(what): \(error.message)"
      return error
    case let error as RegistryError: return BuildError(code(error.code), .registry, what, cause: error)
    case let error as StoreError: return BuildError(error.code == .noSpace ? .resourceExhausted : .internal, .build, what, cause: error)
    default: return BuildError(.unknown, .build, what, cause: error)
    }
  }

  static func wrapping<T: Sendable>(_ what: @autoclosure () -> String, _ body: () async throws -> T) async throws -> T {
    do { return try await body() } catch { throw wrap(error, what()) }
  }

  private static func code(_ code: RegistryError.Code) -> BuildError.Code {
    switch code {
    case .unauthorized, .credentials: .unauthenticated
    case .denied: .permissionDenied
    case .notFound: .notFound
    case .rateLimited: .resourceExhausted
    case .network, .tls, .serverFailure, .shutDown: .unavailable
    case .refused, .digestMismatch, .sizeMismatch, .invalidResponse: .failedPrecondition
    case .unsupported: .unimplemented
    case .local: .internal
    }
  }
}
