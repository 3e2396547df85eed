internal import BuildInterface
internal import BuildKitProto
internal import BuildProgress
internal import FoundationEssentials
internal import LLB
internal import OCIModel

/// Which records a client wants to see: BuildKit's filters. Each is a list of conditions that must all hold (`status==error,startedAt>24h`); one that holds is enough.
struct HistoryFilter {
  private enum Operation: String { case equal = "==", unequal = "!=", matches = "~=", present = "", atLeast = ">=", atMost = "<=", above = ">", below = "<" }
  private struct Condition {
    var field: String
    var operation: Operation
    var text = ""
    var number: Int64 = 0
    var pattern: RecordPattern?
  }
  private let alternatives: [[Condition]]

  /// - Parameter now: seconds since 1970, which ages count from.
  init(_ filters: [String], now: Int64 = wallClock().seconds) throws {
    guard filters.count <= 100 else { throw HistoryFilter.invalid("\(filters.count) filters", "at most 100 can be given") }
    alternatives = try filters.map { filter in try HistoryFilter.conditions(filter).map { try HistoryFilter.condition($0, now) } }
  }

  /// With a limit the newest of them, newest first.
  func select(_ records: [Moby_Buildkit_V1_BuildHistoryRecord], limit: Int) -> [Moby_Buildkit_V1_BuildHistoryRecord] {
    let found = alternatives.isEmpty ? records : records.filter { record in alternatives.contains { $0.allSatisfy { HistoryFilter.holds($0, record) } } }
    guard limit > 0 else { return found }
    return Array(found.sorted { Timestamp($0.createdAt) > Timestamp($1.createdAt) }.prefix(limit))
  }

  private static func invalid(_ filter: String, _ why: String) -> BuildError {
    BuildError(.invalidArgument, .usage, "failed to parse history filters [\(filter.prefix(200))]: \(why)")
  }

  /// Parts at commas outside quotes.
  private static func conditions(_ filter: String) throws -> [String] {
    guard filter.utf8.count <= 4096 else { throw invalid(filter, "it is too long") }
    var out = [""], quote: Character?
    for c in filter {
      if let open = quote {
        if c == open { quote = nil }
      } else if c == "\"" || c == "|" {
        quote = c
      } else if c == "," {
        out.append("")
        continue
      }
      out[out.count - 1].append(c)
    }
    if quote != nil { throw invalid(filter, "a quote is not closed") }
    return out.filter { !$0.isEmpty }
  }

  private static func condition(_ text: String, _ now: Int64) throws -> Condition {
    let name = text.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." || $0 == "-" }
    let rest = text.dropFirst(name.count)
    let operations: [Operation] = [.equal, .unequal, .matches, .atLeast, .atMost, .above, .below]
    guard !name.isEmpty, let operation = rest.isEmpty ? .present : operations.first(where: { rest.hasPrefix($0.rawValue) }) else {
      throw invalid(text, "expected a field, then ==, !=, ~=, or for times >=, <=, >, <, and a value")
    }
    var condition = Condition(field: String(name), operation: operation, text: unquoted(String(rest.dropFirst(operation.rawValue.count))))
    switch (condition.field, operation) {
    case ("startedAt", .atLeast), ("startedAt", .atMost), ("startedAt", .above), ("startedAt", .below), ("completedAt", .atLeast), ("completedAt", .atMost), ("completedAt", .above),
      ("completedAt", .below):
      if let age = GoDuration.parse(condition.text) {
        condition.number = now - age / 1_000_000_000
      } else if let time = try? Timestamp(rfc3339: condition.text) {
        condition.number = time.seconds
      } else {
        throw BuildError(.invalidArgument, .usage, "invalid time \(condition.text)")
      }
    case ("duration", .atLeast), ("duration", .atMost), ("duration", .above), ("duration", .below):
      guard let duration = GoDuration.parse(condition.text) else { throw BuildError(.invalidArgument, .usage, "invalid duration \(condition.text)") }
      condition.number = duration
    case (_, .atLeast), (_, .atMost), (_, .above), (_, .below): throw invalid(text, "only startedAt, completedAt and duration can be compared so")
    case (_, .matches):
      guard let pattern = RecordPattern(condition.text) else { throw invalid(text, "its pattern cannot be used") }
      condition.pattern = pattern
    default: break
    }
    return condition
  }

  private static func unquoted(_ text: String) -> String {
    guard text.count >= 2, let first = text.first, first == text.last, first == "\"" || first == "|" else { return text }
    return String(text.dropFirst().dropLast())
  }

  private static func holds(_ condition: Condition, _ record: Moby_Buildkit_V1_BuildHistoryRecord) -> Bool {
    let started = Timestamp(record.createdAt), completed = record.hasCompletedAt ? Timestamp(record.completedAt) : nil
    func compared(_ value: Int64) -> Bool {
      switch condition.operation {
      case .atLeast: value >= condition.number
      case .atMost: value <= condition.number
      case .above: value > condition.number
      default: value < condition.number
      }
    }
    switch condition.operation {
    case .atLeast, .atMost, .above, .below:
      switch condition.field {
      case "startedAt": return compared(started.seconds)
      case "completedAt": return compared(completed?.seconds ?? 0)
      default: return compared(completed.map { $0.nanosecondsSinceEpoch - started.nanosecondsSinceEpoch } ?? 0)
      }
    case .equal: return value(condition.field, record) == condition.text
    // What is not there is not equal to anything.
    case .unequal: return value(condition.field, record) != condition.text
    case .present: return value(condition.field, record) != nil
    case .matches: return value(condition.field, record).map { condition.pattern?.isFound(in: $0) ?? false } ?? false
    }
  }

  private static func value(_ field: String, _ record: Moby_Buildkit_V1_BuildHistoryRecord) -> String? {
    switch field {
    case "ref": return record.ref.isEmpty ? nil : record.ref
    case "status":
      if !record.hasCompletedAt { return "running" }
      if !record.hasError { return "completed" }
      return record.error.message.contains(ProgressVertex.cancelledError) ? "canceled" : "error"
    case "repository":
      if let source = record.frontendAttrs["vcs:source"] { return source }
      guard let context = record.frontendAttrs["context"], let address = try? GitAddress(parsing: context, context: true) else { return nil }
      return address.remote
    default: return nil
    }
  }
}

/// A regular expression as far as filters of records need one, matched in time that hostile patterns cannot stretch: characters, `.`, classes, each perhaps with `*`, `+` or
/// `?`, alternatives at the top, and the anchors. What groups is refused.
struct RecordPattern {
  private struct Item {
    var accepts: @Sendable (Character) -> Bool
    var isOptional = false
    var repeats = false
  }
  private struct Branch {
    var items: [Item] = []
    var atStart = false
    var atEnd = false
  }
  private var branches: [Branch] = [Branch()]

  init?(_ text: String) {
    var rest = Array(text)[...]
    while let c = rest.popFirst() {
      let last = branches.count - 1
      if branches[last].atEnd, c != "|" { return nil }
      switch c {
      case "|": branches.append(Branch())
      case "^" where branches[last].items.isEmpty: branches[last].atStart = true
      case "$" where rest.isEmpty || rest.first == "|": branches[last].atEnd = true
      case "*", "+", "?":
        guard let item = branches[last].items.indices.last, !branches[last].items[item].isOptional, !branches[last].items[item].repeats else { return nil }
        branches[last].items[item].isOptional = c != "+"
        branches[last].items[item].repeats = c != "?"
      case ".": branches[last].items.append(Item { _ in true })
      case "[":
        guard let item = RecordPattern.characterClass(&rest) else { return nil }
        branches[last].items.append(item)
      case "\\":
        guard let escaped = rest.popFirst(), !escaped.isLetter, !escaped.isNumber else { return nil }
        branches[last].items.append(Item { $0 == escaped })
      case "(", ")", "{", "}": return nil
      default: branches[last].items.append(Item { $0 == c })
      }
    }
  }

  private static func characterClass(_ rest: inout ArraySlice<Character>) -> Item? {
    var ranges: [ClosedRange<Character>] = []
    let isNegated = rest.first == "^"
    if isNegated { rest.removeFirst() }
    var isFirst = true
    while let c = rest.popFirst() {
      if c == "]", !isFirst { return Item { [ranges] c in ranges.contains { $0.contains(c) } != isNegated } }
      isFirst = false
      guard c != "[", let low = c == "\\" ? rest.popFirst() : c else { return nil }
      if rest.first == "-", rest.dropFirst().first != "]" {
        rest.removeFirst()
        guard let high = rest.popFirst(), high != "\\", low <= high else { return nil }
        ranges.append(low...high)
      } else {
        ranges.append(low...low)
      }
    }
    return nil
  }

  func isFound(in text: String) -> Bool { branches.contains { RecordPattern.isFound($0, Array(text)) } }

  /// All places of the pattern that can be reached are followed together.
  private static func isFound(_ branch: Branch, _ text: [Character]) -> Bool {
    let items = branch.items
    func closure(_ places: Set<Int>) -> Set<Int> {
      var out = places
      for start in places {
        var i = start
        while i < items.count, items[i].isOptional {
          i += 1
          out.insert(i)
        }
      }
      return out
    }
    var places = closure([0])
    for c in text {
      if places.contains(items.count), !branch.atEnd { return true }
      var next = Set<Int>()
      for i in places where i < items.count && items[i].accepts(c) {
        next.insert(i + 1)
        if items[i].repeats { next.insert(i) }
      }
      if !branch.atStart { next.insert(0) }
      places = closure(next)
    }
    return places.contains(items.count)
  }
}
