/// Where the values of variables come from.
public protocol WordEnvironment {
  /// The value of a variable, or nil when it is not set.
  func value(of name: String) -> String?
}

extension Dictionary: WordEnvironment where Key == String, Value == String {
  /// The value under that key.
  public func value(of name: String) -> String? { self[name] }
}

/// A word after expansion.
public struct WordExpansion: Sendable, Hashable {
  /// The word with quotes processed and variables replaced.
  public var text: String
  /// The variables that were looked up and found.
  public var matched: Set<String>
  /// The variables that were looked up and not found.
  public var unmatched: Set<String>
}

/// Quotes, escapes and `$variables` in the words of a Dockerfile, processed as BuildKit's shell lexer does.
///
/// Understood are `$name`, `${name}`, the modifiers `-` `:-` `+` `:+` `?` `:?`, `#` `##` `%` `%%` (shell patterns with `*`, `?` and `\`)
/// and `/` `//` (replace the first or each match). Single quotes keep everything; double quotes keep all but variables and
/// an escaped `"`, `$` or escape character. Positional and special parameters exist and are never set.
public struct WordLexer: Sendable, Hashable {
  /// The escape character, `\` or a backtick.
  public var escape: Unicode.Scalar
  /// Keep the quotes themselves in the result.
  public var keepsQuotes = false
  /// Keep the escape characters in the result.
  public var keepsEscapes = false
  /// Quotes are ordinary characters (the content of heredocs).
  public var ignoresQuotes = false
  /// A variable that is not set stays as it is written, and is not replaced by nothing.
  public var keepsUnset = false

  /// The longest result in bytes; more is an error.
  public static let maximumLength = 16 << 20
  /// How deep `${a:-${b:-…}}` may nest; more is an error.
  public static let maximumDepth = 100

  /// Makes a lexer for the escape character of a file.
  public init(escape: Unicode.Scalar = "\\") { self.escape = escape }

  /// Processes `word` into one word, blanks kept.
  ///
  /// - Throws: ``DockerfileError`` (code `expansion` or `limit`) for an open quote or brace, a modifier that does not exist, or a
  ///   variable that `?` demands.
  public func expand(_ word: String, environment: some WordEnvironment) throws(DockerfileError) -> WordExpansion {
    guard needsProcessing(word) else { return WordExpansion(text: word, matched: [], unmatched: []) }
    var run = WordRun(lexer: self, word: word, environment: environment)
    let text = try run.process(word, splitting: false).text
    return WordExpansion(text: text, matched: run.matched, unmatched: run.unmatched)
  }

  /// Processes `word` and splits the result at blanks that are not quoted; empty words vanish.
  ///
  /// - Throws: as ``expand(_:environment:)``.
  public func words(in word: String, environment: some WordEnvironment) throws(DockerfileError) -> [String] {
    var run = WordRun(lexer: self, word: word, environment: environment)
    return try run.process(word, splitting: true).words
  }

  private func needsProcessing(_ word: String) -> Bool {
    let escapeByte = UInt8(truncatingIfNeeded: escape.value)
    return word.utf8.contains { byte in
      switch byte {
      case UInt8(ascii: "$"), UInt8(ascii: "'"), UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "`"): true
      case 0xEF: true  // the first byte of a byte order mark
      default: byte == escapeByte
      }
    }
  }
}

/// Gathers the words of a text as it is processed.
struct WordCollector {
  private(set) var words: [String] = []
  private var current = String.UnicodeScalarView()
  private var inWord = false

  /// Takes an unquoted character: a blank ends a word.
  mutating func add(_ scalar: Unicode.Scalar) {
    if !scalar.isSpace {
      current.append(scalar)
      inWord = true
    } else if inWord, !current.isEmpty {
      finish()
      inWord = false
    }
  }

  /// Takes quoted or escaped text: blanks belong to the word.
  mutating func addRaw(_ text: String) {
    current.append(contentsOf: text.unicodeScalars)
    inWord = true
  }

  mutating func addRaw(_ scalar: Unicode.Scalar) {
    current.append(scalar)
    inWord = true
  }

  /// Drops what was gathered of the current word.
  mutating func forgetWord() { current = String.UnicodeScalarView() }

  mutating func finish() {
    guard !current.isEmpty else { return }
    words.append(String(current))
    current = String.UnicodeScalarView()
  }
}
