internal import Synchronization

/// The last lines a step wrote, for its error.
final class OutputTail: Sendable {
  private static let lineLimit = 20
  private static let byteLimit = 64 << 10
  private let bytes = Mutex<[UInt8]>([])

  func add(_ more: [UInt8]) {
    bytes.withLock { bytes in
      bytes += more
      if bytes.count > 2 * OutputTail.byteLimit { bytes.removeFirst(bytes.count - OutputTail.byteLimit) }
    }
  }

  var lines: [String] {
    let text = bytes.withLock { String(decoding: $0, as: UTF8.self) }
    return text.split(whereSeparator: \.isNewline).suffix(OutputTail.lineLimit).map(String.init)
  }
}
