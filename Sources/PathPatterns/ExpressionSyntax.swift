/// The parts of a regular expression in Go's syntax (RE2).
indirect enum ExpressionNode {
  case empty
  case set(ScalarSet)
  case assertion(ExpressionAssertion)
  case sequence([ExpressionNode])
  case choice([ExpressionNode])
  /// `nil` for no upper bound.
  case repetition(ExpressionNode, least: Int, most: Int?, isLazy: Bool)
  case group(ExpressionNode, number: Int)

  /// Whether it matches the empty text somewhere.
  var mayBeEmpty: Bool {
    switch self {
    case .empty, .assertion: true
    case .set: false
    case .sequence(let nodes): nodes.allSatisfy(\.mayBeEmpty)
    case .choice(let nodes): nodes.contains(where: \.mayBeEmpty)
    case .repetition(let node, let least, _, _): least == 0 || node.mayBeEmpty
    case .group(let node, _): node.mayBeEmpty
    }
  }
}

enum ExpressionAssertion: Sendable { case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary }

/// Reads a regular expression as Go's regexp/syntax does (classes of Unicode properties, `\p`, are refused).
struct ExpressionParser {
  struct Flags { var foldsCase = false, dotMatchesNewline = false, isMultiline = false, isUngreedy = false }
  /// How often something may be repeated, as in Go.
  static let repetitionLimit = 1000
  static let depthLimit = 250

  private let source: [Unicode.Scalar]
  private let text: String
  private var index = 0
  private var depth = 0
  private(set) var groupCount = 0
  private(set) var names: [String: Int] = [:]

  init(_ text: String) { (source, self.text) = (Array(text.unicodeScalars), text) }

  mutating func parse() throws(PathPatternError) -> ExpressionNode {
    var flags = Flags()
    let node = try alternatives(&flags)
    if index < source.count { throw bad("a ) closes nothing") }
    return node
  }

  private func bad(_ reason: String) -> PathPatternError { PathPatternError(.badPattern, pattern: text, reason: reason) }
  private var peek: Unicode.Scalar? { index < source.count ? source[index] : nil }
  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard peek == scalar else { return false }
    index += 1
    return true
  }

  /// Up to a closing parenthesis or the end.
  private mutating func alternatives(_ flags: inout Flags) throws(PathPatternError) -> ExpressionNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw bad("its groups are nested too deep") }
    var choices: [ExpressionNode] = []
    repeat { choices.append(try sequence(&flags)) } while take("|")
    return choices.count == 1 ? choices[0] : .choice(choices)
  }

  private mutating func sequence(_ flags: inout Flags) throws(PathPatternError) -> ExpressionNode {
    var items: [ExpressionNode] = []
    while let scalar = peek, scalar != "|", scalar != ")" {
      guard let item = try atom(&flags) else { continue }
      items.append(try repeated(item, flags))
    }
    return items.count == 1 ? items[0] : .sequence(items)
  }

  /// nil for what sets flags only, or for quoted text that is empty.
  private mutating func atom(_ flags: inout Flags) throws(PathPatternError) -> ExpressionNode? {
    guard let scalar = peek else { return nil }
    index += 1
    switch scalar {
    case "(": return try group(&flags)
    case "[": return .set(try characterClass(flags))
    case ".": return .set(flags.dotMatchesNewline ? ScalarSet([], isNegated: true) : .anyButNewline)
    case "^": return .assertion(flags.isMultiline ? .lineStart : .textStart)
    case "$": return .assertion(flags.isMultiline ? .lineEnd : .textEnd)
    case "*", "+", "?": throw bad("\(scalar) stands after nothing that it could repeat")
    case "\\": return try escape(flags)
    default: return .set(Self.literal(scalar, flags))
    }
  }

  private static func literal(_ scalar: Unicode.Scalar, _ flags: Flags) -> ScalarSet {
    guard flags.foldsCase else { return ScalarSet(scalar) }
    return folded([scalar.value...scalar.value])
  }

  /// ASCII letters in both cases; others as they are, or with their simple mapping when they stand alone.
  private static func folded(_ ranges: [ClosedRange<UInt32>]) -> ScalarSet {
    var all = ranges
    for range in ranges {
      for (from, to) in [(UInt32(0x41)...0x5A, Int32(32)), (UInt32(0x61)...0x7A, Int32(-32))] where range.overlaps(from) {
        let part = range.clamped(to: from)
        all.append(UInt32(Int32(part.lowerBound) + to)...UInt32(Int32(part.upperBound) + to))
      }
      if range.count == 1, range.lowerBound > 0x7F, let scalar = Unicode.Scalar(range.lowerBound) {
        for mapped in [scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping] where mapped.unicodeScalars.count == 1 {
          if let one = mapped.unicodeScalars.first { all.append(one.value...one.value) }
        }
      }
    }
    return ScalarSet(all)
  }

  // MARK: Repetitions

  private mutating func repeated(_ item: ExpressionNode, _ flags: Flags) throws(PathPatternError) -> ExpressionNode {
    var node = item, isFirst = true
    while let scalar = peek {
      var bounds: (least: Int, most: Int?)?
      switch scalar {
      case "*": bounds = (0, nil)
      case "+": bounds = (1, nil)
      case "?": bounds = (0, 1)
      case "{": bounds = try braces()
      default: break
      }
      guard let bounds else { return node }
      if scalar != "{" { index += 1 }
      guard isFirst else { throw bad("one repetition follows another") }
      isFirst = false
      let isLazy = take("?") != flags.isUngreedy
      node = .repetition(node, least: bounds.least, most: bounds.most, isLazy: isLazy)
    }
    return node
  }

  /// nil where the brace is an ordinary character; the index is behind it otherwise.
  private mutating func braces() throws(PathPatternError) -> (least: Int, most: Int?)? {
    guard let end = source[index...].firstIndex(of: "}"), end - index <= 12 else { return nil }
    let parts = source[(index + 1)..<end].split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
    func number(_ digits: ArraySlice<Unicode.Scalar>) -> Int? {
      guard !digits.isEmpty, digits.allSatisfy({ ("0"..."9").contains($0) }) else { return nil }
      return digits.reduce(0) { min($0 * 10 + Int($1.value - 0x30), 100_000) }
    }
    guard let least = number(parts[0]) else { return nil }
    var most: Int? = least
    if parts.count == 2 {
      most = number(parts[1])
      if most == nil, !parts[1].isEmpty { return nil }
    }
    guard least <= Self.repetitionLimit, most ?? 0 <= Self.repetitionLimit, most.map({ $0 >= least }) ?? true else { throw bad("the repetition count is invalid") }
    index = end + 1
    return (least, most)
  }

  // MARK: Groups

  private mutating func group(_ flags: inout Flags) throws(PathPatternError) -> ExpressionNode? {
    var inner = flags, number: Int?
    if take("?") {
      if take("P") || peek == "<" {
        guard take("<"), let end = source[index...].firstIndex(of: ">") else { throw bad("a group's name has no end") }
        let name = String(String.UnicodeScalarView(source[index..<end]))
        guard !name.isEmpty, name.unicodeScalars.allSatisfy({ Self.isWord($0.value) }), names[name] == nil else { throw bad("the group name \(name) is invalid or given twice") }
        index = end + 1
        groupCount += 1
        (number, names[name]) = (groupCount, groupCount)
      } else {
        var isOn = true
        settings: while true {
          guard let scalar = peek else { throw bad("a group has no end") }
          index += 1
          switch scalar {
          case "i": inner.foldsCase = isOn
          case "s": inner.dotMatchesNewline = isOn
          case "m": inner.isMultiline = isOn
          case "U": inner.isUngreedy = isOn
          case "-" where isOn: isOn = false
          case ":": break settings
          case ")":
            flags = inner
            return nil
          default: throw bad("(?\(scalar) is not known")
          }
        }
      }
    } else {
      groupCount += 1
      number = groupCount
    }
    let node = try alternatives(&inner)
    guard take(")") else { throw bad("a ( has no end") }
    return number.map { .group(node, number: $0) } ?? .sequence([node])
  }

  // MARK: Characters

  static func isWord(_ value: UInt32) -> Bool { wordRanges.contains { $0.contains(value) } }
  private static let wordRanges: [ClosedRange<UInt32>] = [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A]

  private static func perlClass(_ scalar: Unicode.Scalar) -> ScalarSet? {
    switch scalar {
    case "d", "D": ScalarSet([0x30...0x39], isNegated: scalar == "D")
    case "w", "W": ScalarSet(wordRanges, isNegated: scalar == "W")
    case "s", "S": ScalarSet([0x09...0x0A, 0x0C...0x0D, 0x20...0x20], isNegated: scalar == "S")
    default: nil
    }
  }

  private mutating func escape(_ flags: Flags) throws(PathPatternError) -> ExpressionNode? {
    guard let scalar = peek else { throw bad("it ends in a \\") }
    if let set = Self.perlClass(scalar) {
      index += 1
      return .set(set)
    }
    switch scalar {
    case "A", "z", "b", "B":
      index += 1
      return .assertion(scalar == "A" ? .textStart : scalar == "z" ? .textEnd : scalar == "b" ? .wordBoundary : .noWordBoundary)
    case "Q":
      index += 1
      var quoted: [ExpressionNode] = []
      while let next = peek {
        if next == "\\", index + 1 < source.count, source[index + 1] == "E" {
          index += 2
          break
        }
        index += 1
        quoted.append(.set(Self.literal(next, flags)))
      }
      return quoted.isEmpty ? nil : .sequence(quoted)
    default: return .set(Self.literal(try escapedScalar(), flags))
    }
  }

  /// After the backslash.
  private mutating func escapedScalar() throws(PathPatternError) -> Unicode.Scalar {
    guard let scalar = peek else { throw bad("it ends in a \\") }
    index += 1
    switch scalar {
    case "a": return "\u{07}"
    case "f": return "\u{0C}"
    case "n": return "\n"
    case "r": return "\r"
    case "t": return "\t"
    case "v": return "\u{0B}"
    case "x":
      var digits = ""
      if take("{") {
        while let digit = peek, digit != "}", digits.count < 8 {
          digits.unicodeScalars.append(digit)
          index += 1
        }
        guard take("}") else { throw bad("\\x{ has no end") }
      } else {
        for _ in 0..<2 where peek != nil {
          digits.unicodeScalars.append(source[index])
          index += 1
        }
      }
      guard let value = UInt32(digits, radix: 16), let found = Unicode.Scalar(value) else { throw bad("\\x\(digits) is no character") }
      return found
    // A digit alone that is not 0 would be a reference to a group, which Go does not have.
    case "0"..."7" where scalar == "0" || peek.map({ ("0"..."7").contains($0) }) == true:
      var value = scalar.value - 0x30
      for _ in 0..<2 {
        guard let digit = peek, ("0"..."7").contains(digit) else { break }
        value = value * 8 + digit.value - 0x30
        index += 1
      }
      return Unicode.Scalar(value) ?? "\0"
    default:
      guard scalar.value < 0x80, !Self.isWord(scalar.value) || scalar == "_" else { throw bad("\\\(scalar) is not known") }
      return scalar
    }
  }

  private mutating func characterClass(_ flags: Flags) throws(PathPatternError) -> ScalarSet {
    let isNegated = take("^")
    var ranges: [ClosedRange<UInt32>] = [], isFirst = true
    while true {
      guard let scalar = peek else { throw bad("a [ has no end") }
      if scalar == "]", !isFirst { break }
      isFirst = false
      if scalar == "[", index + 1 < source.count, source[index + 1] == ":" {
        ranges += try posixClass()
        continue
      }
      if scalar == "\\", index + 1 < source.count, let set = Self.perlClass(source[index + 1]) {
        index += 2
        ranges += set.members
        continue
      }
      let low = try classScalar()
      guard peek == "-", index + 1 < source.count, source[index + 1] != "]" else {
        ranges.append(low.value...low.value)
        continue
      }
      index += 1
      let high = try classScalar()
      guard low.value <= high.value else { throw bad("the range \(low)-\(high) runs backwards") }
      ranges.append(low.value...high.value)
    }
    index += 1
    let set = flags.foldsCase ? Self.folded(ranges) : ScalarSet(ranges)
    return isNegated ? ScalarSet(set.members, isNegated: true) : set
  }

  private mutating func classScalar() throws(PathPatternError) -> Unicode.Scalar {
    guard let scalar = peek else { throw bad("a [ has no end") }
    index += 1
    return scalar == "\\" ? try escapedScalar() : scalar
  }

  private mutating func posixClass() throws(PathPatternError) -> [ClosedRange<UInt32>] {
    guard let end = source[index...].firstIndex(of: "]"), end >= index + 4, source[end - 1] == ":" else { throw bad("a class of characters has no end") }
    var name = String(String.UnicodeScalarView(source[(index + 2)..<(end - 1)]))
    let isNegated = name.hasPrefix("^")
    if isNegated { name.removeFirst() }
    let classes: [String: [ClosedRange<UInt32>]] = [
      "alnum": [0x30...0x39, 0x41...0x5A, 0x61...0x7A], "alpha": [0x41...0x5A, 0x61...0x7A], "ascii": [0...0x7F], "blank": [0x09...0x09, 0x20...0x20],
      "cntrl": [0...0x1F, 0x7F...0x7F], "digit": [0x30...0x39], "graph": [0x21...0x7E], "lower": [0x61...0x7A], "print": [0x20...0x7E],
      "punct": [0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E], "space": [0x09...0x0D, 0x20...0x20], "upper": [0x41...0x5A], "word": Self.wordRanges,
      "xdigit": [0x30...0x39, 0x41...0x46, 0x61...0x66],
    ]
    guard let ranges = classes[name] else { throw bad("[:\(name):] is not known") }
    index = end + 1
    return isNegated ? ScalarSet(ranges, isNegated: true).members : ranges
  }
}
