/// What a step has written, cut into lines that begin with the second they came at.
package struct StepOutput: Sendable {
  /// Lines for the plain printer to write; the last one stays until it is whole.
  package var queue: [[UInt8]] = []
  /// The last line of the queue has no end yet.
  package var isPartial = false
  /// How much of the queue's first line is on the page already.
  package var printed = 0
  /// When the step last wrote, by this machine's clock; nil if it never did.
  package private(set) var lastArrival: Int64?

  private var filter: EscapeFilter?
  private var lines = LineTail()

  /// The last lines, each with the second it began at.
  package var tail: [String] { lines.stamped }
  /// The last lines as a terminal would show them: without times.
  package func screen(_ count: Int) -> [String] { lines.screen(count) }

  mutating func append(_ bytes: [UInt8], offset: Int64, arrived now: Int64, _ options: ProgressState.Options) {
    var filter = self.filter ?? EscapeFilter(keepsColours: options.keepsColours)
    let clean = filter.filter(bytes)
    self.filter = filter
    guard !clean.isEmpty else { return }
    lastArrival = now
    lines.append(clean, offset: offset, keep: options.keptLines)
    if options.queuesOutput { enqueue(clean, offset) }
  }

  private mutating func enqueue(_ bytes: [UInt8], _ offset: Int64) {
    var first = true
    var rest = bytes[...]
    var endsWhole = true
    while !rest.isEmpty {
      let end = rest.firstIndex(of: 0x0a)
      let piece = rest[..<(end ?? rest.endIndex)]
      if first, isPartial, !queue.isEmpty {
        queue[queue.count - 1] += piece
      } else {
        queue.append(Array((Figures.logOffset(offset) + " ").utf8) + piece)
      }
      first = false
      endsWhole = end != nil
      rest = end.map { rest[($0 + 1)...] } ?? []
    }
    isPartial = !endsWhole
  }
}

/// The last lines of a stream of text, a carriage return starting its line afresh as progress meters mean it to.
private struct LineTail: Sendable {
  private var kept: [(offset: Int64, text: [UInt8])] = []
  private var open = false
  private var returned = false
  /// A line longer than this is cut: no screen shows it, and a step without newlines must not fill the memory.
  private static let longestLine = 16 << 10

  mutating func append(_ bytes: [UInt8], offset: Int64, keep: Int) {
    for piece in bytes.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
      if piece.offset > 0 {
        if !open { begin(offset, keep) }
        open = false
        returned = false
      }
      if !piece.element.isEmpty { extend(piece.element, offset, keep) }
    }
  }

  private mutating func begin(_ offset: Int64, _ keep: Int) {
    kept.append((offset, []))
    open = true
    if kept.count > 2 * keep { kept.removeFirst(kept.count - keep) }
  }

  private mutating func extend(_ bytes: ArraySlice<UInt8>, _ offset: Int64, _ keep: Int) {
    if !open { begin(offset, keep) }
    let last = kept.count - 1
    for byte in bytes {
      if byte == 0x0d { returned = true; continue }
      if returned { kept[last] = (offset, []); returned = false }
      if kept[last].text.count < Self.longestLine { kept[last].text.append(byte) }
    }
  }

  var stamped: [String] { kept.map { Figures.logOffset($0.offset) + " " + String(decoding: $0.text, as: UTF8.self) } }

  func screen(_ count: Int) -> [String] {
    kept.suffix(count + 4).map { String(decoding: $0.text, as: UTF8.self) }.filter { !$0.allSatisfy(\.isWhitespace) }.suffix(count)
  }
}
