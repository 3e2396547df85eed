/// JSON laid out anew without reading what it says: every token stays as it was written, as Go's `json.Indent` and `json.Compact` have it.
public enum JSONRelayout {
  /// Indented by `unit`. Space after the document's end stays. `text` must be valid JSON.
  public static func indented(_ text: [UInt8], _ unit: String) -> [UInt8] { laidOut(text, Array(unit.utf8)) }

  /// Without space between tokens, and with `<`, `>`, `&`, U+2028 and U+2029 escaped, as Go embeds a document in another. `text` must be valid JSON.
  public static func embedded(_ text: [UInt8]) -> [UInt8] { laidOut(text, nil) }

  private static func laidOut(_ text: [UInt8], _ unit: [UInt8]?) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(text.count * 2)
    var depth = 0
    var isEmptySoFar = false
    func newline() {
      guard let unit else { return }
      out.append(0x0a)
      for _ in 0..<depth { out += unit }
    }
    var i = 0
    while i < text.count {
      let c = text[i]
      i += 1
      if c == 0x20 || c == 0x09 || c == 0x0a || c == 0x0d {
        // Go keeps the space behind a document; that behind its opening brace is none.
        if unit != nil, depth == 0, !isEmptySoFar, !out.isEmpty { out.append(c) }
        continue
      }
      let closes = c == 0x7d || c == 0x5d
      if isEmptySoFar, !closes {
        depth += 1
        newline()
      }
      if isEmptySoFar, closes {
        isEmptySoFar = false
        out.append(c)
        continue
      }
      isEmptySoFar = false
      switch c {
      case 0x7b, 0x5b:
        out.append(c)
        isEmptySoFar = true
      case 0x7d, 0x5d:
        depth -= 1
        newline()
        out.append(c)
      case 0x2c:
        out.append(c)
        newline()
      case 0x3a: out += unit == nil ? [c] : [c, 0x20]
      case 0x22:
        let start = i - 1
        while i < text.count, text[i] != 0x22 { i += text[i] == 0x5c ? 2 : 1 }
        i = min(i + 1, text.count)
        unit == nil ? appendEscaped(text[start..<i], to: &out) : out.append(contentsOf: text[start..<i])
      default: out.append(c)
      }
    }
    return out
  }

  private static func appendEscaped(_ string: ArraySlice<UInt8>, to out: inout [UInt8]) {
    for c in string {
      switch c {
      case 0x3c: out += "\\u003c".utf8
      case 0x3e: out += "\\u003e".utf8
      case 0x26: out += "\\u0026".utf8
      case 0xa8, 0xa9:
        if out.suffix(2) == [0xe2, 0x80] {
          out.removeLast(2)
          out += (c == 0xa8 ? "\\u2028" : "\\u2029").utf8
        } else {
          out.append(c)
        }
      default: out.append(c)
      }
    }
  }
}
