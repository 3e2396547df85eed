/// Values inside Dockerfiles that BuildKit reads with Go's standard library, read alike.
enum GoValues {
  /// `strconv.ParseBool`
  static func bool(_ text: String) -> Bool? {
    switch text {
    case "1", "t", "T", "true", "TRUE", "True": true
    case "0", "f", "F", "false", "FALSE", "False": false
    default: nil
    }
  }

  /// `strconv.ParseUint` with 32 bits: digits only, no sign.
  static func uint32(_ text: String, radix: Int = 10) -> UInt32? {
    guard !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    return UInt32(text, radix: radix)
  }

  /// `time.ParseDuration`, in nanoseconds: `1h30m`, `1.5s`, `0`.
  static func duration(_ text: String) -> Int64? {
    var rest = Array(text.unicodeScalars)[...]
    let isNegative = rest.first == "-"
    if isNegative || rest.first == "+" { rest.removeFirst() }
    if rest.count == 1, rest.first == "0" { return 0 }
    if rest.isEmpty { return nil }
    var total: UInt64 = 0
    while !rest.isEmpty {
      guard let part = durationPart(&rest) else { return nil }
      let (sum, overflow) = total.addingReportingOverflow(part)
      guard !overflow, sum <= 1 << 63 else { return nil }
      total = sum
    }
    if isNegative { return total == 1 << 63 ? Int64.min : -Int64(total) }
    return Int64(exactly: total)
  }

  /// One number with its unit, taken from the front.
  private static func durationPart(_ rest: inout ArraySlice<Unicode.Scalar>) -> UInt64? {
    func digits() -> ArraySlice<Unicode.Scalar> {
      let digits = rest.prefix { $0.isASCIIDigit }
      rest = rest.dropFirst(digits.count)
      return digits
    }
    let whole = digits()
    var fraction: ArraySlice<Unicode.Scalar> = []
    if rest.first == "." {
      rest.removeFirst()
      fraction = digits()
    }
    guard !whole.isEmpty || !fraction.isEmpty else { return nil }
    let unitText = rest.prefix { $0 != "." && !$0.isASCIIDigit }
    rest = rest.dropFirst(unitText.count)
    let units: [String: UInt64] = [
      "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
    ]
    guard let unit = units[unitText.text], let count = whole.isEmpty ? 0 : UInt64(whole.text) else { return nil }
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    guard !overflow, product <= 1 << 63 else { return nil }
    // Digits past what a 63-bit number holds do not count, as in Go.
    var (numerator, scale): (UInt64, Double) = (0, 1)
    for digit in fraction {
      let (next, overflow) = numerator.multipliedReportingOverflow(by: 10)
      guard !overflow, next <= UInt64(Int64.max) - 9 else { break }
      numerator = next + UInt64(digit.value - 0x30)
      scale *= 10
    }
    return product + UInt64(Double(numerator) * (Double(unit) / scale))
  }

  /// `units.RAMInBytes`: a number and k, m, g, t or p (powers of 1024), with an optional `b` or `ib`.
  static func bytes(_ text: String) -> Int64? {
    let scalars = Array(text.unicodeScalars)
    guard let last = scalars.lastIndex(where: { $0.isASCIIDigit || $0 == "." || $0 == " " }) else { return nil }
    let number = scalars[..<(scalars[last] == " " ? last : last + 1)]
    let suffix = scalars[(last + 1)...].text.asciiLowercased
    let allowed = "0123456789+-.eE".unicodeScalars
    guard number.allSatisfy({ allowed.contains($0) }), let value = Double(number.text), value >= 0 else { return nil }
    var factor = 1.0
    if let letter = suffix.first, suffix != "b" {
      guard let power = ["k", "m", "g", "t", "p"].firstIndex(of: String(letter)) else { return nil }
      guard ["", "b", "ib"].contains(suffix.dropFirst()) else { return nil }
      for _ in 0...power { factor *= 1024 }
    }
    let size = (value * factor).rounded(.towardZero)
    return Int64(exactly: size)
  }

  /// One line of comma-separated values; quotes as in RFC 4180. Nil when a quote stands where none may, or the line is empty.
  static func csvFields(_ text: String) -> [String]? {
    var scalars = Array(text.unicodeScalars)
    if scalars.last == "\n" {
      scalars.removeLast()
      if scalars.last == "\r" { scalars.removeLast() }
    }
    if scalars.isEmpty { return nil }
    var fields: [String] = []
    var index = 0
    while true {
      var field: [Unicode.Scalar] = []
      if index < scalars.count, scalars[index] == "\"" {
        index += 1
        while true {
          guard index < scalars.count else { return nil }
          if scalars[index] != "\"" {
            field.append(scalars[index])
          } else if index + 1 < scalars.count, scalars[index + 1] == "\"" {
            field.append("\"")
            index += 1
          } else {
            break
          }
          index += 1
        }
        index += 1
        guard index == scalars.count || scalars[index] == "," else { return nil }
      } else {
        let end = scalars[index...].firstIndex(of: ",") ?? scalars.count
        field = Array(scalars[index..<end])
        if field.contains("\"") { return nil }
        index = end
      }
      fields.append(field.text)
      if index == scalars.count { return fields }
      index += 1
    }
  }
}
