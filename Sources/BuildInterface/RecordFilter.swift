/// A filter in containerd's words, as clients send them: `type==regular,id~=^abc`. All conditions of one must hold, and of several filters one.
package struct RecordFilter: Sendable, Hashable {
  package struct Condition: Sendable, Hashable {
    package var field: String
    package var test: UsageFilter.Test
  }
  package var conditions: [Condition] = []

  /// Empty texts say nothing and match everything.
  package static func parse(_ texts: [String]) throws -> [RecordFilter] {
    if texts.count > 100 { throw BuildError(.invalidArgument, .usage, "\(texts.count) filters are too many") }
    let filters = try texts.map { try RecordFilter(parsing: $0) }
    return filters.contains { $0.conditions.isEmpty } ? [] : filters
  }

  init(parsing text: String) throws {
    func wrong(_ why: String) -> BuildError { BuildError(.invalidArgument, .usage, "the filter \"\(text)\" cannot be read: \(why)") }
    var rest = text[...]
    if text.utf8.count > 10_000 { throw wrong("it is too long") }
    while !rest.isEmpty {
      var field = ""
      while let character = rest.first, !"=!~,".contains(character) {
        if character == "\"" { field += try Self.quoted(&rest) ?? { throw wrong("a quotation does not end") }() } else {
          field.append(character)
          rest.removeFirst()
        }
      }
      field = field.filter { $0 != " " }
      if field.isEmpty { throw wrong("a field's name is missing") }
      let operators = [("==", UsageFilter.Test.equal), ("!=", UsageFilter.Test.notEqual), ("~=", UsageFilter.Test.matches)]
      if rest.isEmpty || rest.first == "," {
        conditions.append(Condition(field: field, test: .present))
      } else if let (sign, test) = operators.first(where: { rest.hasPrefix($0.0) }) {
        rest.removeFirst(sign.count)
        conditions.append(Condition(field: field, test: test(try Self.value(&rest) ?? { throw wrong("a quotation does not end") }())))
      } else {
        throw wrong("operators are ==, != and ~=")
      }
      if rest.first == "," {
        rest.removeFirst()
        if rest.isEmpty { throw wrong("something is missing behind the comma") }
      } else if !rest.isEmpty {
        throw wrong("a comma is missing before \"\(rest)\"")
      }
    }
  }

  private static func value(_ rest: inout Substring) throws -> String? {
    if let first = rest.first, "\"/|".contains(first) { return try quoted(&rest) }
    let value = rest.prefix { $0 != "," }
    rest = rest[value.endIndex...]
    return String(value)
  }

  /// Up to the same sign again; a backslash takes the next as it is.
  private static func quoted(_ rest: inout Substring) throws -> String? {
    let sign = rest.removeFirst()
    var out = ""
    while let character = rest.first {
      rest.removeFirst()
      if character == sign { return out }
      if character == "\\", let next = rest.first, next == sign || next == "\\" {
        out.append(next)
        rest.removeFirst()
      } else {
        out.append(character)
      }
    }
    return nil
  }

  /// `value`: a field's, nil for a field that is not there.
  package func matches(_ value: (String) -> String?) -> Bool {
    conditions.allSatisfy { condition in
      let value = value(condition.field)
      switch condition.test {
      case .present: return value != nil
      case .equal(let text): return value == text
      case .notEqual(let text): return value != text
      case .matches(let pattern): return value.map { value in (try? Regex(pattern)).flatMap { try? $0.firstMatch(in: value) } != nil } ?? false
      }
    }
  }

  /// Of the store's records. Throws for fields that they have not.
  package static func usage(_ texts: [String]) throws -> UsageFilter {
    let filters = try parse(texts).map { filter in
      var out = UsageFilter()
      for condition in filter.conditions { try out.add(condition.field, condition.test) }
      return out
    }
    return UsageFilter.any(filters)
  }
}
