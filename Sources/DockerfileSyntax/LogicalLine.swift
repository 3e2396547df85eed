/// An instruction's lines joined into one, with the way back to the places they came from.
struct LogicalLine {
  private(set) var scalars: [Unicode.Scalar] = []
  /// For each physical line that gave something: where it begins here, its number, and the column its text begins at.
  private var pieces: [(start: Int, line: Int, column: Int)] = []

  mutating func append(_ text: ArraySlice<Unicode.Scalar>, line: Int, column: Int) {
    pieces.append((scalars.count, line, column))
    scalars += text
  }

  /// The place in the file of the character at `index`.
  func position(of index: Int) -> SourcePosition {
    var (low, high) = (0, pieces.count)
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle].start <= index { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return SourcePosition(line: 1) }
    let piece = pieces[low - 1]
    return SourcePosition(line: piece.line, column: piece.column + index - piece.start)
  }

  func range(of range: Range<Int>) -> SourceRange {
    guard !range.isEmpty else { return SourceRange(start: position(of: range.lowerBound), end: position(of: range.lowerBound)) }
    // The end is taken from the last character, so that it does not slip onto the next line.
    let last = position(of: range.upperBound - 1)
    let end = SourcePosition(line: last.line, column: last.column + 1)
    return SourceRange(start: position(of: range.lowerBound), end: end)
  }

  func text(_ range: Range<Int>) -> String { scalars[range].text }
}
