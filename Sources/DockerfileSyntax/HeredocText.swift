extension Heredoc {
  /// Reads a word such as `<<EOF`, `3<<-"EOF"` or `<< EOF`; nil when it opens no heredoc. The content is empty.
  public static func opening(_ word: String) throws(DockerfileError) -> Heredoc? {
    let scalars = Array(word.unicodeScalars)
    var index = scalars.firstIndex { !$0.isASCIIDigit } ?? scalars.count
    let digits = scalars[..<index].text
    guard scalars[index...].starts(with: ["<", "<"]) else { return nil }
    index += 2
    let chomps = index < scalars.count && scalars[index] == "-"
    if chomps { index += 1 }
    while index < scalars.count, scalars[index].isPatternSpace { index += 1 }
    let rest = scalars[index...]
    guard !rest.isEmpty, !rest.contains("<") else { return nil }

    // The word with and without its quotes: if their number differs, some part is quoted, and the content is literal.
    var lexer = WordLexer()
    lexer.keepsUnset = true
    let none: [String: String] = [:]
    let words = try lexer.words(in: rest.text, environment: none)
    guard words.count == 1 else { return nil }
    lexer.keepsQuotes = true
    let raw = try lexer.words(in: rest.text, environment: none)
    guard raw.count == 1 else {
      throw DockerfileError(.heredoc, "\(word.quoted) opens a heredoc whose name is more than one word")
    }
    func quotes(_ text: String) -> Int { text.utf8.count { $0 == UInt8(ascii: "'") || $0 == UInt8(ascii: "\"") } }
    let descriptor = digits.isEmpty ? 0 : UInt64(digits) ?? UInt64.max
    return Heredoc(name: words[0], content: "", expands: quotes(words[0]) == quotes(raw[0]), chomps: chomps, fileDescriptor: descriptor)
  }

  /// The heredocs that an instruction's line opens, in order, each with its word as it is written.
  static func openings(in line: String) throws(DockerfileError) -> [(word: String, heredoc: Heredoc)] {
    var lexer = WordLexer()
    lexer.keepsQuotes = true
    lexer.keepsEscapes = true
    lexer.keepsUnset = true
    let none: [String: String] = [:]
    // A line that is no sequence of shell words opens nothing.
    guard let words = try? lexer.words(in: line, environment: none) else { return [] }
    var result: [(word: String, heredoc: Heredoc)] = []
    for word in words where word.utf8.contains(UInt8(ascii: "<")) {
      if let heredoc = try opening(word) { result.append((word, heredoc)) }
    }
    return result
  }

  /// `text` without the tabs at the start of each line.
  public static func withoutLeadingTabs(_ text: String) -> String {
    var result: [UInt8] = []
    result.reserveCapacity(text.utf8.count)
    var atLineStart = true
    for byte in text.utf8 {
      if atLineStart, byte == UInt8(ascii: "\t") { continue }
      atLineStart = byte == UInt8(ascii: "\n")
      result.append(byte)
    }
    return String(decoding: result, as: UTF8.self)
  }
}

extension CommandLine {
  /// How a command uses its heredocs.
  public enum HeredocUse: Sendable, Hashable {
    /// It has none.
    case none
    /// The heredoc is the whole command: a script for the shell, or a program of its own when it begins with `#!`.
    case script(Heredoc)
    /// Heredocs stand inside a longer command; this is the text, documents included, for the shell to read.
    case embedded(String)
  }

  /// How the command uses its heredocs.
  public var heredocUse: HeredocUse {
    guard let first = heredocs.first, let text = arguments.first else { return .none }
    if let opening = try? Heredoc.opening(text), opening.name == first.name { return .script(first) }
    return .embedded(heredocs.reduce(text) { $0 + "\n" + $1.content + $1.name })
  }
}
