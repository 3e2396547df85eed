package import OCIModel

/// The peers' plain view: each step's lines behind its number, `#5 [linux/arm64 2/2] RUN …`, one step at a time, another one taking over
/// when it has more to say or has waited long.
package struct PlainRenderer: ProgressRenderer {
  private struct Shown: Sendable { var current: Int64; var time: Int64 }

  private var state = ProgressState(options: .init(keptLines: Self.failureLines, queuesOutput: true, keepsColours: true))
  private let options: ProgressOptions
  private var numbers: [Int: Int] = [:]
  private var current: Int?
  private var shown: [Int: [String: Shown]] = [:]
  private var begun = false
  private var warned: [Int: Int] = [:]
  private var out: [UInt8] = []

  // The peers' constants.
  private static let antiFlicker = 5.0
  private static let maximumDelay: Int64 = 10_000_000_000
  private static let minimumTimeStep: Int64 = 5_000_000_000
  private static let minimumProgressStep = 0.05
  private static let failureLines = 10

  package init(options: ProgressOptions) { self.options = options }
  /// Steps that wait for their turn get it by time.
  package var isAnimated: Bool { !state.changed.isEmpty }

  package mutating func fold(_ event: ProgressEvent, now: Timestamp) { state.fold(event, now: now.nanosecondsSinceEpoch) }

  package mutating func render(now: Timestamp, window: WindowSize) -> [UInt8] {
    printChanges(now.nanosecondsSinceEpoch)
    return take()
  }

  package mutating func finish(now: Timestamp, window: WindowSize) -> [UInt8] {
    printChanges(now.nanosecondsSinceEpoch)
    for line in state.failureBlocks(Self.failureLines) { write(line) }
    return take()
  }

  package mutating func message(_ text: String, now: Timestamp, window: WindowSize) -> [UInt8] {
    leaveCurrent()
    write(text)
    return take()
  }

  private mutating func take() -> [UInt8] {
    defer { out = [] }
    return out
  }
  private mutating func write(_ line: String) {
    out += Array(line.utf8)
    out.append(0x0a)
  }

  // MARK: - Whose turn it is

  private mutating func printChanges(_ now: Int64) {
    let changed = state.changed.filter { !state.tracks[$0].hidden }
    let completed = changed.filter { state.tracks[$0].isCompleted }
    var rest = changed.filter { !state.tracks[$0].isCompleted }
    let before = current

    // Steps that ended come first, the open one before the others, which follow by the time they ended.
    if let before, completed.contains(before) { show(before, now) }
    let byEnd = completed.enumerated().sorted { (state.tracks[$0.1].lastStop ?? 0, $0.0) < (state.tracks[$1.1].lastStop ?? 0, $1.0) }
    for (_, index) in byEnd where index != before { show(index, now) }

    if rest.isEmpty {
      if let before, isRunning(before) { return }
      if let open = state.startOrder.first(where: { isRunning($0) && !state.tracks[$0].hidden }) { show(open, now) }
      return
    }
    if let before, rest.contains(before) { show(before, now) }
    if let before, !rest.contains(before), !completed.contains(before) { rest.append(before) }
    let next = choose(among: rest, open: before, now)
    guard let before, !completed.contains(before) else {
      if let busiest = next.busiest { show(busiest, now) }
      return
    }
    if let overdue = next.overdue { show(overdue, now) } else if next.openHadItsShare, let busiest = next.busiest { show(busiest, now) }
  }

  private func isRunning(_ index: Int) -> Bool { state.tracks[index].isStarted && !state.tracks[index].isCompleted }

  /// Fair shares of the page by how much each step has to say, without flicker.
  private func choose(among rest: [Int], open: Int?, _ now: Int64) -> (busiest: Int?, overdue: Int?, openHadItsShare: Bool) {
    var sum = 0.0
    var speeds: [Int: (speed: Double, waited: Int64)] = [:]
    var busiest: Int?
    var overdue: Int?
    for index in rest {
      guard let since = state.tracks[index].shownAt else { continue }
      let waited = now - since
      let speed = Double(state.tracks[index].updatesSinceShown) / Figures.seconds(waited)
      speeds[index] = (speed, waited)
      sum += speed
      let isOverdue = waited > Self.maximumDelay && index != open
      if isOverdue, overdue == nil { overdue = index }
      if let best = busiest, !isOverdue, !((speeds[best]?.speed ?? 0) < speed) { continue }
      busiest = index
    }
    guard let open, let mine = speeds[open] else { return (busiest, overdue, false) }
    return (busiest, overdue, 1 / (1 - mine.speed / sum) * Self.antiFlicker < Figures.seconds(mine.waited))
  }

  // MARK: - One step's turn

  private mutating func leaveCurrent() {
    guard let current else { return }
    let partial = state.withTrack(current) { track in
      defer {
        track.output.printed = 0
        track.updatesSinceShown = 0
      }
      return track.output.isPartial
    }
    if partial { out.append(0x0a) }
    write("#\(number(current)) ...")
    self.current = nil
    write("")
  }

  private func number(_ index: Int) -> Int { numbers[index] ?? 0 }

  private mutating func show(_ index: Int, _ now: Int64) {
    if numbers[index] == nil { numbers[index] = numbers.count + 1 }
    let prefix = "#\(number(index)) "
    if index != current { open(index, prefix) }
    let hasOpenTransfer = writeTransfers(index, prefix)
    let warnings = state.tracks[index].warnings
    for warning in warnings[(warned[index] ?? 0)...] {
      write(prefix + "WARN: " + TerminalText.multiLine(String(decoding: warning.short, as: UTF8.self)))
    }
    warned[index] = warnings.count
    writeOutput(index, prefix)
    current = index
    if state.tracks[index].isCompleted, !hasOpenTransfer { close(index, prefix, now) }
    state.markShown(index)
  }

  private mutating func open(_ index: Int, _ prefix: String) {
    let hadCurrent = current != nil
    leaveCurrent()
    if begun {
      if !hadCurrent { write("") }
    } else {
      if !options.description.isEmpty { write("#0 " + options.description + "\n") }
      begun = true
    }
    let name = TerminalText.singleLine(state.tracks[index].vertex.name)
    write(prefix + (options.truncatesNames && name.utf8.count > 72 ? String(decoding: Array(name.utf8.prefix(72)), as: UTF8.self) + "..." : name))
  }

  /// Whether one that was written is still going on.
  private mutating func writeTransfers(_ index: Int, _ prefix: String) -> Bool {
    let track = state.tracks[index]
    var isOpen = false
    for slot in track.startedTransfers {
      let status = track.transfers[slot].status
      guard track.changedTransfers.contains(status.id) else { continue }
      let time = status.timestamp.nanosecondsSinceEpoch
      if let last = shown[index]?[status.id], status.completed == nil {
        let progress = status.total > 0 ? Double(status.current - last.current) / Double(status.total) : 0
        if progress < Self.minimumProgressStep, time - last.time < Self.minimumTimeStep { continue }
      }
      shown[index, default: [:]][status.id] = Shown(current: status.current, time: time)
      var line = prefix + TerminalText.singleLine(status.id) + amount(status)
      let end = status.completed?.nanosecondsSinceEpoch ?? time
      if let start = status.started?.nanosecondsSinceEpoch {
        let seconds = Figures.seconds(end - start)
        if seconds > 0.01 { line += " \(Figures.fixed(seconds, 1))s" }
      }
      if status.completed != nil { line += " done" } else { isOpen = true }
      write(line)
    }
    return isOpen
  }

  private func amount(_ status: VertexStatus) -> String {
    if status.total != 0 { return " \(Figures.bytes(status.current)) / \(Figures.bytes(status.total))" }
    return status.current != 0 ? " \(Figures.bytes(status.current))" : ""
  }

  private mutating func writeOutput(_ index: Int, _ prefix: String) {
    var output = state.tracks[index].output
    guard !output.queue.isEmpty else { return }
    for (i, line) in output.queue.enumerated() {
      if i == 0, output.printed > 0 {
        out += line[output.printed...]
      } else {
        out += Array(prefix.utf8) + line
      }
      if i != output.queue.count - 1 || !output.isPartial { out.append(0x0a) }
    }
    if output.isPartial, let last = output.queue.last {
      output.queue = [last]
      output.printed = last.count
    } else {
      output.queue = []
      output.printed = 0
    }
    state.withTrack(index) { $0.output = output }
  }

  private mutating func close(_ index: Int, _ prefix: String, _ now: Int64) {
    current = nil
    let track = state.tracks[index]
    state.withTrack(index) { track in
      track.updatesSinceShown = 0
      track.output.queue = []
      track.output.isPartial = false
      track.output.printed = 0
    }
    if track.output.isPartial { out.append(0x0a) }
    if track.vertex.isCancelled {
      write(prefix + "CANCELED")
    } else if !track.vertex.error.isEmpty {
      write(prefix + "ERROR: " + TerminalText.multiLine(track.vertex.error))
    } else if track.vertex.cached {
      write(prefix + "CACHED")
    } else {
      let time = track.intervals.duration(at: state.senderClock(now))
      write(prefix + "DONE" + (track.intervals.isEmpty ? "" : " \(Figures.fixed(Figures.seconds(time), 1))s"))
    }
  }
}

extension ProgressState {
  /// For every step that failed, a block with its name and its last lines of output.
  package func failureBlocks(_ count: Int) -> [String] {
    startOrder.map { tracks[$0] }.filter { !$0.vertex.error.isEmpty && !$0.vertex.isCancelled }.flatMap { track in
      ["------", " > \(TerminalText.singleLine(track.vertex.name)):"] + track.output.tail.suffix(count) + ["------"]
    }
  }
}
