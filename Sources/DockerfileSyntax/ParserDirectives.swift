/// Reads the parser directives at a file's head, line by line; the first other line ends them.
struct DirectiveReader {
  static let known: Set<String> = ["syntax", "escape", "check"]
  private let comment: [Unicode.Scalar]
  private var seen: Set<String> = []
  private(set) var isDone = false

  init(comment: String = "#") { self.comment = Array(comment.unicodeScalars) }

  /// The directive on a line (without its line end), or nil when the line is none.
  mutating func read(_ line: [Unicode.Scalar], number: Int) throws(DockerfileError) -> ParserDirective? {
    if isDone { return nil }
    guard line.starts(with: comment), let (name, value) = split(line), DirectiveReader.known.contains(name) else {
      isDone = true
      return nil
    }
    let range = SourceRange(lines: number...number)
    guard seen.insert(name).inserted else {
      throw DockerfileError(.directive, "the parser directive \(name) stands twice; it may be given once", range: range, focus: SourceRange(start: SourcePosition(line: number), end: SourcePosition(line: number, column: line.count)))
    }
    return ParserDirective(name: name, value: value, range: range)
  }

  /// `name = value` after the comment mark.
  private func split(_ line: [Unicode.Scalar]) -> (name: String, value: String)? {
    var index = comment.count
    while index < line.count, line[index].isSpace { index += 1 }
    let nameStart = index
    guard index < line.count, line[index].isASCIILetter else { return nil }
    while index < line.count, line[index].isASCIILetter || line[index].isASCIIDigit { index += 1 }
    let name = line[nameStart..<index].text.asciiLowercased
    while index < line.count, line[index].isPatternSpace { index += 1 }
    guard index < line.count, line[index] == "=" else { return nil }
    var (low, high) = (index + 1, line.count)
    while low < high, line[low].isPatternSpace { low += 1 }
    while high > low, line[high - 1].isPatternSpace { high -= 1 }
    if low == high {
      // Nothing but blanks: the last of them is the value, as BuildKit's expression has it.
      guard line.count > index + 1 else { return nil }
      low = line.count - 1
      high = line.count
    }
    return (name, line[low..<high].text)
  }
}

extension ParserDirective {
  /// Which frontend a source of any language asks for.
  public struct Syntax: Sendable, Hashable {
    /// The frontend's reference: the value up to its first space.
    public var reference: String
    /// The whole value.
    public var commandLine: String
    /// Where it stands; line 0 for the JSON form without a `#!` line, as BuildKit counts it.
    public var line: Int
  }

  /// Finds the frontend that a source asks for: `# syntax=…`, `// syntax=…` or a JSON object's `"syntax"`, after an optional
  /// byte order mark and an optional `#!` line.
  public static func detectSyntax(in source: String) -> Syntax? {
    let (text, firstLine) = withoutHead(source)
    for comment in ["#", "//"] {
      if let found = find("syntax", in: text, comment: comment, firstLine: firstLine) {
        return Syntax(reference: String(found.value.unicodeScalars.prefix { $0 != " " }), commandLine: found.value, line: found.range.start.line)
      }
    }
    guard let value = JSONText.stringMember("syntax", of: String(text)) else { return nil }
    return Syntax(reference: value, commandLine: value, line: firstLine - 1)
  }

  /// Finds the directive `name` in the `#` form at a source's head, after an optional byte order mark and an optional `#!` line.
  public static func find(_ name: String, in source: String) -> ParserDirective? {
    let (text, firstLine) = withoutHead(source)
    return find(name, in: text, comment: "#", firstLine: firstLine)
  }

  /// The text after a byte order mark and a `#!` line, and the number of its first line.
  private static func withoutHead(_ source: String) -> (Substring, Int) {
    var scalars = source.unicodeScalars[...]
    if scalars.first == "\u{FEFF}" { scalars.removeFirst() }
    guard scalars.starts(with: "#!".unicodeScalars) else { return (Substring(scalars), 1) }
    guard let end = scalars.firstIndex(of: "\n") else { return ("", 2) }
    return (Substring(scalars[scalars.index(after: end)...]), 2)
  }

  private static func find(_ name: String, in text: Substring, comment: String, firstLine: Int) -> ParserDirective? {
    var reader = DirectiveReader(comment: comment)
    var number = firstLine
    var rest = text.unicodeScalars
    while !rest.isEmpty, !reader.isDone {
      let end = rest.firstIndex(of: "\n")
      var line = Array(rest[..<(end ?? rest.endIndex)])
      if line.last == "\r" { line.removeLast() }
      // A repeated directive ends the search; the parser is the one to complain about it.
      guard let found = try? reader.read(line, number: number) else { return nil }
      if found.name == name { return found }
      guard let end else { return nil }
      rest = rest[rest.index(after: end)...]
      number += 1
    }
    return nil
  }
}
