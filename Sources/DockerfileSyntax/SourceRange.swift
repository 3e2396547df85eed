/// A point in a Dockerfile.
public struct SourcePosition: Hashable, Sendable, Comparable {
  /// The line, counted from 1.
  public var line: Int
  /// The offset within the line, counted from 0 in Unicode scalars (a byte order mark is not counted).
  public var column: Int

  /// Makes a position from a 1-based line and a 0-based column.
  public init(line: Int, column: Int = 0) {
    (self.line, self.column) = (line, column)
  }

  /// Orders by line, then by column.
  public static func < (left: SourcePosition, right: SourcePosition) -> Bool {
    (left.line, left.column) < (right.line, right.column)
  }
}

/// A stretch of a Dockerfile, from its first character to the one after its last.
public struct SourceRange: Hashable, Sendable {
  /// Where it begins.
  public var start: SourcePosition
  /// Where it ends (the column is exclusive); never before `start`.
  public var end: SourcePosition

  /// Makes a range; an end before the start is taken to be the start.
  public init(start: SourcePosition, end: SourcePosition) {
    (self.start, self.end) = (start, max(start, end))
  }

  /// Makes a range over whole lines, without columns.
  public init(lines: ClosedRange<Int>) {
    self.init(start: SourcePosition(line: lines.lowerBound), end: SourcePosition(line: lines.upperBound))
  }

  /// The lines it touches, first to last.
  public var lines: ClosedRange<Int> { start.line...end.line }

  /// One range a line, each without columns: the shape in which BuildKit keeps locations in LLB source maps and in errors.
  public var lineRanges: [SourceRange] { lines.map { SourceRange(lines: $0...$0) } }
}
