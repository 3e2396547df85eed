/// Shell wildcards by the rules of Go's `filepath.Match` (on Unix): `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes, `\` escapes.
/// There is no `**`.
public enum Wildcard {
  /// Whether the pattern matches the whole of `name`.
  ///
  /// - Throws: ``PathPatternError`` for a malformed pattern, if the match gets as far as the mistake (as in Go).
  public static func matches(_ pattern: String, _ name: String) throws(PathPatternError) -> Bool {
    var rest = Array(pattern.unicodeScalars)[...]
    var text = Array(name.unicodeScalars)[...]
    matching: while !rest.isEmpty {
      let (star, chunk) = nextChunk(&rest)
      if star, chunk.isEmpty { return !text.contains("/") }
      let found = try match(chunk, text, pattern)
      if let after = found, after.isEmpty || !rest.isEmpty {
        text = after
        continue
      }
      if star {
        var skipped = text
        while let first = skipped.first, first != "/" {
          skipped = skipped.dropFirst()
          guard let after = try match(chunk, skipped, pattern), !rest.isEmpty || after.isEmpty else { continue }
          text = after
          continue matching
        }
      }
      return false
    }
    return text.isEmpty
  }

  /// Whether a path has a character that means something to ``matches(_:_:)``.
  public static func hasWildcard(_ path: String) -> Bool {
    path.utf8.contains { $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "[") || $0 == UInt8(ascii: "\\") }
  }

  /// Takes stars, and what follows up to the next star, from the front.
  private static func nextChunk(_ pattern: inout ArraySlice<Unicode.Scalar>) -> (star: Bool, chunk: ArraySlice<Unicode.Scalar>) {
    var star = false
    while pattern.first == "*" {
      pattern = pattern.dropFirst()
      star = true
    }
    var inClass = false
    var index = pattern.startIndex
    while index < pattern.endIndex {
      switch pattern[index] {
      case "\\": if index + 1 < pattern.endIndex { index += 1 }
      case "[": inClass = true
      case "]": inClass = false
      case "*" where !inClass:
        defer { pattern = pattern[index...] }
        return (star, pattern[..<index])
      default: break
      }
      index += 1
    }
    defer { pattern = [] }
    return (star, pattern)
  }

  /// What is left of the text after a chunk, or nil when it does not begin with it. The chunk is checked to its end either way.
  private static func match(_ chunk: ArraySlice<Unicode.Scalar>, _ text: ArraySlice<Unicode.Scalar>, _ pattern: String)
    throws(PathPatternError) -> ArraySlice<Unicode.Scalar>?
  {
    var (chunk, text) = (chunk, text)
    var hasFailed = false
    while let first = chunk.popFirst() {
      hasFailed = hasFailed || text.isEmpty
      let scalar = hasFailed ? nil : text.popFirst()
      switch first {
      case "[":
        let isNegated = chunk.first == "^"
        if isNegated { chunk = chunk.dropFirst() }
        var (isMember, count) = (false, 0)
        while !(chunk.first == "]" && count > 0) {
          let low = try member(&chunk, pattern)
          var high = low
          if chunk.first == "-" {
            chunk = chunk.dropFirst()
            high = try member(&chunk, pattern)
          }
          if let scalar { isMember = isMember || (low <= scalar && scalar <= high) }
          count += 1
        }
        chunk = chunk.dropFirst()
        hasFailed = hasFailed || isMember == isNegated
      case "?":
        hasFailed = hasFailed || scalar == "/"
      case "\\":
        guard let escaped = chunk.popFirst() else { throw PathPatternError(.badPattern, pattern: pattern, reason: "it ends in a \\") }
        hasFailed = hasFailed || scalar != escaped
      default:
        hasFailed = hasFailed || scalar != first
      }
    }
    return hasFailed ? nil : text
  }

  /// A member of a class, perhaps escaped; a class must go on after it.
  private static func member(_ chunk: inout ArraySlice<Unicode.Scalar>, _ pattern: String) throws(PathPatternError) -> Unicode.Scalar {
    let bad = PathPatternError(.badPattern, pattern: pattern, reason: "a [ is not closed, or a class is empty or has a lone -")
    guard var scalar = chunk.popFirst(), scalar != "-", scalar != "]" else { throw bad }
    if scalar == "\\" {
      guard let escaped = chunk.popFirst() else { throw bad }
      scalar = escaped
    }
    guard !chunk.isEmpty else { throw bad }
    return scalar
  }
}
