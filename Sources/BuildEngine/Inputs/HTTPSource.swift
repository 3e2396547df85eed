internal import AsyncHTTPClient
internal import BuildInterface
internal import BuildKitProto
internal import BuildSnapshots
internal import BuildSolver
internal import ContentStore
internal import GRDB
internal import HostOS
internal import LayerArchive
internal import NIOCore
internal import NIOHTTP1
internal import OCIModel
internal import OCIRegistry

/// `http://` and `https://`: one file (BuildKit's source/http). What a URL gave is remembered by its entity tag, so that an
/// unchanged file is asked about, not fetched.
struct HTTPSource: Op {
  let url: String
  let filename: String
  let checksum: Digest?
  let mode: UInt32
  let uid: UInt32
  let gid: UInt32
  /// The secret that is the Authorization header; nil: those that are named after the host, if the client has one.
  let authHeaderSecret: String?
  /// In the order of names.
  let headers: [(name: String, value: String)]
  let services: EngineServices
  let pin = SourcePin()

  static let migration = StoreMigration(
    "http-source", 1,
    sql: """
        CREATE TABLE http_source (
          request TEXT NOT NULL PRIMARY KEY, etag TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, filename TEXT NOT NULL, modified TEXT NOT NULL) WITHOUT ROWID;
        """)

  /// What a URL gave.
  private struct Fetched: Sendable {
    var digest: Digest
    var filename: String
    /// As the server wrote it, when it is a date.
    var modified: String
  }

  init(_ source: Pb_SourceOp, services: EngineServices) throws {
    url = source.identifier
    filename = source.attrs["http.filename"] ?? ""
    checksum = try source.attrs["http.checksum"].map { try Digest(parsing: $0) }
    func number(_ key: String) throws -> UInt32 {
      guard let text = source.attrs[key] else { return 0 }
      let value = text.hasPrefix("0") && text.count > 1 ? UInt32(text, radix: 8) : UInt32(text)
      guard let value else { throw InvalidDefinition("http source \(source.identifier): \(key) is \"\(text)\"") }
      return value
    }
    mode = try number("http.perm")
    uid = try number("http.uid")
    gid = try number("http.gid")
    authHeaderSecret = source.attrs["http.authheadersecret"].flatMap { $0.isEmpty ? nil : $0 }
    // Others are passed over, as with BuildKit.
    headers = [("Accept", "http.header.accept"), ("User-Agent", "http.header.user-agent")].compactMap { name, key in source.attrs[key].map { (name, $0) } }
    let known: Set = ["http.filename", "http.checksum", "http.perm", "http.uid", "http.gid", "http.authheadersecret"]
    // One that changes what is fetched must not be passed over.
    for key in source.attrs.keys.sorted() where !known.contains(key) && !key.hasPrefix("http.header.") {
      throw BuildError(.unimplemented, .build, "http source \(source.identifier): the attribute \(key) is not supported yet")
    }
    self.services = services
  }

  func cacheMap(_ index: Int, context: OpContext) async throws -> CacheMapAnswer {
    let found = try await resolved(context)
    pin.digest = found.digest
    let key = OpCacheKey.http(
      filename: found.filename, mode: Int64(mode), uid: Int64(uid), gid: Int64(gid), checksum: found.digest, lastModified: found.modified,
      authHeaderSecret: authHeaderSecret ?? "", headers: headers)
    return CacheMapAnswer(CacheMap(digest: CacheDigest(key)))
  }

  /// With a checksum nothing needs to be asked to know the content.
  private func resolved(_ context: OpContext) async throws -> Fetched {
    if let checksum { return Fetched(digest: checksum, filename: safeName(disposition: nil), modified: "") }
    return try await services.sessions(of: context).ask { try await $0.downloads.value(for: request) { try await self.fetch(context) } }
  }

  private var request: String {
    var parts = [url, filename, String(mode), String(uid), String(gid)]
    if let authHeaderSecret { parts.append("auth:" + authHeaderSecret) }
    return (parts + headers.map { "\($0.name):\($0.value)" }).joined(separator: "\0")
  }

  /// The Authorization header: from the secret that the definition names, else from `HTTP_AUTH_HEADER_host`, or (stronger) `HTTP_AUTH_TOKEN_host`.
  private func authorization(_ context: OpContext) async throws -> String? {
    func text(_ name: String) async throws -> String? {
      guard let bytes = try await services.secret(name, context: context) else { return nil }
      // A file's last line has an end, which no header may have.
      var text = Substring(String(decoding: bytes, as: UTF8.self)).drop { $0.isWhitespace }
      while text.last?.isWhitespace == true { text.removeLast() }
      return String(text)
    }
    if let authHeaderSecret {
      guard let value = try await text(authHeaderSecret) else {
        throw BuildError(.notFound, .usage, "cannot fetch \(url): the secret \"\(authHeaderSecret)\" was not given", suggestion: "add --secret id=\(authHeaderSecret),src=FILE to the command")
      }
      return value
    }
    guard let host = URLText.host(of: url) else { return nil }
    if let token = try await text("HTTP_AUTH_TOKEN_" + host) { return "Bearer " + token }
    return try await text("HTTP_AUTH_HEADER_" + host)
  }

  func execute(_ inputs: [any SolverResult], context: OpContext) async throws -> [any SolverResult] {
    try await services.collector.beforeStep()
    let found = try await file(context)
    let time = HTTPDate.nanoseconds(found.modified) ?? 0
    let layer = try await services.refs.newMutable(parent: nil, description: "http url \(url)", recordType: .regular)
    do {
      let store = services.store
      let digest = found.digest
      let reader = try await Blocking.run { try store.reader(digest) }
      let name = found.filename
      let size = reader.size
      let mode = mode == 0 ? 0o600 : mode
      let (uid, gid) = (uid, gid)
      try await layer.withMounted { root in
        let file = try root.openFile(name, flags: [.writeOnly, .create, .exclusive], mode: mode, follow: .none)
        try reader.descriptor.copyContents(to: file, size: size)
        try file.setMode(mode)
        if uid != 0 || gid != 0 { try file.setOwner(uid: uid, gid: gid) }
        try file.setTimes(accessed: time, modified: time)
      }
      return [TreeResult(.snapshot(try await layer.commit()))]
    } catch {
      await layer.discard()
      throw error
    }
  }

  /// What is to be written, its bytes in the store. Its time counts even where a checksum makes the key: it is that of the answer that brought it.
  private func file(_ context: OpContext) async throws -> Fetched {
    let found = try await resolved(context)
    try await services.store.keep([found.digest])
    if services.store.contains(found.digest) {
      if checksum == nil { return found }
      if let known = try await remembered(), known.file.digest == found.digest { return known.file }
    }
    let fetched = try await fetch(context)
    guard fetched.digest == found.digest else {
      throw BuildError(
        .failedPrecondition, .build, "digest mismatch for \(url): \(fetched.digest), expected \(found.digest)",
        suggestion: "the file changed, or the checksum is wrong: check where it comes from, then correct --checksum")
    }
    return fetched
  }

  /// What the last answer to the same request was, when its bytes are still here.
  private func remembered() async throws -> (file: Fetched, etag: String)? {
    let key = Digest.sha256(of: request).description
    let known = try await services.store.read { db in
      try Row.fetchOne(db, sql: "SELECT etag, digest, filename, modified FROM http_source WHERE request = ?", arguments: [key])
        .map { row in (etag: row[0] as String, digest: row[1] as String, filename: row[2] as String, modified: row[3] as String) }
    }
    guard let known, let digest = Digest(known.digest) else { return nil }
    try await services.store.keep([digest])
    guard services.store.contains(digest) else { return nil }
    return (Fetched(digest: digest, filename: known.filename, modified: known.modified), known.etag)
  }

  private func fetch(_ context: OpContext) async throws -> Fetched {
    let uploads = ClientUpload.address("")
    if url.hasPrefix(uploads) { return try await take(upload: String(url.dropFirst(uploads.count)), context) }
    var headers = HTTPHeaders()
    // Asked for and undone, as Go's client does for the peers: a server that compresses on the way must not change the file.
    headers.add(name: "Accept-Encoding", value: "gzip")
    for (name, value) in self.headers { headers.add(name: name, value: value) }
    if let authorization = try await authorization(context) { headers.add(name: "Authorization", value: authorization) }
    var unchanged: Fetched?
    if let known = try await remembered(), !known.etag.isEmpty {
      headers.add(name: "If-None-Match", value: known.etag)
      unchanged = known.file
    }
    let response: RegistryResponse
    do {
      response = try await services.web.get(url, headers: headers)
    } catch let error where !(error is CancellationError) {
      throw BuildError(.unavailable, .build, "cannot fetch \(url)", suggestion: "check the address and this machine's network", cause: error)
    }
    if response.status == 304, let unchanged { return unchanged }
    guard (200..<300).contains(response.status) else {
      if [401, 403].contains(response.status), let host = URLText.host(of: url) {
        throw BuildError(
          .permissionDenied, .build, "cannot fetch \(url): the server answered \(response.status) \(HTTPResponseStatus(statusCode: response.status).reasonPhrase)",
          suggestion: "if it asks for a login, give a token with --secret id=HTTP_AUTH_TOKEN_\(host),src=FILE, or a whole Authorization header with id=HTTP_AUTH_HEADER_\(host)")
      }
      throw BuildError(.unavailable, .build, "cannot fetch \(url): the server answered \(response.status) \(HTTPResponseStatus(statusCode: response.status).reasonPhrase)")
    }
    return try await save(response, context: context)
  }

  /// What the client streams to the build. It comes once, so nothing is remembered of it but its bytes.
  private func take(upload id: String, _ context: OpContext) async throws -> Fetched {
    // It comes once, from one client: no other has the same.
    let upload = try await services.session(of: context).client.uploads.upload(id: id)
    let store = services.store, status = context.progress.transfer("transferring context", total: 0)
    defer { status.finish() }
    let digest: Digest
    switch upload.source {
    case .stream(let stream):
      let writer = try await Blocking.run { try store.writer() }
      try await stream.read { piece in
        try await Blocking.run { try piece.withUnsafeBytes { try writer.write($0) } }
        status.update(writer.offset)
      }
      digest = try await Blocking.run { try writer.commit().digest }
    case .descriptor(let head, let descriptor): digest = try await Self.take(head, descriptor, into: store, status)
    }
    return Fetched(digest: digest, filename: safeName(disposition: nil), modified: "")
  }

  private static func take(_ head: [UInt8], _ descriptor: Int32, into store: ContentStore, _ status: TransferStatus) async throws -> Digest {
    try await Blocking.run {
      let writer = try store.writer()
      try writer.write(head)
      let source = try HostOS.Descriptor.duplicate(of: descriptor)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
      defer { buffer.deallocate() }
      var count = Int64(head.count)
      while case let n = try source.read(into: buffer), n > 0 {
        try writer.write(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
        count += Int64(n)
        status.update(count)
      }
      return try writer.commit().digest
    }
  }

  private func save(_ response: RegistryResponse, context: OpContext) async throws -> Fetched {
    let total = response.headers.first(name: "Content-Length").flatMap { Int64($0) } ?? 0
    let status = context.progress.transfer(url, total: total)
    defer { status.finish() }
    let store = services.store
    let writer = try await Blocking.run { try store.writer() }
    let isPacked = response.headers["Content-Encoding"].contains { $0.lowercased() == "gzip" }
    let packed = isPacked ? try await Blocking.run { try HTTPSource.temporaryFile(in: store.root) } : nil
    var count: Int64 = 0
    for try await buffer in response.body {
      let bytes = [UInt8](buffer: buffer)
      count += Int64(bytes.count)
      try await Blocking.run { try bytes.withUnsafeBytes { bytes in if let packed { try packed.write(bytes) } else { try writer.write(bytes) } } }
      status.update(count)
    }
    if let packed { try await Blocking.run { try HTTPSource.unpack(packed) { try writer.write($0) } } }
    let (digest, size) = try await Blocking.run { try writer.commit() }
    let modified = response.headers.first(name: "Last-Modified").flatMap { HTTPDate.nanoseconds($0) == nil ? nil : $0 } ?? ""
    let found = Fetched(digest: digest, filename: safeName(disposition: response.headers.first(name: "Content-Disposition")), modified: modified)
    let etag = response.headers.first(name: "ETag") ?? "", key = Digest.sha256(of: request).description
    try await services.store.write { db in
      try db.execute(
        sql: "INSERT OR REPLACE INTO http_source (request, etag, digest, size, filename, modified) VALUES (?, ?, ?, ?, ?, ?)",
        arguments: [key, etag, found.digest.description, size, found.filename, found.modified])
    }
    return found
  }

  /// A file without a name: nothing of it stays, whatever happens. Blocks.
  private static func temporaryFile(in root: String) throws -> HostOS.Descriptor {
    let folder = try Directory.open(root), name = "http-\(UInt64.random(in: 0 ... .max))"
    let file = try folder.openFile(name, flags: [.readWrite, .create, .exclusive], mode: 0o600)
    try folder.unlink(name)
    return file
  }

  /// Blocks.
  private static func unpack(_ packed: HostOS.Descriptor, _ write: (UnsafeRawBufferPointer) throws -> Void) throws {
    let plain = try Compression.gzip.decompressor(PositionedSource(packed))
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { buffer.deallocate() }
    while case let n = try plain.read(into: buffer), n > 0 { try write(UnsafeRawBufferPointer(rebasing: buffer[..<n])) }
  }

  /// The file's name: as asked, else what the server calls it, else the last part of the URL's path, else `download`. Never a path.
  private func safeName(disposition: String?) -> String {
    func safe(_ name: String) -> String? {
      let last = name.split(separator: "/").last.map(String.init) ?? ""
      return last.isEmpty || last == "." || last == ".." || last.utf8.contains(0) ? nil : last
    }
    if let name = safe(filename) { return name }
    for part in (disposition ?? "").split(separator: ";") {
      let pair = part.split(separator: "=", maxSplits: 1)
      guard pair.count == 2, pair[0].drop(while: { $0 == " " }).lowercased() == "filename" else { continue }
      if let name = safe(pair[1].trimmingPrefix(while: { $0 == " " || $0 == "\"" }).description.replacing("\"", with: "")) { return name }
    }
    var path = url[...]
    path = path.dropFirst(path.hasPrefix("https://") ? 8 : 7)
    path = path.prefix { $0 != "?" && $0 != "#" }
    guard let slash = path.firstIndex(of: "/") else { return "download" }
    return safe(URLText.percentDecoded(String(path[slash...]))) ?? "download"
  }
}

/// Dates of HTTP headers, in the one form that servers send (RFC 9110, 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`).
enum HTTPDate {
  static func nanoseconds(_ text: String) -> Int64? {
    let parts = text.split(separator: " ")
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    guard parts.count == 6, parts[5] == "GMT", parts[1].count == 2, let month = months.firstIndex(of: String(parts[2])) else { return nil }
    let number = month < 9 ? "0\(month + 1)" : "\(month + 1)"
    return (try? Timestamp(rfc3339: "\(parts[3])-\(number)-\(parts[1])T\(parts[4])Z"))?.nanosecondsSinceEpoch
  }
}

enum URLText {
  /// Without port, user and brackets.
  static func host(of url: String) -> String? {
    guard let mark = url.firstRange(of: "://") else { return nil }
    var authority = url[mark.upperBound...].prefix { !"/?#".contains($0) }
    if let at = authority.lastIndex(of: "@") { authority = authority[authority.index(after: at)...] }
    if authority.first == "[" { return authority.dropFirst().firstIndex(of: "]").map { String(authority[authority.index(after: authority.startIndex)..<$0]) } }
    let host = authority.prefix { $0 != ":" }
    return host.isEmpty ? nil : String(host)
  }

  static func percentDecoded(_ text: String) -> String {
    var out = [UInt8](), bytes = Array(text.utf8)[...]
    while let c = bytes.popFirst() {
      if c == 0x25, bytes.count >= 2, let value = UInt8(String(decoding: bytes.prefix(2), as: UTF8.self), radix: 16) {
        out.append(value)
        bytes = bytes.dropFirst(2)
      } else {
        out.append(c)
      }
    }
    return String(decoding: out, as: UTF8.self)
  }
}
