/// A point in time with nanoseconds, written as Go writes it (RFC 3339, trailing zeros of the fraction dropped, `Z`).
public struct Timestamp: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// Seconds since 1970-01-01T00:00:00Z; negative before.
  public var seconds: Int64
  /// 0 ..< 1_000_000_000.
  public var nanoseconds: Int32

  public init(seconds: Int64, nanoseconds: Int32 = 0) {
    let carry = Int64(nanoseconds) / 1_000_000_000 - (nanoseconds % 1_000_000_000 < 0 ? 1 : 0)
    self.seconds = seconds &+ carry
    self.nanoseconds = Int32(Int64(nanoseconds) - carry * 1_000_000_000)
  }
  /// Nanoseconds since the epoch; saturates outside 1677…2262.
  public init(nanosecondsSinceEpoch total: Int64) {
    var s = total / 1_000_000_000, n = total % 1_000_000_000
    if n < 0 { n += 1_000_000_000; s -= 1 }
    (seconds, nanoseconds) = (s, Int32(n))
  }
  public var nanosecondsSinceEpoch: Int64 {
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return seconds < 0 ? .min : .max }
    let (sum, more) = product.addingReportingOverflow(Int64(nanoseconds))
    return more ? .max : sum
  }

  /// Parses RFC 3339, any offset, fraction of any length (cut to nanoseconds). Throws `OCIError.invalidDocument`.
  public init(rfc3339 text: String) throws(OCIError) {
    guard let value = Timestamp.parse(Array(text.utf8)) else {
      throw OCIError(.invalidDocument, "invalid time \"\(text.prefix(60))\": expected RFC 3339, as 2024-01-31T12:00:00Z")
    }
    self = value
  }

  private static func parse(_ b: [UInt8]) -> Timestamp? {
    func number(_ from: Int, _ count: Int) -> Int64? {
      guard from + count <= b.count else { return nil }
      var n: Int64 = 0
      for c in b[from..<from + count] { guard c >= 0x30, c <= 0x39 else { return nil }; n = n * 10 + Int64(c - 0x30) }
      return n
    }
    guard b.count >= 20, let year = number(0, 4), b[4] == 0x2d, let month = number(5, 2), b[7] == 0x2d, let day = number(8, 2),
      b[10] == 0x54 || b[10] == 0x74, let hour = number(11, 2), b[13] == 0x3a, let minute = number(14, 2), b[16] == 0x3a, let second = number(17, 2),
      (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second <= 60
    else { return nil }
    var i = 19
    var nanos: Int64 = 0
    if b[i] == 0x2e {
      i += 1
      var digits = 0
      while i < b.count, b[i] >= 0x30, b[i] <= 0x39 {
        if digits < 9 { nanos = nanos * 10 + Int64(b[i] - 0x30); digits += 1 }
        i += 1
      }
      guard digits > 0 else { return nil }
      for _ in digits..<9 { nanos *= 10 }
    }
    guard i < b.count else { return nil }
    var offset: Int64 = 0
    if b[i] == 0x5a || b[i] == 0x7a {
      guard i + 1 == b.count else { return nil }
    } else {
      guard b[i] == 0x2b || b[i] == 0x2d, let h = number(i + 1, 2), i + 3 < b.count, b[i + 3] == 0x3a, let m = number(i + 4, 2), i + 6 == b.count else { return nil }
      offset = (h * 60 + m) * 60 * (b[i] == 0x2d ? -1 : 1)
    }
    let days = daysFromCivil(year, month, day)
    return Timestamp(seconds: days * 86400 + hour * 3600 + minute * 60 + second - offset, nanoseconds: Int32(nanos))
  }

  // Howard Hinnant's civil-calendar arithmetic, proleptic Gregorian.
  private static func daysFromCivil(_ y: Int64, _ m: Int64, _ d: Int64) -> Int64 {
    let y = m <= 2 ? y - 1 : y
    let era = (y >= 0 ? y : y - 399) / 400
    let yoe = y - era * 400
    let doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy
    return era * 146097 + doe - 719468
  }

  public var description: String {
    var days = seconds / 86400, rest = seconds % 86400
    if rest < 0 { rest += 86400; days -= 1 }
    let z = days + 719468
    let era = (z >= 0 ? z : z - 146096) / 146097
    let doe = z - era * 146097
    let yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100)
    let mp = (5 * doy + 2) / 153
    let day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9
    let year = yoe + era * 400 + (month <= 2 ? 1 : 0)
    func pad(_ n: Int64, _ width: Int) -> String { let s = String(n); return String(repeating: "0", count: max(0, width - s.count)) + s }
    var out = "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T\(pad(rest / 3600, 2)):\(pad(rest / 60 % 60, 2)):\(pad(rest % 60, 2))"
    if nanoseconds != 0 {
      var fraction = pad(Int64(nanoseconds), 9)
      while fraction.hasSuffix("0") { fraction.removeLast() }
      out += "." + fraction
    }
    return out + "Z"
  }

  public static func < (a: Timestamp, b: Timestamp) -> Bool { (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds) }
}
