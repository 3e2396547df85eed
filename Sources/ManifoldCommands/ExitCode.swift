internal import ArgumentParser
internal import BuildInterface
internal import BuildkitdConfig
internal import ImageChecks
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

/// How the program ends. Distinct, so that a script can tell whose fault it was (README, "Exit codes").
enum ManifoldExit {
  /// A step failed, or the engine did.
  static let build: Int32 = 1
  /// The command line, the Dockerfile or another input is wrong.
  static let usage: Int32 = 2
  /// A registry, or the way to it.
  static let registry: Int32 = 3
  /// `run` could not start the container at all, as `docker run` has it.
  static let runFailed: Int32 = 125
  /// Ctrl-C; ended by another signal, 128 and its number.
  static let interrupted: Int32 = 130

  static func of(_ error: any Error) -> Int32 {
    switch error {
    case let error as Interrupted: 128 + error.signal
    case is CancellationError: interrupted
    case let error as RunFailure: of(error)
    case let error as BuildError:
      switch error.domain {
      case .usage: usage
      case .build: error.code == .cancelled ? interrupted : build
      case .registry: registry
      }
    case let error as RegistryError: error.code == .local ? build : registry
    case is OCIError, is ValidationError, is ConfigError: usage
    case let error as ImageCheckError: error.code == .damaged ? build : usage
    case let error as ImageStoreError: error.code == .invalidContent ? build : usage
    default: build
    }
  }

  /// The container never ran, whatever the reason, unless the user stopped it.
  private static func of(_ failure: RunFailure) -> Int32 {
    let code = of(failure.cause)
    return code > 128 ? code : runFailed
  }
}

/// What kept `run` from running its command.
struct RunFailure: Error, Sendable {
  var cause: any Error
}
