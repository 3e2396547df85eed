// Unicode classes as Go's `unicode` package has them: the language is defined by a Go program.
extension Unicode.Scalar {
  /// White space of any script, line ends included.
  var isSpace: Bool {
    value < 0x80 ? (value == 0x20 || (value >= 0x09 && value <= 0x0D)) : properties.isWhitespace
  }

  /// The blanks that separate words within a line: tab, vertical tab, form feed, carriage return and space.
  var isSeparator: Bool { value == 0x20 || value == 0x09 || (value >= 0x0B && value <= 0x0D) }

  /// `\s` of a Go regular expression: tab, newline, form feed, carriage return and space.
  var isPatternSpace: Bool { value == 0x20 || value == 0x09 || value == 0x0A || value == 0x0C || value == 0x0D }

  var isASCIIDigit: Bool { value >= 0x30 && value <= 0x39 }

  var isASCIILetter: Bool { (value | 0x20) >= 0x61 && (value | 0x20) <= 0x7A }

  /// A letter of any script.
  var isLetter: Bool {
    if value < 0x80 { return isASCIILetter }
    switch properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return true
    default: return false
    }
  }

  /// A decimal digit of any script.
  var isDigit: Bool { value < 0x80 ? isASCIIDigit : properties.generalCategory == .decimalNumber }
}

extension RandomAccessCollection where Element == Unicode.Scalar, Index == Int {
  /// The scalars as a string.
  var text: String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: self)
    return String(view)
  }
}

extension Array<Unicode.Scalar> {
  /// `range` without white space at either end.
  func trimmed(_ range: Range<Int>) -> Range<Int> {
    var (low, high) = (range.lowerBound, range.upperBound)
    while low < high, self[low].isSpace { low += 1 }
    while high > low, self[high - 1].isSpace { high -= 1 }
    return low..<high
  }
}

extension String {
  /// Letters A–Z in lower case; all other characters as they are.
  var asciiLowercased: String {
    guard utf8.contains(where: { $0 >= 0x41 && $0 <= 0x5A }) else { return self }
    return String(decoding: utf8.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }, as: UTF8.self)
  }

  /// Letters a–z in upper case; all other characters as they are.
  var asciiUppercased: String {
    String(decoding: utf8.map { $0 >= 0x61 && $0 <= 0x7A ? $0 & ~0x20 : $0 }, as: UTF8.self)
  }

  /// Without white space at either end.
  var trimmedSpace: String {
    let scalars = Array(unicodeScalars)
    let range = scalars.trimmed(0..<scalars.count)
    return range.count == scalars.count ? self : scalars[range].text
  }

  /// In quotes, for a message: control characters escaped, and shortened when it is very long.
  var quoted: String {
    var result = "\""
    for (index, scalar) in unicodeScalars.enumerated() {
      if index == 200 {
        result += "…"
        break
      }
      switch scalar {
      case "\"", "\\": result += "\\" + String(Character(scalar))
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      default:
        if scalar.value < 0x20 || scalar.value == 0x7F {
          result += "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }

  /// The text before and after the first `separator`; nil when there is none.
  func cut(at separator: Unicode.Scalar) -> (String, String)? {
    guard let index = unicodeScalars.firstIndex(of: separator) else { return nil }
    return (String(unicodeScalars[..<index]), String(unicodeScalars[unicodeScalars.index(after: index)...]))
  }
}
