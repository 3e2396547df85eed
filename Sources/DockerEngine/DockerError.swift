/// Why a Docker engine could not do what was asked of it.
package struct DockerError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    /// A context, an address or a file of the client's configuration is wrong.
    case configuration
    /// Nobody answers.
    case unreachable
    /// Somebody answers, and it is not this user's to use.
    case denied
    /// The engine says no; the message is its own.
    case refused
    /// The answer is not one of a Docker engine.
    case invalidResponse
  }
  package var code: Code
  package var message: String
  /// What to do about it.
  package var advice: String?
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, advice: String? = nil, cause: (any Error)? = nil) {
    (self.code, self.message, self.advice, self.cause) = (code, message, advice, cause)
  }
  package var description: String { cause.map { "\(message): \($0)" } ?? message }
}
