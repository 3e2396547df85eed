package import BuildInterface
package import GRPCCore

/// Why a session, or something asked of one, failed.
package struct SessionError: Error, Sendable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// The client offers it under headers that make no sense.
    case invalidHeaders
    /// A session of that id is open.
    case duplicate
    /// More sessions than the daemon takes.
    case tooMany
    /// None of that id came in time.
    case notFound
    /// It is over: the client went away, answers no more, or the daemon stops.
    case ended
    /// The client does not offer what was asked for.
    case unsupported
    /// The client answered with what makes no sense, or with more than it may.
    case invalidAnswer
    /// The client answered with an error.
    case refused
  }
  package var code: Code
  package var message: String
  package var cause: (any Error)?
  package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
    (self.code, self.message, self.cause) = (code, message, cause)
  }
  package var description: String { cause.map { "\(message): \($0)" } ?? message }

  /// The client's own answer, when it gave one.
  package var status: RPCError.Code? { code == .refused || code == .unsupported ? (cause as? RPCError)?.code : nil }

  /// As a build fails with it.
  package var buildError: BuildError {
    let code: BuildError.Code =
      switch code {
      case .invalidHeaders, .duplicate: .invalidArgument
      case .tooMany: .resourceExhausted
      case .notFound: .notFound
      case .ended: .unavailable
      case .unsupported: .unimplemented
      case .invalidAnswer: .failedPrecondition
      case .refused: status == .notFound ? .notFound : status == .permissionDenied ? .permissionDenied : .unknown
      }
    return BuildError(code, .usage, description, cause: cause)
  }
}
