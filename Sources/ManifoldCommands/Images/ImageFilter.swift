internal import BuildInterface
internal import OCIModel
internal import PathPatterns

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `--filter` of images and image prune, in docker's words. Several values of one word are alternatives, several words must all hold.
struct ImageFilter: Sendable {
  private var values: [String: [String]] = [:]
  static let words: Set<String> = ["reference", "dangling", "label", "before", "since", "until"]

  /// Throws for words that there are none of.
  init(_ texts: [String], allowed: Set<String> = words) throws {
    for text in texts {
      guard let equals = text.firstIndex(of: "=") else { throw BuildError.usage("--filter \(text): invalid argument: expected filter=value") }
      var word = String(text[..<equals]).lowercased()
      while word.last == " " { word.removeLast() }
      let value = String(text[text.index(after: equals)...].drop { $0 == " " })
      guard allowed.contains(word) else { throw BuildError.usage("invalid filter '\(word)'", suggestion: "Filters are \(allowed.sorted().joined(separator: ", ")).") }
      if word == "dangling", TruthWord.parse(value) == nil { throw BuildError.usage("invalid filter 'dangling=\(value)'") }
      if word == "reference" { do throws(PathPatternError) { _ = try Wildcard.matches(value, "x") } catch { throw BuildError.usage("--filter \(text): \(error)") } }
      values[word, default: []].append(value)
    }
  }

  /// One more, of the name that stands behind the options.
  mutating func add(reference: String) throws {
    do throws(PathPatternError) { _ = try Wildcard.matches(reference, "x") } catch { throw BuildError.usage("\(reference): \(error)") }
    values["reference", default: []].append(reference)
  }

  var isAboutDangling: Bool { values["dangling"] != nil }

  /// `all`: those that `before` and `since` may name. Throws when they name none.
  func selected(_ rows: [ImageRow], all: [ImageRow], now: Int64 = Int64(time(nil))) throws -> [ImageRow] {
    let before = try values["before"]?.map { try Self.moment(ofImage: $0, all) }.min()
    let since = try values["since"]?.map { try Self.moment(ofImage: $0, all) }.max()
    let until = try values["until"]?.map { try Self.moment($0, now) }.min()
    return try rows.filter { row in
      if let before, row.created >= before { return false }
      if let since, row.created <= since { return false }
      if let until, row.created >= until { return false }
      if let words = values["dangling"], !words.contains(where: { TruthWord.parse($0) == row.isUnnamed }) { return false }
      if let patterns = values["reference"], try !patterns.contains(where: { try Self.matches($0, row) }) { return false }
      if let labels = values["label"], !labels.allSatisfy({ Self.hasLabel($0, row) }) { return false }
      if let labels = values["label!"], labels.contains(where: { Self.hasLabel($0, row) }) { return false }
      return true
    }
  }

  private static func hasLabel(_ text: String, _ row: ImageRow) -> Bool {
    guard let equals = text.firstIndex(of: "=") else { return row.labels[text] != nil }
    return row.labels[String(text[..<equals])] == String(text[text.index(after: equals)...])
  }

  /// As docker matches: the pattern against the name, or the name with its tag or digest.
  private static func matches(_ pattern: String, _ row: ImageRow) throws -> Bool {
    if row.isUnnamed { return false }
    // A whole name means itself, whatever its spelling.
    if let exact = try? Reference(parsing: pattern), exact.name == row.reference.name {
      if exact.tag == nil, exact.digest == nil { return true }
      if (exact.tag == nil || exact.tag == row.reference.tag) && (exact.digest == nil || exact.digest == row.digest) { return true }
    }
    let names = [row.reference.familiar, row.reference.familiarName, "\(row.reference.familiarName)@\(row.digest)"]
    do { return try names.contains { try Wildcard.matches(pattern, $0) } } catch { throw BuildError.usage("\(pattern): \(error)") }
  }

  private static func moment(ofImage text: String, _ all: [ImageRow]) throws -> Timestamp {
    let wanted = (try? Reference(parsing: text))?.withDefaultTag
    let found = all.first { row in
      if let wanted, wanted.name == row.reference.name { return wanted.digest == nil ? wanted.tag == row.reference.tag : wanted.digest == row.digest }
      return row.digest.hex.hasPrefix(text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text)
    }
    guard let found else { throw BuildError.usage("No such image: \(wanted?.familiar ?? text)") }
    return found.created
  }

  /// `24h` ago, seconds since 1970, or a time.
  private static func moment(_ text: String, _ now: Int64) throws -> Timestamp {
    if let age = GoDuration.parse(text) { return Timestamp(nanosecondsSinceEpoch: now * 1_000_000_000 - age) }
    if let seconds = Int64(text) { return Timestamp(seconds: seconds) }
    for suffix in ["", "Z", ":00Z", "T00:00:00Z"] { if let time = try? Timestamp(rfc3339: text + suffix) { return time } }
    throw BuildError.usage("--filter until=\(text): expected an age such as 24h, or a time such as 2026-01-31T12:00:00")
  }
}
