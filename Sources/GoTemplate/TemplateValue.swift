/// What a template is executed over: Go's values as far as templates can tell them apart.
public indirect enum TemplateValue: Sendable, Equatable {
  /// Go's nil, and what a map does not have.
  case none
  case bool(Bool)
  case int(Int64)
  case float(Double)
  case string(String)
  case list([TemplateValue])
  /// A map with text keys. Its order does not count: Go's templates visit and print maps by their sorted keys.
  case map([String: TemplateValue])
  case object(TemplateObject)
}

/// Go's struct: fields in their order; one that it does not have is an error, where a map gives nothing.
public struct TemplateObject: Sendable, Equatable {
  /// One field of the struct.
  public struct Field: Sendable, Equatable {
    /// By which templates name it: `MediaType`.
    public var name: String
    /// Its name in JSON (`mediaType`); nil leaves it out of JSON, as a tag of `-` or an empty value with `omitempty` does.
    public var json: String?
    /// What the field holds.
    public var value: TemplateValue
    /// `json` nil leaves it out of JSON.
    public init(_ name: String, json: String?, _ value: TemplateValue) { (self.name, self.json, self.value) = (name, json, value) }
    /// A field whose name in JSON is its own.
    public init(_ name: String, _ value: TemplateValue) { self.init(name, json: name, value) }
  }
  /// In errors: `imagetools.Image`.
  public var type: String
  /// In their order, which is JSON's too.
  public var fields: [Field]
  /// What it prints and what it is in JSON, where that is not made of its fields: a time, say.
  public var printed: (text: String, json: String)? {
    get { printedText.map { ($0, printedJSON) } }
    set { (printedText, printedJSON) = (newValue?.text, newValue?.json ?? "") }
  }
  private var printedText: String?
  private var printedJSON = ""
  /// A value without fields that prints itself.
  public init(type: String, printed text: String, json: String) {
    self.init(type: type, fields: [])
    printed = (text, json)
  }
  /// Field names are to be distinct: of two the first is found.
  public init(type: String, fields: [Field]) { (self.type, self.fields) = (type, fields) }

  /// nil for a name that it has no field of.
  public subscript(_ name: String) -> TemplateValue? { fields.first { $0.name == name }?.value }
}

extension TemplateValue {
  /// Whether `if` and `with` take it for true: what is neither zero nor empty. An object always is.
  public var isTrue: Bool {
    switch self {
    case .none: false
    case .bool(let value): value
    case .int(let value): value != 0
    case .float(let value): value != 0
    case .string(let text): !text.isEmpty
    case .list(let list): !list.isEmpty
    case .map(let map): !map.isEmpty
    case .object: true
    }
  }

  /// As Go's `fmt.Print` writes it.
  public var text: String {
    switch self {
    case .none: "<nil>"
    case .bool(let value): value ? "true" : "false"
    case .int(let value): String(value)
    case .float(let value): GoNumber.shortest(value)
    case .string(let text): text
    case .list(let list): "[" + list.map(\.text).joined(separator: " ") + "]"
    case .map(let map): "map[" + TemplateValue.sorted(map).map { "\($0):\($1.text)" }.joined(separator: " ") + "]"
    case .object(let object): object.printed?.text ?? "{" + object.fields.map(\.value.text).joined(separator: " ") + "}"
    }
  }

  /// By the bytes of the keys, as Go sorts them.
  static func sorted(_ map: [String: TemplateValue]) -> [(key: String, value: TemplateValue)] {
    map.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { ($0.key, $0.value) }
  }

  /// Go's name of the type, in errors and for `%T`.
  var typeName: String {
    switch self {
    case .none: "<nil>"
    case .bool: "bool"
    case .int: "int"
    case .float: "float64"
    case .string: "string"
    case .list: "[]interface {}"
    case .map: "map[string]interface {}"
    case .object(let object): object.type
    }
  }
}

// MARK: - JSON

extension TemplateValue {
  /// As docker's `json` function writes it: compact, maps sorted, nothing escaped for HTML.
  public var json: String { JSONText.of(self, indent: nil, escapesHTML: false) }

  /// As buildx's does: indented by two spaces, and `<`, `>` and `&` escaped.
  public var indentedJSON: String { JSONText.of(self, indent: "  ", escapesHTML: true) }
}

private struct JSONText {
  let indent: String?
  let escapesHTML: Bool
  var out: [UInt8] = []

  static func of(_ value: TemplateValue, indent: String?, escapesHTML: Bool) -> String {
    var text = JSONText(indent: indent, escapesHTML: escapesHTML)
    text.write(value, 0)
    return String(decoding: text.out, as: UTF8.self)
  }

  private mutating func line(_ depth: Int) {
    guard let indent else { return }
    out.append(UInt8(ascii: "\n"))
    for _ in 0..<depth { out += indent.utf8 }
  }

  private mutating func write(_ value: TemplateValue, _ depth: Int) {
    switch value {
    case .none: out += "null".utf8
    case .bool(let value): out += (value ? "true" : "false").utf8
    case .int(let value): out += String(value).utf8
    case .float(let value): out += GoNumber.json(value).utf8
    case .string(let text): writeString(text)
    case .list(let list):
      out.append(UInt8(ascii: "["))
      for (i, item) in list.enumerated() {
        if i > 0 { out.append(UInt8(ascii: ",")) }
        line(depth + 1)
        write(item, depth + 1)
      }
      if !list.isEmpty { line(depth) }
      out.append(UInt8(ascii: "]"))
    case .map(let map): writeMembers(TemplateValue.sorted(map), depth)
    case .object(let object) where object.printed != nil: writeString(object.printed?.json ?? "")
    case .object(let object): writeMembers(object.fields.compactMap { field in field.json.map { ($0, field.value) } }, depth)
    }
  }

  private mutating func writeMembers(_ members: [(key: String, value: TemplateValue)], _ depth: Int) {
    out.append(UInt8(ascii: "{"))
    for (i, member) in members.enumerated() {
      if i > 0 { out.append(UInt8(ascii: ",")) }
      line(depth + 1)
      writeString(member.key)
      out += (indent == nil ? ":" : ": ").utf8
      write(member.value, depth + 1)
    }
    if !members.isEmpty { line(depth) }
    out.append(UInt8(ascii: "}"))
  }

  private mutating func writeString(_ text: String) {
    out.append(UInt8(ascii: "\""))
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\"".utf8
      case "\\": out += "\\\\".utf8
      case "\n": out += "\\n".utf8
      case "\r": out += "\\r".utf8
      case "\t": out += "\\t".utf8
      case "\u{8}": out += "\\b".utf8
      case "\u{c}": out += "\\f".utf8
      case "<" where escapesHTML, ">" where escapesHTML, "&" where escapesHTML: out += "\\u00\(String(scalar.value, radix: 16))".utf8
      case _ where scalar.value < 0x20 || scalar.value == 0x2028 || scalar.value == 0x2029:
        let hex = String(scalar.value, radix: 16)
        out += ("\\u" + String(repeating: "0", count: 4 - hex.count) + hex).utf8
      default: out += String(scalar).utf8
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}

/// Floating-point numbers in Go's forms.
enum GoNumber {
  /// `%v`: the shortest digits that give the number back; an exponent from 6 on, and below -4.
  static func shortest(_ value: Double) -> String { shortest(value, exponentFrom: 6) }

  /// `encoding/json`: as above but an exponent is written `e-7`, not `e-07`.
  static func json(_ value: Double) -> String {
    let text = shortest(value, below: -6, exponentFrom: 21)
    // Go's JSON takes the padding zero out of small exponents.
    guard let e = text.firstRange(of: "e-0") else { return text }
    return text[..<e.lowerBound] + "e-" + text[e.upperBound...]
  }

  private static func shortest(_ value: Double, below: Int = -4, exponentFrom: Int) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if value == 0 { return value.sign == .minus ? "-0" : "0" }
    let (digits, exponent) = decompose(value.magnitude)
    let sign = value < 0 ? "-" : ""
    if exponent < below || exponent >= exponentFrom {
      let mantissa = digits.count == 1 ? digits : digits.prefix(1) + "." + digits.dropFirst()
      let power = abs(exponent)
      return sign + mantissa + (exponent < 0 ? "e-" : "e+") + (power < 10 ? "0" : "") + String(power)
    }
    if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + digits }
    if digits.count <= exponent + 1 { return sign + digits + String(repeating: "0", count: exponent + 1 - digits.count) }
    return sign + digits.prefix(exponent + 1) + "." + digits.dropFirst(exponent + 1)
  }

  /// The shortest digits, and the power of ten of the first.
  private static func decompose(_ value: Double) -> (digits: String, exponent: Int) {
    // Swift prints the shortest digits too, in forms of its own.
    let text = "\(value)".lowercased()
    let parts = text.split(separator: "e")
    var exponent = parts.count == 2 ? Int(parts[1]) ?? 0 : 0
    let number = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    let whole = number[0], fraction = number.count == 2 ? number[1] : ""
    var digits = String(whole + fraction)
    exponent += whole.count - 1
    let leading = digits.prefix { $0 == "0" }.count
    digits = String(digits.dropFirst(leading))
    exponent -= leading
    while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
    return (digits, exponent)
  }
}
