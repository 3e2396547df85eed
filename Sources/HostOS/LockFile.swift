import CHostOS
import Synchronization

/// One file, never unlinked, whose bytes stand for keys: who holds the lock on a byte has the key, among all processes and among the tasks of this one.
/// The lock belongs to an open file description, so it ends with the process, however that ends.
package final class LockFile: Sendable {
  package let path: String

  private struct Waiter {
    var id: UInt64
    var shared: Bool
    var continuation: CheckedContinuation<Void, any Error>
  }

  /// Who in this process has a byte (or is trying for it among processes), and who waits for it, in order.
  private struct Entry {
    var holders = 0
    var shared = false
    var waiters: [Waiter] = []

    func admits(_ wantsShared: Bool) -> Bool { waiters.isEmpty && (holders == 0 || (shared && wantsShared)) }
    mutating func enter(_ wantsShared: Bool) {
      holders += 1
      shared = wantsShared
    }
  }

  private struct Table {
    var entries: [Int64: Entry] = [:]
    var nextID: UInt64 = 0
    /// Waiters whose task was cancelled before they stood in line.
    var cancelled: Set<UInt64> = []
  }

  private let table = Mutex(Table())

  /// Makes the file when it is not there. Blocks; call through Blocking.run.
  package init(path: String) throws {
    self.path = path
    try Descriptor.open(path, flags: [.readWrite, .create], mode: 0o600).close()
  }

  /// The lock, or nil while another has it. A shared lock goes with other shared ones.
  package func tryLock(offset: Int64, shared: Bool = false) throws -> FileLock? {
    let entered = table.withLock { table in
      var entry = table.entries[offset] ?? Entry()
      guard entry.admits(shared) else { return false }
      entry.enter(shared)
      table.entries[offset] = entry
      return true
    }
    guard entered else { return nil }
    do {
      if let lock = try acquire(offset, shared) { return lock }
    } catch {
      leave(offset)
      throw error
    }
    leave(offset)
    return nil
  }

  /// Waits for the lock, without holding a thread. A cancelled task stops waiting. `onWait` is called once, when it has to wait.
  package func lock(offset: Int64, shared: Bool = false, onWait: (@Sendable () -> Void)? = nil) async throws -> FileLock {
    try await enter(offset, shared, onWait)
    do {
      var pause = Duration.milliseconds(1)
      var told = false
      while true {
        if let lock = try acquire(offset, shared) { return lock }
        if !told { onWait?() }
        told = true
        // Another process has it: the kernel wakes nobody up without a thread that waits.
        try await Task.sleep(for: pause)
        pause = min(pause * 2, .milliseconds(40))
      }
    } catch {
      leave(offset)
      throw error
    }
  }

  private func acquire(_ offset: Int64, _ shared: Bool) throws -> FileLock? {
    // A description of its own for each lock, so that handing one to a child hands over no other.
    let file = try Descriptor.open(path, flags: .readWrite)
    guard try checked(hostos_lock_byte(file.raw, offset, shared ? 0 : 1), "lock", path) == 1 else { return nil }
    return FileLock(descriptor: file, offset: offset, file: self)
  }

  private func enter(_ offset: Int64, _ shared: Bool, _ onWait: (@Sendable () -> Void)?) async throws {
    try Task.checkCancellation()
    let id: UInt64? = table.withLock { table in
      var entry = table.entries[offset] ?? Entry()
      if entry.admits(shared) {
        entry.enter(shared)
        table.entries[offset] = entry
        return nil
      }
      table.nextID += 1
      return table.nextID
    }
    guard let id else { return }
    onWait?()
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let result: Result<Void, any Error>? = table.withLock { table in
          if table.cancelled.remove(id) != nil { return .failure(CancellationError()) }
          var entry = table.entries[offset] ?? Entry()
          defer { table.entries[offset] = entry }
          if entry.admits(shared) {
            entry.enter(shared)
            return .success(())
          }
          entry.waiters.append(Waiter(id: id, shared: shared, continuation: continuation))
          return nil
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      let waiter: Waiter? = table.withLock { table in
        guard let index = table.entries[offset]?.waiters.firstIndex(where: { $0.id == id }) else {
          table.cancelled.insert(id)
          return nil
        }
        return table.entries[offset]?.waiters.remove(at: index)
      }
      waiter?.continuation.resume(throwing: CancellationError())
      if waiter != nil { admitWaiters(offset) }
    }
    // The cancellation may have come after the continuation was resumed.
    _ = table.withLock { $0.cancelled.remove(id) }
  }

  fileprivate func leave(_ offset: Int64) {
    table.withLock { $0.entries[offset]?.holders -= 1 }
    admitWaiters(offset)
  }

  /// Lets in whoever may enter now, in order.
  private func admitWaiters(_ offset: Int64) {
    let admitted: [Waiter] = table.withLock { table in
      guard var entry = table.entries[offset] else { return [] }
      var admitted: [Waiter] = []
      while let first = entry.waiters.first, entry.holders == 0 || (entry.shared && first.shared) {
        entry.enter(first.shared)
        admitted.append(entry.waiters.removeFirst())
      }
      table.entries[offset] = entry.holders == 0 && entry.waiters.isEmpty ? nil : entry
      return admitted
    }
    for waiter in admitted { waiter.continuation.resume() }
  }
}

/// A held lock. It ends with `release`, or with the last reference.
package final class FileLock: Sendable {
  /// A child that gets a copy of it holds the lock too.
  package let descriptor: Descriptor
  package let offset: Int64
  private let file: LockFile
  private let released = Atomic<Bool>(false)

  init(descriptor: Descriptor, offset: Int64, file: LockFile) {
    (self.descriptor, self.offset, self.file) = (descriptor, offset, file)
  }

  deinit { release() }

  /// Gives the lock up, for children that hold a copy too. Later calls do nothing.
  package func release() { end(unlock: true) }

  /// Leaves the lock to the children that have a copy of the descriptor: it ends with the last of them.
  package func handOver() { end(unlock: false) }

  private func end(unlock: Bool) {
    if released.exchange(true, ordering: .acquiringAndReleasing) { return }
    // A program being started holds a copy for a moment: closing alone would not free the byte at once.
    if unlock { _ = hostos_unlock_byte(descriptor.raw, offset) }
    try? descriptor.close()
    file.leave(offset)
  }
}
