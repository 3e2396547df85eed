internal import Binaries
internal import LayerArchive

/// Keeps what headers need of a file that streams by: its first bytes, those places that the first bytes point at, and for ARM its end, where the
/// attributes are. What lies before a place that points at it is gone, and then simply not known.
struct ProgramCapture {
  private static let headSize = 8 << 10
  private static let tailSize = 16 << 10
  /// Program headers of a hostile file, `ELFBinary`'s own limit.
  private static let largestRange = 1 << 18

  private struct Range {
    var offset: Int64
    var bytes: [UInt8]
    var filled: Int
    var isComplete: Bool { filled == bytes.count }
  }
  private struct Unseen: Error {}

  private let size: Int64
  private let isExecutable: Bool
  private var head: [UInt8] = []
  private var ranges: [Range] = []
  private var tail: [UInt8] = []
  private var tailStart: Int64 = 0
  private var isELF = false
  private var isARM = false
  private var planned = 0
  private var end: Int64 = 0

  init(size: Int64, isExecutable: Bool) { (self.size, self.isExecutable) = (size, isExecutable) }

  /// Content in order. Holes may be left out.
  mutating func feed(_ offset: Int64, _ bytes: UnsafeRawBufferPointer) {
    if offset > end, head.count < Self.headSize { head += [UInt8](repeating: 0, count: Int(min(offset - end, Int64(Self.headSize - head.count)))) }
    end = offset + Int64(bytes.count)
    if head.count < Self.headSize { head += bytes.prefix(Self.headSize - head.count) }
    if planned == 0, head.count >= 64 || head.count == size {
      isELF = head.starts(with: [0x7f, 0x45, 0x4c, 0x46])
      isARM = isELF && head.count >= 20 && head[4] == 1 && (head[18] == 40 || head[19] == 40)
    }
    guard isELF else { return }
    if head.count == Self.headSize, planned == 0 { plan(offset) }
    copy(offset, bytes)
    // Program headers have come: they may point at the interpreter's name in what is still to come.
    if planned == 1, ranges.allSatisfy(\.isComplete) {
      plan(offset)
      copy(offset, bytes)
    }
    if isARM { keepTail(offset, bytes) }
  }

  private mutating func keepTail(_ offset: Int64, _ bytes: UnsafeRawBufferPointer) {
    if offset != tailStart + Int64(tail.count) { (tail, tailStart) = ([], offset) }
    if bytes.count >= Self.tailSize {
      tail = Array(bytes.suffix(Self.tailSize))
    } else {
      tail += bytes
      if tail.count > 2 * Self.tailSize { tail.removeFirst(tail.count - Self.tailSize) }
    }
    tailStart = end - Int64(tail.count)
  }

  /// Asks the parser what it would read that is not here. `current`: where the content begins that is being fed; what was before it has passed.
  private mutating func plan(_ current: Int64) {
    planned += 1
    var wanted: (Int64, Int)?
    _ = try? ELFBinary { offset, count in
      if let known = read(offset, count) { return known }
      if let offset = Int64(exactly: offset), count > 0, count <= Self.largestRange { wanted = (offset, count) }
      throw Unseen()
    }
    guard let (offset, count) = wanted, offset < size else { return }
    let kept = Int(min(Int64(count), size - offset))
    // What begins in the head and ends behind it is put together.
    var bytes = [UInt8](repeating: 0, count: kept)
    var filled = 0
    if offset < Int64(head.count) {
      let part = head[Int(offset)...]
      filled = min(part.count, kept)
      bytes.replaceSubrange(0..<filled, with: part.prefix(filled))
    }
    guard offset + Int64(filled) >= current else { return }
    ranges.append(Range(offset: offset, bytes: bytes, filled: filled))
  }

  private mutating func copy(_ offset: Int64, _ bytes: UnsafeRawBufferPointer) {
    for i in ranges.indices where !ranges[i].isComplete {
      let next = ranges[i].offset + Int64(ranges[i].filled)
      // Holes are zeros, which the range is made of.
      if offset > next { ranges[i].filled += Int(min(offset - next, Int64(ranges[i].bytes.count - ranges[i].filled))) }
      let from = ranges[i].offset + Int64(ranges[i].filled) - offset
      guard from >= 0, from < Int64(bytes.count) else { continue }
      let count = min(bytes.count - Int(from), ranges[i].bytes.count - ranges[i].filled)
      ranges[i].bytes.replaceSubrange(ranges[i].filled..<ranges[i].filled + count, with: bytes[Int(from)..<Int(from) + count])
      ranges[i].filled += count
    }
  }

  /// nil: not kept.
  private func read(_ offset: UInt64, _ count: Int) -> [UInt8]? {
    guard let offset = Int64(exactly: offset), offset < size else { return [] }
    let count = Int(min(Int64(count), size - offset))
    if offset + Int64(count) <= Int64(head.count) { return Array(head[Int(offset)..<Int(offset) + count]) }
    for range in ranges where offset >= range.offset && offset + Int64(count) <= range.offset + Int64(range.filled) {
      let start = Int(offset - range.offset)
      return Array(range.bytes[start..<start + count])
    }
    if offset >= tailStart, offset + Int64(count) <= tailStart + Int64(tail.count) {
      let start = Int(offset - tailStart)
      return Array(tail[start..<start + count])
    }
    return nil
  }

  /// nil for what is no program, and not executable either.
  func program() -> Program? {
    let begins = head.starts(with: [0x7f, 0x45, 0x4c, 0x46]) || head.starts(with: [0x4d, 0x5a]) || (isExecutable && head.starts(with: [0x23, 0x21]))
    guard begins else { return isExecutable ? Program(.other) : nil }
    do {
      let file = try ExecutableFile { offset, count in
        guard let bytes = read(offset, count) else { throw Unseen() }
        return bytes
      }
      let arm = isARM ? try? ARMAttributes { offset, count in read(offset, count) ?? [] } : nil
      return Program(.binary(file), arm: arm)
    } catch is Unseen {
      return withoutInterpreter()
    } catch let error as BinaryError where error.code == .notAnExecutable {
      return isExecutable ? Program(.other) : nil
    } catch { return isExecutable ? Program(.damaged("\(error)")) : nil }
  }

  /// The header alone, as if there were no program headers.
  private func withoutInterpreter() -> Program? {
    guard isELF, head.count >= 64 else { return isExecutable ? Program(.other) : nil }
    var header = Array(head.prefix(64))
    let count = header[4] == 2 ? 56 : 44
    (header[count], header[count + 1]) = (0, 0)
    return (try? ExecutableFile(parsing: header)).map { Program(.binary($0), knowsInterpreter: false) }
  }
}
