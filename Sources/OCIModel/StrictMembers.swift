/// Reading members of documents from strangers: absent and null are nothing, another type than expected is an error, never silently nothing.
extension JSONObject {
  func text(_ key: String, _ what: String) throws(OCIError) -> String? {
    guard let json = self[key], !json.isNull else { return nil }
    guard let text = json.stringValue else { throw OCIError(.invalidDocument, "\(what): \(key) is not a string") }
    return text
  }

  func flag(_ key: String, _ what: String) throws(OCIError) -> Bool {
    guard let json = self[key], !json.isNull else { return false }
    guard let flag = json.boolValue else { throw OCIError(.invalidDocument, "\(what): \(key) is neither true nor false") }
    return flag
  }

  func list(_ key: String, _ what: String) throws(OCIError) -> [JSONValue]? {
    guard let json = self[key], !json.isNull else { return nil }
    guard let list = json.arrayValue else { throw OCIError(.invalidDocument, "\(what): \(key) is not an array") }
    return list
  }

  func texts(_ key: String, _ what: String) throws(OCIError) -> [String]? {
    guard let list = try list(key, what) else { return nil }
    var out: [String] = []
    for json in list {
      guard let text = json.stringValue else { throw OCIError(.invalidDocument, "\(what): an entry of \(key) is not a string") }
      out.append(text)
    }
    return out
  }

  /// Refuses a member that differs from a known one by case alone: readers written in Go take it for that one, and would see another image than we.
  func checkSpelling(_ known: Set<String>, _ what: String) throws(OCIError) {
    let lower = Set(known.map { $0.lowercased() }), longest = known.reduce(0) { max($0, $1.utf8.count) }
    // Go folds a few letters beyond ASCII too (the long s, the Kelvin sign), which take more bytes.
    for (key, _) in members where key.utf8.count <= 3 * longest && !known.contains(key) {
      if lower.contains(key.replacing("\u{17f}", with: "s").replacing("\u{212a}", with: "k").lowercased()) { throw OCIError(.invalidDocument, "\(what): \"\(key.prefix(60))\" is not how that member is spelt") }
    }
  }
}
