/// Reads files of the `.dockerignore` kind.
public enum IgnoreFile {
  /// The longest line, in bytes.
  public static let maximumLineLength = 65_535

  /// The patterns of an ignore file, in order, for ``PatternList``.
  ///
  /// A byte order mark, empty lines and lines that begin with `#` are left out; blanks around a pattern go; paths are cleaned,
  /// and a leading slash is dropped, also after `!`.
  ///
  /// - Throws: ``PathPatternError`` for a line that is too long.
  public static func patterns(in text: String) throws(PathPatternError) -> [String] {
    var patterns: [String] = []
    var rest = Substring(text)
    if rest.unicodeScalars.first == "\u{FEFF}" { rest.unicodeScalars.removeFirst() }
    var number = 0
    for line in rest.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      number += 1
      guard line.count <= maximumLineLength else {
        throw PathPatternError(.lineTooLong, pattern: String(Substring(line).prefix(40)) + "…", line: number, reason: "the line is longer than \(maximumLineLength) bytes")
      }
      if line.first == UInt8(ascii: "#") { continue }
      var pattern = String(Substring(line)).trimmedSpace
      if pattern.isEmpty { continue }
      let isException = pattern.utf8.first == UInt8(ascii: "!")
      if isException { pattern = String(pattern.unicodeScalars.dropFirst()).trimmedSpace }
      if !pattern.isEmpty {
        pattern = SlashPath.clean(pattern)
        if pattern.utf8.count > 1, SlashPath.isAbsolute(pattern) { pattern = String(pattern.unicodeScalars.dropFirst()) }
      }
      patterns.append(isException ? "!" + pattern : pattern)
    }
    return patterns
  }
}

extension String {
  /// Without white space (of any script) at either end.
  var trimmedSpace: String {
    var scalars = unicodeScalars[...]
    while let first = scalars.first, first.properties.isWhitespace { scalars.removeFirst() }
    while let last = scalars.last, last.properties.isWhitespace { scalars.removeLast() }
    return String(scalars)
  }
}
