package import HostOS

/// Bytes to be read, once, from front to back. Blocks; used by one thread at a time.
package protocol ByteSource: AnyObject {
  /// Puts 1 … buffer.count bytes into the buffer and answers how many; 0 is the end (and stays it).
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int
}

/// Takes bytes. Blocks; used by one thread at a time.
package protocol ByteSink: AnyObject {
  func write(_ bytes: UnsafeRawBufferPointer) throws
  /// All has been written: flushes what is held back, and finishes the sink beneath when it was made for this one. Called once.
  func finish() throws
}

extension ByteSource {
  /// Fills the buffer unless the end comes before.
  package func readFully(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    var done = 0
    while done < buffer.count {
      let n = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
      if n == 0 { break }
      done += n
    }
    return done
  }

  /// Everything that is left; more than `limit` bytes are an error (`limit`).
  package func readToEnd(limit: Int) throws -> [UInt8] {
    var out: [UInt8] = []
    let buffer = IOBuffer(min(limit + 1, 1 << 18))
    while true {
      let n = try read(into: buffer.all)
      if n == 0 { return out }
      if out.count + n > limit { throw LayerArchiveError(.limit, "more than \(limit) bytes") }
      out.append(contentsOf: buffer.all[..<n])
    }
  }

  /// Copies everything that is left into `sink`, which is not finished. Answers the bytes copied.
  @discardableResult
  package func copy(into sink: any ByteSink) throws -> Int64 {
    let buffer = IOBuffer(1 << 19)
    var total: Int64 = 0
    while true {
      let n = try read(into: buffer.all)
      if n == 0 { return total }
      try sink.write(buffer.head(n))
      total += Int64(n)
    }
  }
}

extension ByteSink {
  package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }
}

/// A buffer on the heap, aligned for vector instructions, made once and used again.
/// @unchecked: whoever holds it decides which thread uses it; it is handed over, never shared.
package final class IOBuffer: @unchecked Sendable {
  package let all: UnsafeMutableRawBufferPointer
  package init(_ count: Int) { all = .allocate(byteCount: max(count, 1), alignment: 64) }
  deinit { all.deallocate() }
  /// The first `count` bytes.
  package func head(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: all.baseAddress, count: count) }
  package var base: UnsafeMutableRawPointer { all.baseAddress! }
  package var bytes: UnsafeMutablePointer<UInt8> { all.baseAddress!.assumingMemoryBound(to: UInt8.self) }
}

/// Reads an array.
package final class BytesSource: ByteSource {
  private let bytes: [UInt8]
  private var at = 0
  /// The most bytes that one read gives (tests use small ones).
  private let step: Int
  package init(_ bytes: [UInt8], step: Int = .max) { (self.bytes, self.step) = (bytes, max(1, step)) }
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let n = min(buffer.count, bytes.count - at, step)
    if n > 0 { bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[at..<at + n])) } }
    at += n
    return n
  }
}

/// Collects bytes in an array.
package final class BytesSink: ByteSink {
  package private(set) var bytes: [UInt8] = []
  package private(set) var finished = false
  package init() {}
  package func write(_ more: UnsafeRawBufferPointer) throws { bytes.append(contentsOf: more) }
  package func finish() throws { finished = true }
}

/// Reads a descriptor from its position on.
package final class DescriptorSource: ByteSource {
  private let descriptor: Descriptor
  package init(_ descriptor: Descriptor) { self.descriptor = descriptor }
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try descriptor.read(into: buffer) }
}

/// Reads a descriptor from a place on without moving its position: several may read one descriptor.
package final class PositionedSource: ByteSource {
  private let descriptor: Descriptor
  private var offset: Int64
  private let end: Int64
  package init(_ descriptor: Descriptor, offset: Int64 = 0, count: Int64 = .max) {
    self.descriptor = descriptor
    self.offset = offset
    let (end, overflow) = offset.addingReportingOverflow(count)
    self.end = overflow ? .max : end
  }
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let room = Int(clamping: min(Int64(buffer.count), max(0, end - offset)))
    if room <= 0 { return 0 }
    let n = try descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<room]), at: offset)
    offset += Int64(n)
    return n
  }
  /// Passes bytes over, also beyond the end.
  package func skip(_ count: Int64) {
    let (next, overflow) = offset.addingReportingOverflow(count)
    offset = overflow ? end : min(next, end)
  }
}

/// Writes to a descriptor at its position. `finish` neither syncs nor closes.
package final class DescriptorSink: ByteSink {
  private let descriptor: Descriptor
  package init(_ descriptor: Descriptor) { self.descriptor = descriptor }
  package func write(_ bytes: UnsafeRawBufferPointer) throws { try descriptor.write(bytes) }
  package func finish() throws {}
}

/// A sink made of a function.
package final class FunctionSink: ByteSink {
  private let body: (UnsafeRawBufferPointer) throws -> Void
  package init(_ body: @escaping (UnsafeRawBufferPointer) throws -> Void) { self.body = body }
  package func write(_ bytes: UnsafeRawBufferPointer) throws { try body(bytes) }
  package func finish() throws {}
}
