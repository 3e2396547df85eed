/// One pass of a ``WordLexer`` over one word.
struct WordRun {
  let lexer: WordLexer
  let scalars: [Unicode.Scalar]
  let environment: any WordEnvironment
  var position: Int
  var keepsEscapes: Bool
  var depth = 0
  var length = 0
  var steps = 0
  var matched: Set<String> = []
  var unmatched: Set<String> = []
  /// How many operands of modifiers were read.
  var operands = 0
  /// The reference or quote that has gone wrong, the innermost one, as far as it was read.
  var failedAt: Range<Int>?

  init(lexer: WordLexer, word: String, environment: any WordEnvironment) {
    self.lexer = lexer
    scalars = Array(word.unicodeScalars)
    self.environment = environment
    keepsEscapes = lexer.keepsEscapes
    // A byte order mark at the start is no character of the word.
    position = scalars.first == "\u{FEFF}" ? 1 : 0
  }

  var peek: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  mutating func next() -> Unicode.Scalar? {
    guard position < scalars.count else { return nil }
    defer { position += 1 }
    return scalars[position]
  }

  func failure(_ message: String) -> DockerfileError { DockerfileError(.expansion, message) }

  mutating func process(_ source: String, splitting: Bool) throws(DockerfileError) -> (text: String, words: [String]) {
    do {
      return try read(until: nil, keepingEscapes: keepsEscapes, splitting: splitting)
    } catch {
      var error = error
      error.message = "cannot expand \(source.quoted): \(error.message)"
      let part = failedAt.map { scalars[$0].text } ?? ""
      error.fault = WordFault([source, part])
      throw error
    }
  }

  /// Reads up to `stop` (which is consumed), or to the end when there is none.
  mutating func read(until stop: Unicode.Scalar?, keepingEscapes: Bool, splitting: Bool = false)
    throws(DockerfileError) -> (text: String, words: [String])
  {
    var result = String.UnicodeScalarView()
    var collector = WordCollector()
    let outer = keepsEscapes
    keepsEscapes = keepingEscapes
    defer { keepsEscapes = outer }

    reading: while let scalar = peek {
      let operandsBefore = operands
      if scalar == stop {
        position += 1
        return (String(result), [])
      }
      switch scalar {
      case "$":
        let value = try dollar()
        result.append(contentsOf: value.unicodeScalars)
        // BuildKit gathers a word and the operand of a modifier in one buffer: `80${X:-80}` splits into `80`.
        if operands > operandsBefore { collector.forgetWord() }
        if splitting { for scalar in value.unicodeScalars { collector.add(scalar) } }
      case "<":
        let value = possibleHeredoc()
        result.append(contentsOf: value.unicodeScalars)
        if splitting { collector.addRaw(value) }
      case "'" where !lexer.ignoresQuotes, "\"" where !lexer.ignoresQuotes:
        let value = try noting { (run) throws(DockerfileError) in try scalar == "'" ? run.singleQuoted() : run.doubleQuoted() }
        result.append(contentsOf: value.unicodeScalars)
        if operands > operandsBefore { collector.forgetWord() }
        if splitting { collector.addRaw(value) }
      default:
        position += 1
        guard scalar == lexer.escape else {
          result.append(scalar)
          if splitting { collector.add(scalar) }
          continue
        }
        if keepsEscapes {
          result.append(scalar)
          if splitting { collector.addRaw(scalar) }
        }
        guard let escaped = next() else { break reading }
        result.append(escaped)
        if splitting { collector.addRaw(escaped) }
      }
    }
    if let stop { throw failure("the end comes before the matching \(stop)") }
    collector.finish()
    return (String(result), collector.words)
  }

  /// Remembers what `body` was reading when it fails.
  mutating func noting<T>(_ body: (inout WordRun) throws(DockerfileError) -> T) throws(DockerfileError) -> T {
    let start = position
    do {
      return try body(&self)
    } catch {
      if failedAt == nil { failedAt = start..<max(start, min(position, scalars.count)) }
      throw error
    }
  }

  private var openQuote: String {
    "quotes do not keep blanks in a word of COPY, ADD and VOLUME: use the JSON form there, [\"a b\", \"c\"]; a quote that is meant is escaped, \(lexer.escape)'"
  }

  private mutating func singleQuoted() throws(DockerfileError) -> String {
    var result = String.UnicodeScalarView()
    position += 1
    if lexer.keepsQuotes { result.append("'") }
    while let scalar = next() {
      if scalar == "'" {
        if lexer.keepsQuotes { result.append(scalar) }
        return String(result)
      }
      result.append(scalar)
    }
    throw failure("a single quote is not closed").advising(openQuote)
  }

  private mutating func doubleQuoted() throws(DockerfileError) -> String {
    var result = String.UnicodeScalarView()
    position += 1
    if lexer.keepsQuotes { result.append("\"") }
    while let scalar = peek {
      switch scalar {
      case "\"":
        position += 1
        if lexer.keepsQuotes { result.append(scalar) }
        return String(result)
      case "$":
        result.append(contentsOf: try dollar().unicodeScalars)
      default:
        position += 1
        guard scalar == lexer.escape else {
          result.append(scalar)
          continue
        }
        if keepsEscapes { result.append(scalar) }
        guard let escaped = peek else { continue }
        if escaped == "\"" || escaped == "$" || escaped == lexer.escape {
          position += 1
          result.append(escaped)
        } else {
          result.append(scalar)
        }
      }
    }
    throw failure("a double quote is not closed").advising(openQuote)
  }

  /// `<`, or `<<` and the blanks after it: so that `<< EOF` stays one word.
  private mutating func possibleHeredoc() -> String {
    position += 1
    guard peek == "<" else { return "<" }
    position += 1
    var result = "<<"
    while let scalar = peek, scalar == " " || scalar == "\t" || scalar == "\r" {
      result.unicodeScalars.append(scalar)
      position += 1
    }
    return result
  }

  /// The name of a variable: letters, digits and `_`, or only digits, or one special character.
  mutating func name() -> String {
    let start = position
    if let first = peek {
      if first.isDigit {
        while let scalar = peek, scalar.isDigit { position += 1 }
        return scalars[start..<position].text
      }
      if "@*#?-$!0".unicodeScalars.contains(first) {
        position += 1
        return String(Character(first))
      }
    }
    while let scalar = peek, scalar.isLetter || scalar.isDigit || scalar == "_" { position += 1 }
    return scalars[start..<position].text
  }

  /// Looks a variable up and remembers whether it was there.
  mutating func lookUp(_ name: String) throws(DockerfileError) -> String? {
    guard let value = environment.value(of: name) else {
      unmatched.insert(name)
      return nil
    }
    matched.insert(name)
    try spend(value.utf8.count)
    return value
  }

  /// Counts text that was produced, in between too: nested substitutions could multiply it beyond all bounds.
  mutating func spend(_ count: Int) throws(DockerfileError) {
    length += count
    guard length <= WordLexer.maximumLength else {
      throw DockerfileError(.limit, "the result, with what it is made from, is longer than \(WordLexer.maximumLength) bytes")
    }
  }

  /// Counts the steps that a pattern may take on a text.
  mutating func spendSteps(_ pattern: Int, _ text: Int) throws(DockerfileError) {
    let (product, overflow) = pattern.multipliedReportingOverflow(by: text + 1)
    steps += overflow ? ShellPattern.maximumWork + 1 : min(product, ShellPattern.maximumWork + 1)
    guard !overflow, steps <= ShellPattern.maximumWork else {
      throw DockerfileError(.limit, "a pattern of \(pattern) characters on a value of \(text) is too much work")
    }
  }
}
