internal import LayerArchive
internal import NIOCore
internal import OCIRegistry

/// A blob that arrives, as a source that blocks: whoever reads waits for what comes, and what comes waits for whoever reads.
/// @unchecked: `monitor` protects all but `current`, which is the reader's.
final class BlobPipe: ByteSource, @unchecked Sendable {
  private static let room = 4 << 20

  private let monitor = Monitor()
  private var queue: [ByteBuffer] = []
  private var queued = 0
  private var ended = false
  private var failure: (any Error)?
  private var abandoned = false
  private var waiting: CheckedContinuation<Void, Never>?
  private var current: ByteBuffer?

  /// Takes all of the content; ends early when the reader has given up. An error of the content becomes the reader's.
  func fill(from content: BlobContent) async {
    do {
      for try await buffer in content { if await !put(buffer) { return } }
      finish(nil)
    } catch { finish(error) }
  }

  private func put(_ buffer: ByteBuffer) async -> Bool {
    await withCheckedContinuation { continuation in
      let isFull = monitor.locked {
        if abandoned { return false }
        queue.append(buffer)
        queued += buffer.readableBytes
        monitor.signalAll()
        guard queued >= Self.room else { return false }
        waiting = continuation
        return true
      }
      if !isFull { continuation.resume() }
    }
    return monitor.locked { !abandoned }
  }

  private func finish(_ error: (any Error)?) {
    monitor.locked {
      ended = true
      failure = error
      monitor.signalAll()
    }
  }

  /// The reader wants no more.
  func abandon() {
    monitor.locked {
      abandoned = true
      queue = []
      defer { waiting = nil }
      return waiting
    }?.resume()
  }

  /// Why the content did not come whole.
  var error: (any Error)? { monitor.locked { failure } }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    if buffer.isEmpty { return 0 }
    while current.map({ $0.readableBytes == 0 }) ?? true {
      let (next, resumed) = try monitor.locked { () -> (ByteBuffer?, CheckedContinuation<Void, Never>?) in
        while queue.isEmpty, !ended { monitor.wait() }
        guard !queue.isEmpty else {
          if let failure { throw failure }
          return (nil, nil)
        }
        let next = queue.removeFirst()
        queued -= next.readableBytes
        guard queued < Self.room / 2 else { return (next, nil) }
        defer { waiting = nil }
        return (next, waiting)
      }
      resumed?.resume()
      guard let next else { return 0 }
      current = next
    }
    let count = min(buffer.count, current?.readableBytes ?? 0)
    current?.withUnsafeReadableBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    current?.moveReaderIndex(forwardBy: count)
    return count
  }
}
