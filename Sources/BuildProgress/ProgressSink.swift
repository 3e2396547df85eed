import Synchronization

/// Where events go. `emit` is called from any thread, returns at once and never blocks on I/O.
package protocol ProgressSink: Sendable {
  func emit(_ event: ProgressEvent)
}

/// For those who want no progress.
package struct DiscardingSink: ProgressSink {
  package init() {}
  package func emit(_ event: ProgressEvent) {}
}

/// A sink made of a closure.
package struct ClosureSink: ProgressSink {
  private let body: @Sendable (ProgressEvent) -> Void
  package init(_ body: @escaping @Sendable (ProgressEvent) -> Void) { self.body = body }
  package func emit(_ event: ProgressEvent) { body(event) }
}

/// Hands every event to all of its sinks, in the order they were added. Events of one caller keep their order.
package final class FanOutSink: ProgressSink {
  package struct Subscription: Sendable, Hashable { fileprivate let id: Int }

  private struct State {
    var next = 0
    var sinks: [(id: Int, sink: any ProgressSink)] = []
  }
  private let state: Mutex<State>

  package init(_ sinks: [any ProgressSink] = []) {
    state = Mutex(State(next: sinks.count, sinks: Array(zip(0..., sinks)).map { (id: $0.0, sink: $0.1) }))
  }

  @discardableResult
  package func add(_ sink: any ProgressSink) -> Subscription {
    state.withLock { state in
      defer { state.next += 1 }
      state.sinks.append((state.next, sink))
      return Subscription(id: state.next)
    }
  }

  package func remove(_ subscription: Subscription) {
    state.withLock { $0.sinks.removeAll { $0.id == subscription.id } }
  }

  package func emit(_ event: ProgressEvent) {
    // Called outside the lock, so that a sink may add or remove sinks.
    for (_, sink) in state.withLock({ $0.sinks }) { sink.emit(event) }
  }
}

/// Keeps every event: for tests, and for a build's history.
package final class RecordingSink: ProgressSink {
  private let recorded = Mutex<[ProgressEvent]>([])
  package init() {}
  package func emit(_ event: ProgressEvent) { recorded.withLock { $0.append(event) } }
  package var events: [ProgressEvent] { recorded.withLock { $0 } }
}
