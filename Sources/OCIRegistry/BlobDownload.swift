internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import OCIModel

/// Reads one blob from a registry as if no connection ever broke: takes it up again where it ended, by ranged requests, and
/// checks size and digest on the way. Not `Sendable`: one task reads it.
final class BlobDownload {
  private var connection: RegistryConnection
  /// Who is asked when this one does not help.
  private var others: [RegistryConnection]
  private let mirrors: MirrorMemory
  private let repository: Reference
  private let descriptor: Descriptor

  /// Bytes given out so far.
  private(set) var offset: Int64
  private var body: HTTPClientResponse.Body.AsyncIterator?
  /// Bytes to pass over, when the registry ignored the range.
  private var surplus: Int64 = 0
  private var hasher: DigestHasher?
  private var isChecked = false
  /// Tries since the last byte arrived, and breaks in all: progress keeps a slow link going, but not for ever.
  private var attempt = 1
  private var breaks = 0
  private var source: Source
  /// The registry does not serve the ranges that it has: the beginning is read again and passed over.
  private var refusesRanges = false

  private enum Source { case registry, url(Int) }
  static let maximumBreaks = 64

  /// `verifies` is false when whoever takes the bytes checks the digest. A download from an `offset` cannot check it.
  init(
    _ client: RegistryClient, _ repository: Reference, _ descriptor: Descriptor, from offset: Int64 = 0, verifies: Bool, usesMirrors: Bool = true
  ) {
    let readers = client.readers(of: repository.domain)
    let all = (usesMirrors ? readers.mirrors : []) + [readers.own]
    connection = all[0]
    others = Array(all.dropFirst())
    mirrors = client.mirrorMemory
    self.repository = repository
    self.descriptor = descriptor
    self.offset = offset
    hasher = verifies && offset == 0 ? DigestHasher(descriptor.digest.algorithm) : nil
    source = .registry
  }

  /// The next bytes; nil after the last, or an error in its place when the whole is not what the descriptor says.
  func next() async throws -> ByteBuffer? {
    while true {
      try Task.checkCancellation()
      if body == nil {
        if offset == descriptor.size, offset > 0 || descriptor.size == 0 { return try finished() }
        body = try await open()
      }
      do {
        if var buffer = try await body?.next() {
          guard take(&buffer) else { continue }
          return try accept(buffer)
        }
        body = nil
        if offset == descriptor.size { return try finished() }
        try await interrupted(TransportFailure(kind: .broken, description: "the content ended after \(offset) of \(descriptor.size) bytes"))
      } catch let error as RegistryError {
        guard error.code != .digestMismatch, movesOn(error) else { throw error }
      } catch {
        body = nil
        try await interrupted(RegistryTransport.failure(error))
      }
    }
  }

  /// To the next place that may have the content, which goes on from where this one ended. False when there is none, or the error is of no place.
  private func movesOn(_ error: RegistryError) -> Bool {
    guard case .registry = source, let next = others.first, mirrors.passesOver(connection, error) else { return false }
    connection = next
    others.removeFirst()
    (body, attempt, breaks, surplus, refusesRanges) = (nil, 1, 0, 0, false)
    return true
  }

  /// Drops what was already given out; false when nothing is left of the buffer.
  private func take(_ buffer: inout ByteBuffer) -> Bool {
    let skipped = Int(min(surplus, Int64(buffer.readableBytes)))
    buffer.moveReaderIndex(forwardBy: skipped)
    surplus -= Int64(skipped)
    return buffer.readableBytes > 0
  }

  private func accept(_ buffer: ByteBuffer) throws -> ByteBuffer {
    guard offset + Int64(buffer.readableBytes) <= descriptor.size else {
      body = nil
      throw error(.sizeMismatch, "sends more than the \(descriptor.size) bytes its manifest says")
    }
    hasher?.update(buffer.readableBytesView)
    offset += Int64(buffer.readableBytes)
    attempt = 1
    // Before the last bytes are given away: whoever passes them on would have passed on the whole.
    if offset == descriptor.size { try check() }
    return buffer
  }

  private func check() throws {
    guard let hasher, !isChecked else { return }
    isChecked = true
    let actual = hasher.finish()
    guard actual == descriptor.digest else {
      body = nil
      throw error(.digestMismatch, "sent other content, with digest \(actual)")
    }
  }

  private func finished() throws -> ByteBuffer? {
    body = nil
    try check()
    return nil
  }

  private var operation: RegistryOperation { RegistryOperation("fetch", "\(repository.familiarName)@\(descriptor.digest)", in: repository) }

  private func interrupted(_ error: any Error) async throws {
    guard let failure = error as? TransportFailure else { throw error }
    breaks += 1
    let kind: RetryPolicy.Failure = connection.isTransient(failure) && breaks <= BlobDownload.maximumBreaks ? .connection : .permanent
    guard try await !connection.again(kind, &attempt, connection.domain, request, failure.description) else { return }
    let error = RegistryConnection.error(failure, operation, host: connection.domain, request: request, attempts: breaks)
    if !movesOn(error) { throw error }
  }

  private var request: String { "GET /v2/\(repository.path)/blobs/\(descriptor.digest)" }
  private func error(_ code: RegistryError.Code, _ why: String) -> RegistryError {
    RegistryError(code, "\(operation.sentence): \(connection.domain) \(why)", host: connection.domain, repository: repository.path, request: request)
  }

  private func open() async throws -> HTTPClientResponse.Body.AsyncIterator {
    var call = RegistryConnection.Call(
      method: .GET, target: .path("/v2/\(repository.path)/blobs/\(descriptor.digest)"), scopes: RegistryScopes([.pull(repository.path)]), operation: operation,
      accepts: { $0 == 200 || $0 == 206 || $0 == 416 })
    if case .url(let i) = source, let url = RegistryURL(descriptor.urls[i]) { call.target = .url(url) }
    call.headers.add(name: "Accept", value: "*/*")
    if offset > 0, !refusesRanges { call.headers.add(name: "Range", value: "bytes=\(offset)-\(descriptor.size - 1)") }
    do {
      let response = try await connection.open(call)
      if response.status == 416, offset > 0, !refusesRanges {
        refusesRanges = true
        await response.drain()
        return try await open()
      }
      try await position(response)
      return response.body.makeAsyncIterator()
    } catch let error as RegistryError {
      if movesOn(error) { return try await open() }
      guard error.code == .notFound else { throw error }
      // Layers that may not be redistributed live elsewhere (descriptor.md, "urls").
      guard let following = nextURL() else { throw error }
      source = .url(following)
      return try await open()
    }
  }

  private func nextURL() -> Int? {
    let start = if case .url(let i) = source { i + 1 } else { 0 }
    return descriptor.urls.indices.first { $0 >= start && $0 < 8 && RegistryURL(descriptor.urls[$0])?.scheme == .https }
  }

  /// Sets what has to be passed over, given what the registry chose to send.
  private func position(_ response: RegistryResponse) async throws {
    func broken(_ why: String) -> RegistryError { error(.invalidResponse, why) }
    switch response.status {
    case 206:
      guard offset > 0, let range = response.headers.first(name: "Content-Range").flatMap({ HTTPFields.contentRange($0) }) else { throw broken("sent a part that was not asked for, or does not say which") }
      guard range.first <= offset, range.total == nil || range.total == descriptor.size else { throw broken("sent another part than asked for") }
      surplus = offset - range.first
    case 416: throw broken("has fewer than the \(descriptor.size) bytes its manifest says")
    default:
      surplus = offset
      if let text = response.headers.first(name: "Content-Length"), let length = Int64(text), length != descriptor.size {
        throw error(.sizeMismatch, "has \(length) bytes, its manifest says \(descriptor.size)")
      }
    }
  }
}
