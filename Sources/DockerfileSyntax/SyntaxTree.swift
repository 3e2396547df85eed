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
  /// Where the keyword stands, and where each flag does.
  public var keywordRange: SourceRange
  /// One range a flag.
  public var flagRanges: [SourceRange]
  /// The comments right before it, without the `#`; an empty comment line starts them afresh.
  public var comments: [String]
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
