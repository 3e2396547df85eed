import HostOS

/// A name or a path as the bytes that it is in an archive or on a disk: names need not be UTF-8, and they compare by bytes,
/// not by canonical equivalence. `text` is the same as the rest of the program writes it (HostOS.PathText, lossless).
package struct ByteString: Hashable, Sendable, Comparable, ExpressibleByStringLiteral, CustomStringConvertible {
  package var bytes: [UInt8]

  package init() { bytes = [] }
  package init(_ bytes: [UInt8]) { self.bytes = bytes }
  package init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
  /// The bytes that HostOS's text stands for.
  package init(text: String) { bytes = PathText.bytes(text) }
  package init(stringLiteral value: String) { bytes = Array(value.utf8) }

  package var text: String { PathText.decode(bytes) }
  /// For people: bytes that are not UTF-8 are shown as U+FFFD.
  package var description: String { String(decoding: bytes, as: UTF8.self) }
  package var isEmpty: Bool { bytes.isEmpty }
  package var count: Int { bytes.count }
  package var containsNUL: Bool { bytes.contains(0) }

  package static func < (a: ByteString, b: ByteString) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }

  package func hasPrefix(_ prefix: ByteString) -> Bool { bytes.starts(with: prefix.bytes) }
  package func hasSuffix(_ suffix: ByteString) -> Bool { bytes.count >= suffix.count && bytes[(bytes.count - suffix.count)...].elementsEqual(suffix.bytes) }

  /// Components between slashes; empty ones and "." are left out, ".." stays.
  package var components: [ByteString] {
    bytes.split(separator: 0x2f, omittingEmptySubsequences: true).filter { !($0.count == 1 && $0.first == 0x2e) }.map { ByteString(Array($0)) }
  }

  /// `self` + "/" + `name`, or `name` alone when empty.
  package func appending(_ name: ByteString) -> ByteString {
    if bytes.isEmpty { return name }
    var out = [UInt8]()
    out.reserveCapacity(bytes.count + 1 + name.bytes.count)
    out.append(contentsOf: bytes)
    out.append(0x2f)
    out.append(contentsOf: name.bytes)
    return ByteString(out)
  }

  /// What is before the last slash, empty when there is none. Of a path without a slash at its end.
  package var parent: ByteString {
    guard let slash = bytes.lastIndex(of: 0x2f) else { return ByteString() }
    return ByteString(Array(bytes[..<slash]))
  }
  package var lastComponent: ByteString {
    guard let slash = bytes.lastIndex(of: 0x2f) else { return self }
    return ByteString(Array(bytes[(slash + 1)...]))
  }

  /// Calls `body` with the bytes as the kernel takes them. The caller has refused NULs.
  @inline(__always)
  func withCString<Value>(_ body: (UnsafePointer<CChar>) throws -> Value) rethrows -> Value {
    try withUnsafeTemporaryAllocation(of: CChar.self, capacity: bytes.count + 1) { buffer in
      bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
      buffer[bytes.count] = 0
      return try body(buffer.baseAddress!)
    }
  }
}
