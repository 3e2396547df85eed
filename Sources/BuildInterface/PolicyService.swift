package import BuildKitProto

/// What a client says of a source that its build would read (BuildKit's PolicyVerifier).
package enum PolicyDecision: Sendable {
  case allow
  /// With what the client has to say about it.
  case deny(messages: [String])
  /// Another source is read; it is asked about again.
  case convert(Pb_SourceOp)
}

/// A client that wants to be asked about each source (`SolveRequest.sourcePolicySession`).
package protocol PolicyService: Sendable {
  /// Before the source is looked up or read. Throws when the client gives no answer: the build then fails.
  func check(_ source: Pb_SourceOp, platform: Pb_Platform?) async throws -> PolicyDecision
}
