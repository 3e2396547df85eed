/// What a template may call.
public struct TemplateFunction: Sendable {
  /// How many arguments it takes.
  let arity: ClosedRange<Int>
  /// Throws `TemplateFunctionError` for arguments of the wrong kind.
  let body: @Sendable ([TemplateValue]) throws -> TemplateValue

  /// A function of as many arguments as `arity` has.
  public init(_ arity: ClosedRange<Int>, _ body: @escaping @Sendable ([TemplateValue]) throws -> TemplateValue) { (self.arity, self.body) = (arity, body) }
}

/// What is wrong with a call; the place is added by whoever executes the template.
public struct TemplateFunctionError: Error, Sendable {
  /// What is wrong with the arguments.
  public var message: String
  /// `message` is a sentence without the function's name.
  public init(_ message: String) { self.message = message }
}

extension TemplateFunction {
  private static let many = 1 << 20

  /// Go's own (text/template). `and` and `or` are the evaluator's: they stop at the first argument that decides.
  static let builtin: [String: TemplateFunction] = [
    "not": TemplateFunction(1...1) { .bool(!$0[0].isTrue) },
    "len": TemplateFunction(1...1) { try length($0[0]) },
    "index": TemplateFunction(1...many) { try $0.dropFirst().reduce($0[0], index) },
    "slice": TemplateFunction(1...4) { try slice($0) },
    "print": TemplateFunction(0...many) { .string(print($0)) },
    "println": TemplateFunction(0...many) { .string($0.map(\.text).joined(separator: " ") + "\n") },
    "printf": TemplateFunction(1...many) { .string(GoPrintf.format(try text($0[0]), Array($0.dropFirst()))) },
    "html": TemplateFunction(0...many) { .string(escapedHTML(print($0))) },
    "js": TemplateFunction(0...many) { .string(escapedJS(print($0))) },
    "urlquery": TemplateFunction(0...many) { .string(escapedQuery(print($0))) },
    "eq": TemplateFunction(1...many) { arguments in
      if arguments.count < 2 { throw TemplateFunctionError("missing argument for comparison") }
      for other in arguments.dropFirst() where try equal(arguments[0], other) { return .bool(true) }
      return .bool(false)
    },
    // No value of a template is a function.
    "call": TemplateFunction(1...many) { throw TemplateFunctionError("call of non-function of type \($0[0].typeName)") },
    "ne": TemplateFunction(2...2) { .bool(try !equal($0[0], $0[1])) },
    "lt": TemplateFunction(2...2) { .bool(try less($0[0], $0[1])) },
    "le": TemplateFunction(2...2) { .bool(try less($0[0], $0[1]) || equal($0[0], $0[1])) },
    "gt": TemplateFunction(2...2) { .bool(try !(less($0[0], $0[1]) || equal($0[0], $0[1]))) },
    "ge": TemplateFunction(2...2) { .bool(try !less($0[0], $0[1])) },
  ]

  /// Docker's (cli/templates).
  public static let docker: [String: TemplateFunction] = [
    "json": TemplateFunction(1...1) { .string($0[0].json) },
    "split": TemplateFunction(2...2) { .list(split(try text($0[0]), try text($0[1])).map { .string($0) }) },
    "join": TemplateFunction(2...2) { arguments in
      guard case .list(let list) = arguments[0] else { throw TemplateFunctionError("wrong type for value; expected []string; got \(arguments[0].typeName)") }
      return .string(try list.map(text).joined(separator: try text(arguments[1])))
    },
    "title": TemplateFunction(1...1) { .string(title(try text($0[0]))) },
    "lower": TemplateFunction(1...1) { .string(mapped(try text($0[0])) { $0.lowercaseMapping }) },
    "upper": TemplateFunction(1...1) { .string(mapped(try text($0[0])) { $0.uppercaseMapping }) },
    // The numbers are how much space stands before and behind; nothing is padded to nothing.
    "pad": TemplateFunction(3...3) { arguments in
      let word = try text(arguments[0]), (before, behind) = (try int(arguments[1]), try int(arguments[2]))
      guard (0...4096).contains(before), (0...4096).contains(behind) else { throw TemplateFunctionError("pad takes from 0 to 4096 spaces") }
      return .string(word.isEmpty ? word : String(repeating: " ", count: before) + word + String(repeating: " ", count: behind))
    },
    "truncate": TemplateFunction(2...2) { arguments in
      let word = try text(arguments[0]), length = try int(arguments[1])
      guard length >= 0 else { throw TemplateFunctionError("slice bounds out of range [:\(length)]") }
      return .string(word.utf8.count < length ? word : String(decoding: word.utf8.prefix(length), as: UTF8.self))
    },
  ]

  // MARK: - Arguments

  private static func text(_ value: TemplateValue) throws -> String {
    guard case .string(let text) = value else { throw TemplateFunctionError("wrong type for value; expected string; got \(value.typeName)") }
    return text
  }
  private static func int(_ value: TemplateValue) throws -> Int {
    guard case .int(let number) = value, let number = Int(exactly: number) else { throw TemplateFunctionError("wrong type for value; expected int; got \(value.typeName)") }
    return number
  }

  // MARK: - Texts

  /// fmt.Sprint: a space between two operands neither of which is text.
  private static func print(_ values: [TemplateValue]) -> String {
    func isText(_ value: TemplateValue) -> Bool { if case .string = value { true } else { false } }
    var out = ""
    for (i, value) in values.enumerated() {
      if i > 0, !isText(value), !isText(values[i - 1]) { out += " " }
      out += value.text
    }
    return out
  }

  private static func split(_ text: String, _ separator: String) -> [String] {
    if separator.isEmpty { return text.unicodeScalars.map(String.init) }
    var out: [String] = []
    var rest = text[...]
    while let range = rest.firstRange(of: separator) {
      out.append(String(rest[..<range.lowerBound]))
      rest = rest[range.upperBound...]
    }
    return out + [String(rest)]
  }

  /// Go maps characters one to one: where the whole mapping is longer (ß), the character stays.
  private static func mapped(_ text: String, _ mapping: (Unicode.Scalar.Properties) -> String) -> String {
    text.unicodeScalars.map { scalar in
      let other = mapping(scalar.properties)
      return other.unicodeScalars.count == 1 ? other : String(scalar)
    }.joined()
  }

  /// strings.Title: the first letter of each word; a word ends at what is neither letter, digit, underscore nor (beyond ASCII) no space.
  private static func title(_ text: String) -> String {
    var previous: Unicode.Scalar = " "
    var out = ""
    for scalar in text.unicodeScalars {
      let separates: Bool
      if previous.isASCII {
        separates = !(("0"..."9").contains(previous) || ("a"..."z").contains(previous) || ("A"..."Z").contains(previous) || previous == "_")
      } else {
        separates = !previous.properties.isAlphabetic && previous.properties.numericType == nil && previous.properties.isWhitespace
      }
      out += separates ? scalar.properties.titlecaseMapping : String(scalar)
      previous = scalar
    }
    return out
  }

  private static func escapedHTML(_ text: String) -> String {
    text.unicodeScalars.map { scalar in
      switch scalar {
      case "\0": "\u{fffd}"
      case "\"": "&#34;"
      case "'": "&#39;"
      case "&": "&amp;"
      case "<": "&lt;"
      case ">": "&gt;"
      default: String(scalar)
      }
    }.joined()
  }

  private static func escapedJS(_ text: String) -> String {
    text.unicodeScalars.map { scalar in
      switch scalar {
      case "\\": "\\\\"
      case "'": "\\'"
      case "\"": "\\\""
      case "<": "\\u003C"
      case ">": "\\u003E"
      case "&": "\\u0026"
      case "=": "\\u003D"
      case _ where scalar.value < 0x20:
        "\\u00" + String(scalar.value >> 4, radix: 16, uppercase: true) + String(scalar.value & 15, radix: 16, uppercase: true)
      default: String(scalar)
      }
    }.joined()
  }

  private static func escapedQuery(_ text: String) -> String {
    text.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
        UInt8(ascii: "."), UInt8(ascii: "~"):
        String(Unicode.Scalar(byte))
      case UInt8(ascii: " "): "+"
      default: "%" + String(byte >> 4, radix: 16, uppercase: true) + String(byte & 15, radix: 16, uppercase: true)
      }
    }.joined()
  }

  // MARK: - Values

  private static func length(_ value: TemplateValue) throws -> TemplateValue {
    switch value {
    case .string(let text): .int(Int64(text.utf8.count))
    case .list(let list): .int(Int64(list.count))
    case .map(let map): .int(Int64(map.count))
    case .none: throw TemplateFunctionError("len of nil pointer")
    default: throw TemplateFunctionError("len of type \(value.typeName)")
    }
  }

  private static func index(_ value: TemplateValue, _ key: TemplateValue) throws -> TemplateValue {
    switch value {
    case .map(let map): return map[try text(key)] ?? .none
    case .list(let list):
      guard case .int(let i) = key else { throw TemplateFunctionError("cannot index slice/array with type \(key.typeName)") }
      guard i >= 0, i < list.count else { throw TemplateFunctionError("index out of range: \(i)") }
      return list[Int(i)]
    case .string(let word):
      guard case .int(let i) = key else { throw TemplateFunctionError("cannot index slice/array with type \(key.typeName)") }
      guard i >= 0, i < word.utf8.count else { throw TemplateFunctionError("index out of range: \(i)") }
      return .int(Int64(Array(word.utf8)[Int(i)]))
    case .none: throw TemplateFunctionError("index of untyped nil")
    default: throw TemplateFunctionError("can't index item of type \(value.typeName)")
    }
  }

  private static func slice(_ arguments: [TemplateValue]) throws -> TemplateValue {
    let count: Int
    switch arguments[0] {
    case .list(let list): count = list.count
    case .string(let word):
      if arguments.count == 4 { throw TemplateFunctionError("cannot 3-index slice a string") }
      count = word.utf8.count
    case .none: throw TemplateFunctionError("slice of untyped nil")
    default: throw TemplateFunctionError("can't slice item of type \(arguments[0].typeName)")
    }
    let bounds = try arguments.dropFirst().map { argument in
      guard case .int(let i) = argument else { throw TemplateFunctionError("cannot index slice/array with type \(argument.typeName)") }
      guard i >= 0, i <= count else { throw TemplateFunctionError("index out of range: \(i)") }
      return Int(i)
    }
    let from = bounds.first ?? 0, to = bounds.count > 1 ? bounds[1] : count
    guard from <= to, bounds.count < 3 || to <= bounds[2] else { throw TemplateFunctionError("invalid slice index: \(from) > \(to)") }
    switch arguments[0] {
    case .list(let list): return .list(Array(list[from..<to]))
    case .string(let word): return .string(String(decoding: Array(word.utf8)[from..<to], as: UTF8.self))
    default: return .none
    }
  }

  private static func equal(_ a: TemplateValue, _ b: TemplateValue) throws -> Bool {
    switch (a, b) {
    case (.bool(let a), .bool(let b)): return a == b
    case (.int(let a), .int(let b)): return a == b
    case (.float(let a), .float(let b)): return a == b
    case (.string(let a), .string(let b)): return a == b
    case (.none, .none): return true
    case (.list, _), (.map, _): throw TemplateFunctionError("non-comparable type \(a.text): \(a.typeName)")
    case (_, .list), (_, .map): throw TemplateFunctionError("non-comparable type \(b.text): \(b.typeName)")
    case (.object(let a), .object(let b)): return a == b
    case (.none, _), (_, .none): return false
    default: throw TemplateFunctionError("incompatible types for comparison")
    }
  }

  private static func less(_ a: TemplateValue, _ b: TemplateValue) throws -> Bool {
    switch (a, b) {
    case (.int(let a), .int(let b)): return a < b
    case (.float(let a), .float(let b)): return a < b
    case (.string(let a), .string(let b)): return a.utf8.lexicographicallyPrecedes(b.utf8)
    case (.bool, .bool), (.none, _), (.list, _), (.map, _), (.object, _): throw TemplateFunctionError("invalid type for comparison")
    default: throw TemplateFunctionError("incompatible types for comparison")
    }
  }
}
