/// Why bytes could not be read as an executable file.
package struct BinaryError: Error, CustomStringConvertible, Sendable, Equatable {
  package enum Code: Sendable { case notAnExecutable, truncated, malformed }
  package let code: Code
  package let message: String
  package var description: String { message }

  init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }
}

/// Bytes of a file by offset. Returns fewer than `count` bytes only at the end of the file.
package typealias ByteReader = (_ offset: UInt64, _ count: Int) throws -> [UInt8]

/// Fixed-size fields of a header in its own byte order, each access checked against the bytes at hand.
struct FieldReader {
  let bytes: [UInt8]
  let bigEndian: Bool
  let what: String

  func integer(at offset: Int, size: Int) throws(BinaryError) -> UInt64 {
    guard offset >= 0, size <= bytes.count, offset <= bytes.count - size else {
      throw BinaryError(.truncated, "\(what): field at byte \(offset) lies outside its \(bytes.count) bytes")
    }
    var value: UInt64 = 0
    for i in 0..<size {
      value = value << 8 | UInt64(bytes[bigEndian ? offset + i : offset + size - 1 - i])
    }
    return value
  }
  func u16(_ offset: Int) throws(BinaryError) -> UInt16 { UInt16(truncatingIfNeeded: try integer(at: offset, size: 2)) }
  func u32(_ offset: Int) throws(BinaryError) -> UInt32 { UInt32(truncatingIfNeeded: try integer(at: offset, size: 4)) }
  func u64(_ offset: Int) throws(BinaryError) -> UInt64 { try integer(at: offset, size: 8) }
}
