package import OCIModel

/// What could not be done with a snapshot, which one, and why.
package struct SnapshotError: Error, CustomStringConvertible, Sendable {
  package enum Code: String, Sendable {
    /// No such ref; it was pruned.
    case notFound
    /// Neither the snapshot nor the blob is here, and nobody was named who has it. A cache that leads here has missed.
    case missingContent
    /// A layer's archive is not the one its image promises.
    case diffIDMismatch
    /// It was committed or discarded before.
    case ended
    case system
  }

  package var code: Code
  package var message: String
  package var ref: String?
  package var digest: Digest?
  package var cause: (any Error)?

  package init(_ code: Code, _ message: String, ref: String? = nil, digest: Digest? = nil, cause: (any Error)? = nil) {
    (self.code, self.message, self.ref, self.digest, self.cause) = (code, message, ref, digest, cause)
  }

  package var description: String { message + (cause.map { ": \($0)" } ?? "") }
}
