/// What is wrong with a place that images are in, or with what was found there.
package struct ImageStoreError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    /// The text names no place.
    case invalidLocation
    /// No such image, or part of it.
    case notFound
    /// Several things that the text can mean.
    case ambiguous
    /// Other content than its digest or size promise, or a document that cannot be read.
    case invalidContent
    /// The place cannot be used so: no writing to a digest, no local store in this command.
    case unsupported
  }
  package var code: Code
  package var message: String
  /// What to do about it.
  package var advice: String?
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, advice: String? = nil, cause: (any Error)? = nil) {
    (self.code, self.message, self.advice, self.cause) = (code, message, advice, cause)
  }

  package var description: String { message + (cause.map { ": \($0)" } ?? "") }
}
