public import OCIModel

/// What can be wrong with a build graph: one that is being made, or one that was received.
public struct LLBError: Error, Sendable, CustomStringConvertible {
  public enum Code: Sendable {
    /// An option or a combination of options that no engine could run.
    case invalidOption
    /// A received definition that is malformed: not protobuf, an op without its required parts, an input that is missing.
    case invalidDefinition
    /// A received definition larger than the limits.
    case tooLarge
    /// A received definition asks for a capability that the engine does not have.
    case unsupported
  }
  public let code: Code
  /// What is wrong, with the offending value, in one sentence without a trailing period.
  public let message: String
  public let cause: (any Error)?
  /// The vertex that is at fault, where it is one.
  public let vertex: Digest?

  public init(_ code: Code, _ message: String, vertex: Digest? = nil, cause: (any Error)? = nil) {
    (self.code, self.message, self.vertex, self.cause) = (code, message, vertex, cause)
  }
  public var description: String { (cause.map { "\(message): \($0)" } ?? message) + (vertex.map { " (op \($0))" } ?? "") }
}
