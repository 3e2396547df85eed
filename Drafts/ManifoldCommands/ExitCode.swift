internal import ArgumentParser
internal import BuildInterface
internal import OCIModel
internal import OCIRegistry

/// How the program ends. Distinct, so that a script can tell whose fault it was (README, "Exit codes").
enum ManifoldExit: Int32 {
  /// A step failed, or the engine did.
  case build = 1
  /// The command line, the Dockerfile or another input is wrong.
  case usage = 2
  /// A registry, or the way to it.
  case registry = 3
  /// `run` could not start the container at all, as `docker run` has it.
  case runFailed = 125
  /// Ctrl-C.
  case interrupted = 130

  static func of(_ error: any Error) -> ManifoldExit {
    switch error {
    case is CancellationError: .interrupted
    case let error as BuildError:
      switch error.domain {
      case .usage: .usage
      case .build: error.code == .cancelled ? .interrupted : .build
      case .registry: .registry
      }
    case is RegistryError: .registry
    case is OCIError, is ValidationError: .usage
    default: .build
    }
  }
}
