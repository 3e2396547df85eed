/// A pattern that cannot be used.
public struct PathPatternError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kind of mistake.
  public enum Code: String, Sendable {
    /// The pattern is malformed: an open `[`, a class without members, a trailing `\`.
    case badPattern
    /// A `!` with nothing after it.
    case emptyException
    /// A line of an ignore file is longer than the limit.
    case lineTooLong
  }
  /// The kind of mistake.
  public var code: Code
  /// The pattern as written.
  public var pattern: String
  /// The line of the ignore file, counted from 1, when there is one.
  public var line: Int?
  /// What is wrong with it.
  public var reason: String

  init(_ code: Code, pattern: String, line: Int? = nil, reason: String) {
    (self.code, self.pattern, self.line, self.reason) = (code, pattern, line, reason)
  }

  /// What is wrong with which pattern.
  public var description: String {
    (line.map { "line \($0): " } ?? "") + "the pattern \"\(pattern)\" is not valid: \(reason)"
  }
}
