internal import OCIModel

/// The values of response fields that a registry client has to understand. All pure.
package enum HTTPFields {
  /// `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3). nil when it is neither; never negative.
  package static func retryAfter(_ text: String, now: Int64) -> Duration? {
    let text = trimmed(text)
    if !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) { return .seconds(min(Int64(text) ?? 86400, 86400)) }
    return httpDate(text).map { .seconds(min(max($0 - now, 0), 86400)) }
  }

  /// Seconds since the epoch of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`. The two obsolete forms are not in use.
  package static func httpDate(_ text: String) -> Int64? {
    let words = text.split(separator: " ")
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    guard words.count == 6, words[5] == "GMT", let month = months.firstIndex(of: String(words[2])), words[1].count == 2, words[3].count == 4 else { return nil }
    let number = month + 1
    let stamp = "\(words[3])-\(number < 10 ? "0" : "")\(number)-\(words[1])T\(words[4])Z"
    return (try? Timestamp(rfc3339: stamp))?.seconds
  }

  /// The next page of a listing: the target of the first `Link` with `rel="next"` (RFC 8288), still unresolved.
  package static func nextLink(_ values: [String]) -> String? {
    for value in values {
      var rest = value[...]
      while let open = rest.firstIndex(of: "<"), let close = rest[open...].firstIndex(of: ">") {
        let target = rest[rest.index(after: open)..<close]
        rest = rest[rest.index(after: close)...]
        let parameters = rest.prefix { $0 != "<" }
        let isNext = parameters.split(separator: ";").contains { parameter in
          let parts = parameter.split(separator: "=", maxSplits: 1)
          guard parts.count == 2, trimmed(parts[0]).lowercased() == "rel" else { return false }
          let names = trimmed(parts[1]).prefix { $0 != "," }.filter { $0 != "\"" }
          return names.split(separator: " ").contains { $0.lowercased() == "next" }
        }
        if isNext { return String(target) }
      }
    }
    return nil
  }

  /// The number of bytes an upload session holds, from its `Range: 0-<last>`. `0-0` is what registries say of both an
  /// empty session and one byte; it is read as empty, and an upload that is then refused begins anew.
  package static func uploadedBytes(_ text: String) -> Int64? {
    var range = trimmed(text)
    if range.lowercased().hasPrefix("bytes=") { range = String(range.dropFirst(6)) }
    let parts = range.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0] == "0" else { return nil }
    if parts[1].isEmpty || parts[1] == "0" { return 0 }
    guard let last = Int64(parts[1]), last > 0, last < .max else { return nil }
    return last + 1
  }

  /// `Content-Range: bytes first-last/total`; total nil for `*`.
  package struct ContentRange: Hashable, Sendable {
    package var first: Int64
    package var last: Int64
    package var total: Int64?
    package init(first: Int64, last: Int64, total: Int64?) {
      self.first = first
      self.last = last
      self.total = total
    }
  }
  package static func contentRange(_ text: String) -> ContentRange? {
    let text = trimmed(text)
    guard text.lowercased().hasPrefix("bytes ") else { return nil }
    let halves = text.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
    guard halves.count == 2 else { return nil }
    let ends = trimmed(halves[0]).split(separator: "-", omittingEmptySubsequences: false)
    guard ends.count == 2, let first = Int64(ends[0]), let last = Int64(ends[1]), first >= 0, last >= first else { return nil }
    if halves[1] == "*" { return ContentRange(first: first, last: last, total: nil) }
    guard let total = Int64(halves[1]), total > last else { return nil }
    return ContentRange(first: first, last: last, total: total)
  }

  /// The media type without parameters.
  package static func mediaType(_ text: String) -> String { trimmed(text.prefix { $0 != ";" }).lowercased() }

  static func trimmed(_ text: some StringProtocol) -> String {
    var s = Substring(text)
    while let c = s.first, c == " " || c == "\t" { s.removeFirst() }
    while let c = s.last, c == " " || c == "\t" { s.removeLast() }
    return String(s)
  }
}

/// What a registry says about how much may still be asked of it. Docker Hub sends `ratelimit-limit: 100;w=21600`,
/// `ratelimit-remaining: 76;w=21600` and `docker-ratelimit-source: <address or account>`.
public struct RegistryRateLimit: Hashable, Sendable {
  public var limit: Int?
  public var remaining: Int?
  /// Seconds the two numbers are counted over.
  public var windowSeconds: Int?
  /// Whom the registry counts for: an address or an account.
  public var source: String?

  /// nil when no field is there.
  package init?(limit: String?, remaining: String?, source: String?) {
    guard limit != nil || remaining != nil else { return nil }
    func parse(_ text: String?) -> (value: Int?, window: Int?) {
      guard let text else { return (nil, nil) }
      let parts = text.split(whereSeparator: { $0 == ";" || $0 == "," }).map { HTTPFields.trimmed($0) }
      let window = parts.dropFirst().first { $0.hasPrefix("w=") }.flatMap { Int($0.dropFirst(2)) }
      return (parts.first.flatMap { Int($0) }, window)
    }
    let (l, r) = (parse(limit), parse(remaining))
    self.limit = l.value
    self.remaining = r.value
    windowSeconds = l.window ?? r.window
    self.source = source
  }

  /// "0 of 100 pulls left in 6 h, counted for 192.0.2.1".
  package var summary: String {
    var out = "\(remaining.map(String.init) ?? "an unknown number") of \(limit.map(String.init) ?? "?") requests left"
    if let windowSeconds { out += windowSeconds % 3600 == 0 ? " in \(windowSeconds / 3600) h" : " in \(windowSeconds) s" }
    if let source { out += ", counted for \(source)" }
    return out
  }
}
