internal import BuildInterface

/// An output's attributes, taken one after another. What is left when an exporter has taken all that it knows is unknown to it.
struct ExportAttributes {
  let type: String
  private var rest: [String: String]
  private var known: [String] = []

  init(type: String, _ attributes: [String: String]) {
    self.type = type
    rest = attributes
  }

  mutating func text(_ key: String) -> String? {
    known.append(key)
    return rest.removeValue(forKey: key)
  }

  /// As Go's strconv.ParseBool reads it; a key without a value is true.
  mutating func flag(_ key: String) throws -> Bool? {
    guard let text = text(key) else { return nil }
    switch text {
    case "", "1", "t", "T", "true", "TRUE", "True": return true
    case "0", "f", "F", "false", "FALSE", "False": return false
    default: throw invalid(key, "is \"\(text)\", not true or false")
    }
  }

  mutating func integer(_ key: String) throws -> Int? {
    guard let text = text(key) else { return nil }
    guard let number = Int(text) else { throw invalid(key, "is \"\(text)\", not a whole number") }
    return number
  }

  /// The outer nil: not given; the inner one: given as nothing, which takes the clock whatever the build says.
  mutating func sourceDateEpoch() throws -> Int64?? {
    guard let text = text("source-date-epoch") else { return .none }
    if text.isEmpty { return .some(nil) }
    guard let seconds = Int64(text), EpochLimits.contains(seconds) else { throw invalid("source-date-epoch", "is \"\(text)\", not seconds since 1970") }
    return .some(seconds)
  }

  /// Takes all attributes of a family (`annotation…`), in the order of their keys. `shown` is what the family is called in errors.
  mutating func family(_ prefix: String, shown: String) -> [(key: String, value: String)] {
    known.append(shown)
    let found = rest.filter { $0.key.hasPrefix(prefix) }.sorted { $0.key < $1.key }
    for (key, _) in found { rest[key] = nil }
    return found
  }

  /// An attribute of the peers that asks for what is not there. `harmless` are values that ask for nothing.
  mutating func refuse(_ key: String, unless harmless: Set<String> = ["0", "f", "F", "false", "FALSE", "False"], _ advice: String? = nil) throws {
    guard let value = text(key), !harmless.contains(value) else { return }
    throw BuildError(.unimplemented, .usage, "output type=\(type): the attribute \(key)=\(value) is not supported yet", suggestion: advice)
  }

  /// All that the exporter knows was taken.
  func finish() throws {
    guard let unknown = rest.keys.min() else { return }
    throw BuildError(
      .invalidArgument, .usage, "output type=\(type) has no attribute \"\(unknown)\"", suggestion: "its attributes are \(known.sorted().joined(separator: ", "))")
  }

  func invalid(_ key: String, _ why: String) -> BuildError { BuildError(.invalidArgument, .usage, "output type=\(type): \(key) \(why)") }
}

/// The years that image documents can say (RFC 3339: 0 to 9999).
enum EpochLimits {
  static func contains(_ seconds: Int64) -> Bool { seconds >= -62_135_596_800 && seconds <= 253_402_300_799 }
}
