import OCIModel

/// What is known of a build, folded from its events. Pure: the clock is a value that comes with each event.
///
/// Groups follow the peers' rule: the vertices of a group are one track, hidden until a member that is not weak starts.
package struct ProgressState: Sendable {
  /// A part of a step's work, with its speed.
  package struct Transfer: Sendable {
    package var status: VertexStatus
    /// Bytes a second over the last moments; nil until two readings are far enough apart.
    package var rate: Double?
    fileprivate var anchor: (time: Int64, current: Int64)
  }

  /// One line of the display: a vertex, or a group of them.
  package struct Track: Sendable {
    package var vertex: ProgressVertex
    package let isGroup: Bool
    package var hidden: Bool
    /// Merged spans of work, in the sender's clock.
    package private(set) var intervals: [Interval] = []
    package var transfers: [Transfer] = []
    /// Indices into `transfers` in the order they started.
    package var startedTransfers: [Int] = []
    package var warnings: [VertexWarning] = []
    package var output = StepOutput()

    // What the plain printer needs to choose whom to print next.
    package var updatesSinceShown = 0
    package var shownAt: Int64?
    package var changedTransfers: Set<String> = []

    fileprivate var spans: [Int64: Interval] = [:]
    fileprivate var members: [ProgressVertex] = []
    fileprivate var transferIndex: [String: Int] = [:]
    fileprivate var announced: ProgressVertex?

    fileprivate init(vertex: ProgressVertex, isGroup: Bool) {
      (self.vertex, self.isGroup, hidden) = (vertex, isGroup, isGroup)
    }

    package var isStarted: Bool { !intervals.isEmpty }
    package var isCompleted: Bool { intervals.last.map { $0.stop != nil } ?? false }
    package var lastStop: Int64? { intervals.last?.stop }

    fileprivate mutating func record(_ vertex: ProgressVertex) -> Bool {
      guard let started = vertex.started?.nanosecondsSinceEpoch else { return false }
      let span = Interval(start: started, stop: vertex.completed?.nanosecondsSinceEpoch)
      defer {
        spans[started] = span
        intervals = Interval.merge(spans.values)
      }
      return spans[started] != span
    }

    fileprivate mutating func count(at now: Int64) {
      if updatesSinceShown == 0 { shownAt = now }
      updatesSinceShown += 1
    }
  }

  package private(set) var tracks: [Track] = []
  /// Indices of tracks in the order they first started (a group: became visible).
  package private(set) var startOrder: [Int] = []
  /// Tracks changed since the plain printer last wrote them, oldest change first.
  package private(set) var changed: [Int] = []
  package private(set) var warnings: [VertexWarning] = []

  private var byDigest: [Digest: Int] = [:]
  private var byGroup: [String: Int] = [:]
  private var firstStart: Int64?
  /// This machine's clock less the sender's.
  private var clockOffset: Int64?
  private let options: Options

  package struct Options: Sendable {
    /// Lines of a step's output to keep for the block of a failed step.
    package var keptLines: Int
    /// For a printer that writes every line; a redrawing one shows only the tail.
    package var queuesOutput: Bool
    package var keepsColours: Bool
    package init(keptLines: Int, queuesOutput: Bool, keepsColours: Bool) {
      (self.keptLines, self.queuesOutput, self.keepsColours) = (keptLines, queuesOutput, keepsColours)
    }
  }

  package init(options: Options) { self.options = options }

  /// When the build began, by this machine's clock.
  package func beginning(now: Int64) -> Int64 { firstStart.map { $0 + (clockOffset ?? 0) } ?? now }
  /// The sender's clock at this moment.
  package func senderClock(_ now: Int64) -> Int64 { now - (clockOffset ?? 0) }

  package var visibleCount: Int { tracks.count { !$0.hidden } }
  package var completedCount: Int { tracks.count { !$0.hidden && $0.isCompleted } }

  package mutating func fold(_ event: ProgressEvent, now: Int64) {
    var touchedGroups: [Int] = []
    for vertex in event.vertices {
      if firstStart == nil { firstStart = vertex.started?.nanosecondsSinceEpoch }
      if let group = vertex.progressGroup {
        let index = join(group, vertex)
        if !touchedGroups.contains(index) { touchedGroups.append(index) }
      } else {
        fold(vertex, now)
      }
    }
    for index in touchedGroups { refreshGroup(index, now) }
    for status in event.statuses { fold(status, now) }
    for warning in event.warnings {
      warnings.append(warning)
      guard let index = byDigest[warning.vertex] else { continue }
      tracks[index].warnings.append(warning)
      tracks[index].count(at: now)
    }
    for log in event.logs { fold(log, now) }
  }

  package mutating func markShown(_ index: Int) {
    changed.removeAll { $0 == index }
    tracks[index].changedTransfers.removeAll(keepingCapacity: true)
  }

  /// Changes a track as the printer writes it.
  package mutating func withTrack<T>(_ index: Int, _ body: (inout Track) -> T) -> T { body(&tracks[index]) }

  // MARK: -

  private mutating func noteChange(_ index: Int) {
    if !changed.contains(index) { changed.append(index) }
  }

  private mutating func fold(_ vertex: ProgressVertex, _ now: Int64) {
    let index: Int
    if let known = byDigest[vertex.digest], !tracks[known].isGroup {
      index = known
    } else {
      index = tracks.count
      byDigest[vertex.digest] = index
      tracks.append(Track(vertex: vertex, isGroup: false))
    }
    if vertex.started != nil, differs(vertex, from: tracks[index].announced) {
      tracks[index].count(at: now)
      noteChange(index)
    }
    if vertex.started != nil { tracks[index].announced = vertex }
    let wasStarted = tracks[index].isStarted
    if let started = vertex.started, !wasStarted {
      noteClock(now, started)
      startOrder.append(index)
    }
    // A repeated announcement without a start must not put a running step back.
    if !wasStarted || vertex.started != nil { tracks[index].vertex = vertex }
    _ = tracks[index].record(vertex)
  }

  private func differs(_ new: ProgressVertex, from old: ProgressVertex?) -> Bool {
    guard let old else { return true }
    return new.name != old.name || new.started != old.started || (new.completed != old.completed && new.completed != nil)
      || new.cached != old.cached || new.error != old.error
  }

  private mutating func noteClock(_ now: Int64, _ started: Timestamp) {
    if clockOffset == nil { clockOffset = now - started.nanosecondsSinceEpoch }
  }

  private mutating func join(_ group: ProgressGroup, _ vertex: ProgressVertex) -> Int {
    let index: Int
    if let known = byGroup[group.id] {
      index = known
    } else {
      index = tracks.count
      byGroup[group.id] = index
      tracks.append(Track(vertex: ProgressVertex(digest: vertex.digest, name: group.name), isGroup: true))
    }
    byDigest[vertex.digest] = index
    if let member = tracks[index].members.firstIndex(where: { $0.digest == vertex.digest }) {
      tracks[index].members[member] = vertex
    } else {
      tracks[index].members.append(vertex)
    }
    return index
  }

  private mutating func refreshGroup(_ index: Int, _ now: Int64) {
    let before = tracks[index]
    var changedNow = false
    var cached = true
    var error = ""
    for member in before.members {
      if tracks[index].record(member) { changedNow = true }
      if member.started != nil, member.progressGroup?.weak == false { tracks[index].hidden = false }
      cached = cached && member.cached
      if error.isEmpty { error = member.error } else { tracks[index].hidden = false }
    }
    tracks[index].vertex.cached = cached
    tracks[index].vertex.error = error
    changedNow = changedNow || before.vertex.cached != cached || before.vertex.error != error
    if !before.isStarted, let first = tracks[index].intervals.first { noteClock(now, Timestamp(nanosecondsSinceEpoch: first.start)) }
    guard !tracks[index].hidden else { return }
    if before.hidden {
      startOrder.append(index)
      changedNow = true
    }
    if changedNow {
      tracks[index].count(at: now)
      noteChange(index)
    }
  }

  private mutating func fold(_ status: VertexStatus, _ now: Int64) {
    guard let index = byDigest[status.vertex] else { return }
    let time = status.timestamp.nanosecondsSinceEpoch
    let slot: Int
    if let known = tracks[index].transferIndex[status.id] {
      slot = known
    } else {
      slot = tracks[index].transfers.count
      tracks[index].transferIndex[status.id] = slot
      tracks[index].transfers.append(Transfer(status: status, anchor: (time, status.current)))
      tracks[index].transfers[slot].status.started = nil
    }
    if status.started != nil, tracks[index].transfers[slot].status.started == nil { tracks[index].startedTransfers.append(slot) }
    tracks[index].transfers[slot].advance(to: status, at: time)
    tracks[index].changedTransfers.insert(status.id)
    tracks[index].count(at: now)
    noteChange(index)
  }

  private mutating func fold(_ log: VertexLog, _ now: Int64) {
    guard let index = byDigest[log.vertex] else { return }
    let start = tracks[index].intervals.last?.start
    let offset = start.map { log.timestamp.nanosecondsSinceEpoch - $0 } ?? 0
    tracks[index].output.append(log.message, offset: offset, arrived: now, options)
    tracks[index].count(at: now)
    noteChange(index)
  }
}

extension ProgressState.Transfer {
  /// A reading every half second, smoothed: steady enough to read, quick enough to show a stall.
  fileprivate mutating func advance(to new: VertexStatus, at time: Int64) {
    status = new
    let elapsed = time - anchor.time
    if new.current < anchor.current {
      (anchor, rate) = ((time, new.current), nil)
    } else if elapsed >= 500_000_000 {
      let sample = Double(new.current - anchor.current) / Figures.seconds(elapsed)
      rate = rate.map { $0 * 0.5 + sample * 0.5 } ?? sample
      anchor = (time, new.current)
    }
  }
}
