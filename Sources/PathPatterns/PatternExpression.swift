/// A set of characters, as a class in a regular expression has it.
struct ScalarSet: Sendable {
  private var ranges: [ClosedRange<UInt32>] = []
  private var isNegated = false

  static let anyButSlash = ScalarSet([UInt32(0x2F)...0x2F], isNegated: true)
  static let anyButNewline = ScalarSet([UInt32(0x0A)...0x0A], isNegated: true)

  init(_ ranges: [ClosedRange<UInt32>], isNegated: Bool = false) { (self.ranges, self.isNegated) = (ranges, isNegated) }

  init(_ scalar: Unicode.Scalar) { ranges = [scalar.value...scalar.value] }

  func contains(_ value: UInt32) -> Bool { ranges.contains { $0.contains(value) } != isNegated }

  /// The members as ranges, negation resolved.
  var members: [ClosedRange<UInt32>] {
    guard isNegated else { return ranges }
    var result: [ClosedRange<UInt32>] = []
    var next: UInt32 = 0
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if range.lowerBound > next { result.append(next...(range.lowerBound - 1)) }
      next = max(next, range.upperBound + 1)
    }
    if next <= 0x10FFFF { result.append(next...0x10FFFF) }
    return result
  }

  /// The only member, if there is just one.
  var single: Unicode.Scalar? {
    guard !isNegated, ranges.count == 1, ranges[0].count == 1 else { return nil }
    return Unicode.Scalar(ranges[0].lowerBound)
  }
}

/// A part of the expression.
enum PatternToken: Sendable {
  /// One character of a set.
  case one(ScalarSet)
  /// One character of a set, or none.
  case maybe(ScalarSet)
  /// Any number of characters of a set.
  case many(ScalarSet)
  /// `(.*/)?`: any number of folders.
  case folders
  /// The start of the path.
  case start
}

/// One of the alternatives of an expression.
struct PatternBranch: Sendable {
  var tokens: [PatternToken] = []
  /// Whether the path must end where the branch does.
  var isAnchored = false
}

/// Reads the part of Go's regular expressions that a path pattern can turn into.
struct PatternExpression {
  private(set) var branches: [PatternBranch] = []
  private var branch = PatternBranch()
  private let source: [Unicode.Scalar]
  private let pattern: String
  private var index = 0
  /// Where the last repetition ended: another cannot follow.
  private var afterRepetition = -1

  init(_ expression: [Unicode.Scalar], pattern: String) throws(PathPatternError) {
    (source, self.pattern) = (expression, pattern)
    while let scalar = next() {
      switch scalar {
      case "^": branch.tokens.append(.start)
      case "$": branch.isAnchored = true
      case "|": finishBranch()
      case ".":
        index += 1  // the star that always follows
        branch.tokens.append(.many(.anyButNewline))
      case "(":
        index += 5  // always (.*/)?
        branch.tokens.append(.folders)
      case "[":
        let set = try characterClass()
        if peek == "*" {
          index += 1
          branch.tokens.append(.many(set))
        } else {
          branch.tokens.append(.one(set))
        }
      case "{":
        if try !repetition() { branch.tokens.append(.one(ScalarSet(scalar))) }
      case "\\":
        if peek == "A" {
          index += 1
          branch.tokens.append(.start)
        } else {
          branch.tokens.append(.one(try escape()))
        }
      default: branch.tokens.append(.one(ScalarSet(scalar)))
      }
    }
    finishBranch()
  }

  /// A branch that does not say where it starts may start anywhere.
  private mutating func finishBranch() {
    if case .start? = branch.tokens.first { branch.tokens.removeFirst() } else { branch.tokens.insert(.many(ScalarSet([], isNegated: true)), at: 0) }
    branches.append(branch)
    branch = PatternBranch()
  }

  /// `{n}`, `{n,}` or `{n,m}` after a token, from after the brace on; false when the brace is an ordinary character.
  private mutating func repetition() throws(PathPatternError) -> Bool {
    guard let end = source[index...].firstIndex(of: "}") else { return false }
    let parts = source[index..<end].split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false).map { digits in
      digits.allSatisfy { $0.value >= 0x30 && $0.value <= 0x39 } ? digits.reduce(0) { min($0 * 10 + Int($1.value - 0x30), 1001) } : -1
    }
    let sourceParts = source[index..<end]
    guard parts[0] >= 0, sourceParts.first.map({ $0 != "," }) ?? false, parts.last ?? -1 >= 0 else { return false }
    let isOpen = sourceParts.last == ","
    let (least, most) = (parts[0], isOpen ? parts[0] : parts.last ?? 0)
    let last = index - 1 == afterRepetition ? nil : branch.tokens.last
    guard least <= most, most <= 1000 else { throw bad("the repetition {\(least),\(most)} is too large or runs backwards") }
    switch last {
    case .one(let set):
      branch.tokens.removeLast()
      branch.tokens += Array(repeating: .one(set), count: least) + Array(repeating: .maybe(set), count: most - least)
      if isOpen { branch.tokens.append(.many(set)) }
    case .start:
      if least == 0 { branch.tokens.removeLast() }
    default: throw bad("the repetition {\(least),\(most)} stands after nothing that it could repeat")
    }
    index = end + 1
    afterRepetition = index
    return true
  }

  private var peek: Unicode.Scalar? { index < source.count ? source[index] : nil }

  private mutating func next() -> Unicode.Scalar? {
    guard index < source.count else { return nil }
    defer { index += 1 }
    return source[index]
  }

  private func bad(_ reason: String) -> PathPatternError { PathPatternError(.badPattern, pattern: pattern, reason: reason) }

  /// What stands after a backslash.
  private mutating func escape() throws(PathPatternError) -> ScalarSet {
    guard let scalar = next() else { throw bad("it ends in a \\") }
    switch scalar {
    case "d", "D": return ScalarSet([0x30...0x39], isNegated: scalar == "D")
    case "w", "W": return ScalarSet([0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A], isNegated: scalar == "W")
    case "s", "S": return ScalarSet([0x09...0x0A, 0x0C...0x0D, 0x20...0x20], isNegated: scalar == "S")
    case "a": return ScalarSet("\u{7}")
    case "f": return ScalarSet("\u{C}")
    case "n": return ScalarSet("\n")
    case "r": return ScalarSet("\r")
    case "t": return ScalarSet("\t")
    case "v": return ScalarSet("\u{B}")
    default:
      let isPlain = scalar.isASCII && !scalar.properties.isAlphabetic && scalar.properties.numericType == nil
      guard isPlain else { throw bad("\\\(scalar) means nothing; only punctuation is escaped") }
      return ScalarSet(scalar)
    }
  }

  /// A class, from after its `[` to its `]`.
  private mutating func characterClass() throws(PathPatternError) -> ScalarSet {
    let isNegated = peek == "^"
    if isNegated { index += 1 }
    var ranges: [ClosedRange<UInt32>] = []
    var isFirst = true
    while isFirst || peek != "]" {
      isFirst = false
      guard let scalar = next() else { throw bad("a [ is not closed") }
      if scalar == "[", peek == ":", let named = try namedClass() {
        ranges += named
        continue
      }
      let low = scalar == "\\" ? try escape() : ScalarSet(scalar)
      guard let first = low.single else {
        ranges += low.members
        continue
      }
      var last = first
      if peek == "-", index + 1 < source.count, source[index + 1] != "]" {
        index += 1
        guard let scalar = next() else { throw bad("a [ is not closed") }
        let high = scalar == "\\" ? try escape() : ScalarSet(scalar)
        guard let end = high.single, end >= first else { throw bad("a range in [ ] runs backwards") }
        last = end
      }
      ranges.append(first.value...last.value)
    }
    index += 1
    return ScalarSet(ranges, isNegated: isNegated)
  }

  /// `[:alpha:]` and its kin inside a class, from the colon on; nil when the brackets mean nothing of that sort.
  private mutating func namedClass() throws(PathPatternError) -> [ClosedRange<UInt32>]? {
    var end = index + 1
    while end + 1 < source.count, !(source[end] == ":" && source[end + 1] == "]") { end += 1 }
    guard end + 1 < source.count else { return nil }
    var view = String.UnicodeScalarView()
    view.append(contentsOf: source[(index + 1)..<end])
    let isNegated = view.first == "^"
    if isNegated { view.removeFirst() }
    let classes: [String: [ClosedRange<UInt32>]] = [
      "alnum": [0x30...0x39, 0x41...0x5A, 0x61...0x7A], "alpha": [0x41...0x5A, 0x61...0x7A], "ascii": [0...0x7F],
      "blank": [0x09...0x09, 0x20...0x20], "cntrl": [0...0x1F, 0x7F...0x7F], "digit": [0x30...0x39], "graph": [0x21...0x7E],
      "lower": [0x61...0x7A], "print": [0x20...0x7E], "punct": [0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E],
      "space": [0x09...0x0D, 0x20...0x20], "upper": [0x41...0x5A], "word": [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A],
      "xdigit": [0x30...0x39, 0x41...0x46, 0x61...0x66],
    ]
    guard let ranges = classes[String(view)] else { throw bad("there is no class [:\(String(view)):]") }
    index = end + 2
    return isNegated ? ScalarSet(ranges, isNegated: true).members : ranges
  }
}
