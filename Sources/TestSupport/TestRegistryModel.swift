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
  /// The last page of `tags/list` leads to the first again.
  package var tagPagesLoop = false
  /// A token is good for so many requests.
  package var usesPerToken: Int?
  /// Without `Docker-Content-Digest`, as some proxies and old registries answer.
  package var omitsDigests = false
  /// All names of fields in capitals.
  package var uppercaseHeaders = false
  /// `host:port` that uploads are sent to, with a signature in the query instead of credentials: another `TestRegistry`'s, see `acceptUploads(for:)`.
  package var uploadsTo: String?
  /// A session's Location has no query.
  package var plainLocations = false
  /// Manifests larger than this are refused.
  package var maximumManifest: Int?
  /// Indexes are refused, as Quay once did.
  package var refusesIndexes = false
  /// A request that breaks takes its upload session with it, as with Debian's docker-registry; else what came of it is kept.
  package var losesBrokenSessions = false
  /// A session tells of its first chunk for ever, as ECR's do.
  package var tellsFirstChunkOnly = false
  /// Largest body of a PATCH; larger ones are answered 416, as GitHub does.
  package var maximumChunk: Int?
  /// Bodies are taken by PATCH only, or by PUT only.
  package var takesBodies: Bodies = .any
  package enum Bodies: Sendable { case any, patch, put }
  /// Status that ends an upload; some answer 202 or 204.
  package var uploadedStatus = 201
  /// HEAD is not allowed (405).
  package var refusesHeads = false
  /// Keeps account of referrers itself, and says so with `OCI-Subject`.
  package var keepsReferrers = false
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
  /// Its place among all requests, in the order of their arrival, from 1.
  package var number = 0
  /// Nanoseconds of a steady clock, when it was there in whole, and when its answer was sent; 0 for one that got none.
  package var arrived: UInt64 = 0
  package var answered: UInt64 = 0

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
