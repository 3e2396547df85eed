/// A compressed format made of blocks that are encoded apart, each a whole of its own.
protocol BlockFormat: Sendable {
  /// Bytes of input in a block. Fixed: the output must not depend on the machine.
  var blockSize: Int { get }
  func makeEncoder() throws -> any BlockEncoder
}

/// Used by one thread at a time, not always by the same.
protocol BlockEncoder: AnyObject, Sendable {
  /// The most that a block of so many bytes can become.
  func bound(_ count: Int) -> Int
  func encode(_ input: UnsafeMutableRawBufferPointer, into output: UnsafeMutableRawBufferPointer) throws -> Int
}

/// Compresses blocks on all cores and writes them in their order. Holds at most two blocks more than there are threads, so memory does not
/// grow with the input. The output depends on the format alone.
final class BlockCompressor: ByteSink {
  /// @unchecked: filled by the writer, then the worker's until `monitor` says done, then the writer's again.
  private final class Block: @unchecked Sendable {
    let encoder: any BlockEncoder
    let input: IOBuffer
    let output: IOBuffer
    var count = 0
    var done = false
    var written = 0
    var failure: (any Error)?

    init(_ format: any BlockFormat) throws {
      encoder = try format.makeEncoder()
      input = IOBuffer(format.blockSize)
      output = IOBuffer(encoder.bound(format.blockSize))
    }

    func encode() {
      do { written = try encoder.encode(UnsafeMutableRawBufferPointer(rebasing: input.all[..<count]), into: output.all) } catch { failure = error }
    }
  }

  private let sink: any ByteSink
  private let format: any BlockFormat
  private let pool: WorkerPool
  private let monitor = Monitor()
  private var current: Block?
  private var pending: [Block] = []
  private var spare: [Block] = []
  private var isEmpty = true

  init(into sink: any ByteSink, format: any BlockFormat, pool: WorkerPool = .shared) { (self.sink, self.format, self.pool) = (sink, format, pool) }

  func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes
    while !rest.isEmpty {
      let block = try current ?? nextBlock()
      let n = min(rest.count, format.blockSize - block.count)
      (block.input.base + block.count).copyMemory(from: rest.baseAddress!, byteCount: n)
      block.count += n
      rest = UnsafeRawBufferPointer(rebasing: rest[n...])
      if block.count == format.blockSize { submit(block) }
    }
  }

  func finish() throws {
    if let block = current {
      // A layer of one block is not worth a thread.
      if pending.isEmpty {
        block.encode()
        block.done = true
        pending.append(block)
        current = nil
      } else {
        submit(block)
      }
    } else if isEmpty {
      // Input of no bytes is a block too.
      let block = try nextBlock()
      block.encode()
      block.done = true
      pending.append(block)
      current = nil
    }
    while !pending.isEmpty { try writeFirst() }
    try sink.finish()
  }

  private func nextBlock() throws -> Block {
    // Those that are ready are written as soon as possible, the rest waited for when there are too many.
    while let first = pending.first, monitor.locked({ first.done }) || pending.count >= pool.threads + 2 { try writeFirst() }
    let block = try spare.popLast() ?? Block(format)
    block.count = 0
    block.done = false
    block.failure = nil
    current = block
    isEmpty = false
    return block
  }

  private func submit(_ block: Block) {
    pending.append(block)
    current = nil
    let monitor = monitor
    pool.submit {
      block.encode()
      monitor.locked {
        block.done = true
        monitor.signalAll()
      }
    }
  }

  private func writeFirst() throws {
    let block = pending.removeFirst()
    monitor.locked { while !block.done { monitor.wait() } }
    if let failure = block.failure { throw failure }
    try sink.write(block.output.head(block.written))
    spare.append(block)
  }
}
