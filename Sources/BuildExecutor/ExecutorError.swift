/// Why a step could not be run at all. A step that ran and failed is a `StepExit`, not an error.
package struct ExecutorError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    /// No OCI runtime on this machine.
    case runtimeMissing
    /// Nothing here runs programs of the step's platform.
    case platformImpossible
    /// The step asks for what cannot be: an unknown limit, a relative address…
    case invalidStep
    case userNotFound
    case workingDirectory
    /// A mount's source is missing or could not be mounted.
    case mount
    /// Limits are asked for, and there is nowhere to set them.
    case noControlGroup
    /// A network that is configured cannot be made.
    case network
    /// A device that is asked for is not known here, or cannot be given.
    case device
    /// The supervisor of the container failed to set it up, or died.
    case supervisor
  }
  package var code: Code
  /// What, where, why, and what to do.
  package var message: String
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }
  package var description: String { cause.map { "\(message): \($0)" } ?? message }
}
