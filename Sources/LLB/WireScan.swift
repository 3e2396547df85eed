/// Counts what a protobuf message will become before it is parsed: of two bytes on the wire can come hundreds in memory.
struct WireScan {
  /// Messages: inputs, mounts, actions and their like.
  private(set) var messages = 0
  /// Fields of the messages within an op, such as arguments and variables.
  private(set) var fields = 0

  /// Adds an op. What is malformed is not counted: the parser refuses it.
  mutating func add(_ op: [UInt8]) {
    op.withUnsafeBytes { bytes in
      _ = WireScan.each(bytes[...]) { _, body in
        messages += 1
        guard let body else { return }
        _ = WireScan.each(body) { number, inner in
          messages += 1
          // An exec op's arguments and variables, a file op's actions.
          guard number <= 2, let inner else { return }
          _ = WireScan.each(inner) { _, _ in fields += 1 }
        }
      }
    }
  }

  /// Calls `body` with each field's number, and with its bytes if it has a length.
  private static func each(_ bytes: Slice<UnsafeRawBufferPointer>, _ body: (UInt64, Slice<UnsafeRawBufferPointer>?) -> Void) -> Bool {
    var at = bytes.startIndex
    func varint() -> UInt64? {
      var value: UInt64 = 0, shift: UInt64 = 0
      while at < bytes.endIndex, shift < 64 {
        let byte = bytes[at]
        at += 1
        value |= UInt64(byte & 0x7f) << shift
        if byte < 0x80 { return value }
        shift += 7
      }
      return nil
    }
    while at < bytes.endIndex {
      guard let tag = varint() else { return false }
      switch tag & 7 {
      case 0:
        guard varint() != nil else { return false }
        body(tag >> 3, nil)
      case 1, 5:
        at += tag & 7 == 1 ? 8 : 4
        guard at <= bytes.endIndex else { return false }
        body(tag >> 3, nil)
      case 2:
        guard let length = varint(), length <= UInt64(bytes.endIndex - at) else { return false }
        body(tag >> 3, bytes[at..<(at + Int(length))])
        at += Int(length)
      case 3, 4: body(tag >> 3, nil)
      default: return false
      }
    }
    return true
  }
}
