/// A Dockerfile as it is written: its directives and its instructions, split into words but not yet given meaning.
public struct SyntaxTree: Sendable, Hashable {
  /// The instructions in the order of the file; never empty.
  public var nodes: [InstructionNode]
  /// The parser directives (`# syntax=`, `# escape=`, `# check=`) at the file's head.
  public var directives: [ParserDirective]
  /// The character that escapes and continues lines: `\`, or a backtick with `# escape=`.
  public var escape: Unicode.Scalar
  /// Things worth telling that are no errors.
  public var warnings: [SyntaxWarning]
}

/// One instruction as it is written.
public struct InstructionNode: Sendable, Hashable {
  /// Its first word, in the writer's case.
  public var keyword: String
  /// The words that begin with `--`, without quotes, in order.
  public var flags: [String]
  /// The words after the flags. Shell forms are one word; `ENV` and `LABEL` give three words a pair (name, value, and `=` or nothing).
  public var arguments: [String]
  /// Whether the arguments were a JSON array of strings.
  public var isJSON: Bool
  /// The instruction that an `ONBUILD` holds; otherwise empty.
  public var children: [InstructionNode]
  /// The heredocs it opens, in order.
  public var heredocs: [Heredoc]
  /// The text with continued lines joined, comments inside it dropped.
  public var original: String
  /// Where it stands, heredocs included.
  public var range: SourceRange
  /// Where the keyword stands.
  public var keywordRange: SourceRange
  /// The places of flags and arguments in the text, and of the text in the file.
  var flagSpans: [TextSpan]
  var argumentSpans: [TextSpan]
  public internal(set) var layout: TextLayout
  /// Where `original` begins in the text that `layout` is of.
  var originalStart: Int
  /// Where each heredoc stands.
  public var heredocPlaces: [HeredocPlace]
  /// The comments right before it, without the `#`; an empty comment line starts them afresh.
  public var comments: [String]
}

extension InstructionNode {
  /// Where each flag stands.
  public var flagRanges: [SourceRange] { layout.isEmpty ? [] : flagSpans.map { layout.range(of: $0.range) } }
  /// Where each argument stands: quotes belong to it; the `=` of a pair is one of its own.
  public var argumentRanges: [SourceRange] { layout.isEmpty ? [] : argumentSpans.map { layout.range(of: $0.range) } }

  func range(ofArgument index: Int) -> SourceRange? {
    layout.isEmpty || !argumentSpans.indices.contains(index) ? nil : layout.range(of: argumentSpans[index].range)
  }

  /// All arguments from one on.
  func range(ofArgumentsFrom index: Int) -> SourceRange? {
    guard !layout.isEmpty, argumentSpans.indices.contains(index), let last = argumentSpans.last else { return nil }
    return layout.range(of: argumentSpans[index].range.lowerBound..<max(last.range.upperBound, argumentSpans[index].range.lowerBound))
  }

  /// A flag, or the part of it before or after its `=` where it is written without quotes.
  func range(ofFlag index: Int, part: FlagPart = .all) -> SourceRange? {
    guard !layout.isEmpty, flagSpans.indices.contains(index), flags.indices.contains(index) else { return nil }
    var span = flagSpans[index].range
    let scalars = flags[index].unicodeScalars
    if part != .all, scalars.count == span.count {
      let name = scalars.prefix { $0 != "=" }.count
      if part == .name { span = span.lowerBound..<span.lowerBound + name } else if name + 1 < span.count { span = span.lowerBound + name + 1..<span.upperBound }
    }
    return layout.range(of: span)
  }

  enum FlagPart { case all, name, value }

  /// The node as if it stood as a whole at `range`: it came from elsewhere.
  mutating func move(to range: SourceRange) {
    (self.range, keywordRange, layout, heredocPlaces) = (range, range, TextLayout(), [])
    (flagSpans, argumentSpans) = ([], [])
  }
}

/// Where a heredoc stands.
public struct HeredocPlace: Sendable, Hashable {
  /// The word that opens it, from `<<` or the number before it.
  public var opening: SourceRange
  /// The lines between; empty when there are none.
  public var content: SourceRange
  /// The word that closes it.
  public var closing: SourceRange
}

/// A document inside an instruction: `<<EOF` and the lines up to `EOF`.
public struct Heredoc: Sendable, Hashable {
  /// The word that ends it, without quotes.
  public var name: String
  /// The lines between, as they are written, line ends included.
  public var content: String
  /// Whether variables in it are meant to be expanded: no part of the word was quoted.
  public var expands: Bool
  /// Whether leading tabs go (`<<-`); `content` still has them, `text` has not.
  public var chomps: Bool
  /// The number before `<<`, or 0.
  public var fileDescriptor: UInt64

  /// The content that is meant: without leading tabs where `<<-` asks for that.
  public var text: String { chomps ? Heredoc.withoutLeadingTabs(content) : content }
}

/// Something in a file that works but should not be so.
public struct SyntaxWarning: Sendable, Hashable {
  /// The kind of warning.
  public enum Code: String, Sendable {
    /// A continued instruction has an empty line in it.
    case emptyContinuationLine
    /// Bytes that are not UTF-8 were replaced.
    case invalidUTF8
  }
  /// The kind of warning.
  public var code: Code
  /// One sentence.
  public var message: String
  /// Where.
  public var range: SourceRange
}

/// A `# name=value` line at a file's head that speaks to the parser.
public struct ParserDirective: Sendable, Hashable {
  /// `syntax`, `escape` or `check`, in lower case.
  public var name: String
  /// Everything after the `=`, without surrounding blanks.
  public var value: String
  /// The line it stands on.
  public var range: SourceRange
}
