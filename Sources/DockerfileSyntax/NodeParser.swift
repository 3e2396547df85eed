/// Splits one joined line into keyword, flags and arguments by the rules of its instruction.
struct NodeParser {
  let line: LogicalLine
  let escape: Unicode.Scalar
  let limits: SyntaxLimits

  private var scalars: [Unicode.Scalar] { line.scalars }

  /// The node of the instruction that stands in `range`; location, heredocs and comments are the caller's to fill in.
  func node(_ range: Range<Int>, depth: Int) throws(DockerfileError) -> InstructionNode {
    let trimmed = scalars.trimmed(range)
    let keyword = trimmed.lowerBound..<(trimmed.first { scalars[$0].isSeparator } ?? trimmed.upperBound)
    var rest = keyword.upperBound..<trimmed.upperBound
    while let first = rest.first, scalars[first].isSeparator { rest = first + 1..<rest.upperBound }
    let (flags, flagSpans, after) = flags(rest)
    rest = scalars.trimmed(after)
    var node = InstructionNode(
      keyword: line.text(keyword), flags: flags, arguments: [], isJSON: false, children: [], heredocs: [], original: line.text(range),
      range: line.range(of: trimmed), keywordRange: line.range(of: keyword), flagSpans: flagSpans, argumentSpans: [], layout: line.layout,
      originalStart: range.lowerBound, heredocPlaces: [], comments: [])
    try parseArguments(rest, into: &node, depth: depth)
    return node
  }

  private func parseArguments(_ rest: Range<Int>, into node: inout InstructionNode, depth: Int) throws(DockerfileError) {
    switch node.keyword.asciiLowercased {
    case "add", "copy", "volume":
      if try !parseJSON(rest, into: &node) { node.take(separated(rest), of: line) }
    case "cmd", "entrypoint", "run", "shell":
      if rest.isEmpty { return }
      if try !parseJSON(rest, into: &node) { node.take([rest], of: line) }
    case "env": try pairs(rest, keyword: "ENV", into: &node)
    case "label": try pairs(rest, keyword: "LABEL", into: &node)
    case "arg":
      let words = words(rest)
      (node.arguments, node.argumentSpans) = (words.map(\.text), words.map(\.span))
    case "expose", "from": node.take(separated(rest), of: line)
    case "maintainer", "stopsignal", "user", "workdir":
      if !rest.isEmpty { node.take([rest], of: line) }
    case "healthcheck":
      let kind = rest.lowerBound..<(rest.first { scalars[$0].isSpace } ?? rest.upperBound)
      if kind.isEmpty { return }
      let command = scalars.trimmed(kind.upperBound..<rest.upperBound)
      if !command.isEmpty, try !parseJSON(command, into: &node) { node.take([command], of: line) }
      node.arguments.insert(line.text(kind), at: 0)
      node.argumentSpans.insert(TextSpan(kind), at: 0)
    case "onbuild":
      if rest.isEmpty { return }
      guard depth < limits.onbuildDepth else {
        throw DockerfileError(.limit, "ONBUILD is nested more than \(limits.onbuildDepth) deep")
      }
      let child = try self.node(rest, depth: depth + 1)
      node.children = [child]
      node.arguments = [child.keyword] + child.arguments
      let held = scalars.trimmed(rest)
      node.argumentSpans = [TextSpan(held.lowerBound..<held.lowerBound + child.keyword.unicodeScalars.count)] + child.argumentSpans
    default: break  // an unknown word: reported when instructions are given meaning
    }
  }

  /// Takes the rest as a JSON array of strings. False when it is none; an array that holds something else is an error.
  private func parseJSON(_ rest: Range<Int>, into node: inout InstructionNode) throws(DockerfileError) -> Bool {
    guard let first = rest.first(where: { !scalars[$0].isSpace }), scalars[first] == "[" else { return false }
    let text = line.text(rest)
    switch JSONText.stringArray(text) {
    case .strings(let strings, let spans):
      (node.arguments, node.isJSON) = (strings, true)
      node.argumentSpans = JSONText.scalarSpans(spans, in: text, from: rest.lowerBound)
      return true
    case .mixed:
      throw DockerfileError(.badArguments, "the JSON form of \(node.keyword.asciiUppercased) takes an array of strings and nothing else", focus: line.range(of: rest))
    case .none:
      return false
    }
  }

  /// Words between blanks; quotes mean nothing.
  private func separated(_ rest: Range<Int>) -> [Range<Int>] {
    if rest.isEmpty { return [] }
    return scalars[rest].split { $0.isSeparator }.map { $0.startIndex..<$0.endIndex }
  }

  /// Words between white space, where quotes and the escape character keep blanks in a word; both stay in the text.
  func words(_ rest: Range<Int>) -> [(text: String, span: TextSpan)] {
    var words: [(text: String, span: TextSpan)] = []
    var word: [Unicode.Scalar] = []
    var quote: Unicode.Scalar?
    var (isQuoted, inWord, start) = (false, false, rest.lowerBound)
    func finish(_ end: Int) {
      if isQuoted || !word.isEmpty { words.append((word.text, TextSpan(start..<end))) }
      (word, isQuoted, inWord) = ([], false, false)
    }
    var index = rest.lowerBound
    while index < rest.upperBound {
      var scalar = scalars[index]
      index += 1
      if quote == nil {
        if scalar.isSpace {
          if inWord { finish(index - 1) }
          continue
        }
        if !inWord { start = index - 1 }
        inWord = true
        if scalar == "'" || scalar == "\"" { (quote, isQuoted) = (scalar, true) }
      } else if scalar == quote {
        quote = nil
        word.append(scalar)
        continue
      }
      // Nothing can be escaped between single quotes.
      if scalar == escape, quote != "'" {
        // An escape character at the very end is dropped.
        guard index < rest.upperBound else { break }
        word.append(scalar)
        scalar = scalars[index]
        index += 1
      }
      word.append(scalar)
    }
    if inWord { finish(rest.upperBound) }
    return words
  }

  /// `name=value …`, or the old `name value`, as three words a pair.
  private func pairs(_ rest: Range<Int>, keyword: String, into node: inout InstructionNode) throws(DockerfileError) {
    let words = words(rest)
    guard let first = words.first else { return }
    if !first.text.unicodeScalars.contains("=") {
      guard let blank = rest.first(where: { scalars[$0].isSeparator }) else {
        let text = first.text
        throw DockerfileError(.badArguments, "\(keyword) needs a name and a value: \(keyword) \(text)=value", focus: line.range(of: first.span.range))
      }
      let value = rest[blank...].first { !scalars[$0].isSeparator } ?? rest.upperBound
      node.take([rest.lowerBound..<blank, value..<rest.upperBound, blank..<blank], of: line)
      return
    }
    for (word, span) in words {
      guard let (name, value) = word.cut(at: "=") else {
        throw DockerfileError(
          .badArguments, "\(word.quoted) has no =; every word after \(keyword) must be name=value, and a value with blanks in quotes", focus: line.range(of: span.range))
          .advising(words.contains { $0.text == "=" } ? "write \(keyword) name=value without blanks around =" : nil)
      }
      let range = span.range, equals = min(range.lowerBound + name.unicodeScalars.count, range.upperBound)
      let valueStart = min(equals + 1, range.upperBound)
      node.arguments += [name, value, "="]
      node.argumentSpans += [TextSpan(range.lowerBound..<equals), TextSpan(valueStart..<range.upperBound), TextSpan(equals..<valueStart)]
    }
  }

  /// The words that begin with `--`, without quotes and escapes, and what comes after them.
  private func flags(_ rest: Range<Int>) -> (flags: [String], spans: [TextSpan], after: Range<Int>) {
    var flags: [String] = []
    var spans: [TextSpan] = []
    var index = rest.lowerBound
    while true {
      while index < rest.upperBound, scalars[index].isSpace { index += 1 }
      guard index + 1 < rest.upperBound, scalars[index] == "-", scalars[index + 1] == "-" else { return (flags, spans, index..<rest.upperBound) }
      let start = index
      var word: [Unicode.Scalar] = []
      var quote: Unicode.Scalar?
      while index < rest.upperBound {
        var scalar = scalars[index]
        if quote == nil, scalar.isSpace { break }
        index += 1
        if scalar == quote {
          quote = nil
          continue
        }
        if quote == nil, scalar == "'" || scalar == "\"" {
          quote = scalar
          continue
        }
        if scalar == escape {
          // An escape character at the very end is dropped.
          guard index < rest.upperBound else { continue }
          scalar = scalars[index]
          index += 1
        }
        word.append(scalar)
      }
      // A lone -- ends the flags.
      if word == ["-", "-"] { return (flags, spans, index..<rest.upperBound) }
      flags.append(word.text)
      spans.append(TextSpan(start..<index))
    }
  }
}

extension InstructionNode {
  /// Words that are taken as they are written.
  fileprivate mutating func take(_ spans: [Range<Int>], of line: LogicalLine) {
    arguments = spans.map { line.text($0) }
    argumentSpans = spans.map { TextSpan($0) }
  }
}
