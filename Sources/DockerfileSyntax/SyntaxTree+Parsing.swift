extension SyntaxTree {
  /// Parses a Dockerfile's bytes. Bytes that are not UTF-8 become U+FFFD, with a warning.
  ///
  /// - Throws: ``DockerfileError`` with the place of the mistake.
  public static func parse(bytes: [UInt8], limits: SyntaxLimits = SyntaxLimits()) throws(DockerfileError) -> SyntaxTree {
    guard bytes.count <= limits.sourceBytes else {
      throw DockerfileError(.limit, "the file has \(bytes.count) bytes; at most \(limits.sourceBytes) are read")
    }
    if let text = String(validating: bytes, as: UTF8.self) { return try parse(text, limits: limits) }
    var tree = try parse(String(decoding: bytes, as: UTF8.self), limits: limits)
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() where String(validating: line, as: UTF8.self) == nil {
      let message = "the line has bytes that are not UTF-8; they are read as U+FFFD"
      tree.warnings.append(SyntaxWarning(code: .invalidUTF8, message: message, range: SourceRange(lines: index + 1...index + 1)))
    }
    return tree
  }

  /// Parses a Dockerfile's text.
  ///
  /// - Throws: ``DockerfileError`` with the place of the mistake.
  public static func parse(_ text: String, limits: SyntaxLimits = SyntaxLimits()) throws(DockerfileError) -> SyntaxTree {
    guard text.utf8.count <= limits.sourceBytes else {
      throw DockerfileError(.limit, "the file has \(text.utf8.count) bytes; at most \(limits.sourceBytes) are read")
    }
    var parser = FileParser(text: text, limits: limits)
    return try parser.parse()
  }
}

/// Reads a file line by line and joins the lines into instructions.
private struct FileParser {
  let limits: SyntaxLimits
  let bytes: [UInt8]
  var offset = 0
  var lineStart = 0
  /// The number of lines read so far, which is the number of the last one.
  var lineNumber = 0
  var reader = DirectiveReader()
  var escape: Unicode.Scalar = "\\"
  var tree = SyntaxTree(nodes: [], directives: [], escape: "\\", warnings: [])

  init(text: String, limits: SyntaxLimits) {
    self.limits = limits
    var bytes = Array(text.utf8)
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes.removeFirst(3) }
    self.bytes = bytes
  }

  /// The next line with its line end.
  mutating func nextLine() throws(DockerfileError) -> ArraySlice<UInt8>? {
    guard offset < bytes.count else { return nil }
    let end = bytes[offset...].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? bytes.count
    let line = bytes[offset..<end]
    (lineStart, offset) = (offset, end)
    lineNumber += 1
    guard line.count <= limits.lineBytes else {
      let range = SourceRange(lines: lineNumber...lineNumber)
      throw DockerfileError(.limit, "the line has \(line.count) bytes; at most \(limits.lineBytes) are read", range: range)
    }
    return line
  }

  mutating func parse() throws(DockerfileError) -> SyntaxTree {
    var comments: [String] = []
    while let raw = try nextLine() {
      let scalars = Array(String(decoding: raw, as: UTF8.self).unicodeScalars)
      let line = scalars.withoutLineEnd(0..<scalars.count)
      let textStart = line.first { !scalars[$0].isSpace } ?? line.upperBound
      let isComment = textStart < line.upperBound && scalars[textStart] == "#"
      if try readDirective(Array(scalars[textStart..<line.upperBound])) { continue }
      if isComment {
        // The mark is taken to be the line's first character: an indented comment keeps its own.
        let comment = scalars[scalars.trimmed(1..<scalars.count)].text
        if comment.isEmpty { comments = [] } else { comments.append(comment) }
        continue
      }
      guard let (logical, firstLine) = try join(scalars, textStart..<line.upperBound) else { continue }
      var node = try wrap(from: firstLine) { [self] () throws(DockerfileError) in
        try NodeParser(line: logical, escape: escape, limits: limits).node(0..<logical.scalars.count, depth: 0)
      }
      node.comments = comments
      try readHeredocs(into: &node, line: logical, firstLine: firstLine)
      let start = node.keywordRange.start.line == firstLine ? node.keywordRange.start : SourcePosition(line: firstLine)
      node.range = SourceRange(start: start, end: SourcePosition(line: lineNumber, column: lastLineWidth))
      tree.nodes.append(node)
      comments = []
    }
    guard !tree.nodes.isEmpty else {
      throw DockerfileError(.empty, "the file has no instructions; it needs at least a FROM", range: lineNumber > 0 ? SourceRange(lines: lineNumber...lineNumber) : nil)
    }
    tree.escape = escape
    return tree
  }

  /// The width of the last line read, without its line end.
  private var lastLineWidth: Int {
    let scalars = Array(String(decoding: bytes[lineStart..<offset], as: UTF8.self).unicodeScalars)
    return scalars.withoutLineEnd(0..<scalars.count).upperBound
  }

  /// Places errors of `body` at the lines from `first` to the last one read.
  private func wrap<T>(from first: Int, _ body: () throws(DockerfileError) -> T) throws(DockerfileError) -> T {
    do {
      return try body()
    } catch {
      throw error.located(at: SourceRange(lines: first...max(first, lineNumber)))
    }
  }

  /// Where a value stands that ends the line just read.
  private func place(of value: String) -> SourceRange? {
    let line = Array(String(decoding: bytes[lineStart..<offset], as: UTF8.self).unicodeScalars)
    let end = line.trimmed(0..<line.count).upperBound, start = end - value.unicodeScalars.count
    guard start >= 0, line[start..<end].text == value else { return nil }
    return SourceRange(start: SourcePosition(line: lineNumber, column: start), end: SourcePosition(line: lineNumber, column: end))
  }

  private mutating func readDirective(_ line: [Unicode.Scalar]) throws(DockerfileError) -> Bool {
    guard !reader.isDone, let directive = try reader.read(line, number: lineNumber) else { return false }
    if directive.name == "escape" {
      guard directive.value == "\\" || directive.value == "`", let scalar = directive.value.unicodeScalars.first else {
        throw DockerfileError(.directive, "escape must be \\ or `, not \(directive.value.quoted)", range: directive.range, focus: place(of: directive.value))
      }
      escape = scalar
    }
    tree.directives.append(directive)
    return true
  }

  /// Joins the lines of an instruction that begins with `range` of `scalars`; nil when there is nothing on the line.
  private mutating func join(_ scalars: [Unicode.Scalar], _ range: Range<Int>) throws(DockerfileError) -> (LogicalLine, Int)? {
    let firstLine = lineNumber
    var logical = LogicalLine()
    let (kept, isContinued) = withoutContinuation(scalars, range)
    if !isContinued, kept.isEmpty { return nil }
    logical.append(scalars[kept], line: lineNumber, column: kept.lowerBound)
    var goesOn = isContinued
    var hasEmptyLine = false
    while goesOn, let raw = try nextLine() {
      let scalars = Array(String(decoding: raw, as: UTF8.self).unicodeScalars)
      let line = scalars.withoutLineEnd(0..<scalars.count)
      guard let first = scalars[line].firstIndex(where: { !$0.isSpace }) else {
        hasEmptyLine = true
        continue
      }
      if scalars[first] == "#" { continue }
      let (kept, isContinued) = withoutContinuation(scalars, line)
      logical.append(scalars[kept], line: lineNumber, column: 0)
      goesOn = isContinued
    }
    if hasEmptyLine {
      let message = "an empty line continues an instruction: \(logical.scalars.text)"
      tree.warnings.append(SyntaxWarning(code: .emptyContinuationLine, message: message, range: SourceRange(lines: lineNumber...lineNumber)))
    }
    return (logical, firstLine)
  }

  /// The range without an escape character (and blanks after it) at its end, and whether there was one: a doubled one is none.
  private func withoutContinuation(_ scalars: [Unicode.Scalar], _ range: Range<Int>) -> (Range<Int>, Bool) {
    var end = range.upperBound
    while end > range.lowerBound, scalars[end - 1] == " " || scalars[end - 1] == "\t" { end -= 1 }
    guard end > range.lowerBound, scalars[end - 1] == escape else { return (range, false) }
    if end - 1 > range.lowerBound, scalars[end - 2] == escape { return (range, false) }
    return (range.lowerBound..<end - 1, true)
  }

  /// Reads the documents that an instruction opens, up to the lines that close them.
  private mutating func readHeredocs(into node: inout InstructionNode, line: LogicalLine, firstLine: Int) throws(DockerfileError) {
    guard node.canHoldHeredocs, node.original.utf8.contains(UInt8(ascii: "<")), node.original.contains("<<") else { return }
    let opened = try wrap(from: firstLine) { () throws(DockerfileError) in try Heredoc.openings(in: node.original) }
    var searchFrom = 0
    for (word, unread) in opened {
      var heredoc = unread
      let place = opening(word, of: line, from: &searchFrom)
      var content: [UInt8] = []
      var isClosed = false
      let name = Array(heredoc.name.utf8)
      let openedAt = lineNumber
      while !isClosed, let raw = try nextLine() {
        var end = raw[...]
        while let last = end.last, last == UInt8(ascii: "\n") || last == UInt8(ascii: "\r") { end.removeLast() }
        if heredoc.chomps { end = end.drop { $0 == UInt8(ascii: "\t") } }
        if end.elementsEqual(name) { isClosed = true } else { content += raw }
      }
      guard isClosed else {
        let range = SourceRange(lines: firstLine...max(firstLine, openedAt))
        let almost = almostClosing(name, after: openedAt)
        let hint = almost.map { "; line \($0.line) has it with \($0.what) around it" } ?? ""
        throw DockerfileError(.heredoc, "the heredoc \(heredoc.name.quoted) is not closed: no later line is just \(heredoc.name)\(hint)", range: range, focus: place)
      }
      heredoc.content = String(decoding: content, as: UTF8.self)
      node.heredocs.append(heredoc)
      let first = SourcePosition(line: openedAt + 1), last = SourcePosition(line: lineNumber)
      let width = lastLineWidth
      node.heredocPlaces.append(
        HeredocPlace(
          opening: place ?? node.keywordRange, content: SourceRange(start: first, end: last),
          closing: SourceRange(start: SourcePosition(line: lineNumber, column: max(0, width - heredoc.name.unicodeScalars.count)), end: SourcePosition(line: lineNumber, column: width))))
    }
  }

  /// Where the word that opens a heredoc stands, looked for from where the one before it ended.
  private func opening(_ word: String, of line: LogicalLine, from start: inout Int) -> SourceRange? {
    let needle = Array(word.unicodeScalars)
    guard let head = needle.first, line.scalars.count >= needle.count else { return nil }
    for index in start..<max(start, line.scalars.count - needle.count + 1) where line.scalars[index] == head {
      guard line.scalars[index..<index + needle.count].elementsEqual(needle) else { continue }
      start = index + needle.count
      return line.range(of: index..<index + needle.count)
    }
    return nil
  }

  /// The first line that would close a heredoc but for white space at its ends.
  private func almostClosing(_ name: [UInt8], after number: Int) -> (line: Int, what: String)? {
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
    for index in lines.indices.dropFirst(number) {
      var line = lines[index].drop(while: isBlank)
      while let last = line.last, isBlank(last) { line.removeLast() }
      if line.elementsEqual(name) { return (index + 1, "blanks") }
    }
    return nil
  }
}

extension Array<Unicode.Scalar> {
  /// `range` without the line ends at its end.
  fileprivate func withoutLineEnd(_ range: Range<Int>) -> Range<Int> {
    var high = range.upperBound
    while high > range.lowerBound, self[high - 1] == "\n" || self[high - 1] == "\r" { high -= 1 }
    return range.lowerBound..<high
  }
}

extension InstructionNode {
  /// Whether `<<` opens heredocs: RUN, COPY and ADD outside the JSON form, also inside ONBUILD.
  fileprivate var canHoldHeredocs: Bool {
    let node = keyword.asciiLowercased == "onbuild" ? children.first ?? self : self
    return ["add", "copy", "run"].contains(node.keyword.asciiLowercased) && !node.isJSON
  }
}
