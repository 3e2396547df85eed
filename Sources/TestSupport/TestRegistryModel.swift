import OCIModel

/// What a `TestRegistry` is like. Everything off gives a complete, well-behaved registry without authentication.
package struct TestRegistryOptions: Sendable {
  package enum Authentication: Sendable {
    case none
    case basic(user: String, password: String)
    /// Tokens from `/token`. Without a user anyone gets tokens to pull; `lifetime` is `expires_in`, nil to leave it out.
    case bearer(user: String?, password: String, lifetime: Int?, identityToken: String? = nil)
  }
  package var authentication = Authentication.none
  /// The token server that challenges name; nil for this registry's own.
  package var tokenRealm: String?
  package var supportsMount = true
  /// Every exchange waits this long.
  package var latencyMilliseconds: Int64 = 0
  /// Sent as `OCI-Chunk-Min-Length`; smaller chunks before the last are refused.
  package var minimumChunk: Int?
  /// Single requests larger than this are answered 413.
  package var maximumBody: Int?
  package var absoluteLocations = false
  /// Whether a HEAD of a manifest tells digest and type; old and odd registries do not.
  package var completeHeads = true
  package var acceptsRanges = true
  /// `host:port` that blob reads are redirected to, with a signature in the query.
  package var redirectBlobsTo: String?
  /// Tags a page of `tags/list` holds.
  package var tagPage = 100
  package init() {}
}

/// One request as a `TestRegistry` saw it.
package struct TestRequest: Sendable, CustomStringConvertible {
  package var method: String
  package var path: String
  /// As received, without the `?`.
  package var query: String
  /// Names in lower case; the first value of each.
  package var headers: [String: String]
  package var bodySize = 0
  /// The status it was answered with; nil when the connection was broken instead.
  package var status: Int?
  /// Which connection it came on, counted from 1.
  package var connection = 0

  package var description: String { "\(method) \(path)\(query.isEmpty ? "" : "?" + query) → \(status.map(String.init) ?? "broken")" }
  package func parameter(_ name: String) -> String? { parameters(name).first }
  package func parameters(_ name: String) -> [String] {
    query.split(separator: "&").compactMap { item in
      let parts = item.split(separator: "=", maxSplits: 1)
      guard let first = parts.first, first == name else { return nil }
      return parts.count > 1 ? TestRequest.decoded(parts[1]) : ""
    }
  }
  static func decoded(_ text: some StringProtocol) -> String {
    var out = [UInt8](), rest = Array(text.utf8)[...]
    while let c = rest.popFirst() {
      if c == 0x25, rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
        out.append(value)
        rest = rest.dropFirst(2)
      } else { out.append(c == 0x2b ? 0x20 : c) }
    }
    return String(decoding: out, as: UTF8.self)
  }
}

/// Something that goes wrong on purpose.
package struct TestFault: Sendable {
  package enum Action: Sendable {
    /// Answered with this instead.
    case status(Int, headers: [(String, String)] = [], body: String = "")
    /// The connection is reset before anything is answered; the request has no effect.
    case reset
    /// The connection is reset after this many bytes of the request's body, which an upload session keeps.
    case resetDuringBody(after: Int)
    /// The request has its effect, then the connection is reset without an answer.
    case loseAnswer
    /// The answer's body ends with a reset after this many bytes.
    case truncate(after: Int)
    /// One byte of the answer's body is changed.
    case corrupt
    /// The answer's Content-Length says this instead.
    case claim(length: Int)
    /// The answer has so many bytes too many, and no Content-Length that would tell.
    case surplus(Int)
    /// Nothing is answered for so long.
    case stall(milliseconds: Int64)
  }
  package var method: String?
  package var path: String
  /// Matching requests that are spared first, and how many are struck then.
  package var skip: Int
  package var times: Int
  package var action: Action

  /// Strikes requests whose path contains `path`, and whose method is `method` if there is one.
  package init(_ method: String?, _ path: String, skip: Int = 0, times: Int = 1, _ action: Action) {
    self.method = method
    self.path = path
    self.skip = skip
    self.times = times
    self.action = action
  }
}

struct TestResponse: Sendable {
  var status: Int
  var headers: [(String, String)] = []
  var body: [UInt8] = []
  /// Overrides the length sent for a HEAD.
  var length: Int?
  /// Overrides the length sent in any case.
  var claimed: Int?
  var isChunked = false

  static func error(_ status: Int, _ code: String, _ message: String, detail: JSONValue? = nil, headers: [(String, String)] = []) -> TestResponse {
    var entry = JSONObject([("code", .string(code)), ("message", .string(message))])
    if let detail { entry["detail"] = detail }
    let body = JSONValue.object(JSONObject([("errors", .array([.object(entry)]))])).encoded()
    return TestResponse(status: status, headers: headers + [("Content-Type", "application/json; charset=utf-8")], body: body)
  }
}
