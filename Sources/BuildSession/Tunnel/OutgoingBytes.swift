package import NIOCore
internal import Synchronization

/// What a channel has flushed and nobody has sent yet. One writer (the channel's event loop), one reader.
package final class OutgoingBytes: Sendable {
  package struct Write: Sendable {
    package var buffer: ByteBuffer
    package var promise: EventLoopPromise<Void>?
  }

  /// Bytes that go out as one message.
  package struct Batch: Sendable {
    package var buffers: [ByteBuffer] = []
    package var count = 0
    var promises: [EventLoopPromise<Void>] = []
  }

  /// Frames of HTTP/2 are small; a message that carries many of them costs less. Peers take 4 MiB at least.
  private static let batchSize = 256 << 10

  private struct State {
    /// From `first` on.
    var writes: [Write] = []
    var first = 0
    var waiter: CheckedContinuation<Batch?, Never>?
    var finished = false

    mutating func take() -> Batch? {
      guard first < writes.count else { return nil }
      var batch = Batch()
      while first < writes.count, batch.count < OutgoingBytes.batchSize {
        let write = writes[first]
        first += 1
        batch.buffers.append(write.buffer)
        batch.count += write.buffer.readableBytes
        if let promise = write.promise { batch.promises.append(promise) }
      }
      if first == writes.count {
        writes.removeAll(keepingCapacity: true)
        first = 0
      }
      return batch
    }
  }
  private let state = Mutex(State())

  func append(_ writes: [Write]) {
    let ready = state.withLock { state -> (CheckedContinuation<Batch?, Never>, Batch)? in
      guard !state.finished else { return nil }
      state.writes += writes
      guard let waiter = state.waiter, let batch = state.take() else { return nil }
      state.waiter = nil
      return (waiter, batch)
    }
    if let (waiter, batch) = ready { waiter.resume(returning: batch) }
  }

  /// Ends it; answers what was never taken.
  func finish() -> [Write] {
    var waiter: CheckedContinuation<Batch?, Never>?
    let dropped = state.withLock { state in
      defer {
        state.writes = []
        state.first = 0
        state.waiter = nil
      }
      state.finished = true
      waiter = state.waiter
      return Array(state.writes[state.first...])
    }
    waiter?.resume(returning: nil)
    return dropped
  }

  func next() async -> Batch? {
    await withCheckedContinuation { continuation in
      let ready = state.withLock { state -> Batch?? in
        if state.finished { return .some(nil) }
        if let batch = state.take() { return .some(batch) }
        state.waiter = continuation
        return nil
      }
      if let ready { continuation.resume(returning: ready) }
    }
  }
}
