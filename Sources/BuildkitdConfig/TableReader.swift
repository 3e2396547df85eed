internal import OCIModel
internal import TOMLKit

/// Reads one table of the file, key by key; a key that nobody asked for, and a value of another type, are errors with file and line. Names of keys are
/// compared without regard to case, as BuildKit's reader does.
final class TableReader {
  let file: ConfigPlaces
  let place: [String]
  private let table: TOMLTable
  private var known: [String] = []
  private var used: Set<String> = []

  init(_ table: TOMLTable, _ file: ConfigPlaces, place: [String] = []) { (self.table, self.file, self.place) = (table, file, place) }

  /// `[worker.oci]`; `[[…]]`'s elements have their list's name.
  var name: String { place.isEmpty ? "the file" : "[\(TableReader.dotted(place))]" }

  static func dotted(_ keys: [String]) -> String {
    keys.map { $0.isEmpty || $0.contains(where: { !($0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "-")) }) ? "\"\($0)\"" : $0 }.joined(separator: ".")
  }

  func error(_ key: String? = nil, _ message: String) -> ConfigError { file.error(place + (key.map { [$0] } ?? []), message) }

  private func value(_ key: String) -> (any TOMLValueConvertible)? {
    known.append(key)
    let name = table.contains(key: key) ? key : table.keys.first { $0.lowercased() == key.lowercased() }
    guard let name else { return nil }
    used.insert(name)
    return table[name]
  }

  func string(_ key: String) throws -> String? {
    guard let value = value(key) else { return nil }
    guard let text = value.string else { throw error(key, "\(key) is a text: \(key) = \"…\"") }
    return text
  }

  func bool(_ key: String) throws -> Bool? {
    guard let value = value(key) else { return nil }
    guard let flag = value.bool else { throw error(key, "\(key) is true or false, without quotes") }
    return flag
  }

  /// `least`: what is below it is refused.
  func int(_ key: String, least: Int = 0) throws -> Int? {
    guard let value = value(key) else { return nil }
    guard let number = value.int else { throw error(key, "\(key) is a whole number, without quotes") }
    guard number >= least else { throw error(key, "\(key) is \(least) at least, not \(number)") }
    return number
  }

  func strings(_ key: String) throws -> [String]? {
    guard let value = value(key) else { return nil }
    let wrong = error(key, "\(key) is a list of texts: \(key) = [\"…\"]")
    guard let list = value.array else { throw wrong }
    return try (0..<list.count).map { i in
      guard let text = list[i].string, !text.isEmpty else { throw wrong }
      return text
    }
  }

  func labels(_ key: String) throws -> [String: String] {
    guard let table = try table(key) else { return [:] }
    var out: [String: String] = [:]
    for name in table.table.keys { out[name] = try table.string(name) }
    return out
  }

  /// Bytes, a size with a unit, or a share of the disk.
  func space(_ key: String) throws -> DiskSpace {
    guard let value = value(key) else { return DiskSpace() }
    guard let text = value.string ?? value.int.map(String.init) ?? value.double.map({ "\($0)" }), let space = DiskSpace(text) else {
      throw error(key, "\(key) is a number of bytes, a size as \"10GB\", or a share of the disk as \"10%\"")
    }
    return space
  }

  /// Nanoseconds.
  func duration(_ key: String) throws -> Int64? {
    guard let value = value(key) else { return nil }
    let text = value.string ?? value.int.map(String.init)
    if text == "" { return nil }
    guard let text, let time = ConfigDuration.parse(text), time >= 0 else { throw error(key, "\(key) is a number of seconds, or a duration as \"48h\"") }
    return time
  }

  func table(_ key: String) throws -> TableReader? {
    guard let value = value(key) else { return nil }
    guard let inner = value.table else { throw error(key, "\(key) is a table: [\(Self.dotted(place + [key]))]") }
    return TableReader(inner, file, place: place + [key])
  }

  func tables(_ key: String) throws -> [TableReader] {
    guard let value = value(key) else { return [] }
    let wrong = error(key, "\(key) is a list of tables: [[\(Self.dotted(place + [key]))]]")
    guard let list = value.array else { throw wrong }
    return try (0..<list.count).map { i in
      guard let inner = list[i].table else { throw wrong }
      return TableReader(inner, file, place: place + [key])
    }
  }

  /// All of its keys, for tables whose keys are names. None of them is unknown then.
  func names() -> [String] {
    used.formUnion(table.keys)
    return table.keys.sorted()
  }

  /// Read by others, or by nobody: not looked into.
  func passOver(_ key: String) -> Bool { value(key) != nil }

  /// After the last key.
  func finish() throws {
    for key in table.keys.sorted() where !used.contains(key) {
      let meant = known.min { KeyDistance.between($0.lowercased(), key.lowercased()) < KeyDistance.between($1.lowercased(), key.lowercased()) }
      let advice = meant.flatMap { KeyDistance.between($0.lowercased(), key.lowercased()) <= 2 ? "; did you mean \($0)?" : nil } ?? "; there are \(known.joined(separator: ", "))"
      throw error(key, "\(name) has no setting \"\(key)\"\(advice)")
    }
  }
}

/// The file that is read: its path, and where its keys stand.
struct ConfigPlaces {
  let path: String
  let lines: KeyLines

  func error(_ keys: [String], _ message: String) -> ConfigError { ConfigError(.setting, path: path, line: lines.line(of: keys), message) }

  /// A path that is not absolute begins at the file's folder.
  func absolute(_ file: String) -> String {
    if file.hasPrefix("/") { return file }
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    return folder + "/" + file
  }
}

/// How many letters differ.
private enum KeyDistance {
  static func between(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.utf8), Array(b.utf8))
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let next = min(row[j] + 1, row[j + 1] + 1, diagonal + (x == y ? 0 : 1))
        diagonal = row[j + 1]
        row[j + 1] = next
      }
    }
    return row[b.count]
  }
}
