/// Why a template cannot be read, or not be executed.
public struct TemplateError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Which of the two: reading the template, or filling it in.
  public enum Code: Sendable { case syntax, execution }
  /// Syntax or execution.
  public var code: Code
  /// What is wrong, without the place.
  public var message: String
  /// From 1, within the template.
  public var line: Int
  /// From 1, in characters.
  public var column: Int
  /// The message with its place.
  public var description: String { "template, line \(line), column \(column): \(message)" }
}

/// A place in the template's text, in characters from its beginning.
struct Position: Sendable, Equatable {
  var offset: Int
}
