/// Reads the JSON that a Dockerfile may hold: arrays of strings, and an object with a `syntax` member. Strict, as RFC 8259 asks.
struct JSONText {
  /// What an argument that may be a JSON array turned out to be.
  enum StringArray: Equatable {
    /// An array of nothing but strings, and where each stands in the text's UTF-8, quotes included.
    case strings([String], [Range<Int>])
    /// An array that holds something else too.
    case mixed
    /// No JSON, or no array.
    case none
  }

  /// How deep values may nest.
  static let maximumDepth = 10_000

  private let bytes: [UInt8]
  private var position = 0

  private init(_ text: String) { bytes = Array(text.utf8) }

  /// Takes `text` as an array of strings.
  static func stringArray(_ text: String) -> StringArray {
    var json = JSONText(text)
    json.skipBlanks()
    guard json.take("[") else { return .none }
    var strings: [String] = []
    var spans: [Range<Int>] = []
    var isMixed = false
    json.skipBlanks()
    if !json.take("]") {
      repeat {
        json.skipBlanks()
        if json.peek == UInt8(ascii: "\"") {
          let start = json.position
          guard let string = json.string() else { return .none }
          strings.append(string)
          spans.append(start..<json.position)
        } else {
          guard json.skipValue() else { return .none }
          isMixed = true
        }
        json.skipBlanks()
      } while json.take(",")
      guard json.take("]") else { return .none }
    }
    json.skipBlanks()
    guard json.position == json.bytes.count else { return .none }
    return isMixed ? .mixed : .strings(strings, spans)
  }

  /// Spans of a text's UTF-8, in order, as spans of its scalars, counted from `start` on.
  static func scalarSpans(_ spans: [Range<Int>], in text: String, from start: Int) -> [TextSpan] {
    var (byte, scalar) = (0, start)
    var rest = text.utf8[...]
    func advance(to target: Int) -> Int {
      let step = target - byte
      // Continuation bytes begin no scalar.
      scalar += rest.prefix(step).count { $0 & 0xC0 != 0x80 }
      rest = rest.dropFirst(step)
      byte = target
      return scalar
    }
    return spans.map { span in
      let low = advance(to: span.lowerBound)
      return TextSpan(low..<advance(to: span.upperBound))
    }
  }

  /// The string member `name` of the object that `text` is, or nil.
  static func stringMember(_ name: String, of text: String) -> String? {
    var json = JSONText(text)
    var found: String?
    json.skipBlanks()
    guard json.take("{") else { return nil }
    json.skipBlanks()
    if !json.take("}") {
      repeat {
        json.skipBlanks()
        guard let key = json.string() else { return nil }
        json.skipBlanks()
        guard json.take(":") else { return nil }
        json.skipBlanks()
        if json.peek == UInt8(ascii: "\"") {
          guard let value = json.string() else { return nil }
          if key == name { found = value }
        } else {
          guard json.skipValue() else { return nil }
          if key == name { found = nil }
        }
        json.skipBlanks()
      } while json.take(",")
      guard json.take("}") else { return nil }
    }
    json.skipBlanks()
    return json.position == json.bytes.count ? found : nil
  }

  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard let byte = peek, UInt32(byte) == scalar.value else { return false }
    position += 1
    return true
  }

  private mutating func skipBlanks() {
    while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
  }

  private mutating func take(word: StaticString) -> Bool {
    let length = word.utf8CodeUnitCount
    guard position + length <= bytes.count else { return false }
    for offset in 0..<length where bytes[position + offset] != word.utf8Start[offset] { return false }
    position += length
    return true
  }

  private mutating func string() -> String? {
    guard take("\"") else { return nil }
    var result: [UInt8] = []
    while let byte = peek {
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return String(decoding: result, as: UTF8.self)
      case 0..<0x20: return nil
      case UInt8(ascii: "\\"):
        guard let scalar = escape() else { return nil }
        result += Array(String(Character(scalar)).utf8)
      default: result.append(byte)
      }
    }
    return nil
  }

  private mutating func escape() -> Unicode.Scalar? {
    guard let byte = peek else { return nil }
    position += 1
    switch byte {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      guard let unit = hexUnit() else { return nil }
      guard (0xD800..<0xE000).contains(unit) else { return Unicode.Scalar(unit) }
      // A surrogate: with its partner one character, alone the replacement character.
      let mark = position
      if unit < 0xDC00, take("\\"), take("u"), let low = hexUnit(), (0xDC00..<0xE000).contains(low) {
        return Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
      }
      position = mark
      return "\u{FFFD}"
    default: return nil
    }
  }

  private mutating func hexUnit() -> UInt32? {
    guard position + 4 <= bytes.count else { return nil }
    var unit: UInt32 = 0
    for byte in bytes[position..<position + 4] {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else { return nil }
      unit = unit << 4 | UInt32(digit)
    }
    position += 4
    return unit
  }

  private mutating func number() -> Bool {
    func isDigit(_ byte: UInt8?) -> Bool { byte.map { $0 >= 0x30 && $0 <= 0x39 } ?? false }
    _ = take("-")
    guard isDigit(peek) else { return false }
    if !take("0") { while isDigit(peek) { position += 1 } }
    if take(".") {
      guard isDigit(peek) else { return false }
      while isDigit(peek) { position += 1 }
    }
    if take("e") || take("E") {
      if !take("+") { _ = take("-") }
      guard isDigit(peek) else { return false }
      while isDigit(peek) { position += 1 }
    }
    return true
  }

  /// Passes over one value of any kind, without recursion.
  private mutating func skipValue() -> Bool {
    var open: [UInt8] = []
    while true {
      skipBlanks()
      var isComplete = true
      switch peek {
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        let bracket = bytes[position]
        position += 1
        skipBlanks()
        let close: UInt8 = bracket == UInt8(ascii: "[") ? UInt8(ascii: "]") : UInt8(ascii: "}")
        if peek == close {
          position += 1
          break
        }
        open.append(close)
        guard open.count < JSONText.maximumDepth, close == UInt8(ascii: "]") || key() else { return false }
        isComplete = false
      case UInt8(ascii: "\""): guard string() != nil else { return false }
      case UInt8(ascii: "t"): guard take(word: "true") else { return false }
      case UInt8(ascii: "f"): guard take(word: "false") else { return false }
      case UInt8(ascii: "n"): guard take(word: "null") else { return false }
      default: guard number() else { return false }
      }
      while isComplete {
        guard let close = open.last else { return true }
        skipBlanks()
        if take(",") {
          guard close == UInt8(ascii: "]") || key() else { return false }
          isComplete = false
        } else {
          guard peek == close else { return false }
          position += 1
          open.removeLast()
        }
      }
    }
  }

  private mutating func key() -> Bool {
    skipBlanks()
    guard string() != nil else { return false }
    skipBlanks()
    return take(":")
  }
}
