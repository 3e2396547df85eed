internal import Synchronization

/// Runs work for a key once, however many tasks ask for it meanwhile. Those who come later wait for the same result and see
/// its events from then on. A waiter can be cancelled alone; the work is cancelled when nobody waits for it any more.
package final class SharedWork<Key: Hashable & Sendable, Value: Sendable, Event: Sendable>: Sendable {
  package typealias Observer = @Sendable (Event) -> Void
  /// What a task got: its own work's result, or that of work another task had begun.
  package enum Outcome: Sendable {
    case own(Value)
    case joined(Value)
    /// Another task's work failed; the reason may be that task's own (its credentials, its cancellation).
    case joinedFailure(any Error)
  }

  private final class Entry: Sendable {
    struct State: Sendable {
      var observers: [UInt64: Observer] = [:]
      var waiters: [UInt64: CheckedContinuation<Value, any Error>] = [:]
      /// Waiters that are here but have no continuation yet, or were cancelled before they had one.
      var pending: Set<UInt64> = []
      var cancelled: Set<UInt64> = []
      var result: Result<Value, any Error>?
      var task: Task<Void, Never>?
      var abandoned = false
    }
    let state = Mutex(State())
  }
  private struct State: Sendable {
    var entries: [Key: Entry] = [:]
    var nextTicket: UInt64 = 0
  }
  private let state = Mutex(State())

  package init() {}

  /// Runs `work` for `key`, or joins the run under way. `work` gets a function that tells every waiter's `observer`.
  package func run(_ key: Key, observer: @escaping Observer, _ work: @escaping @Sendable (_ emit: @escaping Observer) async throws -> Value) async throws -> Outcome {
    let (entry, ticket, isOwner): (Entry, UInt64, Bool) = state.withLock { state in
      state.nextTicket += 1
      let ticket = state.nextTicket
      if let entry = state.entries[key] {
        let joined = entry.state.withLock { e -> Bool in
          guard !e.abandoned, e.result == nil else { return false }
          e.observers[ticket] = observer
          e.pending.insert(ticket)
          return true
        }
        if joined { return (entry, ticket, false) }
      }
      let entry = Entry()
      entry.state.withLock { e in
        e.observers[ticket] = observer
        e.pending.insert(ticket)
      }
      state.entries[key] = entry
      return (entry, ticket, true)
    }
    if isOwner { start(entry, key, work) }
    do {
      let value = try await wait(entry, ticket)
      return isOwner ? .own(value) : .joined(value)
    } catch {
      if isOwner || Task.isCancelled { throw error }
      return .joinedFailure(error)
    }
  }

  private func start(_ entry: Entry, _ key: Key, _ work: @escaping @Sendable (@escaping Observer) async throws -> Value) {
    // Unstructured on purpose: the work outlives the task that began it when others wait for it too.
    let task = Task {
      let result: Result<Value, any Error>
      do {
        result = .success(
          try await work { event in
            let observers = entry.state.withLock { $0.observers.values.map { $0 } }
            for observer in observers { observer(event) }
          })
      } catch { result = .failure(error) }
      self.state.withLock { state in if state.entries[key] === entry { state.entries[key] = nil } }
      let waiters = entry.state.withLock { e -> [CheckedContinuation<Value, any Error>] in
        e.result = result
        defer { e.waiters = [:] }
        return Array(e.waiters.values)
      }
      for waiter in waiters { waiter.resume(with: result) }
    }
    let abandoned = entry.state.withLock { e in
      e.task = task
      return e.abandoned
    }
    if abandoned { task.cancel() }
  }

  private func wait(_ entry: Entry, _ ticket: UInt64) async throws -> Value {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
        let ready = entry.state.withLock { e -> Result<Value, any Error>? in
          e.pending.remove(ticket)
          if e.cancelled.remove(ticket) != nil { return .failure(CancellationError()) }
          if let result = e.result { return result }
          e.waiters[ticket] = continuation
          return nil
        }
        if let ready { continuation.resume(with: ready) }
      }
    } onCancel: {
      let (waiter, task) = entry.state.withLock { e -> (CheckedContinuation<Value, any Error>?, Task<Void, Never>?) in
        e.observers[ticket] = nil
        let waiter = e.waiters.removeValue(forKey: ticket)
        if waiter == nil, e.pending.remove(ticket) != nil { e.cancelled.insert(ticket) }
        guard e.waiters.isEmpty, e.pending.isEmpty, e.result == nil else { return (waiter, nil) }
        e.abandoned = true
        return (waiter, e.task)
      }
      task?.cancel()
      waiter?.resume(throwing: CancellationError())
    }
  }
}
