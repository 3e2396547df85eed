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
        try FuzzFinding.check(node.flags.count == node.flagRanges.count, "flags without places")
        last = node.range.end.line
      }
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
