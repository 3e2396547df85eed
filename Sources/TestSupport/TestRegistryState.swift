import OCIModel
import Synchronization

/// The registry itself, without a network: requests in, responses out.
struct TestRegistryState: Sendable {
  struct Repository: Sendable {
    var blobs: [Digest: [UInt8]] = [:]
    var manifests: [Digest: (type: String, bytes: [UInt8])] = [:]
    var tags: [String: Digest] = [:]
  }
  struct Upload: Sendable {
    var repository: String
    var bytes: [UInt8] = []
    var firstChunk = 0
  }
  var options: TestRegistryOptions
  var host = ""
  var repositories: [String: Repository] = [:]
  var uploads: [String: Upload] = [:]
  /// Blobs served under `/cdn/`, to be the target of another registry's redirects.
  var cdn: [Digest: [UInt8]] = [:]
  var tokens: [String: (scopes: [String], expires: Int64)] = [:]
  var counter = 0
  var log: [TestRequest] = []
  var faults: [TestFault] = []
  var gates: [TestGate] = []
  /// Requests that still have an effect; nil while nothing is cut.
  var remaining: Int?
  var losesLast = false
  var observer: (@Sendable (TestRequest) -> Void)?
  var uploadOwner: TestRegistry?
  var arrivals = 0
  var tokenUses: [String: Int] = [:]
  /// Seconds; tests move it to let tokens expire.
  var now: Int64 = 1_700_000_000

  init(_ options: TestRegistryOptions) { self.options = options }

  mutating func fault(for request: TestRequest) -> TestFault.Action? {
    if let left = remaining {
      guard left > 0 else { return .reset }
      remaining = left - 1
      if left == 1, losesLast { return .loseAnswer }
    }
    for i in faults.indices where faults[i].times > 0 && faults[i].matches(request) {
      if faults[i].skip > 0 { faults[i].skip -= 1; continue }
      faults[i].times -= 1
      return faults[i].action
    }
    return nil
  }

  mutating func arrive() -> Int {
    arrivals += 1
    return arrivals
  }
  mutating func answered(_ number: Int, _ time: UInt64) {
    // Near the end: what is answered came lately.
    if let i = log.lastIndex(where: { $0.number == number }) { log[i].answered = time }
  }

  /// What a fault does to the registry before it answers.
  mutating func prepare(_ fault: TestFault.Action?, _ request: TestRequest) {
    switch fault {
    case .expireToken?: if let sent = request.headers["authorization"], sent.hasPrefix("Bearer ") { tokens[String(sent.dropFirst(7))] = nil }
    case .forgetUpload?: if let id = request.path.split(separator: "/").last { uploads[String(id)] = nil }
    default: break
    }
  }

  func missingBelow(_ name: String, in repository: String) -> String? {
    guard let repository = repositories[repository], let digest = Digest(name) ?? repository.tags[name] else { return name }
    var open = [digest]
    while let digest = open.popLast() {
      guard let found = repository.manifests[digest], let document = try? ImageDocument(parsing: found.bytes, mediaType: MediaType(found.type)) else { return digest.description }
      switch document {
      case .index(let index): open += index.manifests.map(\.digest)
      case .manifest(let manifest):
        if let blob = ([manifest.config] + manifest.layers).first(where: { repository.blobs[$0.digest] == nil && $0.urls.isEmpty }) { return blob.digest.description }
      }
    }
    return nil
  }

  /// The session a PATCH or PUT goes to, for bytes that arrive before the connection breaks.
  mutating func keep(_ bytes: [UInt8], for request: TestRequest) {
    guard let id = request.path.split(separator: "/").last.map(String.init), uploads[id] != nil else { return }
    uploads[id]?.bytes += bytes
  }

  mutating func respond(_ request: TestRequest, _ body: [UInt8]) -> TestResponse {
    if request.path == "/token" { return token(request, body) }
    if request.path.hasPrefix("/cdn/") { return content(Digest(String(request.path.dropFirst(5))).flatMap { cdn[$0] }, request, ranges: options.acceptsRanges) }
    guard request.path.hasPrefix("/v2/") else { return TestResponse(status: 404, headers: [("Content-Type", "text/html")], body: Array("<html><head><title>404 Not Found</title></head><body><h1>nginx</h1></body></html>".utf8)) }
    if let maximum = options.maximumBody, body.count > maximum { return TestResponse(status: 413, headers: [("Content-Type", "text/html")], body: Array("<html><title>413</title><body>Request Entity Too Large</body></html>".utf8)) }
    if options.refusesHeads, request.method == "HEAD" { return .error(405, "UNSUPPORTED", "The operation is unsupported.") }
    let parts = request.path.dropFirst(4).split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    if parts == [""] { return authorise(request, []) ?? TestResponse(status: 200, body: Array("{}".utf8)) }
    guard let verb = parts.lastIndex(where: { $0 == "blobs" || $0 == "manifests" || $0 == "tags" }), verb > 0 else { return .error(404, "NAME_UNKNOWN", "no such thing") }
    let name = parts[..<verb].joined(separator: "/"), rest = Array(parts[(verb + 1)...])
    var scopes = ["repository:\(name):\(request.method == "GET" || request.method == "HEAD" && !isUploadRelated(rest) ? "pull" : "push")"]
    if let from = request.parameter("from") { scopes.append("repository:\(from):pull") }
    if let refusal = authorise(request, scopes) { return refusal }
    switch parts[verb] {
    case "blobs" where rest.first == "uploads": return upload(name, rest.count > 1 ? rest[1] : "", request, body)
    case "blobs": return blob(name, rest.first ?? "", request)
    case "manifests": return manifest(name, rest.first ?? "", request, body)
    default: return tags(name, request)
    }
  }

  private func isUploadRelated(_ rest: [String]) -> Bool { rest.first == "uploads" }

  // MARK: Authorisation

  private mutating func spend(_ token: String) -> Bool {
    guard let limit = options.usesPerToken else { return true }
    tokenUses[token, default: 0] += 1
    return tokenUses[token, default: 0] <= limit
  }

  private mutating func authorise(_ request: TestRequest, _ scopes: [String]) -> TestResponse? {
    let sent = request.headers["authorization"] ?? ""
    switch options.authentication {
    case .none: return nil
    case .basic(let user, let password):
      if sent == "Basic " + TestRegistryState.base64("\(user):\(password)") { return nil }
      return .error(401, "UNAUTHORIZED", "authentication required", headers: [("WWW-Authenticate", "Basic realm=\"Test Realm\"")])
    case .bearer:
      if sent.hasPrefix("Bearer "), let token = tokens[String(sent.dropFirst(7))], token.expires > now, scopes.allSatisfy({ TestRegistryState.covers(token.scopes, $0) }), spend(String(sent.dropFirst(7))) { return nil }
      let scope = scopes.map { $0.hasSuffix(":push") ? $0.dropLast(4) + "pull,push" : $0[...] }.joined(separator: " ")
      var challenge = "Bearer realm=\"\(options.tokenRealm ?? "http://\(host)/token")\",service=\"test-registry\""
      if !scope.isEmpty { challenge += ",scope=\"\(scope)\"" }
      if sent.hasPrefix("Bearer ") { challenge += ",error=\"\(tokens[String(sent.dropFirst(7))] == nil ? "invalid_token" : "insufficient_scope")\"" }
      return .error(401, "UNAUTHORIZED", "authentication required", detail: [["Type": "repository"]], headers: [("WWW-Authenticate", challenge)])
    }
  }

  private static func covers(_ granted: [String], _ scope: String) -> Bool {
    guard let colon = scope.lastIndex(of: ":") else { return false }
    let action = scope[scope.index(after: colon)...]
    return granted.contains { $0.hasPrefix(scope[...colon]) && $0.dropFirst(scope[...colon].count).split(separator: ",").contains(action) }
  }

  private mutating func token(_ request: TestRequest, _ body: [UInt8]) -> TestResponse {
    guard case .bearer(let user, let password, let lifetime, let identity) = options.authentication else { return TestResponse(status: 404) }
    var form = request
    if request.method == "POST" { form.query = String(decoding: body, as: UTF8.self) }
    let asked = form.parameters("scope").flatMap { $0.split(separator: " ").map(String.init) }
    var known = false
    if request.method == "POST" {
      guard let identity, form.parameter("grant_type") == "refresh_token", form.parameter("refresh_token") == identity, form.parameter("client_id") != nil else {
        return TestResponse(status: 401, headers: [("Content-Type", "application/json")], body: Array(#"{"error":"invalid_grant","error_description":"the refresh token is unknown"}"#.utf8))
      }
      known = true
    } else if let sent = request.headers["authorization"] {
      guard let user, sent == "Basic " + TestRegistryState.base64("\(user):\(password)") else { return .error(401, "UNAUTHORIZED", "incorrect username or password") }
      known = true
    }
    // As real servers do: what is not granted is left out, not refused.
    let granted = asked.compactMap { scope -> String? in
      guard !known, user != nil || scope.contains("push") else { return scope }
      return scope.contains("pull") && user == nil ? scope.replacingOccurrences("pull,push", "pull") : nil
    }
    counter += 1
    let value = "token-\(counter)"
    tokens[value] = (granted, now + Int64(lifetime ?? 60))
    var answer = JSONObject([("token", .string(value))])
    if let lifetime { answer["expires_in"] = .int(lifetime) }
    // A login asks for what may stand for the password from then on.
    if known, let identity, request.parameter("offline_token") == "true" { answer["refresh_token"] = .string(identity) }
    return TestResponse(status: 200, headers: [("Content-Type", "application/json")], body: JSONValue.object(answer).encoded())
  }

  // MARK: Content

  private func content(_ bytes: [UInt8]?, _ request: TestRequest, ranges: Bool) -> TestResponse {
    guard let bytes else { return .error(404, "BLOB_UNKNOWN", "blob unknown to registry") }
    let base = [("Content-Type", "application/octet-stream")]
    guard ranges, let range = request.headers["range"], range.hasPrefix("bytes="), request.method == "GET" else { return TestResponse(status: 200, headers: base, body: bytes, length: bytes.count) }
    let ends = range.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
    guard let first = ends.first.flatMap({ Int($0) }), first < bytes.count else { return TestResponse(status: 416, headers: base) }
    let last = min(ends.count > 1 ? Int(ends[1]) ?? bytes.count - 1 : bytes.count - 1, bytes.count - 1)
    return TestResponse(status: 206, headers: base + [("Content-Range", "bytes \(first)-\(last)/\(bytes.count)")], body: Array(bytes[first...last]))
  }

  private func blob(_ name: String, _ text: String, _ request: TestRequest) -> TestResponse {
    guard let digest = Digest(text) else { return .error(400, "DIGEST_INVALID", "provided digest did not match uploaded content") }
    guard let bytes = repositories[name]?.blobs[digest] else { return .error(404, "BLOB_UNKNOWN", "blob unknown to registry", detail: .string(text)) }
    if let other = options.redirectBlobsTo { return TestResponse(status: 307, headers: [("Location", "http://\(other)/cdn/\(digest)?X-Signature=abc%2Fdef&expires=9")]) }
    var response = content(bytes, request, ranges: options.acceptsRanges)
    response.headers.append(("Docker-Content-Digest", text))
    return response
  }

  private mutating func manifest(_ name: String, _ reference: String, _ request: TestRequest, _ body: [UInt8]) -> TestResponse {
    if request.method == "PUT" {
      let digest = Digest.sha256(of: body)
      if let maximum = options.maximumManifest, body.count > maximum { return .error(413, "MANIFEST_INVALID", "manifest is larger than \(maximum) bytes") }
      if options.refusesIndexes, MediaType(request.headers["content-type"] ?? "").isIndex { return .error(415, "MANIFEST_INVALID", "manifest invalid", detail: ["message": "manifest schema version not supported"]) }
      if reference.contains(":"), Digest(reference) != digest { return .error(400, "DIGEST_INVALID", "provided digest did not match uploaded content") }
      if let missing = missing(name, body, request.headers["content-type"] ?? "") { return .error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail: ["digest": .string(missing)]) }
      repositories[name, default: Repository()].manifests[digest] = (request.headers["content-type"] ?? "", body)
      if !reference.contains(":") { repositories[name]?.tags[reference] = digest }
      var headers = [("Location", "/v2/\(name)/manifests/\(digest)"), ("Docker-Content-Digest", digest.description)]
      if options.keepsReferrers, case .manifest(let manifest)? = try? ImageDocument(parsing: body, mediaType: MediaType(request.headers["content-type"] ?? "")), let subject = manifest.subject {
        headers.append(("OCI-Subject", subject.digest.description))
      }
      return TestResponse(status: 201, headers: headers)
    }
    guard let repository = repositories[name] else { return .error(404, "NAME_UNKNOWN", "repository name not known to registry", detail: ["name": .string(name)]) }
    guard let digest = Digest(reference) ?? repository.tags[reference], let found = repository.manifests[digest] else {
      return .error(404, "MANIFEST_UNKNOWN", "manifest unknown", detail: ["Tag": .string(reference)])
    }
    guard options.completeHeads || request.method == "GET" else { return TestResponse(status: 200) }
    return TestResponse(status: 200, headers: [("Content-Type", found.type), ("Docker-Content-Digest", digest.description)], body: found.bytes, length: found.bytes.count)
  }

  /// The first thing a manifest refers to that is not here.
  private func missing(_ name: String, _ bytes: [UInt8], _ type: String) -> String? {
    guard let document = try? ImageDocument(parsing: bytes, mediaType: MediaType(type)) else { return nil }
    let repository = repositories[name] ?? Repository()
    switch document {
    case .index(let index): return index.manifests.first { repository.manifests[$0.digest] == nil && repository.blobs[$0.digest] == nil }?.digest.description
    case .manifest(let manifest): return ([manifest.config] + manifest.layers).first { repository.blobs[$0.digest] == nil && $0.urls.isEmpty }?.digest.description
    }
  }

  private func tags(_ name: String, _ request: TestRequest) -> TestResponse {
    guard let repository = repositories[name] else { return .error(404, "NAME_UNKNOWN", "repository name not known to registry") }
    let last = request.parameter("last") ?? ""
    let rest = repository.tags.keys.sorted().filter { $0 > last }
    let page = rest.prefix(options.tagPage)
    var headers = [("Content-Type", "application/json")]
    if let end = page.count < rest.count ? page.last : options.tagPagesLoop ? "" : nil { headers.append(("Link", "</v2/\(name)/tags/list?last=\(end)&n=\(options.tagPage)>; rel=\"next\"")) }
    return TestResponse(status: 200, headers: headers, body: JSONValue.object(JSONObject([("name", .string(name)), ("tags", .array(page.map { .string($0) }))])).encoded())
  }

  // MARK: Uploads

  mutating func upload(_ name: String, _ id: String, _ request: TestRequest, _ body: [UInt8]) -> TestResponse {
    if request.method == "POST" {
      if options.supportsMount, let text = request.parameter("mount"), let digest = Digest(text), let from = request.parameter("from"), let bytes = repositories[from]?.blobs[digest] {
        repositories[name, default: Repository()].blobs[digest] = bytes
        return TestResponse(status: 201, headers: [("Location", "/v2/\(name)/blobs/\(digest)"), ("Docker-Content-Digest", text)])
      }
      counter += 1
      uploads["upload-\(counter)"] = Upload(repository: name)
      return progress(name, "upload-\(counter)", 202)
    }
    if let uploadOwner { return uploadOwner.state.withLock { $0.upload(name, id, request, body) } }
    guard var upload = uploads[id], upload.repository == name else { return .error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry") }
    switch request.method {
    case "GET": return progress(name, id, 204)
    case "DELETE":
      uploads[id] = nil
      return TestResponse(status: 204)
    case "PATCH":
      if options.takesBodies == .put { return .error(405, "UNSUPPORTED", "chunked upload is not supported") }
      if let maximum = options.maximumChunk, body.count > maximum {
        return .error(416, "REQUESTED_RANGE_NOT_SATISFIABLE", "the request body is too large and exceeds the maximum permissible limit of \(maximum) bytes")
      }
      if let range = request.headers["content-range"] {
        guard range.split(separator: "-").first == "\(upload.bytes.count)" else { return .error(416, "RANGE_INVALID", "chunk out of order") }
      }
      upload.bytes += body
      if upload.firstChunk == 0 { upload.firstChunk = upload.bytes.count }
      uploads[id] = upload
      return progress(name, id, 202)
    default:
      if options.takesBodies == .patch, !body.isEmpty { return .error(400, "UNSUPPORTED", "use PATCH") }
      let bytes = upload.bytes + body
      guard let digest = request.parameter("digest").flatMap({ Digest($0) }), Digest.sha256(of: bytes) == digest else {
        return .error(400, "DIGEST_INVALID", "provided digest did not match uploaded content", detail: .string("\(bytes.count) bytes"))
      }
      uploads[id] = nil
      repositories[name, default: Repository()].blobs[digest] = bytes
      return TestResponse(status: options.uploadedStatus, headers: [("Location", "/v2/\(name)/blobs/\(digest)"), ("Docker-Content-Digest", digest.description)])
    }
  }

  private func progress(_ name: String, _ id: String, _ status: Int) -> TestResponse {
    let count = (options.tellsFirstChunkOnly ? uploads[id]?.firstChunk : uploads[id]?.bytes.count) ?? 0
    let path = "/v2/\(name)/blobs/uploads/\(id)" + (options.plainLocations ? "" : "?_state=a%2Bb&n=\(count)")
    var headers = [("Location", options.uploadsTo.map { "http://\($0)\(path)" } ?? (options.absoluteLocations ? "http://\(host)\(path)" : path)), ("Range", "0-\(max(0, count - 1))"), ("Docker-Upload-UUID", id)]
    if let minimum = options.minimumChunk { headers.append(("OCI-Chunk-Min-Length", "\(minimum)")) }
    return TestResponse(status: status, headers: headers)
  }

  static func base64(_ text: String) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    let bytes = Array(text.utf8)
    var out = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let value = (0..<3).reduce(UInt32(0)) { $0 << 8 | (start + $1 < bytes.count ? UInt32(bytes[start + $1]) : 0) }
      for i in 0..<4 { out.append(i <= group.count ? alphabet[Int(value >> UInt32(18 - 6 * i) & 63)] : "=") }
    }
    return out
  }
}

extension String {
  fileprivate func replacingOccurrences(_ old: String, _ new: String) -> String { split(separator: old, omittingEmptySubsequences: false).joined(separator: new) }
}
