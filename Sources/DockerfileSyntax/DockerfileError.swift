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
  /// What to do about it, in a sentence, where there is more to say than a word that may have been meant.
  public var advice: String?
  /// The word at fault by its text, when its place is not known yet.
  package var fault: WordFault?

  /// The longest message; hostile words are cut short.
  static let maximumMessageLength = 2000

  /// `did you mean RUN?`, or the advice.
  public var help: String? { suggestion.map { "did you mean \($0)?" } ?? advice }

  /// The same error with advice.
  func advising(_ advice: String?) -> DockerfileError {
    var copy = self
    copy.advice = advice
    return copy
  }

  /// An error of words whose places the instruction's origin will know.
  init(_ code: Code, _ message: String, suggestion: String? = nil, fault: [String]) {
    self.init(code, message, suggestion: suggestion)
    self.fault = WordFault(fault)
  }

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
    return SourceExcerpt.render(source: source, fileName: fileName, ranges: [range], focus: focus)
  }

  /// The same error, placed at `range` unless it already has a place.
  public func located(at range: SourceRange) -> DockerfileError {
    var copy = self
    copy.range = self.range ?? range
    return copy
  }

  /// The same error, placed at an instruction and, where that is known, at the word in it, unless it already has a place.
  package func located(at origin: InstructionOrigin) -> DockerfileError {
    var copy = located(at: origin.range)
    copy.focus = focus ?? fault.flatMap { origin.range(of: $0) }
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
  /// ending in a newline, with a line of `^` below the word that `focus` is about. Nil when there is no range or the first one lies outside the source.
  public static func render(source: String, fileName: String, ranges: [SourceRange], focus: SourceRange? = nil) -> String? {
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
      if let focus, focus.start.line == number, let carets = carets(below: String(Substring(lines[number - 1])), focus) { text += String(repeating: " ", count: max(3, digits.count) + 2) + "|     \(carets)\n" }
    }
    return text + rule
  }

  /// Blanks and `^` to print below `line` so that they mark what `focus` has of it: tabs stay tabs. Nil when that is nothing.
  public static func carets(below line: String, _ focus: SourceRange) -> String? {
    var scalars = Array(line.unicodeScalars)
    // Columns do not count a byte order mark.
    if focus.start.line == 1, scalars.first == "\u{FEFF}" { scalars.removeFirst() }
    while let last = scalars.last, last == "\r" || last == "\n" { scalars.removeLast() }
    let start = focus.start.column
    let end = focus.end.line == focus.start.line ? min(focus.end.column, scalars.count) : scalars.count
    // Neither below a whole long line nor below nothing.
    guard start < end, end <= 2000 else { return nil }
    var out = String.UnicodeScalarView()
    for scalar in scalars[..<start] {
      for _ in 0..<width(scalar) { out.append(scalar == "\t" ? "\t" : " ") }
    }
    for scalar in scalars[start..<end] { for _ in 0..<max(width(scalar), 0) { out.append("^") } }
    return String(out)
  }

  /// The cells that a terminal gives a scalar, roughly: two for East Asian wide ones and emoji, none for what combines.
  private static func width(_ scalar: Unicode.Scalar) -> Int {
    switch scalar.value {
    case 0..<0x300: 1
    case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F900...0x1F9FF, 0x20000...0x3FFFD: 2
    default:
      switch scalar.properties.generalCategory {
      case .nonspacingMark, .enclosingMark, .format: 0
      default: 1
      }
    }
  }
}
