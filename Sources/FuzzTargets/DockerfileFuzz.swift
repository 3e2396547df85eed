import DockerfileSyntax

enum DockerfileFuzz {
  /// Parses, expands, and holds the result to what is promised.
  static func parse(_ bytes: [UInt8]) throws {
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).count
    let source = String(decoding: bytes, as: UTF8.self)
    _ = ParserDirective.detectSyntax(in: source)
    do {
      let tree = try SyntaxTree.parse(bytes: bytes)
      var last = 0
      for node in tree.nodes {
        try FuzzFinding.check(node.range.start.line > last && node.range.end.line <= lines, "a node at lines \(node.range) of \(lines)")
        try FuzzFinding.check(node.flags.count == node.flagRanges.count && node.arguments.count == node.argumentRanges.count, "words without places")
        for range in node.flagRanges + node.argumentRanges + [node.keywordRange] + node.heredocPlaces.flatMap({ [$0.opening, $0.closing] }) {
          try FuzzFinding.check(node.range.lines.contains(range.start.line) && node.range.lines.contains(range.end.line), "a word at \(range) of a node at \(node.range)")
        }
        last = node.range.end.line
      }
      try printAndParse(tree)
      let file = try Dockerfile(tree)
      for stage in file.stages {
        for var instruction in stage.instructions {
          _ = try? instruction.expand { try WordLexer(escape: tree.escape).expand($0, environment: ["NAME": source]).text }
          _ = try? instruction.expandContents { try WordLexer().expand($0, environment: ["NAME": "x"]).text }
          if case .run(let run) = instruction {
            _ = try? run.resolvedMounts { $0 }
            _ = run.command.heredocUse
          }
          if case .onbuild(let held) = instruction { _ = try? Instruction.trigger(held.expression, at: instruction.origin.range) }
        }
      }
    } catch let error as DockerfileError {
      if let range = error.range { try FuzzFinding.check(range.start.line >= 1 && range.end.line <= lines, "an error at lines \(range) of \(lines)") }
      _ = error.excerpt(source: source)
    }
  }

  /// What was understood, written anew, is understood the same.
  private static func printAndParse(_ tree: SyntaxTree) throws {
    var text = tree.escape == "`" ? "# escape=`\n" : "# printed\n"
    // A lone escape character is an instruction without a word, which is refused when it is given meaning.
    let nodes = tree.nodes.filter { !$0.keyword.isEmpty }
    // An escape character that a continuation left at an end would be one again.
    func continues(_ text: String) -> Bool { text.unicodeScalars.last { $0 != " " && $0 != "\t" } == tree.escape }
    guard !nodes.isEmpty, !nodes.contains(where: { continues($0.original) }) else { return }
    for node in nodes { text += node.original + "\n" + node.heredocs.map { $0.content + $0.name + "\n" }.joined() }
    let again = try SyntaxTree.parse(text)
    try FuzzFinding.check(again.nodes.count == nodes.count, "\(nodes.count) instructions are \(again.nodes.count) when written anew")
    for (one, two) in zip(nodes, again.nodes) {
      try FuzzFinding.check(
        one.keyword == two.keyword && one.flags == two.flags && one.arguments == two.arguments && one.heredocs == two.heredocs && one.isJSON == two.isJSON,
        "\(one.original) is understood otherwise when written anew")
    }
  }

  /// A word and two values.
  static func words(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    let options = input.byte()
    let texts = input.texts(3)
    var lexer = WordLexer(escape: options & 1 != 0 ? "`" : "\\")
    (lexer.keepsQuotes, lexer.keepsEscapes, lexer.ignoresQuotes, lexer.keepsUnset) = (options & 2 != 0, options & 4 != 0, options & 8 != 0, options & 16 != 0)
    let environment = ["A": texts[1], "B": texts[2], "C": ""]
    if let expansion = try? lexer.expand(texts[0], environment: environment) {
      try FuzzFinding.check(expansion.text.utf8.count <= WordLexer.maximumLength, "a word of \(expansion.text.utf8.count) bytes")
      try FuzzFinding.check(expansion.matched.isDisjoint(with: expansion.unmatched), "found and not found: \(expansion.matched) and \(expansion.unmatched)")
    }
    if let words = try? lexer.words(in: texts[0], environment: environment) {
      try FuzzFinding.check(words.reduce(0) { $0 + $1.utf8.count } <= WordLexer.maximumLength, "words beyond the limit")
    }
  }
}
