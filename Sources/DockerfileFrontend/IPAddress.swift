/// An IPv4 or IPv6 address, without a zone, written in its canonical form (RFC 5952; an IPv4 address in IPv6 form is written as IPv4).
struct IPAddress: Hashable, Sendable, CustomStringConvertible {
  /// 16 bytes; IPv4 after ten zeros and two 0xff.
  private let bytes: [UInt8]

  init?(parsing text: String) {
    if let four = IPAddress.parse4(Substring(text)) {
      bytes = [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + four
    } else if let sixteen = IPAddress.parse6(text) {
      bytes = sixteen
    } else {
      return nil
    }
  }

  private static func parse4(_ text: Substring) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var out: [UInt8] = []
    for part in parts {
      guard !part.isEmpty, part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), part == "0" || part.first != "0", let byte = UInt8(part) else { return nil }
      out.append(byte)
    }
    return out
  }

  private static func parse6(_ text: String) -> [UInt8]? {
    func groups(_ text: Substring, mayEndIn4: Bool) -> [UInt8]? {
      if text.isEmpty { return [] }
      var out: [UInt8] = []
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      for (i, part) in parts.enumerated() {
        if mayEndIn4, i == parts.count - 1, part.contains(".") {
          guard let four = parse4(part) else { return nil }
          out += four
        } else {
          guard (1...4).contains(part.utf8.count), part.utf8.first != UInt8(ascii: "+"), let group = UInt16(part, radix: 16) else { return nil }
          out += [UInt8(group >> 8), UInt8(group & 0xff)]
        }
      }
      return out
    }
    guard let gap = text.range(ofPair: ":") else {
      guard let all = groups(Substring(text), mayEndIn4: true), all.count == 16 else { return nil }
      return all
    }
    guard let head = groups(text[..<gap.lowerBound], mayEndIn4: false), let tail = groups(text[gap.upperBound...], mayEndIn4: true), head.count + tail.count < 16 else { return nil }
    return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
  }

  var description: String {
    if bytes.prefix(10).allSatisfy({ $0 == 0 }), bytes[10] == 0xff, bytes[11] == 0xff { return bytes.suffix(4).map { String($0) }.joined(separator: ".") }
    let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
    // The longest run of zero groups, the first of equals, at least two.
    var best = 0..<0, i = 0
    while i < 8 {
      guard groups[i] == 0 else { i += 1; continue }
      var end = i
      while end < 8, groups[end] == 0 { end += 1 }
      if end - i > max(best.count, 1) { best = i..<end }
      i = end
    }
    func text(_ range: Range<Int>) -> String { groups[range].map { String($0, radix: 16) }.joined(separator: ":") }
    return best.isEmpty ? text(0..<8) : text(0..<best.lowerBound) + "::" + text(best.upperBound..<8)
  }
}

extension String {
  /// Where a character stands twice in a row for the first time.
  fileprivate func range(ofPair character: Character) -> Range<Index>? {
    var i = startIndex
    while i < endIndex {
      let next = index(after: i)
      if self[i] == character, next < endIndex, self[next] == character { return i..<index(after: next) }
      i = next
    }
    return nil
  }
}
