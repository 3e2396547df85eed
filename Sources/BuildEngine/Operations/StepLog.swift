internal import HostOS
internal import OCIModel
internal import Synchronization

/// Where the whole output of failed steps is kept. The newest `kept` stay.
struct StepLogs: Sendable {
  let directory: String
  static let kept = 50

  func log(of step: Digest, build: String) -> StepLog { StepLog(path: "\(directory)/\(build)-\(step.hex.prefix(12)).log", logs: self) }

  /// Blocks.
  fileprivate func open(_ path: String) throws -> HostOS.Descriptor {
    // A step may print what nobody else is to read.
    try Files.makeDirectories(directory, mode: 0o700)
    return try HostOS.Descriptor.open(path, flags: [.writeOnly, .create, .truncate], mode: 0o600)
  }

  /// Blocks.
  fileprivate func removeOld() {
    guard let folder = try? Directory.open(directory), let entries = try? folder.entries() else { return }
    let files = entries.compactMap { entry in (try? folder.statusIfPresent(entry.name)).map { (entry.name, $0.mtime) } }.sorted { $0.1 > $1.1 }
    for (name, _) in files.dropFirst(StepLogs.kept) { try? folder.unlink(name) }
  }
}

/// One step's output on its way into a file, which stays only when the step fails. Used from one thread at a time that may block (`StepStreams.captured`).
final class StepLog: Sendable {
  private struct State {
    var file: HostOS.Descriptor?
    var isBroken = false
  }
  private let path: String
  private let logs: StepLogs
  private let state = Mutex(State())

  fileprivate init(path: String, logs: StepLogs) { (self.path, self.logs) = (path, logs) }

  /// Blocks. On a full disk the log ends, not the step.
  func write(_ bytes: [UInt8]) {
    state.withLock { state in
      if state.isBroken { return }
      do {
        if state.file == nil { state.file = try logs.open(path) }
        try state.file?.write(bytes)
      } catch { state.isBroken = true }
    }
  }

  /// The file's path; nil when the step wrote nothing, or it could not be written whole.
  func keep() -> String? {
    let isKept = state.withLock { state in
      guard state.file != nil, !state.isBroken else { return false }
      state.file = nil
      return true
    }
    if isKept { logs.removeOld() }
    return isKept ? path : nil
  }

  /// Removes what was not kept.
  func discard() {
    let isOpen = state.withLock { state in
      defer { state.file = nil }
      return state.file != nil
    }
    if isOpen { try? Files.removeTree(path) }
  }
}
