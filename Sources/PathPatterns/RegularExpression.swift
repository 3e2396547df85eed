/// A regular expression with Go's syntax and Go's choice among matches (the leftmost, and of those the one that a search with backtracking would find first), in time
/// that grows with the length of the text only by a factor: what strangers write can be run.
package struct RegularExpression: Sendable {
  private enum Instruction: Sendable {
    case set(ScalarSet)
    case assertion(ExpressionAssertion)
    case split(first: Int, second: Int)
    case jump(Int)
    case save(Int)
    case match
  }
  /// Steps of one program.
  private static let sizeLimit = 50_000

  private var program: [Instruction] = []
  private let names: [String: Int]
  /// Groups, the whole match not counted.
  package let groupCount: Int
  package let source: String

  /// Throws when it is no regular expression, or one that is too large.
  package init(_ source: String) throws(PathPatternError) {
    self.source = source
    var parser = ExpressionParser(source)
    let node = try parser.parse()
    (groupCount, names) = (parser.groupCount, parser.names)
    try emit(.group(node, number: 0))
    program.append(.match)
  }

  private mutating func add(_ instruction: Instruction) throws(PathPatternError) {
    guard program.count < Self.sizeLimit else { throw PathPatternError(.badPattern, pattern: source, reason: "it is too large") }
    program.append(instruction)
  }

  private mutating func emit(_ node: ExpressionNode) throws(PathPatternError) {
    switch node {
    case .empty: break
    case .set(let set): try add(.set(set))
    case .assertion(let assertion): try add(.assertion(assertion))
    case .sequence(let nodes): for node in nodes { try emit(node) }
    case .group(let node, let number):
      try add(.save(2 * number))
      try emit(node)
      try add(.save(2 * number + 1))
    case .choice(let nodes):
      var ends: [Int] = []
      for (i, node) in nodes.enumerated() {
        if i == nodes.count - 1 { try emit(node) } else {
          let split = program.count
          try add(.jump(0))
          try emit(node)
          ends.append(program.count)
          try add(.jump(0))
          program[split] = .split(first: split + 1, second: program.count)
        }
      }
      for end in ends { program[end] = .jump(program.count) }
    case .repetition(let node, let least, let most, let isLazy):
      // The last of those that must be is the loop's body, as in Go: a loop around something that may be empty chooses otherwise than one before it.
      let isOpen = most == nil
      for _ in 0..<(isOpen && least > 0 ? least - 1 : least) {
        let before = program.count
        try emit(node)
        // Of nothing, any number is nothing.
        if program.count == before { break }
      }
      func split(_ at: Int, _ out: Int) -> Instruction { isLazy ? .split(first: out, second: at + 1) : .split(first: at + 1, second: out) }
      if let most {
        var splits: [Int] = []
        for _ in 0..<max(0, most - least) {
          let at = program.count
          splits.append(at)
          try add(.jump(0))
          try emit(node)
          if program.count == at + 1 { break }
        }
        for at in splits { program[at] = split(at, program.count) }
      } else if least > 0 {
        try emitLoop(node, isLazy)
      } else if node.mayBeEmpty {
        let at = program.count
        try add(.jump(0))
        try emitLoop(node, isLazy)
        program[at] = split(at, program.count)
      } else {
        let at = program.count
        try add(.jump(0))
        try emit(node)
        try add(.jump(at))
        program[at] = split(at, program.count)
      }
    }
  }

  /// Once, and again as long as it may.
  private mutating func emitLoop(_ node: ExpressionNode, _ isLazy: Bool) throws(PathPatternError) {
    let start = program.count
    try emit(node)
    if program.count == start { return }
    let at = program.count
    try add(isLazy ? .split(first: at + 1, second: start) : .split(first: start, second: at + 1))
  }

  // MARK: Matching

  /// Where the text was matched, in Unicode scalars: the whole, then the groups; -1 for a group that took no part.
  package struct Match: Sendable {
    package let bounds: [(start: Int, end: Int)]
    fileprivate let text: [Unicode.Scalar]
    package subscript(_ group: Int) -> String? {
      guard bounds.indices.contains(group), bounds[group].start >= 0 else { return nil }
      return String(String.UnicodeScalarView(text[bounds[group].start..<bounds[group].end]))
    }
  }

  private struct Threads {
    var order: [(at: Int, saved: [Int])] = []
    var seen: [Int]
    init(_ count: Int) { seen = [Int](repeating: -1, count: count) }
  }

  package func matches(_ text: String) -> Bool { firstMatch(in: text) != nil }
  package func firstMatch(in text: String) -> Match? { match(Array(text.unicodeScalars), from: 0) }

  private func match(_ text: [Unicode.Scalar], from start: Int) -> Match? {
    var current = Threads(program.count), next = Threads(program.count)
    var found: [Int]?
    var position = start
    while position <= text.count {
      if found == nil { follow(0, [Int](repeating: -1, count: 2 * (groupCount + 1)), position, text, &current) }
      if current.order.isEmpty, found != nil { break }
      let scalar = position < text.count ? text[position].value : nil
      threads: for thread in current.order {
        switch program[thread.at] {
        case .set(let set): if let scalar, set.contains(scalar) { follow(thread.at + 1, thread.saved, position + 1, text, &next) }
        case .match:
          found = thread.saved
          // What comes after would be chosen less than this.
          break threads
        default: break
        }
      }
      swap(&current, &next)
      next.order.removeAll(keepingCapacity: true)
      position += 1
    }
    guard let found else { return nil }
    return Match(bounds: (0...groupCount).map { (found[2 * $0 + 1] < 0 ? -1 : found[2 * $0], found[2 * $0 + 1]) }, text: text)
  }

  /// All that can be reached without reading, the preferred first.
  private func follow(_ start: Int, _ saved: [Int], _ position: Int, _ text: [Unicode.Scalar], _ threads: inout Threads) {
    var rest = [(start, saved)]
    while let (at, saved) = rest.popLast() {
      guard threads.seen[at] != position else { continue }
      threads.seen[at] = position
      switch program[at] {
      case .jump(let to): rest.append((to, saved))
      case .split(let first, let second): rest += [(second, saved), (first, saved)]
      case .save(let slot):
        var saved = saved
        saved[slot] = position
        rest.append((at + 1, saved))
      case .assertion(let assertion): if holds(assertion, position, text) { rest.append((at + 1, saved)) }
      case .set, .match: threads.order.append((at, saved))
      }
    }
  }

  private func holds(_ assertion: ExpressionAssertion, _ position: Int, _ text: [Unicode.Scalar]) -> Bool {
    func isWord(_ i: Int) -> Bool { text.indices.contains(i) && ExpressionParser.isWord(text[i].value) }
    return switch assertion {
    case .textStart: position == 0
    case .textEnd: position == text.count
    case .lineStart: position == 0 || text[position - 1] == "\n"
    case .lineEnd: position == text.count || text[position] == "\n"
    case .wordBoundary: isWord(position - 1) != isWord(position)
    case .noWordBoundary: isWord(position - 1) == isWord(position)
    }
  }

  // MARK: Replacing

  /// Each match becomes what the template makes of it (Go's ReplaceAllString).
  package func replacingAll(in text: String, with template: String) -> String {
    let scalars = Array(text.unicodeScalars)
    var out = String.UnicodeScalarView(), end = 0, search = 0
    while search <= scalars.count, let match = match(scalars, from: search) {
      let whole = match.bounds[0]
      out += scalars[end..<whole.start]
      // An empty match right after another one is none.
      if whole.end > end || whole.start == 0 { out += expand(template, match).unicodeScalars }
      end = whole.end
      search = max(search + 1, whole.end)
    }
    out += scalars[end...]
    return String(out)
  }

  /// `$1`, `${1}`, `$name` and `${name}` stand for groups, `$$` for `$`; a group that is not there is empty.
  package func expand(_ template: String, _ match: Match) -> String {
    var out = "", rest = Substring(template)
    while let dollar = rest.firstIndex(of: "$") {
      out += rest[..<dollar]
      rest = rest[rest.index(after: dollar)...]
      if rest.hasPrefix("$") {
        out += "$"
        rest = rest.dropFirst()
        continue
      }
      var name = rest, after = rest
      if rest.hasPrefix("{") {
        guard let end = rest.firstIndex(of: "}") else {
          out += "$"
          continue
        }
        name = rest[rest.index(after: rest.startIndex)..<end]
        after = rest[rest.index(after: end)...]
      } else {
        name = rest.prefix { $0.unicodeScalars.allSatisfy { ExpressionParser.isWord($0.value) } }
        after = rest[name.endIndex...]
      }
      guard !name.isEmpty, name.unicodeScalars.allSatisfy({ ExpressionParser.isWord($0.value) }) else {
        out += "$"
        continue
      }
      rest = after
      let number = name.allSatisfy(\.isNumber) ? Int(name) : names[String(name)]
      out += number.flatMap { match[$0] } ?? ""
    }
    return out + rest
  }
}
