package import OCIModel

/// The terminal view: a heading, how far each platform is, a row for every step and transfer, and the last output of those
/// that run. Redrawn in place; never taller than the window until the last frame, which holds every row.
package struct TTYRenderer: ProgressRenderer {
  private var state = ProgressState(options: .init(keptLines: Self.failureLines, queuesOutput: false, keepsColours: false))
  private let options: ProgressOptions
  /// Rows of the frame on the screen; the cursor stands below the last.
  private var drawn = 0

  private static let failureLines = 100
  private static let hideCursor = "\u{1b}[?25l", showCursor = "\u{1b}[?25h", eraseLine = "\u{1b}[K", eraseBelow = "\u{1b}[J"

  package init(options: ProgressOptions) { self.options = options }
  package var isAnimated: Bool { true }

  package mutating func fold(_ event: ProgressEvent, now: Timestamp) { state.fold(event, now: now.nanosecondsSinceEpoch) }

  package mutating func render(now: Timestamp, window: WindowSize) -> [UInt8] {
    guard !state.tracks.isEmpty else { return [] }
    return draw(ProgressFrame(state, options, now: now.nanosecondsSinceEpoch, window: window, isLast: false).rows)
  }

  package mutating func finish(now: Timestamp, window: WindowSize) -> [UInt8] {
    guard !state.tracks.isEmpty else { return [] }
    var out = draw(ProgressFrame(state, options, now: now.nanosecondsSinceEpoch, window: window, isLast: true).rows)
    drawn = 0
    for line in state.failureBlocks(Self.failureLines) { out += Array((TerminalText.singleLine(line) + "\n").utf8) }
    return out
  }

  package mutating func message(_ text: String, now: Timestamp, window: WindowSize) -> [UInt8] {
    let out = draw(text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
    drawn = 0
    return out + render(now: now, window: window)
  }

  /// One write a frame, rows overwritten and then erased to their end, so that nothing flickers; the cursor comes back in the same
  /// write, so that a killed build leaves it visible.
  private mutating func draw(_ rows: [String]) -> [UInt8] {
    var out = Self.hideCursor
    if drawn > 0 { out += "\u{1b}[\(drawn)A" }
    out += "\r"
    for row in rows { out += row + Self.eraseLine + "\n" }
    if drawn > rows.count || drawn == 0 { out += Self.eraseBelow }
    out += Self.showCursor
    drawn = rows.count
    return Array(out.utf8)
  }
}

/// The rows of one picture.
struct ProgressFrame {
  private let state: ProgressState
  private let options: ProgressOptions
  private let now: Int64
  private let width: Int
  private let height: Int
  private let isLast: Bool

  /// One column stays free: a terminal may wrap when the last one is written.
  init(_ state: ProgressState, _ options: ProgressOptions, now: Int64, window: WindowSize, isLast: Bool) {
    (self.state, self.options, self.now, self.isLast) = (state, options, now, isLast)
    width = max(1, (window.columns > 0 ? window.columns : 80) - 1)
    height = max(1, (window.rows > 0 ? window.rows : 24) - 1)
  }

  private struct Row {
    var text: String
    var isRunning: Bool
    /// The step whose output may be shown below.
    var track: Int?
    var arrival: Int64 = 0
  }

  var rows: [String] {
    var head = [heading]
    if let line = platforms, height > 3 || isLast { head.append(line) }
    let all = stepRows
    if isLast { return head + all.map(\.text) }
    return head + fitted(all, limit: height - head.count)
  }

  private var heading: String {
    let (done, total) = (state.completedCount, state.visibleCount)
    let elapsed = Figures.fixed(Figures.seconds(max(0, now - state.beginning(now: now))), 1)
    let finished = isLast && done > 0 && done == total ? " FINISHED" : ""
    let left = "[+] \(options.phase) \(elapsed)s (\(done)/\(total))\(finished)"
    guard !options.description.isEmpty else { return TerminalText.fit(left, width: width) }
    return aligned(left, options.description)
  }

  /// How far each platform is, when there is more than one.
  private var platforms: String? {
    var order: [String] = []
    var counts: [String: (done: Int, total: Int, failed: Bool)] = [:]
    for track in state.tracks where !track.hidden {
      guard let platform = StepName(track.vertex.name).platform else { continue }
      if counts[platform] == nil { order.append(platform) }
      var count = counts[platform] ?? (0, 0, false)
      count.total += 1
      if track.isCompleted { count.done += 1 }
      if !track.vertex.error.isEmpty, !track.vertex.isCancelled { count.failed = true }
      counts[platform] = count
    }
    guard order.count > 1 else { return nil }
    let parts = order.map { platform in
      let count = counts[platform] ?? (0, 0, false)
      return "\(platform) \(count.done)/\(count.total)" + (count.failed ? " failed" : "")
    }
    return TerminalText.fit("    " + parts.joined(separator: "   "), width: width)
  }

  // MARK: - Rows

  private var stepRows: [Row] {
    state.startOrder.flatMap { index -> [Row] in
      let track = state.tracks[index]
      var rows = [stepRow(index, track)]
      for slot in track.startedTransfers { rows.append(transferRow(track.transfers[slot])) }
      for warning in track.warnings {
        let text = "WARN: " + TerminalText.singleLine(String(decoding: warning.short, as: UTF8.self))
        rows.append(Row(text: ProgressColours.apply(options.colours.warning, TerminalText.fit(" => " + text, width: width)), isRunning: false))
      }
      return rows
    }
  }

  private func stepRow(_ index: Int, _ track: ProgressState.Track) -> Row {
    var name = TerminalText.singleLine(track.vertex.name)
    var colour = options.colours.run
    if track.vertex.isCancelled {
      name = "CANCELED " + name
      colour = options.colours.cancel
    } else if !track.vertex.error.isEmpty {
      name = "ERROR " + name
      colour = options.colours.error
    } else if track.vertex.cached {
      name = "CACHED " + name
    }
    let text = aligned(" => " + name, timer(track.intervals.duration(at: state.senderClock(now))))
    let isRunning = !track.isCompleted
    return Row(
      text: isRunning ? text : ProgressColours.apply(colour, text), isRunning: isRunning,
      track: isRunning ? index : nil, arrival: track.output.lastArrival ?? 0)
  }

  private func transferRow(_ transfer: ProgressState.Transfer) -> Row {
    let status = transfer.status
    let isRunning = status.completed == nil
    let end = status.completed?.nanosecondsSinceEpoch ?? state.senderClock(now)
    let elapsed = status.started.map { max(0, end - $0.nanosecondsSinceEpoch) } ?? 0
    var amount = ""
    if status.total != 0 {
      amount = "\(Figures.bytes(status.current)) / \(Figures.bytes(status.total))"
    } else if status.current != 0 {
      amount = Figures.bytes(status.current)
    }
    if isRunning, let rate = transfer.rate, rate.isFinite, rate >= 0, !amount.isEmpty {
      amount += "  \(Figures.bytes(Int64(min(rate, 1e18))))/s"
    }
    let right = timer(elapsed)
    var left = " => => " + TerminalText.singleLine(status.id)
    // The figures matter more than the end of a digest, if a dozen cells are left for the name.
    let room = width - TerminalText.width(right) - 1
    if !amount.isEmpty, room - TerminalText.width(amount) - 1 >= 19 {
      left = TerminalText.fit(left, width: room - TerminalText.width(amount) - 1) + " " + amount
    }
    let text = aligned(left, right)
    return Row(text: isRunning ? text : ProgressColours.apply(options.colours.run, text), isRunning: isRunning)
  }

  private func timer(_ nanoseconds: Int64) -> String {
    let seconds = Figures.seconds(nanoseconds)
    return Figures.fixed(seconds < 0.05 ? 0 : seconds, 1) + "s"
  }

  private func aligned(_ left: String, _ right: String) -> String {
    let room = width - TerminalText.width(right) - 1
    guard room >= 8 else { return TerminalText.fit(left, width: width) }
    return TerminalText.pad(TerminalText.fit(left, width: room), width: room) + " " + right
  }

  // MARK: - Fitting

  /// What runs comes before what is done, output of what runs before what is done too; order is kept.
  private func fitted(_ rows: [Row], limit: Int) -> [String] {
    guard limit > 0 else { return [] }
    let running = rows.indices.filter { rows[$0].isRunning }
    if running.count > limit {
      guard limit > 1 else { return [rows[running[0]].text] }
      let hidden = running.count - (limit - 1)
      return running.prefix(limit - 1).map { rows[$0].text } + [TerminalText.fit(" => … and \(hidden) more at work", width: width)]
    }
    var free = limit - running.count
    var tails: [Int: [String]] = [:]
    for index in running.filter({ rows[$0].arrival > 0 }).sorted(by: { rows[$0].arrival > rows[$1].arrival }) {
      guard let track = rows[index].track, free > 0 else { continue }
      let lines = state.tracks[track].output.screen(min(options.logLines, free))
      tails[index] = lines
      free -= lines.count
    }
    let finished = Set(rows.indices.filter { !rows[$0].isRunning }.suffix(free))
    return rows.indices.filter { rows[$0].isRunning || finished.contains($0) }.flatMap { index in
      [rows[index].text]
        + (tails[index] ?? []).map { line in
          ProgressColours.apply(options.colours.output, TerminalText.fit(" => => # " + TerminalText.singleLine(line), width: width))
        }
    }
  }
}

/// What the peers put into the name of a step: `[linux/arm64 builder 2/5] RUN …`, `[linux/amd64->arm64 2/5] RUN …`.
package struct StepName: Sendable, Hashable {
  /// The platform the step is for (the right side of an arrow); nil when the name says none.
  package let platform: String?

  package init(_ name: String) {
    platform = Self.platform(name)
  }

  private static func platform(_ name: String) -> String? {
    guard name.hasPrefix("["), let end = name.firstIndex(where: { $0 == " " || $0 == "]" }) else { return nil }
    let label = name[name.index(after: name.startIndex)..<end]
    let sides = label.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard looksLikePlatform(sides[0]) else { return nil }
    guard sides.count == 2, sides[1].first == ">" else { return looksLikePlatform(label) ? String(label) : nil }
    let target = sides[1].dropFirst()
    if looksLikePlatform(target) { return String(target) }
    return sides[0].split(separator: "/")[0] + "/" + target
  }

  private static let systems: Set<Substring> = [
    "linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "illumos", "aix", "android", "ios", "plan9", "js", "wasip1", "wasi",
  ]
  private static func looksLikePlatform(_ text: Substring) -> Bool {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    // `windows(10.0.20348)/amd64` names the system's version too.
    return (2...3).contains(parts.count) && systems.contains(parts[0].prefix { $0 != "(" }) && parts.allSatisfy { !$0.isEmpty }
  }
}
