/// Sizes and times as Docker's tables show them.
enum HumanFigures {
  /// Three digits in units of 1000: `1.23MB`.
  static func size(_ bytes: Int64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1000, unit < units.count - 1 {
      value /= 1000
      unit += 1
    }
    let decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0
    let scale = decimals == 2 ? 100.0 : decimals == 1 ? 10.0 : 1.0
    let scaled = Int64((value * scale).rounded())
    var text = String(scaled / Int64(scale))
    if decimals > 0 {
      var fraction = String(scaled % Int64(scale))
      fraction = String(repeating: "0", count: decimals - fraction.count) + fraction
      while fraction.hasSuffix("0") { fraction.removeLast() }
      if !fraction.isEmpty { text += "." + fraction }
    }
    return text + units[unit]
  }

  /// `5 minutes`, `About an hour`, `3 weeks`.
  static func duration(seconds: Int64) -> String {
    let minutes = seconds / 60
    let hours = (seconds + 1800) / 3600
    return switch (seconds, minutes, hours) {
    case (..<1, _, _): "Less than a second"
    case (1, _, _): "1 second"
    case (..<60, _, _): "\(seconds) seconds"
    case (_, 1, _): "About a minute"
    case (_, ..<60, _): "\(minutes) minutes"
    case (_, _, 1): "About an hour"
    case (_, _, ..<48): "\(hours) hours"
    case (_, _, ..<336): "\(hours / 24) days"
    case (_, _, ..<1440): "\(hours / 24 / 7) weeks"
    case (_, _, ..<17520): "\(hours / 24 / 30) months"
    default: "\(seconds / 3600 / 24 / 365) years"
    }
  }
}
