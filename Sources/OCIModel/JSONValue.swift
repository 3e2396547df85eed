/// A JSON value that keeps the order of object members, so that a document can be edited and passed on with the fields
/// nobody here knows, and written byte for byte as Go's `encoding/json` would write the same fields in the same order.
///
/// Numbers keep their source text. Duplicate member names are refused: two readers could see two documents.
public enum JSONValue: Hashable, Sendable {
  case null
  case bool(Bool)
  case number(String)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)

  public static func int(_ value: some BinaryInteger) -> JSONValue { .number(String(value)) }

  public var stringValue: String? { if case .string(let s) = self { s } else { nil } }
  public var boolValue: Bool? { if case .bool(let b) = self { b } else { nil } }
  public var intValue: Int64? { if case .number(let n) = self { Int64(n) } else { nil } }
  public var arrayValue: [JSONValue]? { if case .array(let a) = self { a } else { nil } }
  public var objectValue: JSONObject? { if case .object(let o) = self { o } else { nil } }
  public var isNull: Bool { self == .null }
  /// The member of an object; nil for anything else.
  public subscript(_ key: String) -> JSONValue? { objectValue?[key] }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral {
  public init(stringLiteral value: String) { self = .string(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(integerLiteral value: Int64) { self = .number(String(value)) }
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    var object = JSONObject()
    for (key, value) in elements { object[key] = value }
    self = .object(object)
  }
}

/// Members of a JSON object in their order. Setting an existing member keeps its place; setting nil removes it.
public struct JSONObject: Hashable, Sendable {
  public private(set) var members: [(key: String, value: JSONValue)] = []
  public init() {}
  /// A repeated name's last value counts, at the first's place.
  public init(_ members: [(String, JSONValue)]) { merge(members) }

  /// Sets many members at a cost that grows with their number, not with its square: strangers' documents may have hundreds of thousands.
  mutating func merge(_ added: [(String, JSONValue)]) {
    guard members.count + added.count > 32 else {
      for (key, value) in added { self[key] = value }
      return
    }
    var places = Dictionary(uniqueKeysWithValues: members.enumerated().map { ($0.element.key, $0.offset) })
    for (key, value) in added {
      if let place = places[key] {
        members[place].value = value
      } else {
        places[key] = members.count
        members.append((key, value))
      }
    }
  }
  mutating func merge(_ other: JSONObject) { if !other.isEmpty { merge(other.members.map { ($0.key, $0.value) }) } }
  /// Members sorted by name, as Go writes a map.
  public init(sorted map: [String: String]) {
    members = map.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { ($0.key, .string($0.value)) }
  }

  public var keys: [String] { members.map(\.key) }
  public var isEmpty: Bool { members.isEmpty }
  public subscript(_ key: String) -> JSONValue? {
    get { members.first { $0.key == key }?.value }
    set {
      if let i = members.firstIndex(where: { $0.key == key }) {
        if let newValue { members[i].value = newValue } else { members.remove(at: i) }
      } else if let newValue {
        members.append((key, newValue))
      }
    }
  }
  public static func == (a: JSONObject, b: JSONObject) -> Bool {
    a.members.count == b.members.count && zip(a.members, b.members).allSatisfy { $0.key == $1.key && $0.value == $1.value }
  }
  public func hash(into hasher: inout Hasher) {
    for member in members { hasher.combine(member.key); hasher.combine(member.value) }
  }
  fileprivate mutating func appendUnchecked(_ key: String, _ value: JSONValue) { members.append((key, value)) }
}

// MARK: - Writing

extension JSONValue {
  /// How to lay a document out. `.compact` is Go's `json.Marshal`; `.indented` is `json.MarshalIndent(v, "", "  ")`.
  public enum Layout: Sendable { case compact, indented(String) }

  /// The document's UTF-8, escaped as Go does: `<`, `>`, `&`, U+2028 and U+2029 as `\u` escapes unless `escapeHTML` is false.
  public func encoded(_ layout: Layout = .compact, escapeHTML: Bool = true) -> [UInt8] {
    var out = [UInt8]()
    write(to: &out, layout, depth: 0, escapeHTML: escapeHTML)
    return out
  }
  public func encodedString(_ layout: Layout = .compact, escapeHTML: Bool = true) -> String {
    String(decoding: encoded(layout, escapeHTML: escapeHTML), as: UTF8.self)
  }

  private func write(to out: inout [UInt8], _ layout: Layout, depth: Int, escapeHTML: Bool) {
    func newline(_ depth: Int) {
      guard case .indented(let unit) = layout else { return }
      out.append(0x0a)
      for _ in 0..<depth { out += unit.utf8 }
    }
    switch self {
    case .null: out += "null".utf8
    case .bool(let b): out += (b ? "true" : "false").utf8
    case .number(let n): out += n.utf8
    case .string(let s): JSONValue.writeString(s, to: &out, escapeHTML: escapeHTML)
    case .array(let elements):
      out.append(0x5b)
      for (i, element) in elements.enumerated() {
        if i > 0 { out.append(0x2c) }
        newline(depth + 1)
        element.write(to: &out, layout, depth: depth + 1, escapeHTML: escapeHTML)
      }
      if !elements.isEmpty { newline(depth) }
      out.append(0x5d)
    case .object(let object):
      out.append(0x7b)
      for (i, member) in object.members.enumerated() {
        if i > 0 { out.append(0x2c) }
        newline(depth + 1)
        JSONValue.writeString(member.key, to: &out, escapeHTML: escapeHTML)
        out.append(0x3a)
        if case .indented = layout { out.append(0x20) }
        member.value.write(to: &out, layout, depth: depth + 1, escapeHTML: escapeHTML)
      }
      if !object.isEmpty { newline(depth) }
      out.append(0x7d)
    }
  }

  static func writeString(_ s: String, to out: inout [UInt8], escapeHTML: Bool) {
    let hex = Array("0123456789abcdef".utf8)
    out.append(0x22)
    var pending: (UInt8, UInt8) = (0, 0)
    for c in s.utf8 {
      switch c {
      case 0x22: out += [0x5c, 0x22]
      case 0x5c: out += [0x5c, 0x5c]
      case 0x08: out += "\\b".utf8
      case 0x0c: out += "\\f".utf8
      case 0x0a: out += "\\n".utf8
      case 0x0d: out += "\\r".utf8
      case 0x09: out += "\\t".utf8
      case 0..<0x20: out += [0x5c, 0x75, 0x30, 0x30, hex[Int(c >> 4)], hex[Int(c & 15)]]
      case 0x3c where escapeHTML, 0x3e where escapeHTML, 0x26 where escapeHTML: out += [0x5c, 0x75, 0x30, 0x30, hex[Int(c >> 4)], hex[Int(c & 15)]]
      case 0xa8 where pending == (0xe2, 0x80), 0xa9 where pending == (0xe2, 0x80):
        // U+2028 and U+2029, whatever escapeHTML says: Go writes them so that the text is JavaScript too.
        out.removeLast(2)
        out += c == 0xa8 ? "\\u2028".utf8 : "\\u2029".utf8
      default: out.append(c)
      }
      pending = (pending.1, c)
    }
    out.append(0x22)
  }
}

// MARK: - Reading

extension JSONValue {
  /// Parses one JSON document (RFC 8259). Bounded: `maxDepth` nested containers (default 64: image documents use under ten).
  /// Throws `OCIError.invalidJSON` with the byte offset for anything else, trailing bytes and duplicate members included.
  public init(parsing bytes: some Collection<UInt8>, maxDepth: Int = 64) throws(OCIError) {
    var parser = JSONParser(bytes: Array(bytes), maxDepth: maxDepth)
    self = try parser.document()
  }
  public init(parsing text: String, maxDepth: Int = 64) throws(OCIError) { try self.init(parsing: Array(text.utf8), maxDepth: maxDepth) }
}

private struct JSONParser {
  let bytes: [UInt8]
  let maxDepth: Int
  var i = 0

  init(bytes: [UInt8], maxDepth: Int) {
    self.bytes = bytes
    self.maxDepth = maxDepth
  }

  func fail(_ what: String) -> OCIError { OCIError(.invalidJSON, "invalid JSON at byte \(i): \(what)") }

  mutating func document() throws(OCIError) -> JSONValue {
    if bytes.starts(with: [0xef, 0xbb, 0xbf]) { throw fail("byte order mark") }
    let result = try value(depth: 0)
    skipSpace()
    guard i == bytes.count else { throw fail("bytes after the document") }
    return result
  }

  mutating func skipSpace() {
    while i < bytes.count, bytes[i] == 0x20 || bytes[i] == 0x0a || bytes[i] == 0x0d || bytes[i] == 0x09 { i += 1 }
  }

  mutating func literal(_ text: String, _ value: JSONValue) throws(OCIError) -> JSONValue {
    guard bytes[i...].starts(with: text.utf8) else { throw fail("unexpected character") }
    i += text.utf8.count
    return value
  }

  mutating func value(depth: Int) throws(OCIError) -> JSONValue {
    skipSpace()
    guard i < bytes.count else { throw fail("unexpected end") }
    switch bytes[i] {
    case 0x7b: return try object(depth: depth + 1)
    case 0x5b: return try array(depth: depth + 1)
    case 0x22: return .string(try string())
    case 0x74: return try literal("true", .bool(true))
    case 0x66: return try literal("false", .bool(false))
    case 0x6e: return try literal("null", .null)
    case 0x2d, 0x30...0x39: return .number(try number())
    default: throw fail("unexpected character")
    }
  }

  mutating func object(depth: Int) throws(OCIError) -> JSONValue {
    guard depth <= maxDepth else { throw fail("nested deeper than \(maxDepth)") }
    i += 1
    var object = JSONObject()
    var seen = Set<String>()
    skipSpace()
    if i < bytes.count, bytes[i] == 0x7d { i += 1; return .object(object) }
    while true {
      skipSpace()
      guard i < bytes.count, bytes[i] == 0x22 else { throw fail("expected a member name") }
      let key = try string()
      guard seen.insert(key).inserted else { throw fail("duplicate member \"\(key.prefix(60))\"") }
      skipSpace()
      guard i < bytes.count, bytes[i] == 0x3a else { throw fail("expected ':'") }
      i += 1
      object.appendUnchecked(key, try value(depth: depth))
      skipSpace()
      guard i < bytes.count else { throw fail("unexpected end of object") }
      if bytes[i] == 0x2c { i += 1; continue }
      guard bytes[i] == 0x7d else { throw fail("expected ',' or '}'") }
      i += 1
      return .object(object)
    }
  }

  mutating func array(depth: Int) throws(OCIError) -> JSONValue {
    guard depth <= maxDepth else { throw fail("nested deeper than \(maxDepth)") }
    i += 1
    var elements: [JSONValue] = []
    skipSpace()
    if i < bytes.count, bytes[i] == 0x5d { i += 1; return .array(elements) }
    while true {
      elements.append(try value(depth: depth))
      skipSpace()
      guard i < bytes.count else { throw fail("unexpected end of array") }
      if bytes[i] == 0x2c { i += 1; continue }
      guard bytes[i] == 0x5d else { throw fail("expected ',' or ']'") }
      i += 1
      return .array(elements)
    }
  }

  mutating func number() throws(OCIError) -> String {
    let start = i
    func digit() -> Bool { i < bytes.count && bytes[i] >= 0x30 && bytes[i] <= 0x39 }
    if bytes[i] == 0x2d { i += 1 }
    guard digit() else { throw fail("expected a digit") }
    if bytes[i] == 0x30 { i += 1 } else { while digit() { i += 1 } }
    if i < bytes.count, bytes[i] == 0x2e {
      i += 1
      guard digit() else { throw fail("expected a digit") }
      while digit() { i += 1 }
    }
    if i < bytes.count, bytes[i] == 0x65 || bytes[i] == 0x45 {
      i += 1
      if i < bytes.count, bytes[i] == 0x2b || bytes[i] == 0x2d { i += 1 }
      guard digit() else { throw fail("expected a digit") }
      while digit() { i += 1 }
    }
    guard i - start <= 64 else { throw fail("number longer than 64 characters") }
    return String(decoding: bytes[start..<i], as: UTF8.self)
  }

  mutating func string() throws(OCIError) -> String {
    i += 1
    var start = i
    var out = [UInt8]()
    while i < bytes.count {
      let c = bytes[i]
      if c == 0x22 {
        out += bytes[start..<i]
        i += 1
        guard let text = String(validating: out, as: UTF8.self) else { throw fail("string is not UTF-8") }
        return text
      }
      guard c >= 0x20 else { throw fail("control character in string") }
      guard c == 0x5c else { i += 1; continue }
      out += bytes[start..<i]
      try escape(into: &out)
      start = i
    }
    throw fail("unterminated string")
  }

  mutating func escape(into out: inout [UInt8]) throws(OCIError) {
    i += 1
    guard i < bytes.count else { throw fail("unexpected end of string") }
    let c = bytes[i]
    i += 1
    switch c {
    case 0x22, 0x5c, 0x2f: out.append(c)
    case 0x62: out.append(0x08)
    case 0x66: out.append(0x0c)
    case 0x6e: out.append(0x0a)
    case 0x72: out.append(0x0d)
    case 0x74: out.append(0x09)
    case 0x75:
      var code = try hex4()
      if (0xd800..<0xdc00).contains(code), i + 1 < bytes.count, bytes[i] == 0x5c, bytes[i + 1] == 0x75 {
        let mark = i
        i += 2
        let low = try hex4()
        if (0xdc00..<0xe000).contains(low) { code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00) } else { i = mark }
      }
      // A lone surrogate becomes U+FFFD, as in Go.
      out += String(Unicode.Scalar(code) ?? "\u{fffd}").utf8
    default: throw fail("unknown escape")
    }
  }

  mutating func hex4() throws(OCIError) -> UInt32 {
    guard i + 4 <= bytes.count else { throw fail("short \\u escape") }
    var n: UInt32 = 0
    for c in bytes[i..<i + 4] {
      switch c {
      case 0x30...0x39: n = n << 4 | UInt32(c - 0x30)
      case 0x61...0x66: n = n << 4 | UInt32(c - 0x57)
      case 0x41...0x46: n = n << 4 | UInt32(c - 0x37)
      default: throw fail("bad \\u escape")
      }
    }
    i += 4
    return n
  }
}
