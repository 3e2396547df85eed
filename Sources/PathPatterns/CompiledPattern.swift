/// One pattern of an ignore file, made ready to match.
///
/// The meaning is that of the regular expression that Docker's matcher builds from a pattern, oddities included: `**` is any number of
/// folders, `*` and `?` stop at slashes, a `\` before a letter is a Perl class or a control character as in Go's `regexp`, and where a
/// pattern has wildcards, a `|` parts alternatives and `{2}` repeats (Docker's matcher means to escape both, and does not).
struct CompiledPattern: Sendable {
  enum Form: Sendable {
    /// The path is the pattern.
    case exact
    /// `dir/**`: the path begins with it.
    case prefix
    /// `**/name` or `**name`: the path ends with it, or is it without its slash.
    case suffix
    /// Anything with wildcards inside.
    case automata([PatternAutomaton])
  }

  /// The pattern, cleaned, without `!`.
  let text: String
  let isException: Bool
  private let form: Form
  /// The text to compare: all of it, or without the `**` at its start or end.
  private let bytes: [UInt8]
  /// The byte that a path must begin with, and the one it must end with, if they are known: most paths go no further.
  private let firstByte: UInt8?
  private let lastByte: UInt8?

  init(_ text: String, isException: Bool) throws(PathPatternError) {
    (self.text, self.isException) = (text, isException)
    var translation = PatternTranslation(text)
    translation.run()
    let all = Array(text.utf8)
    switch translation.kind {
    case .exact: (form, bytes) = (.exact, all)
    case .prefix: (form, bytes) = (.prefix, Array(all.dropLast(2)))
    case .suffix: (form, bytes) = (.suffix, Array(all.dropFirst(2)))
    case .expression:
      form = .automata(try PatternExpression(translation.expression, pattern: text).branches.map(PatternAutomaton.init))
      bytes = []
    }
    switch form {
    case .exact: (firstByte, lastByte) = (bytes.first, bytes.last)
    case .prefix: (firstByte, lastByte) = (bytes.first, nil)
    case .suffix: (firstByte, lastByte) = (nil, bytes.last)
    case .automata(let automata):
      (firstByte, lastByte) = automata.count == 1 ? (automata[0].prefix.first, automata[0].suffix.last) : (nil, nil)
    }
  }

  /// Whether it matches the whole path.
  func matches(_ path: UnsafeBufferPointer<UInt8>) -> Bool {
    if let firstByte, path.first != firstByte { return false }
    if let lastByte, path.last != lastByte { return false }
    switch form {
    case .exact: return path.count == bytes.count && begins(path)
    case .prefix: return begins(path)
    case .suffix:
      if ends(path) { return true }
      return bytes.first == UInt8(ascii: "/") && path.count == bytes.count - 1 && path.elementsEqual(bytes[1...])
    case .automata(let automata): return automata.contains { $0.matches(path) }
    }
  }

  /// Whether it could match some path below a folder. It may say yes where there is none, never the reverse.
  func couldMatch(below folder: UnsafeBufferPointer<UInt8>) -> Bool {
    switch form {
    case .exact:
      // The pattern must go on after the folder and a slash.
      return bytes.count > folder.count + 1 && bytes[folder.count] == UInt8(ascii: "/") && bytes.starts(with: folder)
    case .prefix:
      let count = min(bytes.count, folder.count)
      guard zip(bytes.prefix(count), folder.prefix(count)).allSatisfy({ $0 == $1 }) else { return false }
      return bytes.count <= folder.count || bytes[folder.count] == UInt8(ascii: "/")
    case .suffix: return true
    case .automata(let automata): return automata.contains { $0.couldMatch(below: folder) }
    }
  }

  private func begins(_ path: UnsafeBufferPointer<UInt8>) -> Bool {
    guard path.count >= bytes.count else { return false }
    for index in bytes.indices where path[index] != bytes[index] { return false }
    return true
  }

  private func ends(_ path: UnsafeBufferPointer<UInt8>) -> Bool {
    let offset = path.count - bytes.count
    guard offset >= 0 else { return false }
    var index = bytes.count - 1
    while index >= 0 {
      if path[offset + index] != bytes[index] { return false }
      index -= 1
    }
    return true
  }
}

/// Turns a pattern into the regular expression that Docker's matcher makes of it, and tells whether one is needed at all.
struct PatternTranslation {
  enum Kind { case exact, prefix, suffix, expression }
  private(set) var kind = Kind.exact
  private(set) var expression: [Unicode.Scalar] = ["^"]
  private let scalars: [Unicode.Scalar]

  init(_ pattern: String) { scalars = Array(pattern.unicodeScalars) }

  private mutating func emit(_ text: String) { expression += Array(text.unicodeScalars) }

  mutating func run() {
    var index = scalars.first == "\u{FEFF}" ? 1 : 0
    var isFirst = true
    while index < scalars.count {
      let scalar = scalars[index]
      index += 1
      switch scalar {
      case "*" where index < scalars.count && scalars[index] == "*":
        index += 1
        if index < scalars.count, scalars[index] == "/" { index += 1 }
        if index == scalars.count {
          if kind == .exact {
            kind = .prefix
          } else {
            emit(".*")
            kind = .expression
          }
        } else {
          emit("(.*/)?")
          kind = .expression
        }
        if isFirst { kind = .suffix }
      case "*":
        emit("[^/]*")
        kind = .expression
      case "?":
        emit("[^/]")
        kind = .expression
      case ".", "+", "(", ")", "$":
        expression += ["\\", scalar]
      case "\\":
        expression.append(scalar)
        if index < scalars.count {
          expression.append(scalars[index])
          index += 1
          kind = .expression
        }
      case "[", "]":
        expression.append(scalar)
        kind = .expression
      default: expression.append(scalar)
      }
      isFirst = false
    }
    expression.append("$")
  }
}
