/// What is wrong with a Dockerfile, where, and what may have been meant.
public struct DockerfileError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kind of mistake, for programs.
  public enum Code: String, Sendable {
    /// The file holds no instruction.
    case empty
    /// A line begins with a word that is no instruction.
    case unknownInstruction
    /// A flag the instruction does not know.
    case unknownFlag
    /// A flag is malformed, given twice, or its value is not allowed.
    case badFlag
    /// Too few, too many or malformed arguments.
    case badArguments
    /// A heredoc is not closed, or stands where none is allowed.
    case heredoc
    /// A parser directive is repeated or has a value that is not allowed.
    case directive
    /// A `--mount` or `--device` option is wrong.
    case badMount
    /// An instruction stands before the first FROM, or a stage's name is not allowed.
    case stage
    /// A `$variable` could not be expanded.
    case expansion
    /// The file is larger, longer or deeper than the limits allow.
    case limit
  }

  /// The kind of mistake.
  public var code: Code
  /// One sentence without a final stop: what is wrong and what is wanted.
  public var message: String
  /// The whole instruction (or line) at fault; nil when the text has no place in a file.
  public var range: SourceRange?
  /// The word at fault, when it is known more exactly than `range`.
  public var focus: SourceRange?
  /// A word that may have been meant, in the writer's own case.
  public var suggestion: String?

  /// The longest message; hostile words are cut short.
  static let maximumMessageLength = 2000

  /// Makes an error; a message of more than 2,000 characters is cut short.
  public init(_ code: Code, _ message: String, range: SourceRange? = nil, focus: SourceRange? = nil, suggestion: String? = nil) {
    let isLong = message.unicodeScalars.count > DockerfileError.maximumMessageLength
    self.message = isLong ? String(message.unicodeScalars.prefix(DockerfileError.maximumMessageLength)) + "…" : message
    (self.code, self.range, self.focus, self.suggestion) = (code, range, focus, suggestion)
  }

  /// The message with its line and the suggestion: `line 3: unknown instruction: RUNN (did you mean RUN?)`.
  public var description: String {
    let place = range.map { "line \($0.start.line): " } ?? ""
    return place + summary
  }

  /// The message and the suggestion, without the line.
  public var summary: String {
    message + (suggestion.map { " (did you mean \($0)?)" } ?? "")
  }

  /// The lines around the mistake as `docker buildx` prints them, or nil when the error has no place in `source`.
  ///
  /// - Parameters:
  ///   - source: the Dockerfile's text.
  ///   - fileName: the name to head the excerpt with.
  public func excerpt(source: String, fileName: String = "Dockerfile") -> String? {
    guard let range else { return nil }
    return SourceExcerpt.render(source: source, fileName: fileName, ranges: [range])
  }

  /// The same error, placed at `range` unless it already has a place.
  public func located(at range: SourceRange) -> DockerfileError {
    var copy = self
    copy.range = self.range ?? range
    return copy
  }
}

/// Prints lines of a source file around the ones that matter.
public enum SourceExcerpt {
  /// Lines of `source` with those in `ranges` marked, in the form
  ///
  ///     Dockerfile:3
  ///     --------------------
  ///        1 |     FROM alpine
  ///        2 |
  ///        3 | >>> RUNN true
  ///     --------------------
  ///
  /// ending in a newline. Nil when there is no range or the first one lies outside the source.
  public static func render(source: String, fileName: String, ranges: [SourceRange]) -> String? {
    let lines = source.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    guard let first = ranges.map(\.start.line).min(), let last = ranges.map(\.end.line).max(), first >= 1, first <= lines.count else { return nil }
    var (start, end) = (first, min(max(last, first), lines.count))
    // Two more lines around a long range, four around a single line, shared between both sides while there are any.
    let padding = start == end ? 4 : 2
    var added = 0
    while added < padding {
      if start > 1 {
        start -= 1
        added += 1
      }
      if end != lines.count {
        end += 1
        added += 1
      }
      added += 1
    }
    let rule = "--------------------\n"
    var text = "\(fileName):\(first)\n" + rule
    for number in start...end {
      let digits = String(number)
      let marked = ranges.contains { $0.lines.contains(number) }
      text += " " + String(repeating: " ", count: max(0, 3 - digits.count)) + digits + " | " + (marked ? ">>> " : "    ")
      text += String(Substring(lines[number - 1])) + "\n"
    }
    return text + rule
  }
}
