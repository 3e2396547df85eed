internal import BuildProgress
internal import DockerfileSyntax
internal import OCIModel
internal import Synchronization

/// Listens to a build's progress on its way to the display: keeps its warnings, and the last output of each step for views that show none.
final class BuildObserver: ProgressSink {
  private struct State {
    var warnings: [VertexWarning] = []
    var tails: [Digest: [UInt8]] = [:]
  }
  private static let longestTail = 16 << 10
  private let state = Mutex(State())
  private let next: any ProgressSink
  private let keepsOutput: Bool

  init(next: any ProgressSink, keepsOutput: Bool) { (self.next, self.keepsOutput) = (next, keepsOutput) }

  func emit(_ event: ProgressEvent) {
    next.emit(event)
    guard !event.warnings.isEmpty || (keepsOutput && !(event.logs.isEmpty && event.vertices.isEmpty)) else { return }
    state.withLock { state in
      state.warnings += event.warnings
      guard keepsOutput else { return }
      for log in event.logs {
        state.tails[log.vertex, default: []] += log.message
        if let count = state.tails[log.vertex]?.count, count > 2 * Self.longestTail { state.tails[log.vertex]?.removeFirst(count - Self.longestTail) }
      }
      // What ended well is not asked for any more.
      for vertex in event.vertices where vertex.completed != nil && vertex.error.isEmpty { state.tails[vertex.digest] = nil }
    }
  }

  var warnings: [VertexWarning] { state.withLock { $0.warnings } }

  /// The step's last lines, 20 at most.
  func lastOutput(of vertex: Digest) -> [String] {
    let bytes = state.withLock { $0.tails[vertex] ?? [] }
    var lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    while lines.last?.isEmpty == true { lines.removeLast() }
    return Array(lines.suffix(20))
  }

  private static let shownLines = 3

  /// The lines that a warning is about, for the short view.
  private static func flagged(_ warning: VertexWarning) -> String {
    guard let source = warning.sourceInfo, let first = warning.ranges.map(\.start.line).min(), let last = warning.ranges.map(\.end.line).max(), first >= 1 else { return "" }
    let lines = source.data.split(separator: 0x0a, omittingEmptySubsequences: false)
    guard first <= lines.count, last >= first else { return "" }
    let shown = (first...min(last, lines.count)).prefix(shownLines)
    return shown.map { "     \(TerminalText.singleLine(source.filename)):\($0) | \(TerminalText.singleLine(String(decoding: lines[$0 - 1], as: UTF8.self)))\n" }.joined()
      + (last - first >= shownLines ? "     …\n" : "")
  }

  /// The summary at the end, as the peers print it, with the lines that each is about.
  static func summary(_ warnings: [VertexWarning], details: Bool, colour: String) -> String {
    guard !warnings.isEmpty else { return "" }
    let count = warnings.count == 1 ? "1 warning found" : "\(warnings.count) warnings found"
    var out = "\n " + ProgressColours.apply(colour, count + (details ? ":" : " (use --debug to expand):")) + "\n"
    for warning in warnings {
      out += " - \(TerminalText.singleLine(String(decoding: warning.short, as: UTF8.self)))\n"
      guard details else {
        out += flagged(warning)
        continue
      }
      for line in warning.detail { out += TerminalText.multiLine(String(decoding: line, as: UTF8.self)) + "\n" }
      if !warning.url.isEmpty { out += "More info: \(TerminalText.singleLine(warning.url))\n" }
      if let source = warning.sourceInfo {
        let ranges = warning.ranges.filter { $0.start.line >= 1 && $0.end.line >= $0.start.line }.map { SourceRange(lines: $0.start.line...$0.end.line) }
        let excerpt = SourceExcerpt.render(source: String(decoding: source.data, as: UTF8.self), fileName: source.filename, ranges: ranges)
        out += TerminalText.multiLine(excerpt ?? "")
      }
      out += "\n"
    }
    return out
  }
}
