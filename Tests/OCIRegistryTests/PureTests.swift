import OCIModel
import OCIRegistry
import Testing

@Suite struct RegistryURLTests {
  @Test(arguments: [
    ("https://registry.example/v2/", "https://registry.example/v2/"), ("http://LOCALHOST:5000", "http://localhost:5000/"), ("https://[::1]:5000/a?b=c%2Fd", "https://[::1]:5000/a?b=c%2Fd"),
    ("https://h/a#fragment", "https://h/a"), ("https://h?q", "https://h/?q"),
  ])
  func parses(_ text: String, _ expected: String) { #expect(RegistryURL(text)?.description == expected) }

  @Test(arguments: ["", "registry.example", "ftp://h/", "https://", "https:///path", "https://user:pass@h/", "https://h:0/", "https://h:70000/", "https://h/a b", "https://h/\u{e9}", "https://h:x/", "https://::1/", "https://h\\evil/"])
  func refuses(_ text: String) { #expect(RegistryURL(text) == nil) }

  @Test(arguments: [
    // Relative, absolute path, absolute address, scheme-relative, query only, dot segments.
    ("/v2/a/blobs/uploads/1?s=x%3D", "http://r:5000/v2/a/blobs/uploads/1?s=x%3D"), ("uuid-2", "http://r:5000/v2/a/uuid-2"), ("https://cdn.example/x?sig=a%2Fb", "https://cdn.example/x?sig=a%2Fb"),
    ("//other/x", "http://other/x"), ("?n=2", "http://r:5000/v2/a/b?n=2"), ("../c/./d", "http://r:5000/v2/c/d"), ("/../../x", "http://r:5000/x"), ("/v2/a:b/c", "http://r:5000/v2/a:b/c"),
  ])
  func resolves(_ reference: String, _ expected: String) throws {
    let base = try #require(RegistryURL("http://r:5000/v2/a/b?old=1"))
    #expect(base.resolving(reference)?.description == expected)
  }

  @Test func addsQueryItemsAndComparesOrigins() throws {
    let url = try #require(RegistryURL("https://h/upload?_state=a%2Bb"))
    #expect(url.adding([("digest", "sha256:00")]).description == "https://h/upload?_state=a%2Bb&digest=sha256%3A00")
    #expect(RegistryURL("https://h:443/")?.origin == RegistryURL("https://H/x")?.origin)
    #expect(RegistryURL("https://h/")?.origin != RegistryURL("http://h/")?.origin)
    #expect(RegistryURL("https://h/")?.origin != RegistryURL("https://h:444/")?.origin)
  }
}

@Suite struct AuthChallengeTests {
  @Test func readsWhatRegistriesSend() {
    let hub = AuthChallenge.parse([#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#])
    #expect(hub == [AuthChallenge(.bearer, ["realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:library/alpine:pull"])])
    // Two in one value, commas inside quotes, escapes, odd spacing, case.
    let two = AuthChallenge.parse([#"basic Realm="a, \"b\"" , , BEARER realm="https://t/",scope="repository:x:pull,push""#])
    #expect(two == [AuthChallenge(.basic, ["realm": "a, \"b\""]), AuthChallenge(.bearer, ["realm": "https://t/", "scope": "repository:x:pull,push"])])
    #expect(AuthChallenge.preferred(two)?.scheme == .bearer)
    #expect(AuthChallenge.parse(["Negotiate", "Basic"]) == [AuthChallenge(.other("negotiate")), AuthChallenge(.basic)])
    #expect(AuthChallenge.preferred(AuthChallenge.parse(["Bearer", "Basic realm=x"]))?.scheme == .basic)
  }

  @Test(arguments: ["", ",", "=", "\"", "Bearer realm=\"unterminated", "Bearer realm=\"x\\", "Bearer =", String(repeating: "a,", count: 500)])
  func survivesRubbish(_ text: String) { _ = AuthChallenge.parse([text]) }

  @Test func aBrokenEndKeepsTheGoodBeginning() {
    #expect(AuthChallenge.parse([#"Basic realm="x", Bearer realm="y"#]).first == AuthChallenge(.basic, ["realm": "x"]))
  }
}

@Suite struct RegistryScopeTests {
  @Test func mergesAndCovers() {
    let scopes = RegistryScopes([.pull("a"), .push("a"), .pull("b")])
    #expect(scopes.strings == ["repository:a:pull,push", "repository:b:pull"])
    #expect(scopes.covers(RegistryScopes([.pull("a")])))
    #expect(!RegistryScopes([.pull("a")]).covers(scopes))
    #expect(RegistryScopes(challenge: "repository:b:pull repository:a:push,pull") == scopes)
    #expect(RegistryScopes(challenge: "repository:h:5000/x:pull registry:catalog:* odd").strings == ["odd", "registry:catalog:*", "repository:h:5000/x:pull"])
    #expect(RegistryScopes(challenge: "repository:x:*").covers(RegistryScopes([.push("x")])))
  }

  @Test func tokensExpireBeforeTheServerSaysSo() {
    var cache = TokenCache()
    let key = TokenCache.Key(realm: "https://t", service: "s")
    cache.insert("one", key, RegistryScopes([.pull("a")]), lifetime: 300, now: 1000)
    #expect(cache.token(key, RegistryScopes([.pull("a")]), now: 1269) == "one")
    #expect(cache.token(key, RegistryScopes([.pull("a")]), now: 1270) == nil)
    #expect(cache.token(key, RegistryScopes([.push("a")]), now: 1001) == nil)
    cache.insert("two", key, RegistryScopes([.push("a")]), lifetime: nil, now: 1000)
    #expect(cache.token(key, RegistryScopes([.push("a")]), now: 1053) == "two")
    #expect(cache.token(key, RegistryScopes([.push("a")]), now: 1054) == nil)
    // A wider token serves a narrower wish; a dropped one serves none.
    cache.remove("one")
    #expect(cache.token(key, RegistryScopes([.pull("a")]), now: 1001) == "two")
    #expect(cache.token(TokenCache.Key(realm: "https://other", service: "s"), RegistryScopes([.pull("a")]), now: 1001) == nil)
  }
}

@Suite struct RetryPolicyTests {
  let policy = RetryPolicy(maximumAttempts: 4, baseDelay: .milliseconds(100), maximumDelay: .milliseconds(300), maximumRetryAfter: .seconds(30))

  @Test func backsOffWithJitterAndGivesUp() {
    #expect(policy.decision(afterAttempt: 1, .connection, random: 0) == .retry(after: .milliseconds(50)))
    #expect(policy.decision(afterAttempt: 1, .connection, random: 1) == .retry(after: .milliseconds(100)))
    #expect(policy.decision(afterAttempt: 2, .status(503, retryAfter: nil), random: 0) == .retry(after: .milliseconds(100)))
    #expect(policy.decision(afterAttempt: 3, .status(500, retryAfter: nil), random: 1) == .retry(after: .milliseconds(300)))
    #expect(policy.decision(afterAttempt: 4, .connection, random: 0) == .giveUp)
    #expect(policy.decision(afterAttempt: 1, .permanent, random: 0) == .giveUp)
    #expect(RetryPolicy.never.decision(afterAttempt: 1, .connection, random: 0) == .giveUp)
  }

  @Test func obeysRetryAfterUpToALimit() {
    #expect(policy.decision(afterAttempt: 1, .status(429, retryAfter: .seconds(7)), random: 0) == .retry(after: .seconds(7)))
    #expect(policy.decision(afterAttempt: 1, .status(429, retryAfter: .seconds(31)), random: 0) == .giveUp)
  }

  @Test(arguments: [(200, false), (401, false), (403, false), (404, false), (408, true), (416, false), (429, true), (500, true), (501, false), (502, true), (503, true), (504, true), (522, true)])
  func knowsTransientStatuses(_ status: Int, _ transient: Bool) { #expect(RetryPolicy.isTransient(status) == transient) }
}

@Suite struct HTTPFieldsTests {
  @Test func retryAfter() {
    #expect(HTTPFields.retryAfter("120", now: 0) == .seconds(120))
    #expect(HTTPFields.retryAfter(" 5 ", now: 0) == .seconds(5))
    #expect(HTTPFields.retryAfter("Sun, 06 Nov 1994 08:49:37 GMT", now: 784_111_777 - 30) == .seconds(30))
    #expect(HTTPFields.retryAfter("Sun, 06 Nov 1994 08:49:37 GMT", now: 784_111_777 + 30) == .seconds(0))
    #expect(HTTPFields.retryAfter("soon", now: 0) == nil)
    #expect(HTTPFields.retryAfter("-1", now: 0) == nil)
    #expect(HTTPFields.retryAfter("99999999999999999999", now: 0) == .seconds(86400))
  }

  @Test(arguments: [
    ([#"</v2/a/tags/list?n=2&last=b>; rel="next""#], "/v2/a/tags/list?n=2&last=b"), (["<x>; rel=prev, <y>; rel=next"], "y"), (["<z>; title=\"a\"; rel=\"prev next\""], "z"), (["<x>; rel=prev"], nil),
    (["nonsense"], nil), ([], nil), (["<a", "<b>;rel=next"], "b"),
  ] as [([String], String?)])
  func nextLink(_ values: [String], _ expected: String?) { #expect(HTTPFields.nextLink(values) == expected) }

  @Test(arguments: [("0-0", 0), ("0-99", 100), ("bytes=0-9", 10), ("0-", 0), ("5-9", nil), ("x", nil), ("0--3", nil), ("0-99999999999999999999", nil)] as [(String, Int64?)])
  func uploaded(_ text: String, _ expected: Int64?) { #expect(HTTPFields.uploadedBytes(text) == expected) }

  @Test func contentRange() {
    #expect(HTTPFields.contentRange("bytes 10-19/100") == .init(first: 10, last: 19, total: 100))
    #expect(HTTPFields.contentRange("bytes 10-19/*") == .init(first: 10, last: 19, total: nil))
    for bad in ["bytes 19-10/100", "bytes 10-19/15", "items 1-2/3", "bytes */100", "bytes 1-2", ""] { #expect(HTTPFields.contentRange(bad) == nil, "\(bad)") }
  }

  @Test func rateLimit() {
    let hub = RegistryRateLimit(limit: "100;w=21600", remaining: "0;w=21600", source: "192.0.2.1")
    #expect(hub?.limit == 100 && hub?.remaining == 0 && hub?.windowSeconds == 21600)
    #expect(hub?.summary == "0 of 100 requests left in 6 h, counted for 192.0.2.1")
    #expect(RegistryRateLimit(limit: nil, remaining: nil, source: "x") == nil)
  }
}

@Suite struct CandidateTests {
  @Test(arguments: [
    ("ghcr.io", false, false, ["https"]), ("localhost:5000", false, false, ["http", "https!"]), ("127.3.2.1", false, false, ["http", "https!"]), ("[::1]:5000", false, false, ["http", "https!"]),
    ("localhost:443", false, false, ["https!", "http"]), ("localhost:5000", false, true, ["https", "http"]), ("registry:5000", true, false, ["https!", "http"]), ("128.0.0.1", false, false, ["https"]),
    ("localhost.example", false, false, ["https"]), ("127.0.0.1.example.com", false, false, ["https"]),
  ])
  func candidates(_ host: String, _ insecure: Bool, _ certificates: Bool, _ expected: [String]) {
    let got = RegistryCandidate.list(for: host, isInsecure: insecure, hasCertificates: certificates).map { $0.scheme.rawValue + ($0.verifiesCertificate ? "" : "!") }
    #expect(got == expected)
  }

  @Test(arguments: [
    ("r", true, nil, ["http"]), ("r", true, true, ["https!", "http"]), ("r", nil, true, ["https!"]), ("r", false, nil, ["https"]), ("localhost:5", nil, true, ["https!", "http"]),
    ("localhost:5", false, nil, ["https"]), ("localhost:5", false, true, ["https!"]), ("localhost:5", nil, nil, ["http", "https!"]),
  ] as [(String, Bool?, Bool?, [String])])
  func settings(_ host: String, _ plain: Bool?, _ insecure: Bool?, _ expected: [String]) {
    var settings = RegistryHostSettings()
    (settings.plainHTTP, settings.isInsecure) = (plain, insecure)
    func list(_ named: Bool) -> [String] {
      RegistryCandidate.list(for: host, isInsecure: named, hasCertificates: false, settings: settings).map { $0.scheme.rawValue + ($0.verifiesCertificate ? "" : "!") }
    }
    #expect(list(false) == expected)
    // The flag goes beyond what the configuration has.
    #expect(list(true) == ["https!", "http"])
  }

  @Test(arguments: [
    ("https://r.example/", "https-proxy"), ("http://r.example/", "http-proxy"), ("https://localhost:5000/", nil), ("https://127.0.0.1/", nil), ("https://sub.corp.example/", nil),
    ("https://corp.example/", nil), ("https://notcorp.example/", "https-proxy"), ("https://dot.only/", "https-proxy"), ("https://a.dot.only/", nil), ("https://10.1.2.3/", nil), ("https://11.1.2.3/", "https-proxy"),
    ("https://port.example:8443/", nil), ("https://port.example/", "https-proxy"),
  ] as [(String, String?)])
  func proxies(_ url: String, _ expected: String?) throws {
    let environment = ProxyEnvironment([
      "HTTPS_PROXY": "http://user:p%40ss@https-proxy:3128", "http_proxy": "http-proxy", "NO_PROXY": "corp.example, .dot.only,10.0.0.0/8,port.example:8443",
    ])
    let proxy = environment.proxy(for: try #require(RegistryURL(url)))
    #expect(proxy?.host == expected)
    if expected == "https-proxy" { #expect(proxy?.userInfo == "user:p%40ss" && proxy?.port == 3128) }
  }

  @Test func proxyCorners() throws {
    let url = try #require(RegistryURL("http://r/"))
    #expect(ProxyEnvironment(["HTTP_PROXY": "x:1", "REQUEST_METHOD": "GET"]).proxy(for: url) == nil)
    #expect(ProxyEnvironment(["ALL_PROXY": "socks5://s"]).proxy(for: url) == .init(kind: .socks5, host: "s", port: 1080, userInfo: nil))
    #expect(ProxyEnvironment(["HTTP_PROXY": "x:1", "NO_PROXY": "*"]).proxy(for: url) == nil)
    #expect(ProxyEnvironment([:]).proxy(for: url) == nil)
    // The lower case counts when the upper is empty; Docker's configuration only when both are.
    #expect(ProxyEnvironment(["HTTP_PROXY": "", "http_proxy": "low:1"], configured: ["HTTP_PROXY": "c:1"]).proxy(for: url)?.host == "low")
    #expect(ProxyEnvironment([:], configured: ["HTTP_PROXY": "c:1", "NO_PROXY": "s"]).proxy(for: url)?.host == "c")
    #expect(ProxyEnvironment(["no_proxy": "r"], configured: ["HTTP_PROXY": "c:1"]).proxy(for: url) == nil)
    for text in ["https://p:1", "socks5://u:p@s", "ftp://x"] {
      let kind = ProxyEnvironment.parse(text)?.kind
      #expect({ if case .unusable? = kind { true } else { false } }(), "\(text)")
    }
    #expect(ProxyEnvironment.parse("http://[2001:db8::1]:3128")?.address == "http://[2001:db8::1]:3128")
    #expect(ProxyEnvironment.parse("http://u:p%3A@h")?.authorization == "Basic " + Base64.encode("u:p:".utf8))
  }

  /// What Go's golang.org/x/net/http/httpproxy says of the same.
  @Test(arguments: [
    ("*.example", "https://a.example/", true), ("*.example", "https://example/", false), (".example:8443", "https://a.example:8443/", true), (".example:8443", "https://a.example/", false),
    ("10.0.0.1", "https://10.0.0.1:5000/", true), ("10.0.0.1:5000", "https://10.0.0.1:5000/", true), ("10.0.0.1:5001", "https://10.0.0.1:5000/", false), ("10.0.0.0/8", "https://10.example/", false),
    ("0.1", "https://10.0.0.1/", false), ("2001:db8::/32", "https://[2001:db8::5]/", true), ("2001:db9::/32", "https://[2001:db8::5]/", false), ("[2001:db8::5]:443", "https://[2001:db8::5]/", true),
    ("2001:db8:0:0::5", "https://[2001:db8::5]/", true), ("[2001:db8::5]:80", "https://[2001:db8::5]/", false), ("x,,*", "https://a/", true), ("EXAMPLE", "https://www.example/", true),
    ("0.0.0.0/0", "https://1.2.3.4/", true), ("10.0.0.0/33", "https://10.0.0.1/", false), (":80,.", "https://a/", false), ("", "https://[::1]:5000/", true), ("", "https://127.9.9.9/", true),
    ("", "https://[::ffff:127.0.0.1]/", true), ("", "https://a/", false),
  ])
  func exceptions(_ list: String, _ url: String, _ direct: Bool) throws {
    let proxy = ProxyEnvironment(["HTTPS_PROXY": "http://p:1", "NO_PROXY": list]).proxy(for: try #require(RegistryURL(url)))
    #expect((proxy == nil) == direct)
  }
}

@Suite struct ErrorBodyTests {
  func details(_ body: String, _ type: String = "application/json") -> [String] { RegistryErrorBody.details(Array(body.utf8), contentType: type).map(\.description) }

  @Test func readsEveryDialect() {
    #expect(details(#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#) == [#"MANIFEST_UNKNOWN: manifest unknown ({"Tag":"x"})"#])
    #expect(details(#"{"errors":[{"code":"DENIED","message":"no","detail":null},{"code":"X"}]}"#) == ["DENIED: no", "X"])
    #expect(details(#"{"error":"invalid_grant","error_description":"expired"}"#) == ["invalid_grant: expired"])
    #expect(details(#"{"details":"incorrect username or password"}"#) == ["incorrect username or password"])
    #expect(details(#"{"errors":["plain"]}"#) == ["plain"])
    #expect(details("toomanyrequests: slow down", "text/plain") == ["toomanyrequests: slow down"])
    #expect(details("<html><head><title>502 Bad Gateway</title><style>x{}</style></head><body><center>nginx</center></body></html>", "text/html") == ["502 Bad Gateway nginx"])
    #expect(details("") == [])
  }

  @Test func cannotDriveATerminal() {
    let text = details(#"{"errors":[{"code":"X","message":"a\u001b[31mb\nc\u202ed"}]}"#)
    #expect(text == ["X: a [31mb c d"])
    #expect(details(String(repeating: "x", count: 100_000), "text/plain")[0].count <= 301)
  }
}

@Suite struct ManifestKindTests {
  func kind(_ body: String, _ served: String) throws -> String { try ManifestKind.mediaType(Array(body.utf8), served: served, what: "w", host: "h").rawValue }

  @Test func trustsASpecificTypeAndJudgesTheRest() throws {
    #expect(try kind("{}", "application/vnd.oci.image.index.v1+json; charset=utf-8") == MediaType.ociIndex.rawValue)
    #expect(try kind(#"{"manifests":[]}"#, "application/json") == MediaType.ociIndex.rawValue)
    #expect(try kind(#"{"config":{},"layers":[]}"#, "") == MediaType.ociManifest.rawValue)
    #expect(try kind(#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{}}"#, "text/plain") == MediaType.dockerManifest.rawValue)
    for (body, type) in [("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws"), (#"{"fsLayers":[]}"#, "application/json"), ("<html>", "text/html"), ("[]", ""), ("{}", ""), ("no", "text/plain")] {
      #expect(throws: RegistryError.self, "\(body) \(type)") { try kind(body, type) }
    }
  }
}
