import Synchronization

/// How many ops may execute at once. First come, first served; who gave a slot up for a while goes before those who never had one.
package final class JobSlots: Sendable {
  private struct State {
    var free: Int
    /// Who has a slot and waits for memory.
    var pending = 0
    var nextTicket = 0
    /// Waiting, by ticket. `heads` is the oldest ticket that may still wait, of those who come back and of those who come.
    var waiting: [Int: CheckedContinuation<Void, any Error>] = [:]
    var queues: [[Int]] = [[], []]
    var heads = [0, 0]

    /// The one to give a freed slot to.
    mutating func popFirst() -> CheckedContinuation<Void, any Error>? {
      for queue in 0..<2 {
        while heads[queue] < queues[queue].count {
          let ticket = queues[queue][heads[queue]]
          heads[queue] += 1
          if heads[queue] == queues[queue].count { (queues[queue], heads[queue]) = ([], 0) }
          if let waiter = waiting.removeValue(forKey: ticket) { return waiter }
        }
      }
      return nil
    }
  }
  package let limit: Int
  private let state: Mutex<State>
  private let hasRoom: @Sendable () -> Bool

  /// At least one. While `hasRoom` says no (memory is short), nothing starts beside what runs already.
  package init(limit: Int, hasRoom: @escaping @Sendable () -> Bool = { true }) {
    self.hasRoom = hasRoom
    self.limit = max(1, limit)
    state = Mutex(State(free: max(1, limit)))
  }

  /// Waits for a slot. Throws only when the task is cancelled.
  package func acquire() async throws -> Lease {
    try await take(returning: false)
    if hasRoom() { return Lease(self) }
    state.withLock { $0.pending += 1 }
    do {
      while true {
        let mayStart = hasRoom()
        let starts = state.withLock { state in
          // One always may: without it nothing would ever give memory back.
          guard mayStart || limit - state.free - state.pending == 0 else { return false }
          state.pending -= 1
          return true
        }
        if starts { return Lease(self) }
        try await Task.sleep(for: .milliseconds(100))
      }
    } catch {
      state.withLock { $0.pending -= 1 }
      give()
      throw error
    }
  }

  private func take(returning: Bool) async throws {
    let ticket = state.withLock { state in
      state.nextTicket += 1
      return state.nextTicket
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Void, any Error>) in
        let outcome: Result<Void, any Error>? = state.withLock { state in
          // Looked at under the lock: a cancellation from here on finds the waiter registered.
          if Task.isCancelled { return .failure(CancellationError()) }
          if state.free > 0 {
            state.free -= 1
            return .success(())
          }
          state.waiting[ticket] = waiter
          state.queues[returning ? 0 : 1].append(ticket)
          return nil
        }
        if let outcome { waiter.resume(with: outcome) }
      }
    } onCancel: {
      state.withLock { $0.waiting.removeValue(forKey: ticket) }?.resume(throwing: CancellationError())
    }
  }

  private func give() {
    let next = state.withLock { state -> CheckedContinuation<Void, any Error>? in
      let next = state.popFirst()
      if next == nil { state.free += 1 }
      return next
    }
    next?.resume()
  }

  /// One slot. Given back by `release`, or when the last reference goes.
  package final class Lease: Sendable {
    private struct Hold { var held = true, done = false, suspensions = 0 }
    private let slots: JobSlots
    private let hold = Mutex(Hold())

    fileprivate init(_ slots: JobSlots) { self.slots = slots }
    deinit { release() }

    package func release() {
      let held = hold.withLock { hold in
        defer { (hold.held, hold.done) = (false, true) }
        return hold.held
      }
      if held { slots.give() }
    }

    /// Runs `body` without the slot: it waits for work that may need one.
    package func suspended<T: Sendable>(_ body: () async throws -> T) async throws -> T {
      let gave = hold.withLock { hold in
        hold.suspensions += 1
        defer { hold.held = false }
        return hold.held
      }
      if gave { slots.give() }
      let outcome: Result<T, any Error>
      do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
      let takesBack = hold.withLock { hold in
        hold.suspensions -= 1
        return hold.suspensions == 0 && !hold.done
      }
      if takesBack {
        do {
          try await slots.take(returning: true)
          let keeps = hold.withLock { hold in
            // Another suspension began meanwhile, or the op is over: not ours to keep.
            guard hold.suspensions == 0, !hold.done, !hold.held else { return false }
            hold.held = true
            return true
          }
          if !keeps { slots.give() }
        } catch {}  // Cancelled: what is left of the op ends without a slot.
      }
      return try outcome.get()
    }
  }
}
