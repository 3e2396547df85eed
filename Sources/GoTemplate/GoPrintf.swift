/// Go's `fmt.Sprintf`, as far as templates' values reach.
enum GoPrintf {
  private struct Flags {
    var minus = false, plus = false, sharp = false, zero = false, space = false
    var width: Int?
    var precision: Int?
  }
  /// Wider than any table; a template must not make the program fill its memory.
  private static let widest = 1 << 16

  static func format(_ format: String, _ arguments: [TemplateValue]) -> String {
    var out = ""
    var rest = Array(format.unicodeScalars)[...]
    var used = 0
    while let scalar = rest.popFirst() {
      guard scalar == "%" else {
        out.unicodeScalars.append(scalar)
        continue
      }
      var flags = Flags()
      options(&rest, &flags, arguments, &used, &out)
      guard let verb = rest.popFirst() else {
        out += "%!(NOVERB)"
        break
      }
      if verb == "%" {
        out += "%"
      } else if used >= arguments.count {
        out += "%!\(verb)(MISSING)"
      } else {
        out += padded(one(verb, arguments[used], flags), flags, arguments[used], verb)
        used += 1
      }
    }
    if used < arguments.count {
      out += "%!(EXTRA " + arguments[used...].map { $0 == .none ? "<nil>" : "\($0.typeName)=\($0.text)" }.joined(separator: ", ") + ")"
    }
    return out
  }

  private static func options(
    _ rest: inout ArraySlice<Unicode.Scalar>, _ flags: inout Flags, _ arguments: [TemplateValue], _ used: inout Int, _ out: inout String
  ) {
    loop: while let flag = rest.first {
      switch flag {
      case "-": flags.minus = true
      case "+": flags.plus = true
      case "#": flags.sharp = true
      case "0": flags.zero = !flags.minus
      case " ": flags.space = true
      default: break loop
      }
      rest.removeFirst()
    }
    func number() -> Int? {
      if rest.first == "*" {
        rest.removeFirst()
        guard used < arguments.count, case .int(let value) = arguments[used], abs(value) < widest else {
          used += 1
          out += "%!(BADWIDTH)"
          return nil
        }
        used += 1
        return Int(value)
      }
      var value: Int?
      while let digit = rest.first, ("0"..."9").contains(digit) {
        value = min((value ?? 0) * 10 + Int(digit.value - 48), widest)
        rest.removeFirst()
      }
      return value
    }
    flags.width = number()
    if let width = flags.width, width < 0 { (flags.minus, flags.zero, flags.width) = (true, false, -width) }
    if rest.first == "." {
      rest.removeFirst()
      flags.precision = max(0, number() ?? 0)
    }
    if flags.minus { flags.zero = false }
  }

  private static func padded(_ text: String, _ flags: Flags, _ value: TemplateValue, _ verb: Unicode.Scalar) -> String {
    guard let width = flags.width else { return text }
    let missing = width - text.unicodeScalars.count
    if missing <= 0 { return text }
    if flags.minus { return text + String(repeating: " ", count: missing) }
    guard flags.zero else { return String(repeating: " ", count: missing) + text }
    switch value {
    case .int, .float:
      let sign = text.prefix { $0 == "-" || $0 == "+" || $0 == " " }
      return sign + String(repeating: "0", count: missing) + text.dropFirst(sign.count)
    default: return String(repeating: "0", count: missing) + text
    }
  }

  private static func one(_ verb: Unicode.Scalar, _ value: TemplateValue, _ flags: Flags) -> String {
    if verb == "T" { return value.typeName }
    var flags = flags
    // `%+v` names fields; it puts no sign before numbers.
    let names = verb == "v" && flags.plus
    if verb == "v" { flags.plus = false }
    switch value {
    case .none: return verb == "v" ? "<nil>" : "%!\(verb)(<nil>)"
    case .bool(let flag): return verb == "t" || verb == "v" ? (flag ? "true" : "false") : bad(verb, value)
    case .int(let number): return int(verb, number, flags) ?? bad(verb, value)
    case .float(let number): return float(verb, number, flags) ?? bad(verb, value)
    case .string(let text): return string(verb, text, flags) ?? bad(verb, value)
    case .list(let list):
      if verb == "v" || list.isEmpty { return value.text }
      return "[" + list.map { one(verb, $0, flags) }.joined(separator: " ") + "]"
    case .map(let map):
      return "map[" + TemplateValue.sorted(map).map { "\(one(verb, .string($0.key), flags)):\(one(verb, $0.value, flags))" }.joined(separator: " ") + "]"
    case .object(let object):
      return "{" + object.fields.map { (names ? $0.name + ":" : "") + one(verb, $0.value, flags) }.joined(separator: " ") + "}"
    }
  }

  private static func bad(_ verb: Unicode.Scalar, _ value: TemplateValue) -> String { "%!\(verb)(\(value.typeName)=\(value.text))" }

  private static func int(_ verb: Unicode.Scalar, _ value: Int64, _ flags: Flags) -> String? {
    func based(_ radix: Int, prefix: String, uppercase: Bool = false) -> String {
      var digits = String(value.magnitude, radix: radix, uppercase: uppercase)
      if let precision = flags.precision, digits.count < precision { digits = String(repeating: "0", count: precision - digits.count) + digits }
      return (value < 0 ? "-" : flags.plus ? "+" : flags.space ? " " : "") + (flags.sharp || prefix == "0o" ? prefix : "") + digits
    }
    switch verb {
    case "d", "v": return based(10, prefix: "")
    case "b": return based(2, prefix: "0b")
    case "o": return based(8, prefix: "0")
    case "O": return based(8, prefix: "0o")
    case "x": return based(16, prefix: "0x")
    case "X": return based(16, prefix: "0X", uppercase: true)
    case "c": return String(UInt32(exactly: value).flatMap { Unicode.Scalar($0) } ?? "\u{fffd}")
    case "q": return "'" + String(UInt32(exactly: value).flatMap { Unicode.Scalar($0) } ?? "\u{fffd}") + "'"
    case "U":
      let hex = String(value.magnitude, radix: 16, uppercase: true)
      return "U+" + String(repeating: "0", count: max(0, 4 - hex.count)) + hex
    default: return nil
    }
  }

  private static func float(_ verb: Unicode.Scalar, _ value: Double, _ flags: Flags) -> String? {
    let sign = flags.plus && value >= 0 ? "+" : flags.space && value >= 0 ? " " : ""
    switch verb {
    case "v", "g", "G":
      guard flags.precision == nil else { return nil }
      return sign + GoNumber.shortest(value)
    case "f", "F": return sign + fixed(value, flags.precision ?? 6)
    case "e", "E":
      let precision = flags.precision ?? 6
      if value == 0 { return sign + fixed(0, precision) + "\(verb)+00" }
      var exponent = 0
      var mantissa = value.magnitude
      while mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
      while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
      var digits = fixed(mantissa, precision)
      if digits.hasPrefix("10") { (digits, exponent) = (fixed(1, precision), exponent + 1) }
      let power = String(abs(exponent))
      return (value < 0 ? "-" : sign) + digits + "\(verb)" + (exponent < 0 ? "-" : "+") + (power.count < 2 ? "0" : "") + power
    default: return nil
    }
  }

  /// Decimals, rounded to even as Go does where a half is exact.
  private static func fixed(_ value: Double, _ precision: Int) -> String {
    if !value.isFinite { return GoNumber.shortest(value) }
    let precision = min(precision, 30)
    var scale = 1.0
    for _ in 0..<precision { scale *= 10 }
    let scaled = (value.magnitude * scale).rounded(.toNearestOrEven)
    guard scaled < 9e15 else { return GoNumber.shortest(value) }
    var digits = String(Int64(scaled))
    if digits.count <= precision { digits = String(repeating: "0", count: precision + 1 - digits.count) + digits }
    let whole = digits.dropLast(precision), fraction = digits.suffix(precision)
    return (value < 0 ? "-" : "") + whole + (precision > 0 ? "." + fraction : "")
  }

  private static func string(_ verb: Unicode.Scalar, _ text: String, _ flags: Flags) -> String? {
    var text = text
    if let precision = flags.precision, verb != "x", verb != "X" { text = String(String.UnicodeScalarView(text.unicodeScalars.prefix(precision))) }
    switch verb {
    case "s", "v": return text
    case "q": return quoted(text)
    case "x", "X": return text.utf8.map { String($0 >> 4, radix: 16, uppercase: verb == "X") + String($0 & 15, radix: 16, uppercase: verb == "X") }.joined()
    default: return nil
    }
  }

  /// strconv.Quote. (The frontend has its own, exact to the last unprintable character since digests depend on it; targets without imports share none.)
  static func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\u{7}": out += "\\a"
      case "\u{8}": out += "\\b"
      case "\u{c}": out += "\\f"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case "\u{b}": out += "\\v"
      case _ where scalar.value < 0x20 || scalar.value == 0x7f:
        let hex = String(scalar.value, radix: 16)
        out += "\\x" + (hex.count < 2 ? "0" : "") + hex
      case _ where scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format:
        let hex = String(scalar.value, radix: 16)
        out += (scalar.value < 0x10000 ? "\\u" + String(repeating: "0", count: 4 - hex.count) : "\\U" + String(repeating: "0", count: 8 - hex.count)) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out + "\""
  }
}
