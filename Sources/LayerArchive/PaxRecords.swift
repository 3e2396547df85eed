import OCIModel

/// Records of a pax extended header: "LENGTH KEY=VALUE\n", the length counting itself.
enum PaxRecords {
  static let schily = "SCHILY.xattr."
  static let libarchive = "LIBARCHIVE.xattr."

  /// Parses a header's content. GNU's sparse format 0.0 repeats keys; its pairs become the map of 0.1. Of other repeated keys the last counts.
  static func parse(_ content: UnsafeRawBufferPointer, _ fail: (String) -> LayerArchiveError) throws -> [String: [UInt8]] {
    var out: [String: [UInt8]] = [:]
    var map: [UInt8] = []
    var numbers = 0
    var at = 0
    while at < content.count {
      let (key, value, next) = try record(content, at, fail)
      at = next
      guard key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes" else {
        out[key] = value
        continue
      }
      guard (numbers % 2 == 0) == (key == "GNU.sparse.offset"), !value.contains(0x2c) else { throw fail("the sparse map's records are out of order") }
      if numbers > 0 { map.append(0x2c) }
      map += value
      numbers += 1
    }
    if numbers > 0 { out["GNU.sparse.map"] = map }
    return out
  }

  private static func record(_ content: UnsafeRawBufferPointer, _ start: Int, _ fail: (String) -> LayerArchiveError) throws -> (String, [UInt8], Int) {
    var at = start
    var length = 0
    while at < content.count, content[at] >= 0x30, content[at] <= 0x39, length < 1 << 40 {
      length = length * 10 + Int(content[at] - 0x30)
      at += 1
    }
    guard at > start, at < content.count, content[at] == 0x20, length >= 5, length <= content.count - start, start + length > at + 1 else {
      throw fail("a record of the extended header has no valid length")
    }
    let end = start + length
    guard content[end - 1] == 0x0a else { throw fail("a record of the extended header does not end where it says") }
    guard let equals = content[at + 1..<end - 1].firstIndex(of: 0x3d), equals > at + 1 else { throw fail("a record of the extended header has no key") }
    let keyBytes = UnsafeRawBufferPointer(rebasing: content[at + 1..<equals])
    guard !keyBytes.contains(0), let key = String(validating: keyBytes, as: UTF8.self) else { throw fail("a key of the extended header is not text") }
    let value = Array(content[equals + 1..<end - 1])
    if ["path", "linkpath", "uname", "gname"].contains(key), value.contains(0) { throw fail("the extended header's \(key) contains a NUL") }
    return (key, value, end)
  }

  /// Writes records in the order of their keys' bytes.
  static func format(_ records: [String: [UInt8]]) -> [UInt8] {
    var out: [UInt8] = []
    for key in records.keys.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      let value = records[key] ?? []
      let rest = key.utf8.count + value.count + 3
      var length = rest + String(rest).utf8.count
      if rest + String(length).utf8.count != length { length = rest + String(length).utf8.count }
      out += Array(String(length).utf8) + [0x20] + Array(key.utf8) + [0x3d]
      out += value
      out.append(0x0a)
    }
    return out
  }

  // MARK: values

  /// A decimal number, with a sign before it perhaps.
  static func integer(_ value: some Collection<UInt8>) -> Int64? {
    guard value.count <= 20, !value.isEmpty else { return nil }
    return Int64(String(decoding: value, as: UTF8.self))
  }

  /// Seconds with a fraction of any length, cut to nanoseconds; negative before 1970.
  static func time(_ value: [UInt8]) -> Timestamp? {
    let parts = value.split(separator: 0x2e, maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let seconds = integer(first) else { return nil }
    var nanoseconds: Int32 = 0
    var digits = 0
    if parts.count == 2 {
      for c in parts[1] {
        guard c >= 0x30, c <= 0x39 else { return nil }
        if digits < 9 {
          nanoseconds = nanoseconds * 10 + Int32(c - 0x30)
          digits += 1
        }
      }
      while digits < 9 {
        nanoseconds *= 10
        digits += 1
      }
    }
    let negative = first.first == 0x2d
    if negative, nanoseconds > 0, seconds == .min { return nil }
    return Timestamp(seconds: seconds, nanoseconds: negative ? -nanoseconds : nanoseconds)
  }

  static func format(_ time: Timestamp) -> [UInt8] {
    if time.nanoseconds == 0 { return Array(String(time.seconds).utf8) }
    var (sign, seconds, nanoseconds) = ("", time.seconds, Int64(time.nanoseconds))
    if seconds < 0 { (sign, seconds, nanoseconds) = ("-", -(seconds + 1), 1_000_000_000 - nanoseconds) }
    var fraction = String(nanoseconds)
    fraction = String(repeating: "0", count: 9 - fraction.utf8.count) + fraction
    while fraction.hasSuffix("0") { fraction.removeLast() }
    return Array("\(sign)\(seconds).\(fraction)".utf8)
  }

  /// libarchive's form: the name percent-encoded, the value in base64 without padding. nil when it is neither.
  static func libarchiveXattr(_ name: Substring, _ value: [UInt8]) -> (String, [UInt8])? {
    var bytes: [UInt8] = []
    var iterator = name.utf8.makeIterator()
    while let c = iterator.next() {
      guard c == 0x25 else {
        bytes.append(c)
        continue
      }
      guard let high = iterator.next().flatMap(hex), let low = iterator.next().flatMap(hex) else { return nil }
      bytes.append(high << 4 | low)
    }
    guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self), let decoded = base64(value) else { return nil }
    return (text, decoded)
  }

  private static func hex(_ c: UInt8) -> UInt8? {
    switch c {
    case 0x30...0x39: c - 0x30
    case 0x41...0x46: c - 0x37
    case 0x61...0x66: c - 0x57
    default: nil
    }
  }

  private static func base64(_ text: [UInt8]) -> [UInt8]? {
    var out: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for c in text {
      if c == 0x3d { break }
      let value: UInt8
      switch c {
      case 0x41...0x5a: value = c - 0x41
      case 0x61...0x7a: value = c - 0x61 + 26
      case 0x30...0x39: value = c - 0x30 + 52
      case 0x2b: value = 62
      case 0x2f: value = 63
      default: return nil
      }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return out
  }
}
