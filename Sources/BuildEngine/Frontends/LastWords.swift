internal import HostOS
internal import Synchronization

/// The end of what a program writes to its standard error.
final class LastWords: Sendable {
  private static let limit = 8 << 10
  private let bytes = Mutex<[UInt8]>([])

  var text: String { bytes.withLock { String(decoding: $0, as: UTF8.self) } }

  /// Until the other end is closed. Blocks.
  func read(_ descriptor: HostOS.Descriptor) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
    defer { buffer.deallocate() }
    while let n = try? descriptor.read(into: buffer), n > 0 {
      let new = Array(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
      bytes.withLock { bytes in
        bytes += new
        if bytes.count > 2 * Self.limit { bytes.removeFirst(bytes.count - Self.limit) }
      }
    }
  }
}
