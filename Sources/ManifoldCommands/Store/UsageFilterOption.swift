internal import BuildInterface
internal import OCIModel

/// `--filter` of du and prune, in buildx's words: `until=24h`, `type=regular`, `id=abc`, `inuse`, `type!=internal`, `description~=apt`.
struct UsageFilterOption {
  var filter = UsageFilter()
  /// Nanoseconds.
  var keepDuration: Int64 = 0

  init(_ texts: [String]) throws {
    var seen: Set<String> = []
    var until: String?
    for text in texts {
      let equals = text.firstIndex(of: "=")
      var key = String(text[..<(equals ?? text.endIndex)]).trimmingSpaces().lowercased()
      let value = equals.map { String(text[text.index(after: $0)...]).trimmingSpaces() }
      if key == "until" || key == "unused-for" {
        guard let value else { throw BuildError.usage("--filter \(text): expected \(key)=DURATION, such as \(key)=24h") }
        if let until { throw BuildError.usage(until == key ? "--filter \(key) expects only one value" : "--filter until and --filter unused-for exclude one another") }
        guard let duration = GoDuration.parse(value) else { throw BuildError.usage("--filter \(text): expected a duration, such as 24h or 1h30m") }
        (until, keepDuration) = (key, max(0, duration))
        continue
      }
      guard seen.insert(key).inserted else { throw BuildError.usage("--filter \(key) expects only one value") }
      var test: UsageFilter.Test = value.map { .equal($0) } ?? .present
      if let value, key.hasSuffix("!") {
        key.removeLast()
        test = .notEqual(value)
      } else if let value, key.hasSuffix("~") {
        key.removeLast()
        test = .matches(value)
      } else if let value, key == "id" {
        test = .matches(value)
      }
      do { try filter.add(key, test) } catch let error as BuildError {
        throw BuildError.usage("--filter \(text): \(error.message)", suggestion: error.suggestion)
      }
    }
  }
}

extension String {
  fileprivate func trimmingSpaces() -> String {
    var rest = self[...]
    while rest.first == " " { rest.removeFirst() }
    while rest.last == " " { rest.removeLast() }
    return String(rest)
  }
}

/// `--store-limit` and MANIFOLD_STORE_LIMIT.
enum StoreLimitText {
  static func parse(_ option: String?, _ environment: [String: String]) throws -> StoreLimit {
    let name = option == nil ? "MANIFOLD_STORE_LIMIT" : "--store-limit"
    guard let text = option ?? environment["MANIFOLD_STORE_LIMIT"], !text.isEmpty, text != "auto" else { return .automatic }
    if text == "none" { return .none }
    if text.hasSuffix("%") {
      guard let percent = Int64(text.dropLast()), (1...100).contains(percent) else { throw BuildError.usage("\(name) \(text): expected 1% to 100%") }
      return .percent(percent)
    }
    let bytes: Int64
    do { bytes = try StepSettings.bytes(text, option: name) } catch { throw BuildError.usage("\(name) \(text): expected a size such as 20g, a share of the disk such as 50%, or none") }
    guard bytes > 0 else { throw BuildError.usage("\(name) \(text): expected more than nothing; none sets no limit") }
    return .bytes(bytes)
  }
}
