/// A compressed format made of blocks that are encoded apart, each knowing only what precedes it.
protocol BlockFormat: Sendable {
  /// Bytes of input in a block. Fixed: the output must not depend on the machine.
  var blockSize: Int { get }
  /// Bytes before a block that its encoder may refer to.
  var overlap: Int { get }
  func makeEncoder() throws -> any BlockEncoder
  var header: [UInt8] { get }
  /// Called with each block in order, by the writing thread.
  func checksum(_ checksum: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32
  func trailer(checksum: UInt32, count: Int64) -> [UInt8]
  /// Whether input of no bytes is a block too.
  var encodesEmptyInput: Bool { get }
}

/// Used by one thread at a time, not always by the same.
protocol BlockEncoder: AnyObject, Sendable {
  func bound(_ count: Int) -> Int
  func encode(history: UnsafeMutableRawBufferPointer, _ input: UnsafeMutableRawBufferPointer, into output: UnsafeMutableRawBufferPointer) throws -> Int
}

/// Compresses blocks on all cores and writes them in their order. Holds at most two blocks more than there are threads, so memory does not
/// grow with the input. The output depends on the format alone.
final class BlockCompressor: ByteSink {
  /// @unchecked: filled by the writer, then the worker's until `monitor` says done, then the writer's again.
  private final class Block: @unchecked Sendable {
    let encoder: any BlockEncoder
    let input: IOBuffer
    let output: IOBuffer
    var history = 0
    var count = 0
    var done = false
    var written = 0
    var failure: (any Error)?
    let overlap: Int

    init(_ format: any BlockFormat) throws {
      encoder = try format.makeEncoder()
      overlap = format.overlap
      input = IOBuffer(format.overlap + format.blockSize)
      output = IOBuffer(encoder.bound(format.blockSize))
    }
    var content: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: input.all[overlap..<overlap + count]) }

    func encode() {
      do {
        written = try encoder.encode(history: UnsafeMutableRawBufferPointer(rebasing: input.all[overlap - history..<overlap]), content, into: output.all)
      } catch { failure = error }
    }
  }

  private let sink: any ByteSink
  private let format: any BlockFormat
  private let pool: WorkerPool
  private let monitor = Monitor()
  private var current: Block?
  private var pending: [Block] = []
  private var spare: [Block] = []
  private var checksum: UInt32 = 0
  private var total: Int64 = 0
  private var started = false

  init(into sink: any ByteSink, format: any BlockFormat, pool: WorkerPool = .shared) { (self.sink, self.format, self.pool) = (sink, format, pool) }

  func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes
    while !rest.isEmpty {
      let block = try current ?? nextBlock()
      let n = min(rest.count, format.blockSize - block.count)
      (block.input.base + format.overlap + block.count).copyMemory(from: rest.baseAddress!, byteCount: n)
      block.count += n
      rest = UnsafeRawBufferPointer(rebasing: rest[n...])
      if block.count == format.blockSize { try submit(block) }
    }
  }

  func finish() throws {
    if let block = current {
      // A layer of one block is not worth a thread.
      if pending.isEmpty {
        try begin(block)
        block.encode()
        block.done = true
        pending.append(block)
        current = nil
      } else {
        try submit(block)
      }
    } else if total == 0, format.encodesEmptyInput {
      let block = try nextBlock()
      block.encode()
      block.done = true
      pending.append(block)
      current = nil
    }
    while !pending.isEmpty { try writeFirst() }
    try writeHeader()
    try sink.write(format.trailer(checksum: checksum, count: total))
    try sink.finish()
  }

  private func nextBlock() throws -> Block {
    // Those that are ready are written as soon as possible, the rest waited for when there are too many.
    while let first = pending.first, monitor.locked({ first.done }) || pending.count >= pool.threads + 2 { try writeFirst() }
    let block = try spare.popLast() ?? Block(format)
    block.history = 0
    // The previous block may be this very one, used again: what was at its end goes before its beginning.
    if format.overlap > 0, let previous = pending.last ?? lastWritten {
      let n = min(format.overlap, previous.count)
      (block.input.base + format.overlap - n).copyMemory(from: previous.content.baseAddress! + previous.count - n, byteCount: n)
      block.history = n
    }
    lastWritten = nil
    block.count = 0
    block.done = false
    block.failure = nil
    current = block
    return block
  }

  /// The block written last, while it is the newest: the next one's history.
  private var lastWritten: Block?

  private func begin(_ block: Block) throws {
    checksum = format.checksum(checksum, UnsafeRawBufferPointer(block.content))
    total += Int64(block.count)
  }

  private func submit(_ block: Block) throws {
    try begin(block)
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

  private func writeHeader() throws {
    if started { return }
    started = true
    if !format.header.isEmpty { try sink.write(format.header) }
  }

  private func writeFirst() throws {
    let block = pending.removeFirst()
    monitor.locked { while !block.done { monitor.wait() } }
    if let failure = block.failure { throw failure }
    try writeHeader()
    try sink.write(block.output.head(block.written))
    if pending.isEmpty { lastWritten = block }
    spare.append(block)
  }
}
