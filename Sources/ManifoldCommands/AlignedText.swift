internal import BuildProgress

/// Columns as Go's text/tabwriter sets them: every cell but a line's last is padded to its column's widest, and to a least width. Cells may be
/// a stranger's words: what could act on the terminal is left out of them.
struct AlignedText {
  private var lines: [[String]] = []
  let minimumWidth: Int
  let padding: Int

  init(minimumWidth: Int = 0, padding: Int) { (self.minimumWidth, self.padding) = (minimumWidth, padding) }

  /// All lines of a block have as many cells.
  mutating func add(_ cells: String...) { add(cells) }
  mutating func add(_ cells: [String]) { lines.append(cells.map { TerminalText.singleLine($0) }) }

  /// The lines added since the last call.
  mutating func flush() -> String {
    defer { lines = [] }
    let columns = (lines.map(\.count).max() ?? 1) - 1
    let widths = (0..<max(columns, 0)).map { column in
      lines.map { line in line.count > column + 1 ? line[column].unicodeScalars.count + padding : 0 }.reduce(minimumWidth, max)
    }
    return lines.map { line in
      line.enumerated().map { column, cell in
        column == line.count - 1 ? cell : cell + String(repeating: " ", count: max(0, widths[column] - cell.unicodeScalars.count))
      }.joined() + "\n"
    }.joined()
  }
}
