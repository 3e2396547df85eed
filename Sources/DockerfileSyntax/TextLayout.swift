/// Where the characters of an instruction's joined text stand in the file: the way back from text without continuations and comments
/// to lines and columns.
public struct TextLayout: Sendable, Hashable {
  /// What one line gave: where it begins in the text, the line's number, and the column its part begins at.
  private struct Piece: Hashable {
    var start: Int32, line: Int32, column: Int32
  }
  /// Nearly all instructions stand on one line and need no list.
  private var first: Piece?
  private var rest: [Piece] = []

  init() {}

  mutating func append(start: Int, line: Int, column: Int) {
    let piece = Piece(start: Int32(clamping: start), line: Int32(clamping: line), column: Int32(clamping: column))
    if first == nil { first = piece } else { rest.append(piece) }
  }

  /// Whether nothing is known: the text is not of the file.
  public var isEmpty: Bool { first == nil }

  /// The place of the character at `index`, counted in Unicode scalars.
  func position(of index: Int) -> SourcePosition {
    guard var piece = first else { return SourcePosition(line: 1) }
    var (low, high) = (0, rest.count)
    while low < high {
      let middle = (low + high) / 2
      if rest[middle].start <= index { low = middle + 1 } else { high = middle }
    }
    if low > 0 { piece = rest[low - 1] }
    return SourcePosition(line: Int(piece.line), column: Int(piece.column) + index - Int(piece.start))
  }

  func range(of span: Range<Int>) -> SourceRange {
    let start = position(of: span.lowerBound)
    guard !span.isEmpty else { return SourceRange(start: start, end: start) }
    // The end is taken from the last character, so that it does not slip onto the next line.
    let last = position(of: span.upperBound - 1)
    return SourceRange(start: start, end: SourcePosition(line: last.line, column: last.column + 1))
  }
}

/// A stretch of an instruction's joined text, small because there is one for each word of a file.
struct TextSpan: Sendable, Hashable {
  private var low: Int32, high: Int32
  init(_ range: Range<Int>) { (low, high) = (Int32(clamping: range.lowerBound), Int32(clamping: range.upperBound)) }
  var range: Range<Int> { Int(low)..<Int(max(low, high)) }
}

/// Words that are at fault, from the outer one to the inner one: each is looked for within the one before.
package struct WordFault: Sendable, Hashable {
  package var needles: [String]
  package init(_ needles: [String]) { self.needles = needles }
}

extension InstructionOrigin {
  /// Where `needles` stand, each within the one before; nil when the first of them does not stand in the instruction as it is written.
  package func range(of needles: String...) -> SourceRange? { range(of: WordFault(needles)) }

  package func range(of fault: WordFault) -> SourceRange? {
    guard !layout.isEmpty else { return nil }
    let text = Array(code.unicodeScalars)
    var span: Range<Int>?
    for needle in fault.needles where !needle.isEmpty {
      guard let found = text.find(Array(needle.unicodeScalars), in: span ?? 0..<text.count) else { break }
      span = found
    }
    return span.map { layout.range(of: codeStart + $0.lowerBound..<codeStart + $0.upperBound) }
  }

  /// Where a variable is first referred to, as `$name` or `${name…}`; in a heredoc's content no place is known.
  package func range(ofVariable name: String, escape: Unicode.Scalar) -> SourceRange? {
    guard !layout.isEmpty else { return nil }
    let found = VariableReference.first(name, in: Array(code.unicodeScalars), escape: escape)
    return found.map { layout.range(of: codeStart + $0.lowerBound..<codeStart + $0.upperBound) }
  }

  /// The references to variables in the instruction's text, in order; not those in heredocs.
  public func variableReferences(escape: Unicode.Scalar) -> [VariableReference] {
    guard !layout.isEmpty else { return [] }
    return VariableReference.all(in: Array(code.unicodeScalars), escape: escape).map { name, span in
      VariableReference(name: name, range: layout.range(of: codeStart + span.lowerBound..<codeStart + span.upperBound))
    }
  }
}

/// A `$name` or `${name…}` in an instruction.
public struct VariableReference: Sendable, Hashable {
  /// The variable's name.
  public var name: String
  /// From the dollar sign to the name's end, or to the closing brace.
  public var range: SourceRange

  static func first(_ name: String, in text: [Unicode.Scalar], escape: Unicode.Scalar) -> Range<Int>? {
    var found: Range<Int>?
    scan(text, escape: escape) { reference, span in
      if reference.elementsEqual(name.unicodeScalars) { found = span }
      return found == nil
    }
    return found
  }

  static func all(in text: [Unicode.Scalar], escape: Unicode.Scalar) -> [(name: String, span: Range<Int>)] {
    var found: [(String, Range<Int>)] = []
    scan(text, escape: escape) { name, span in
      found.append((name.text, span))
      return true
    }
    return found
  }

  /// Calls `body` with each reference outside of single quotes until it answers false. What stands in braces after a name is looked into as well; a
  /// reference that has a brace open at the end of the text goes to its name's end.
  private static func scan(_ text: [Unicode.Scalar], escape: Unicode.Scalar, _ body: (ArraySlice<Unicode.Scalar>, Range<Int>) -> Bool) {
    let closings = closingBraces(text, escape: escape)
    var index = 0, isQuoted = false
    while index < text.count {
      switch text[index] {
      case escape: index += 2
      case "\"":
        isQuoted.toggle()
        index += 1
      case "'" where !isQuoted: index = (text[(index + 1)...].firstIndex(of: "'") ?? index) + 1
      case "$":
        let hasBrace = index + 1 < text.count && text[index + 1] == "{"
        let start = index + (hasBrace ? 2 : 1)
        var end = start
        while end < text.count, text[end].isLetter || text[end].isDigit || text[end] == "_" { end += 1 }
        if end > start {
          let close = hasBrace ? closings[index].map { $0 + 1 } ?? end : end
          guard body(text[start..<end], index..<close) else { return }
        }
        index = max(end, index + 1)
      default: index += 1
      }
    }
  }

  /// Where the brace of each `${` closes, by the index of its dollar sign.
  private static func closingBraces(_ text: [Unicode.Scalar], escape: Unicode.Scalar) -> [Int: Int] {
    var closings: [Int: Int] = [:], open: [Int] = []
    var index = 0
    while index < text.count {
      switch text[index] {
      case escape: index += 1
      case "$" where index + 1 < text.count && text[index + 1] == "{":
        open.append(index)
        index += 1
      case "}": if let start = open.popLast() { closings[start] = index }
      default: break
      }
      index += 1
    }
    return closings
  }
}

extension Array<Unicode.Scalar> {
  /// The first place of `needle` within `range`: preferably one where no word goes on before or after it.
  fileprivate func find(_ needle: [Unicode.Scalar], in range: Range<Int>) -> Range<Int>? {
    guard let head = needle.first, let tail = needle.last, needle.count <= range.count else { return nil }
    func isWord(_ scalar: Unicode.Scalar) -> Bool { scalar.isLetter || scalar.isDigit || scalar == "_" }
    var any: Range<Int>?
    for start in range.lowerBound...(range.upperBound - needle.count) where self[start] == head {
      let end = start + needle.count
      guard self[start..<end].elementsEqual(needle) else { continue }
      let goesOn = (start > range.lowerBound && isWord(head) && isWord(self[start - 1])) || (end < range.upperBound && isWord(tail) && isWord(self[end]))
      if !goesOn { return start..<end }
      any = any ?? start..<end
    }
    return any
  }
}
