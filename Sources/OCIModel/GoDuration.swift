/// Durations as Go's time.ParseDuration reads them: `300ms`, `1.5h`, `2h45m`.
package enum GoDuration {
  private static let units: [String: Double] = [
    "ns": 1, "us": 1e3, "\u{b5}s": 1e3, "\u{3bc}s": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9,
  ]

  /// Nanoseconds.
  package static func parse(_ text: String) -> Int64? {
    var rest = text[...]
    let isNegative = rest.first == "-"
    if rest.first == "-" || rest.first == "+" { rest.removeFirst() }
    if rest == "0" { return 0 }
    var total = 0.0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      let number = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      rest = rest.dropFirst(number.count)
      let unit = rest.prefix { !($0.isASCII && ($0.isNumber || $0 == ".")) }
      rest = rest.dropFirst(unit.count)
      guard number.contains(where: \.isNumber), let value = Double(number.last == "." ? number + "0" : number), let scale = units[String(unit)] else { return nil }
      total += value * scale
    }
    guard total < 9.2e18 else { return nil }
    return Int64(isNegative ? -total : total)
  }
}
