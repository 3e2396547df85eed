/// File names are bytes; here they travel as `String`. A name that is valid UTF-8 is itself. A byte that is not part of valid UTF-8
/// (always 0x80 or above) becomes the private-use scalar U+10FF00 + byte, and those scalars in a real name become their bytes'
/// scalars: so every name comes back as the bytes it was, and no two names become one. Strings compare by canonical equivalence,
/// names do not: where that matters compare `PathText.bytes`.
package enum PathText {
  /// The text that stands for a name's bytes.
  package static func decode(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
    if !bytes.contains(0xF4), let text = String(validating: bytes, as: UTF8.self) { return text }
    return decodeByHand(bytes)
  }

  package static func decode(_ bytes: [UInt8]) -> String { bytes.withUnsafeBufferPointer { decode($0) } }

  /// The bytes of a name.
  package static func bytes(_ text: String) -> [UInt8] {
    if !text.utf8.contains(0xF4) { return Array(text.utf8) }
    var out: [UInt8] = []
    for scalar in text.unicodeScalars {
      if reserved.contains(scalar.value) { out.append(UInt8(scalar.value & 0xFF)) } else { out.append(contentsOf: String(scalar).utf8) }
    }
    return out
  }

  /// Whether the text stands for bytes that are not valid UTF-8.
  package static func isEscaped(_ text: String) -> Bool {
    text.utf8.contains(0xF4) && text.unicodeScalars.contains { reserved.contains($0.value) }
  }

  /// The order of the names' bytes.
  package static func precedes(_ a: String, _ b: String) -> Bool {
    if a.utf8.contains(0xF4) || b.utf8.contains(0xF4) { return bytes(a).lexicographicallyPrecedes(bytes(b)) }
    return a.utf8.lexicographicallyPrecedes(b.utf8)
  }

  private static let reserved: ClosedRange<UInt32> = 0x10FF80...0x10FFFF

  private static func decodeByHand(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
    var out = String.UnicodeScalarView()
    var at = 0
    while at < bytes.count {
      let length = sequenceLength(bytes, at)
      if length > 0, let scalar = scalar(bytes, at, length), !reserved.contains(scalar.value) {
        out.append(scalar)
        at += length
      } else {
        out.append(Unicode.Scalar(0x10FF00 + UInt32(bytes[at]))!)
        at += 1
      }
    }
    return String(out)
  }

  /// The length of the UTF-8 sequence at `at`, or 0 when it is not a valid one.
  private static func sequenceLength(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> Int {
    let first = bytes[at]
    let length = first < 0x80 ? 1 : first >= 0xC2 && first < 0xE0 ? 2 : first >= 0xE0 && first < 0xF0 ? 3 : first >= 0xF0 && first < 0xF5 ? 4 : 0
    guard length > 0, at + length <= bytes.count else { return 0 }
    for index in stride(from: 1, to: length, by: 1) where bytes[at + index] & 0xC0 != 0x80 { return 0 }
    return length
  }

  private static func scalar(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int, _ length: Int) -> Unicode.Scalar? {
    if length == 1 { return Unicode.Scalar(bytes[at]) }
    var value = UInt32(bytes[at]) & (0xFF >> UInt32(length + 1))
    for index in 1..<length { value = value << 6 | UInt32(bytes[at + index] & 0x3F) }
    let least: UInt32 = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000
    return value < least ? nil : Unicode.Scalar(value)
  }
}

/// Calls `body` with a path as the kernel takes it. A NUL inside would cut it short unseen, so it is refused.
@inline(__always)
func withPath<Result>(_ path: String, _ operation: String, _ body: (UnsafePointer<CChar>) throws -> Result) throws -> Result {
  var plain = true
  for byte in path.utf8 where byte == 0 || byte == 0xF4 {
    if byte == 0 { throw HostError(.invalid, operation: operation, path: path, message: "the path contains a NUL byte") }
    plain = false
  }
  if plain { return try path.withCString(body) }
  let bytes = PathText.bytes(path) + [0]
  return try bytes.withUnsafeBufferPointer { buffer in
    try buffer.withMemoryRebound(to: CChar.self) { try body($0.baseAddress!) }
  }
}
