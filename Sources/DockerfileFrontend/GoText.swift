internal import OCIModel

/// Text as Go's `fmt` and `strconv` write and read it: the history of an image and the names of steps are compared byte for byte
/// with those of other builders.
enum GoText {
  /// `%q` of a string.
  static func quoted(_ text: String) -> String { GoQuote.of(text) }

  /// `%q` of a list of strings.
  static func quoted(_ list: [String]) -> String { "[" + list.map(quoted).joined(separator: " ") + "]" }
  /// `%v` of a list of strings.
  static func list(_ list: [String]) -> String { "[" + list.joined(separator: " ") + "]" }

  /// A duration of nanoseconds, as `1m30s`, `1.5ms`, `0s`.
  static func duration(_ nanoseconds: Int64) -> String {
    if nanoseconds == 0 { return "0s" }
    let sign = nanoseconds < 0 ? "-" : "", n = nanoseconds.magnitude
    func decimal(_ unit: UInt64, _ suffix: String) -> String {
      var fraction = String(n % unit)
      fraction = String(repeating: "0", count: String(unit).count - 1 - fraction.count) + fraction
      while fraction.hasSuffix("0") { fraction.removeLast() }
      return sign + String(n / unit) + (fraction.isEmpty ? "" : "." + fraction) + suffix
    }
    if n < 1000 { return sign + String(n) + "ns" }
    if n < 1_000_000 { return decimal(1000, "µs") }
    if n < 1_000_000_000 { return decimal(1_000_000, "ms") }
    let total = n / 1_000_000_000
    var seconds = String(n % 60_000_000_000 / 1_000_000_000)
    var fraction = String(n % 1_000_000_000)
    fraction = String(repeating: "0", count: 9 - fraction.count) + fraction
    while fraction.hasSuffix("0") { fraction.removeLast() }
    if !fraction.isEmpty { seconds += "." + fraction }
    let hours = total / 3600, minutes = total / 60 % 60
    if hours > 0 { return "\(sign)\(hours)h\(minutes)m\(seconds)s" }
    return sign + (minutes > 0 ? "\(minutes)m" : "") + seconds + "s"
  }

  /// What `strconv.ParseBool` takes.
  static func bool(_ text: String) -> Bool? {
    switch text {
    case "1", "t", "T", "true", "TRUE", "True": true
    case "0", "f", "F", "false", "FALSE", "False": false
    default: nil
    }
  }
}
