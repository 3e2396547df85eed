internal import Dispatch
internal import Synchronization

private enum PutOutcome { case go, wait, closed }
private enum ThreadPutOutcome { case done(CheckedContinuation<Void, Never>?), wait, failed(any Error) }

/// From tasks to a thread that may block: one task puts, one thread takes all that is there. A task waits while too much is held.
final class ThreadInbox<Element: Sendable>: Sendable {
  private struct State {
    var held: [Element] = []
    var cost = 0
    var ended = false
    var failure: (any Error)?
    var isWaiting = false
    var putter: CheckedContinuation<Void, Never>?
    var isClosed = false
  }
  private let state = Mutex(State())
  private let arrived = DispatchSemaphore(value: 0)
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  /// False when nobody takes any more.
  func put(_ element: Element, cost: Int) async -> Bool {
    let next = state.withLock { state -> PutOutcome in
      if state.isClosed { return .closed }
      state.held.append(element)
      state.cost += cost
      wake(&state)
      return state.cost > limit ? .wait : .go
    }
    switch next {
    case .go: return true
    case .closed: return false
    case .wait:
      await withCheckedContinuation { continuation in
        let resumes = state.withLock { state in
          if state.isClosed || state.cost <= limit { return true }
          state.putter = continuation
          return false
        }
        if resumes { continuation.resume() }
      }
      return true
    }
  }

  /// Nothing more is put.
  func end(_ failure: (any Error)? = nil) {
    state.withLock { state in
      if state.ended { return }
      state.ended = true
      state.failure = failure
      wake(&state)
    }
  }

  /// Blocks until there is something. nil after the end; throws what it ended with.
  func takeAll() throws -> [Element]? {
    while true {
      let (taken, putter, failure, ended) = state.withLock { state in
        let taken = state.held
        state.held = []
        state.cost = 0
        defer { state.putter = nil }
        if taken.isEmpty, !state.ended { state.isWaiting = true }
        return (taken, state.putter, taken.isEmpty ? state.failure : nil, state.ended)
      }
      putter?.resume()
      if !taken.isEmpty { return taken }
      if let failure { throw failure }
      if ended { return nil }
      arrived.wait()
    }
  }

  /// Nothing more is taken.
  func close() {
    let putter = state.withLock { state in
      state.isClosed = true
      state.held = []
      defer { state.putter = nil }
      return state.putter
    }
    putter?.resume()
  }

  private func wake(_ state: inout State) {
    guard state.isWaiting else { return }
    state.isWaiting = false
    arrived.signal()
  }
}

/// From threads that may block to one task, which takes all that is there. A thread waits while too much is held.
final class ThreadOutbox<Element: Sendable>: Sendable {
  private struct State {
    var held: [Element] = []
    var cost = 0
    var ended = false
    var failure: (any Error)?
    var taker: CheckedContinuation<Void, Never>?
    var waiting: [DispatchSemaphore] = []
    var closed: (any Error)?
  }
  private let state = Mutex(State())
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  /// Blocks while too much is held, unless it is `now`; throws when nobody takes any more.
  func put(_ element: Element, cost: Int, now: Bool = false) throws {
    while true {
      let semaphore = DispatchSemaphore(value: 0)
      let next = state.withLock { state -> ThreadPutOutcome in
        if let closed = state.closed { return .failed(closed) }
        if state.cost > limit, !now {
          state.waiting.append(semaphore)
          return .wait
        }
        state.held.append(element)
        state.cost += cost
        defer { state.taker = nil }
        return .done(state.taker)
      }
      switch next {
      case .failed(let error): throw error
      case .done(let taker): taker?.resume(); return
      case .wait: semaphore.wait()
      }
    }
  }

  /// Nothing more is put; `next` throws `failure` when what is held was taken.
  func end(_ failure: (any Error)? = nil) {
    let taker = state.withLock { state in
      if !state.ended {
        state.ended = true
        state.failure = failure
      }
      defer { state.taker = nil }
      return state.taker
    }
    taker?.resume()
  }

  /// nil after the end.
  func next() async throws -> [Element]? {
    while true {
      let (taken, waiting, failure, ended) = state.withLock { state in
        let taken = state.held
        state.held = []
        state.cost = 0
        defer { state.waiting = [] }
        return (taken, state.waiting, taken.isEmpty ? state.failure : nil, state.ended)
      }
      for semaphore in waiting { semaphore.signal() }
      if !taken.isEmpty { return taken }
      if let failure { throw failure }
      if ended { return nil }
      await withCheckedContinuation { continuation in
        let resumes = state.withLock { state in
          if !state.held.isEmpty || state.ended { return true }
          state.taker = continuation
          return false
        }
        if resumes { continuation.resume() }
      }
    }
  }

  /// What is held is still taken; whoever puts from now on gets this error.
  func refuse(_ error: any Error) {
    let waiting = state.withLock { state in
      if state.closed == nil { state.closed = error }
      defer { state.waiting = [] }
      return state.waiting
    }
    for semaphore in waiting { semaphore.signal() }
  }

  /// Nothing more is taken: whoever puts gets this error.
  func close(_ error: any Error) {
    let (waiting, taker) = state.withLock { state in
      if state.closed == nil { state.closed = error }
      state.held = []
      state.ended = true
      defer { (state.waiting, state.taker) = ([], nil) }
      return (state.waiting, state.taker)
    }
    for semaphore in waiting { semaphore.signal() }
    taker?.resume()
  }
}
