/// Whether bytes are the beginning of a tar archive, plain or compressed: as BuildKit decides it, and zstd besides, which no Dockerfile begins with.
package enum ArchiveHead {
  /// Bytes that are enough to tell.
  package static let size = 1024
  private static let compressions: [[UInt8]] = [[0x42, 0x5a, 0x68], [0x1f, 0x8b, 0x08], [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], [0x28, 0xb5, 0x2f, 0xfd]]

  package static func isArchive(_ head: [UInt8]) -> Bool {
    if compressions.contains(where: { head.starts(with: $0) }) { return true }
    return isTar(head)
  }

  /// A header whose checksum is right. Old writers summed signed bytes.
  private static func isTar(_ head: [UInt8]) -> Bool {
    guard head.count >= 512 else { return false }
    let block = head[..<512], field = 148..<156
    if block.allSatisfy({ $0 == 0 }) { return false }
    let digits = block[field].drop { $0 == UInt8(ascii: " ") }.prefix { (0x30...0x37).contains($0) }
    guard let wanted = Int(String(decoding: digits, as: UTF8.self), radix: 8) else { return false }
    var unsigned = 0, signed = 0
    for (i, byte) in block.enumerated() {
      let value = field.contains(i) ? UInt8(ascii: " ") : byte
      unsigned += Int(value)
      signed += Int(Int8(bitPattern: value))
    }
    return wanted == unsigned || wanted == signed
  }
}
