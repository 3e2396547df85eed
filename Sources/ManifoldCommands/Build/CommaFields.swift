internal import BuildInterface

/// One record of comma-separated values, as the peers' options have it: a field may be quoted as a whole, with doubled quotes inside.
enum CommaFields {
  static func parse(_ text: String, option: String) throws -> [String] {
    var fields: [String] = []
    var field: [UInt8] = []
    var isQuoted = false
    var wasQuoted = false
    var bytes = Array(text.utf8)[...]
    let quote = UInt8(ascii: "\"")
    while let byte = bytes.popFirst() {
      if isQuoted {
        guard byte == quote else {
          field.append(byte)
          continue
        }
        if bytes.first == quote {
          field.append(quote)
          bytes.removeFirst()
        } else {
          isQuoted = false
        }
      } else if byte == UInt8(ascii: ",") {
        fields.append(String(decoding: field, as: UTF8.self))
        (field, wasQuoted) = ([], false)
      } else if byte == quote, field.isEmpty, !wasQuoted {
        (isQuoted, wasQuoted) = (true, true)
      } else {
        guard byte != quote, !wasQuoted else {
          throw BuildError.usage("\(option) \(text): a quote stands inside a field; quote the whole field, as in \"key=a,b\"")
        }
        field.append(byte)
      }
    }
    guard !isQuoted else { throw BuildError.usage("\(option) \(text): a quote is not closed") }
    return fields + [String(decoding: field, as: UTF8.self)]
  }

  /// A field as key and value: the key in lower case, the value as it is. Nil without `=`.
  static func pair(_ field: String) -> (key: String, value: String)? {
    guard let equals = field.firstIndex(of: "=") else { return nil }
    return (String(field[..<equals]).lowercased(), String(field[field.index(after: equals)...]))
  }
}
