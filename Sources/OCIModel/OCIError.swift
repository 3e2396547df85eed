/// What can be wrong with a name, digest, platform or document of the OCI and Docker image formats.
public struct OCIError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Code: Sendable {
    case invalidDigest, invalidReference, invalidPlatform, invalidJSON, invalidDocument, tooLarge, unsupported
  }
  public let code: Code
  /// What is wrong, with the offending text, in one sentence without a trailing period.
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }
  public var description: String { message }
}
