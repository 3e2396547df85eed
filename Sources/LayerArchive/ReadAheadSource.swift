/// Reads another source on a thread of its own, a few buffers ahead: so decompressing and hashing overlap with what the reader does with the bytes.
/// The source must not be used by anyone else from then on, and must not depend on a thread.
package final class ReadAheadSource: ByteSource {
  /// @unchecked: `monitor` protects the queues; a buffer is the property of whichever side took it out of one. `source` is the thread's alone.
  private final class Shared: @unchecked Sendable {
    let monitor = Monitor()
    let source: any ByteSource
    var free: [IOBuffer] = []
    var full: [(buffer: IOBuffer, count: Int)] = []
    var finished = false
    var failure: (any Error)?
    var abandoned = false
    init(_ source: any ByteSource) { self.source = source }

    func run() {
      while let buffer = monitor.locked({ () -> IOBuffer? in
        while free.isEmpty, !abandoned { monitor.wait() }
        return abandoned ? nil : free.removeLast()
      }) {
        do {
          let n = try source.readFully(into: buffer.all)
          let ended = n < buffer.all.count
          monitor.locked {
            if n > 0 { full.append((buffer, n)) }
            finished = ended
            monitor.signalAll()
          }
          if ended { return }
        } catch {
          monitor.locked {
            failure = error
            finished = true
            monitor.signalAll()
          }
          return
        }
      }
    }
  }

  private let shared: Shared
  private let fallback: Bool
  private var current: (buffer: IOBuffer, count: Int)?
  private var at = 0

  package init(_ source: any ByteSource, buffers: Int = 4, size: Int = 1 << 19) {
    let shared = Shared(source)
    shared.free = (0..<max(2, buffers)).map { _ in IOBuffer(size) }
    self.shared = shared
    fallback = !Threads.start { shared.run() }
  }

  deinit {
    shared.monitor.locked {
      shared.abandoned = true
      shared.monitor.signalAll()
    }
  }

  package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    // No thread could be had: slower, and right.
    if fallback { return try shared.source.read(into: buffer) }
    if current == nil {
      current = try shared.monitor.locked {
        while shared.full.isEmpty, !shared.finished { shared.monitor.wait() }
        if !shared.full.isEmpty { return shared.full.removeFirst() }
        if let failure = shared.failure { throw failure }
        return nil
      }
      at = 0
    }
    guard let (from, count) = current else { return 0 }
    let n = min(buffer.count, count - at)
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: from.all[at..<at + n]))
    at += n
    if at == count {
      shared.monitor.locked {
        shared.free.append(from)
        shared.monitor.signalAll()
      }
      current = nil
    }
    return n
  }
}
