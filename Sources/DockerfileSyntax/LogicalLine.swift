/// An instruction's lines joined into one, with the way back to the places they came from.
struct LogicalLine {
  private(set) var scalars: [Unicode.Scalar] = []
  private(set) var layout = TextLayout()

  mutating func append(_ text: ArraySlice<Unicode.Scalar>, line: Int, column: Int) {
    layout.append(start: scalars.count, line: line, column: column)
    scalars += text
  }

  func range(of range: Range<Int>) -> SourceRange { layout.range(of: range) }

  func text(_ range: Range<Int>) -> String { scalars[range].text }
}
