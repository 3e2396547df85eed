/// Cuts a template into text and the tokens of its actions, after Go's text/template/parse.
struct TemplateLexer {
  enum Token: Equatable, Sendable {
    case text(String)
    case leftDelimiter, rightDelimiter
    /// `.Name`
    case field(String)
    /// `$` or `$name`
    case variable(String)
    /// A function's name or a keyword.
    case identifier(String)
    case string(String)
    case int(Int64)
    case float(Double)
    case bool(Bool)
    case pipe, leftParenthesis, rightParenthesis, dot, comma
    case declare, assign
    /// White space between operands: `f .A` is not `f.A`.
    case space
    case end
  }
  struct Item: Sendable {
    var token: Token
    var position: Position
  }

  private let text: [Character]
  private var i = 0
  private var items: [Item] = []
  private var depth = 0

  init(_ source: String) { text = Array(source) }

  static func items(of source: String) throws(TemplateError) -> [Item] {
    var lexer = TemplateLexer(source)
    try lexer.run()
    return lexer.items
  }

  private mutating func add(_ token: Token, at offset: Int) { items.append(Item(token: token, position: Position(offset: offset))) }

  func fail(_ message: String, at offset: Int) -> TemplateError { TemplateError.at(offset, in: text, .syntax, message) }

  private func starts(with word: String, at offset: Int) -> Bool {
    let word = Array(word)
    return offset + word.count <= text.count && Array(text[offset..<offset + word.count]) == word
  }

  private mutating func run() throws(TemplateError) {
    var trimsNext = false
    while i < text.count {
      let start = i
      while i < text.count, !starts(with: "{{", at: i) { i += 1 }
      var piece = text[start..<i]
      if trimsNext { piece = piece.drop { $0.isTemplateSpace } }
      trimsNext = false
      let isAction = i < text.count
      if isAction, starts(with: "{{-", at: i), i + 3 < text.count, text[i + 3].isTemplateSpace {
        while let last = piece.last, last.isTemplateSpace { piece.removeLast() }
      }
      if !piece.isEmpty { add(.text(String(piece)), at: start) }
      if isAction { trimsNext = try action() }
    }
    add(.end, at: text.count)
  }

  /// One action; answers whether the text behind it loses its leading space.
  private mutating func action() throws(TemplateError) -> Bool {
    let start = i
    i += 2
    if i + 1 < text.count, text[i] == "-", text[i + 1].isTemplateSpace { i += 2 }
    if starts(with: "/*", at: i) { return try comment(start) }
    add(.leftDelimiter, at: start)
    depth = 0
    while true {
      guard i < text.count else { throw fail("the action has no end: }} is missing", at: start) }
      if starts(with: "}}", at: i) {
        if depth > 0 { throw fail("a parenthesis is not closed", at: i) }
        add(.rightDelimiter, at: i)
        i += 2
        return false
      }
      if text[i].isTemplateSpace {
        let space = i
        while i < text.count, text[i].isTemplateSpace { i += 1 }
        if starts(with: "-}}", at: i) {
          if depth > 0 { throw fail("a parenthesis is not closed", at: i) }
          add(.rightDelimiter, at: i)
          i += 3
          return true
        }
        add(.space, at: space)
        continue
      }
      try token()
    }
  }

  private mutating func comment(_ start: Int) throws(TemplateError) -> Bool {
    i += 2
    while i < text.count, !starts(with: "*/", at: i) { i += 1 }
    guard i < text.count else { throw fail("the comment has no end: */ is missing", at: start) }
    i += 2
    if starts(with: "}}", at: i) {
      i += 2
      return false
    }
    let space = i
    while i < text.count, text[i].isTemplateSpace { i += 1 }
    guard i > space, starts(with: "-}}", at: i) else { throw fail("a comment must end its action: expected }} behind */", at: space) }
    i += 3
    return true
  }

  private mutating func token() throws(TemplateError) {
    let start = i
    let character = text[i]
    let next = i + 1 < text.count ? text[i + 1] : "\0"
    switch character {
    case ":":
      guard next == "=" else { throw fail("expected :=", at: i) }
      i += 2
      add(.declare, at: start)
    case "=":
      i += 1
      add(.assign, at: start)
    case "|":
      i += 1
      add(.pipe, at: start)
    case ",":
      i += 1
      add(.comma, at: start)
    case "(":
      i += 1
      depth += 1
      add(.leftParenthesis, at: start)
    case ")":
      i += 1
      depth -= 1
      if depth < 0 { throw fail("unexpected right parenthesis", at: start) }
      add(.rightParenthesis, at: start)
    case "\"", "`", "'": try quoted(character)
    case "$":
      i += 1
      add(.variable("$" + word()), at: start)
      try checkWordEnd()
    case "." where !next.isASCIIDigit:
      i += 1
      let name = word()
      add(name.isEmpty ? .dot : .field(name), at: start)
      if !name.isEmpty { try checkWordEnd() }
    case "+", "-", ".", "0"..."9": try number()
    case _ where character.isWordCharacter:
      let name = word()
      switch name {
      case "true", "false": add(.bool(name == "true"), at: start)
      default: add(.identifier(name), at: start)
      }
      try checkWordEnd()
    default: throw fail("unexpected character \"\(character)\"", at: start)
    }
  }

  private mutating func word() -> String {
    let start = i
    while i < text.count, text[i].isWordCharacter { i += 1 }
    return String(text[start..<i])
  }

  /// What may stand behind a word.
  private func checkWordEnd() throws(TemplateError) {
    guard i < text.count, !text[i].isTemplateSpace, !starts(with: "}}", at: i) else { return }
    if ![".", ",", "|", ":", "=", ")", "("].contains(text[i]) { throw fail("unexpected character \"\(text[i])\" in a name", at: i) }
  }

  private mutating func number() throws(TemplateError) {
    let start = i
    if text[i] == "+" || text[i] == "-" { i += 1 }
    while i < text.count, text[i].isWordCharacter || text[i] == "." || ((text[i] == "+" || text[i] == "-") && "eEpP".contains(text[i - 1]) && !isHexadecimal(start)) { i += 1 }
    let word = String(text[start..<i].filter { $0 != "_" })
    if let value = GoLiteral.int(word) {
      add(.int(value), at: start)
    } else if let value = Double(word), word.contains(where: \.isASCIIDigit) {
      add(.float(value), at: start)
    } else {
      throw fail("\"\(word)\" is no number", at: start)
    }
  }
  private func isHexadecimal(_ start: Int) -> Bool { starts(with: "0x", at: start) || starts(with: "0X", at: start) }

  private mutating func quoted(_ quote: Character) throws(TemplateError) {
    let start = i
    i += 1
    while i < text.count, text[i] != quote {
      if text[i] == "\n" || text[i] == "\r\n", quote != "`" { break }
      i += text[i] == "\\" && quote != "`" ? 2 : 1
    }
    guard i < text.count, text[i] == quote else { throw fail("the quoted text has no end", at: start) }
    let inner = String(text[(start + 1)..<i])
    i += 1
    if quote == "`" { return add(.string(inner.replacing("\r\n", with: "\n")), at: start) }
    guard let value = GoLiteral.unquoted(inner) else { throw fail("the quoted text has an escape that there is none of", at: start) }
    if quote == "\"" { return add(.string(value), at: start) }
    guard value.unicodeScalars.count == 1, let scalar = value.unicodeScalars.first else { throw fail("'\(inner)' is not one character", at: start) }
    add(.int(Int64(scalar.value)), at: start)
  }
}

/// Go's literals.
enum GoLiteral {
  static func int(_ word: String) -> Int64? {
    var digits = Substring(word)
    var sign = ""
    if let first = digits.first, first == "-" || first == "+" {
      sign = first == "-" ? "-" : ""
      digits = digits.dropFirst()
    }
    let lower = digits.lowercased()
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where lower.hasPrefix(prefix) { return Int64(sign + lower.dropFirst(2), radix: radix) }
    guard !digits.isEmpty, digits.allSatisfy(\.isASCIIDigit) else { return nil }
    // A leading zero is octal.
    if digits.count > 1, digits.hasPrefix("0"), let value = Int64(sign + digits, radix: 8) { return value }
    return Int64(sign + digits)
  }

  /// The text between double quotes, with its escapes resolved; nil for one that Go has not.
  static func unquoted(_ text: String) -> String? {
    guard text.contains("\\") else { return text }
    var bytes: [UInt8] = []
    var rest = Array(text.unicodeScalars)[...]
    func digits(_ count: Int, radix: Int) -> UInt32? {
      let word = String(String.UnicodeScalarView(rest.prefix(count)))
      guard word.count == count, word.allSatisfy(\.isHexDigit), let value = UInt32(word, radix: radix) else { return nil }
      rest = rest.dropFirst(count)
      return value
    }
    while let scalar = rest.popFirst() {
      guard scalar == "\\" else {
        bytes += String(scalar).utf8
        continue
      }
      guard let escape = rest.popFirst() else { return nil }
      switch escape {
      case "a": bytes.append(7)
      case "b": bytes.append(8)
      case "f": bytes.append(12)
      case "n": bytes.append(10)
      case "r": bytes.append(13)
      case "t": bytes.append(9)
      case "v": bytes.append(11)
      case "\\", "\"", "'": bytes.append(UInt8(escape.value))
      case "x":
        guard let value = digits(2, radix: 16) else { return nil }
        bytes.append(UInt8(value))
      case "u", "U":
        guard let value = digits(escape == "u" ? 4 : 8, radix: 16), let scalar = Unicode.Scalar(value) else { return nil }
        bytes += String(scalar).utf8
      case "0"..."7":
        guard let more = digits(2, radix: 8) else { return nil }
        let value = (escape.value - 48) * 64 + more
        guard value < 256 else { return nil }
        bytes.append(UInt8(value))
      default: return nil
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension Character {
  var isTemplateSpace: Bool { self == " " || self == "\t" || self == "\n" || self == "\r" || self == "\r\n" }
  var isASCIIDigit: Bool { ("0"..."9").contains(self) }
  var isWordCharacter: Bool { self == "_" || isLetter || isNumber }
}

extension TemplateError {
  static func at(_ offset: Int, in text: [Character], _ code: Code, _ message: String) -> TemplateError {
    let before = text.prefix(offset)
    let line = before.reduce(1) { $1.isNewline ? $0 + 1 : $0 }
    let column = before.count - (before.lastIndex { $0.isNewline }.map { $0 + 1 } ?? 0) + 1
    return TemplateError(code: code, message: message, line: line, column: column)
  }
}
