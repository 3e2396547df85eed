internal import BuildProgress
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

/// Transfers as lines beneath one vertex, as builds show them: one a blob, told a few times a second.
final class TransferView: Sendable {
  private struct Line {
    var started: Timestamp
    var shown: Int64 = 0
    var isDone = false
  }
  private let task: ProgressTask
  private let lines = Mutex<[Digest: Line]>([:])
  init(_ task: ProgressTask) { self.task = task }

  /// Runs `body` as a vertex on standard error.
  static func run<T: Sendable>(_ name: String, _ mode: ProgressMode, _ body: (TransferView) async throws -> T) async throws -> T {
    let display = ProgressDisplay(mode: mode, environment: RegistryConfiguration.processEnvironment)
    do {
      let value = try await ProgressTask(name, id: name, display).run { task in
        try await RegistryRetry.observing({ task.log($0.description) }) { try await body(TransferView(task)) }
      }
      await display.finish()
      return value
    } catch {
      await display.finish()
      throw error
    }
  }

  var handler: TransferProgressHandler { { self.follow($0) } }

  func follow(_ progress: TransferProgress) {
    let verb = progress.direction == .push ? "pushing" : "downloading"
    switch progress.state {
    case .waiting: break
    case .transferring: show(progress.descriptor, verb, progress.bytes)
    // Told as lines, by the observer.
    case .retrying: break
    case .exists: if progress.direction == .push { task.done("\(progress.descriptor.digest): already there") }
    case .mounted(let from): task.done("\(progress.descriptor.digest): mounted from \(from)")
    case .done: show(progress.descriptor, verb, progress.descriptor.size, ends: true)
    }
  }

  /// Bytes so far.
  func show(_ descriptor: Descriptor, _ verb: String, _ bytes: Int64, ends: Bool = false) {
    let now = wallClock()
    let isDone = ends || bytes >= descriptor.size
    let started: Timestamp? = lines.withLock { lines in
      var line = lines[descriptor.digest] ?? Line(started: now)
      defer { lines[descriptor.digest] = line }
      guard !line.isDone, isDone || now.nanosecondsSinceEpoch - line.shown >= 100_000_000 else { return nil }
      line.shown = now.nanosecondsSinceEpoch
      line.isDone = isDone
      return line.started
    }
    guard let started else { return }
    task.status("\(verb) \(descriptor.digest)", current: bytes, total: descriptor.size, started: started, completed: isDone ? now : nil)
  }
}
