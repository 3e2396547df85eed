/// What keeps a daemon from serving.
package struct DaemonError: Error, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    /// An address, a certificate or another setting cannot be used.
    case setting
    /// Somebody else has the root or the address.
    case busy
    /// The system refused.
    case system
  }
  package var code: Code
  package var message: String
  package var suggestion: String?
  package var cause: (any Error)?
  package init(_ code: Code, _ message: String, suggestion: String? = nil, cause: (any Error)? = nil) {
    self.code = code
    self.message = message
    self.suggestion = suggestion
    self.cause = cause
  }
  package var description: String { message + (cause.map { ": \($0)" } ?? "") + (suggestion.map { "\n" + $0 } ?? "") }
}
