// What steps print, and what Dockerfiles name things, comes from others: before it reaches a terminal it must not be able to move the
// cursor, set the title, answer queries or hide text.

/// Takes terminal control out of a stream of bytes, whole sequences at a time, however the stream is cut into pieces.
///
/// Kept: text, tab, newline, carriage return, and colours (SGR, `ESC [ … m`) if asked for. Dropped: every other escape, C0 and C1 control.
package struct EscapeFilter: Sendable {
  private enum Mode { case text, escape, escapeIntermediate, csi, string, stringEscape, afterC2, stringAfterC2 }
  private var mode = Mode.text
  private var parameters: [UInt8] = []
  /// Bytes that the character begun last still needs.
  private var missing = 0
  private let keepsColours: Bool

  /// Colour sequences longer than this are none that a program means.
  private static let longestColour = 64

  package init(keepsColours: Bool) { self.keepsColours = keepsColours }

  package mutating func filter(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(bytes.underestimatedCount)
    for byte in bytes { step(byte, &out) }
    return out
  }

  private mutating func step(_ byte: UInt8, _ out: inout [UInt8]) {
    switch mode {
    case .text: text(byte, &out)
    case .afterC2:
      mode = .text
      // A beginning without its end must not find another end when what stands between is left out.
      switch byte {
      case 0x80...0x9f: c1(byte)
      case 0xa0...0xbf: out += [0xc2, byte]
      default: out += [0xef, 0xbf, 0xbd]; text(byte, &out)
      }
    case .escape: escape(byte, &out)
    case .escapeIntermediate:
      if byte == 0x1b { mode = .escape } else if !(0x20...0x2f).contains(byte) { mode = .text; if byte < 0x20 { text(byte, &out) } }
    case .csi: csi(byte, &out)
    case .string:
      // A string of an operating-system command ends at BEL, ST or CAN; a newline ends it too, so that a stray
      // introducer cannot swallow the rest of a log.
      if byte == 0x1b { mode = .stringEscape } else if byte == 0xc2 { mode = .stringAfterC2 } else if byte == 0x07 || byte == 0x18 || byte == 0x1a { mode = .text } else if byte == 0x0a { mode = .text; out.append(byte) }
    case .stringEscape:
      if byte == 0x5c { mode = .text } else { escape(byte, &out) }
    case .stringAfterC2:
      if byte == 0x9c { mode = .text } else if byte == 0x0a { mode = .text; out.append(byte) } else { mode = .string }
    }
  }

  private mutating func text(_ byte: UInt8, _ out: inout [UInt8]) {
    if (0x80...0xbf).contains(byte) {
      // By itself it is no text, and below 0xa0 a control to terminals that do not read UTF-8.
      if missing > 0 { missing -= 1 } else if byte < 0xa0 { return }
      out.append(byte)
      return
    }
    missing = byte < 0xc3 ? 0 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : byte < 0xf5 ? 3 : 0
    switch byte {
    case 0x1b: mode = .escape
    case 0x09, 0x0a, 0x0d: out.append(byte)
    case 0..<0x20, 0x7f: break
    case 0xc2: mode = .afterC2
    default: out.append(byte)
    }
  }

  private mutating func c1(_ byte: UInt8) {
    switch byte {
    case 0x9b: parameters = []; mode = .csi
    case 0x90, 0x98, 0x9d, 0x9e, 0x9f: mode = .string
    default: break
    }
  }

  private mutating func escape(_ byte: UInt8, _ out: inout [UInt8]) {
    switch byte {
    case 0x5b: parameters = []; mode = .csi
    case 0x50, 0x58, 0x5d, 0x5e, 0x5f: mode = .string
    case 0x20...0x2f: mode = .escapeIntermediate
    case 0x1b: mode = .escape
    case 0..<0x20: mode = .text; text(byte, &out)
    default: mode = .text
    }
  }

  private mutating func csi(_ byte: UInt8, _ out: inout [UInt8]) {
    switch byte {
    case 0x20...0x3f: if parameters.count <= Self.longestColour { parameters.append(byte) }
    case 0x40...0x7e:
      mode = .text
      let plain = parameters.count <= Self.longestColour && parameters.allSatisfy { (0x30...0x3b).contains($0) }
      if keepsColours, byte == 0x6d, plain { out += [0x1b, 0x5b] + parameters + [0x6d] }
    case 0x1b: mode = .escape
    case 0x18, 0x1a: mode = .text
    case 0x0a: mode = .text; out.append(byte)
    default: break
    }
  }
}

/// Text fitted to a terminal's cells.
package enum TerminalText {
  /// One line without control: newlines and tabs become spaces, what could act on the terminal or reorder the line is left out.
  package static func singleLine(_ text: String) -> String {
    var filter = EscapeFilter(keepsColours: false)
    let bytes = filter.filter(text.utf8).map { $0 == 0x0a || $0 == 0x09 || $0 == 0x0d ? UInt8(ascii: " ") : $0 }
    return withoutReordering(String(decoding: bytes, as: UTF8.self))
  }

  /// Several lines without control. A carriage return, which would write one line over another, is left out.
  package static func multiLine(_ text: String) -> String {
    var filter = EscapeFilter(keepsColours: false)
    return withoutReordering(String(decoding: filter.filter(text.utf8).filter { $0 != 0x0d }, as: UTF8.self))
  }

  /// Without the bidirectional controls, which make a line read as another.
  private static func withoutReordering(_ text: String) -> String {
    func reorders(_ s: Unicode.Scalar) -> Bool { (0x202a...0x202e).contains(s.value) || (0x2066...0x2069).contains(s.value) }
    guard text.unicodeScalars.contains(where: reorders) else { return text }
    var out = String.UnicodeScalarView()
    for scalar in text.unicodeScalars where !reorders(scalar) { out.append(scalar) }
    return String(out)
  }

  /// The cells a text takes at most: where terminals differ (joined emoji), the larger count, so that a line never wraps.
  package static func width(_ text: String) -> Int {
    text.utf8.allSatisfy { $0 < 0x80 } ? text.utf8.count : text.unicodeScalars.reduce(0) { $0 + width($1) }
  }

  /// The text if it fits, else as much of it as does, ending in an ellipsis.
  package static func fit(_ text: String, width limit: Int) -> String {
    if limit <= 0 { return "" }
    if width(text) <= limit { return text }
    var used = 0
    var out = ""
    for character in text {
      let w = character.unicodeScalars.reduce(0) { $0 + width($1) }
      if used + w > limit - 1 { break }
      used += w
      out.append(character)
    }
    return out + "…"
  }

  package static func pad(_ text: String, width limit: Int) -> String {
    text + String(repeating: " ", count: max(0, limit - width(text)))
  }

  private static func width(_ scalar: Unicode.Scalar) -> Int {
    let v = scalar.value
    if v < 0x300 { return v < 0x20 || (0x7f..<0xa0).contains(v) || v == 0xad ? 0 : 1 }
    if v == 0xfe0f { return 1 }  // asks for the emoji form, twice as wide, of what was counted once
    if (0x1160...0x11ff).contains(v) { return 0 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: break
    }
    return isWide(v) ? 2 : 1
  }

  private static func isWide(_ v: UInt32) -> Bool {
    if v < 0x1100 { return false }
    var low = 0, high = wide.count - 1
    while low <= high {
      let middle = (low + high) / 2
      if v < wide[middle].0 { high = middle - 1 } else if v > wide[middle].1 { low = middle + 1 } else { return true }
    }
    return false
  }

  /// East Asian Wide and Fullwidth (Unicode's EastAsianWidth.txt), neighbours joined across unassigned gaps.
  private static let wide: [(UInt32, UInt32)] = [
    (0x1100, 0x115f), (0x231a, 0x231b), (0x2329, 0x232a), (0x23e9, 0x23ec), (0x23f0, 0x23f0), (0x23f3, 0x23f3), (0x25fd, 0x25fe), (0x2614, 0x2615),
    (0x2648, 0x2653), (0x267f, 0x267f), (0x2693, 0x2693), (0x26a1, 0x26a1), (0x26aa, 0x26ab), (0x26bd, 0x26be), (0x26c4, 0x26c5), (0x26ce, 0x26ce),
    (0x26d4, 0x26d4), (0x26ea, 0x26ea), (0x26f2, 0x26f3), (0x26f5, 0x26f5), (0x26fa, 0x26fa), (0x26fd, 0x26fd), (0x2705, 0x2705), (0x270a, 0x270b),
    (0x2728, 0x2728), (0x274c, 0x274c), (0x274e, 0x274e), (0x2753, 0x2755), (0x2757, 0x2757), (0x2795, 0x2797), (0x27b0, 0x27b0), (0x27bf, 0x27bf),
    (0x2b1b, 0x2b1c), (0x2b50, 0x2b50), (0x2b55, 0x2b55), (0x2e80, 0x303e), (0x3041, 0x4dbf), (0x4e00, 0xa4cf), (0xa960, 0xa97f), (0xac00, 0xd7a3),
    (0xf900, 0xfaff), (0xfe10, 0xfe19), (0xfe30, 0xfe6f), (0xff01, 0xff60), (0xffe0, 0xffe6), (0x16fe0, 0x18cff), (0x1aff0, 0x1b2ff),
    (0x1f004, 0x1f004), (0x1f0cf, 0x1f0cf), (0x1f18e, 0x1f18e), (0x1f191, 0x1f19a), (0x1f200, 0x1f64f), (0x1f680, 0x1f6ff), (0x1f7e0, 0x1f7f0),
    (0x1f900, 0x1f9ff), (0x1fa70, 0x1faff), (0x20000, 0x3fffd),
  ]
}
