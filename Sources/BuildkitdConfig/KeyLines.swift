/// Where the keys of a TOML document stand, for messages: the parser gives lines only for what is not TOML. What it reads wrongly (a line within a
/// multi-line string that looks like a key) costs a wrong line number, no more.
struct KeyLines {
  private var found: [(path: [String], line: Int)] = []

  init(_ text: String) {
    var table: [String] = []
    for (i, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      var rest = line[...]
      KeyLines.skipBlanks(&rest)
      let isHeader = rest.hasPrefix("[")
      while rest.hasPrefix("[") { rest.removeFirst() }
      guard let keys = KeyLines.keys(&rest) else { continue }
      if isHeader {
        guard rest.hasPrefix("]") else { continue }
        table = keys
        found.append((keys, i + 1))
      } else if rest.hasPrefix("=") {
        found.append((table + keys, i + 1))
      }
    }
  }

  /// The line of the key, else that of the innermost table around it that stands on a line of its own.
  func line(of path: [String]) -> Int? {
    for length in stride(from: path.count, to: 0, by: -1) {
      if let entry = found.first(where: { $0.path == Array(path.prefix(length)) }) { return entry.line }
    }
    return nil
  }

  /// `a."b.c".'d'`, up to what follows it.
  private static func keys(_ rest: inout Substring) -> [String]? {
    var out: [String] = []
    while true {
      skipBlanks(&rest)
      if let quote = rest.first, quote == "\"" || quote == "'" {
        rest.removeFirst()
        guard let end = rest.firstIndex(of: quote) else { return nil }
        out.append(String(rest[..<end]))
        rest = rest[rest.index(after: end)...]
      } else {
        let word = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "-" }
        guard !word.isEmpty else { return nil }
        out.append(String(word))
        rest = rest[word.endIndex...]
      }
      skipBlanks(&rest)
      guard rest.hasPrefix(".") else { return out }
      rest.removeFirst()
    }
  }

  private static func skipBlanks(_ rest: inout Substring) { rest = rest.drop { $0 == " " || $0 == "\t" } }
}
