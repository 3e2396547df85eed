extension WordRun {
  /// `$name` or `${name…}`, from the dollar sign on.
  mutating func dollar() throws(DockerfileError) -> String { try noting { (run) throws(DockerfileError) in try run.substitution() } }

  private mutating func substitution() throws(DockerfileError) -> String {
    position += 1
    guard peek == "{" else {
      let name = name()
      if name.isEmpty { return "$" }
      if let value = try lookUp(name) { return value }
      return lexer.keepsUnset ? "$" + name : ""
    }
    position += 1
    switch peek {
    case nil: throw failure("'}' is missing after \"${\"")
    case "{", "}", ":": throw failure("\"${\" needs a variable's name after it")
    default: break
    }
    depth += 1
    defer { depth -= 1 }
    guard depth <= WordLexer.maximumDepth else {
      throw DockerfileError(.limit, "substitutions are nested more than \(WordLexer.maximumDepth) deep")
    }
    let name = name()
    switch next() {
    case "}":
      if let value = try lookUp(name) { return value }
      return lexer.keepsUnset ? "${\(name)}" : ""
    case ":":
      return try modified(name, modifier: next(), colon: true)
    case "/":
      return try replaced(name)
    case let modifier:
      guard let modifier, "+-?#%".unicodeScalars.contains(modifier) else { throw unsupported(modifier, colon: false) }
      return try modified(name, modifier: modifier, colon: false)
    }
  }

  private func unsupported(_ modifier: Unicode.Scalar?, colon: Bool) -> DockerfileError {
    guard let modifier else { return failure("'}' is missing in \"${\"") }
    let text = (colon ? ":" : "") + String(Character(modifier))
    return failure("there is no modifier \(text.quoted) (known are - :- + :+ ? :? # ## % %% / //)")
  }

  private mutating func operand(until stop: Unicode.Scalar, keepingEscapes: Bool) throws(DockerfileError) -> String {
    operands += 1
    do {
      let text = try read(until: stop, keepingEscapes: keepingEscapes).text
      try spend(text.utf8.count)
      return text
    } catch {
      guard error.code == .expansion, peek == nil else { throw error }
      throw failure("'\(stop)' is missing in \"${\"")
    }
  }

  private mutating func modified(_ name: String, modifier: Unicode.Scalar?, colon: Bool) throws(DockerfileError) -> String {
    let isTrim = modifier == "#" || modifier == "%"
    if colon, isTrim { throw unsupported(modifier, colon: true) }
    let word = try operand(until: "}", keepingEscapes: isTrim)
    let value = try lookUp(name)
    if lexer.keepsUnset, value == nil {
      let mark = (colon ? ":" : "") + (modifier.map { String(Character($0)) } ?? "")
      return "${\(name)\(mark)\(word)}"
    }
    let isUnset = value.map { colon && $0.isEmpty } ?? true
    switch modifier {
    case "-": return isUnset ? word : value ?? ""
    case "+": return isUnset ? "" : word
    case "?":
      guard isUnset else { return value ?? "" }
      throw failure("\(name): " + (word.isEmpty ? "must be set" + (value == nil ? "" : " and not be empty") : word))
    case "#", "%":
      return try trimmed(value ?? "", pattern: word, suffix: modifier == "%")
    default:
      throw unsupported(modifier, colon: colon)
    }
  }

  /// `${name#pattern}` and its kin: one mark takes the shortest match away, two the longest.
  private mutating func trimmed(_ value: String, pattern word: String, suffix: Bool) throws(DockerfileError) -> String {
    var scalars = Array(word.unicodeScalars)
    let isGreedy = scalars.first == (suffix ? "%" : "#")
    if isGreedy { scalars.removeFirst() }
    var text = Array(value.unicodeScalars)
    if suffix {
      scalars = ShellPattern.reversed(scalars)
      text.reverse()
    }
    try spendSteps(scalars.count, text.count)
    var pattern = try ShellPattern(scalars, text: text, isGreedy: isGreedy)
    guard let end = pattern.match(at: 0) else { return value }
    text.removeFirst(end)
    if suffix { text.reverse() }
    return text.text
  }

  /// `${name/pattern/replacement}` and `${name//pattern/replacement}`.
  private mutating func replaced(_ name: String) throws(DockerfileError) -> String {
    let isEach = peek == "/"
    if isEach { position += 1 }
    let word = try operand(until: "/", keepingEscapes: true)
    let replacement = try operand(until: "}", keepingEscapes: true)
    let value = try lookUp(name)
    if lexer.keepsUnset, value == nil { return "${\(name)/\(word)/\(replacement)}" }
    let text = Array((value ?? "").unicodeScalars)
    try spendSteps(word.unicodeScalars.count, text.count)
    var pattern = try ShellPattern(Array(word.unicodeScalars), text: text, isGreedy: true)
    let insert = Array(replacement.unicodeScalars)
    if !isEach {
      guard let match = pattern.firstMatch(from: 0) else { return value ?? "" }
      return (text[..<match.lowerBound] + insert + text[match.upperBound...]).text
    }
    let result = try pattern.replacingAll(with: insert).text
    try spend(result.utf8.count)
    return result
  }
}
