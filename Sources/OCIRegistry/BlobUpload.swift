internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import OCIModel

/// How a blob came to be in the repository.
public enum PushOutcome: Hashable, Sendable {
  case exists
  /// From this repository of the same registry.
  case mounted(from: String)
  case uploaded
}

/// Brings one blob into a repository: not at all when it is there, by mounting where the registry can, else by one request, and in
/// chunks where one request is too large or was broken off (distribution-spec, "Pushing blobs").
struct BlobUpload: Sendable {
  let connection: RegistryConnection
  let repository: Reference
  let descriptor: Descriptor
  let source: any BlobSource
  let configuration: RegistryConfiguration
  let clock: RegistryClock
  let report: @Sendable (_ bytes: Int64, _ state: TransferProgress.State) -> Void

  /// Registries forget or refuse sessions; each time the upload begins anew, but not for ever.
  static let maximumSessions = 8
  static let maximumMounts = 3

  private var operation: RegistryOperation { RegistryOperation("push", "\(repository.familiarName)@\(descriptor.digest)", in: repository) }
  private var scopes: RegistryScopes { RegistryScopes([.push(repository.path)]) }
  private var blobs: String { "/v2/\(repository.path)/blobs/" }

  func exists() async throws -> Bool {
    let call = RegistryConnection.Call(
      method: .HEAD, target: .path(blobs + descriptor.digest.description), scopes: scopes, operation: operation,
      // A redirect leads to where the content is, so it is there; signed addresses often answer GET only.
      accepts: { $0 == 200 || $0 == 404 || $0 == 405 || [301, 302, 303, 307, 308].contains($0) })
    let status = try await connection.exchange(call, limit: RegistryErrorBody.limit).status
    return status != 404 && status != 405
  }

  // MARK: Mounting

  private enum Start { case mounted(String), session(Session) }
  private struct Session: Sendable {
    var location: RegistryURL
    var minimumChunk: Int
  }

  /// nil when nothing was mounted and no session was begun.
  private func mount(_ candidates: [Reference]) async throws -> Start? {
    var usable: [Reference] = []
    for candidate in candidates where candidate.domain == repository.domain && candidate.path != repository.path && !usable.contains(candidate.repository) { usable.append(candidate.repository) }
    var session: Session?
    for candidate in usable.prefix(BlobUpload.maximumMounts) {
      if let unused = session { await cancel(unused) }
      session = nil
      let call = RegistryConnection.Call(
        method: .POST, target: .path(blobs + "uploads/", query: [("mount", descriptor.digest.description), ("from", candidate.path)]),
        scopes: scopes.union(RegistryScopes([.pull(candidate.path)])), operation: operation, accepts: { $0 == 201 || $0 == 202 })
      do {
        let (status, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
        if status == 201 {
          if let told = headers.first(name: "Docker-Content-Digest"), told != descriptor.digest.description { continue }
          return .mounted(candidate.path)
        }
        session = try self.session(headers, url, call)
      } catch let error as RegistryError where error.status.map({ (400..<500).contains($0) && $0 != 429 }) ?? false {
        // Not allowed to read from there, or mounting is unknown here: an upload does as well.
        continue
      }
    }
    return session.map { .session($0) }
  }

  private func begin() async throws -> Session {
    var target = RegistryConnection.Target.path(blobs + "uploads/")
    if descriptor.digest.algorithm != .sha256 { target = .path(blobs + "uploads/", query: [("digest-algorithm", descriptor.digest.algorithm.rawValue)]) }
    let call = RegistryConnection.Call(method: .POST, target: target, scopes: scopes, operation: operation, accepts: { $0 == 202 })
    let (_, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
    return try session(headers, url, call)
  }

  private func session(_ headers: HTTPHeaders, _ url: RegistryURL, _ call: RegistryConnection.Call) throws -> Session {
    guard let text = headers.first(name: "Location"), let location = url.resolving(text) else {
      throw connection.error(.invalidResponse, call, "it began an upload without saying where (no usable Location)", url)
    }
    if location.scheme == .http, url.scheme == .https { throw connection.error(.invalidResponse, call, "it wants the content sent without TLS, to \(location.authority)", url) }
    return Session(location: location, minimumChunk: headers.first(name: "OCI-Chunk-Min-Length").flatMap { Int($0) }.map { min(max($0, 0), 1 << 30) } ?? 0)
  }

  /// Best effort, as the specification says; the registry forgets sessions by itself.
  private func cancel(_ session: Session) async {
    let call = RegistryConnection.Call(method: .DELETE, target: .url(session.location), scopes: scopes, operation: operation, accepts: { _ in true }, isRepeatable: false)
    _ = try? await connection.exchange(call, limit: RegistryErrorBody.limit)
  }

  // MARK: Uploading

  /// Mounts or uploads; the caller has already asked whether it exists.
  func run(mountFrom candidates: [Reference]) async throws -> PushOutcome {
    var session: Session?
    switch try await mount(candidates) {
    case .mounted(let from)?:
      report(descriptor.size, .mounted(from: repository.domain + "/" + from))
      return .mounted(from: from)
    case .session(let begun)?: session = begun
    case nil: break
    }
    report(0, .transferring)
    var progress = Progress(chunked: descriptor.size > configuration.chunkedUploadThreshold, chunk: configuration.uploadChunkSize)
    do {
      while true {
        let current: Session
        if let session { current = session } else { current = try await begin() }
        session = nil
        progress.sessions += 1
        progress.offset = 0
        if try await upload(current, &progress) { return .uploaded }
        guard progress.sessions < BlobUpload.maximumSessions, let failure = progress.failure else { break }
        try await wait(failure, &progress)
      }
    } catch is CancellationError {
      throw CancellationError()
    }
    throw progress.failure ?? RegistryError(.serverFailure, operation.sentence, host: repository.domain, repository: repository.path)
  }

  private struct Progress {
    var chunked: Bool
    var chunk: Int
    /// What the registry is known to hold in the current session.
    var offset: Int64 = 0
    var sessions = 0
    var attempt = 1
    var failure: RegistryError?
  }

  private func wait(_ failure: RegistryError, _ progress: inout Progress) async throws {
    let kind: RetryPolicy.Failure = failure.code == .network ? .connection : failure.status.map { .status(RetryPolicy.isTransient($0) ? $0 : 503, retryAfter: failure.retryAfterSeconds.map { .seconds($0) }) } ?? .permanent
    guard case .retry(let delay) = configuration.retry.decision(afterAttempt: progress.attempt, kind, random: clock.random()) else { throw failure }
    progress.attempt += 1
    report(progress.offset, .retrying(attempt: progress.attempt))
    try await clock.sleep(delay)
  }

  /// Uploads in one session, taking up again where it was broken off. False when a new session is needed; `progress.failure` says why.
  private func upload(_ start: Session, _ progress: inout Progress) async throws -> Bool {
    var session = start
    while true {
      do {
        if progress.chunked || progress.offset > 0 {
          try await sendChunks(&session, &progress)
        } else {
          try await put(session, from: 0)
        }
        return true
      } catch let error as RegistryError {
        progress.failure = error
        switch classify(error, progress) {
        case .fatal:
          await cancel(session)
          throw error
        case .smallerChunks:
          progress.chunk = progress.chunked ? progress.chunk / 4 : min(progress.chunk, 16 << 20)
          progress.chunked = true
          await cancel(session)
          return false
        case .newSession: return false
        case .askAndResume:
          try await wait(error, &progress)
          // The answer may be lost while the content arrived.
          if try await exists() { return true }
          guard let (location, offset) = await status(session) else { return false }
          session.location = location
          if offset > progress.offset { progress.attempt = 1 }
          guard offset <= descriptor.size, offset > 0 || progress.chunked else { return false }
          progress.offset = offset
        }
      }
    }
  }

  private enum Remedy { case fatal, smallerChunks, newSession, askAndResume }
  private func classify(_ error: RegistryError, _ progress: Progress) -> Remedy {
    switch error.code {
    case .network, .serverFailure, .rateLimited: .askAndResume
    case .notFound: error.details.contains { $0.code == "NAME_UNKNOWN" } ? .fatal : .newSession
    case .refused:
      switch error.status {
      case 413: progress.chunked && progress.chunk <= 1 << 20 ? .fatal : .smallerChunks
      case 408, 416: .askAndResume
      default: error.details.contains { $0.code == "BLOB_UPLOAD_UNKNOWN" || $0.code == "BLOB_UPLOAD_INVALID" || $0.code == "RANGE_INVALID" } ? .newSession : .fatal
      }
    default: .fatal
    }
  }

  /// Where the session stands: its current location and the bytes it holds. nil when the registry cannot say.
  private func status(_ session: Session) async -> (RegistryURL, Int64)? {
    let call = RegistryConnection.Call(method: .GET, target: .url(session.location), scopes: scopes, operation: operation, accepts: { $0 == 204 || $0 == 202 || $0 == 200 })
    guard let (_, headers, _, url) = try? await connection.exchange(call, limit: RegistryErrorBody.limit),
      let offset = headers.first(name: "Range").flatMap({ HTTPFields.uploadedBytes($0) })
    else { return nil }
    return (headers.first(name: "Location").flatMap { url.resolving($0) } ?? session.location, offset)
  }

  private func sendChunks(_ session: inout Session, _ progress: inout Progress) async throws {
    let chunk = Int64(max(progress.chunk, session.minimumChunk, 1))
    while progress.offset < descriptor.size {
      let end = min(progress.offset + chunk, descriptor.size)
      var call = RegistryConnection.Call(
        method: .PATCH, target: .url(session.location), scopes: scopes, operation: operation, accepts: { [200, 201, 202, 204].contains($0) }, isRepeatable: false)
      call.headers = ["Content-Type": "application/octet-stream", "Content-Range": "\(progress.offset)-\(end - 1)"]
      call.body = body(from: progress.offset, to: end)
      let (_, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
      if let text = headers.first(name: "Location"), let next = url.resolving(text) { session.location = next }
      // What the registry says it holds decides: it may have taken less than it was sent.
      let held = headers.first(name: "Range").flatMap { HTTPFields.uploadedBytes($0) } ?? end
      guard held > progress.offset || end == 1, held <= descriptor.size else {
        throw connection.error(.serverFailure, call, "it took no byte of a chunk", url)
      }
      progress.offset = end == 1 ? 1 : held
      progress.attempt = 1
    }
    try await put(session, from: descriptor.size)
  }

  /// Ends the session with what is left from `offset`.
  private func put(_ session: Session, from offset: Int64) async throws {
    var call = RegistryConnection.Call(
      method: .PUT, target: .url(session.location.adding([("digest", descriptor.digest.description)])), scopes: scopes, operation: operation,
      accepts: { $0 == 201 || $0 == 200 || $0 == 204 }, isRepeatable: false)
    if offset < descriptor.size {
      call.headers = ["Content-Type": "application/octet-stream"]
      call.body = body(from: offset, to: descriptor.size)
    }
    let (_, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
    if let told = headers.first(name: "Docker-Content-Digest"), let digest = Digest(told), digest.algorithm == descriptor.digest.algorithm, digest != descriptor.digest {
      throw connection.error(.digestMismatch, call, "it stored the content as \(digest)", url)
    }
  }

  private func body(from offset: Int64, to end: Int64) -> @Sendable () async throws -> HTTPClientRequest.Body {
    let (source, descriptor, report, operation) = (source, descriptor, report, operation)
    return {
      let content: BlobContent
      do { content = try await source.content(of: descriptor, from: offset) } catch { throw BlobUpload.local(error, operation) }
      let counted = BlobContent {
        var iterator = content.makeAsyncIterator()
        var position = offset
        return {
          guard position < end else { return nil }
          do {
            guard var buffer = try await iterator.next() else { throw RegistryError(.local, "\(operation.sentence): only \(position) of \(descriptor.size) bytes could be read") }
            let most = Int(min(Int64(buffer.readableBytes), end - position))
            let part = buffer.readSlice(length: most)
            position += Int64(most)
            report(position, .transferring)
            return part
          } catch { throw BlobUpload.local(error, operation) }
        }
      }
      return .stream(counted, length: .known(end - offset))
    }
  }

  /// Failures of the source are not the registry's: they must not be taken for a broken connection.
  private static func local(_ error: any Error, _ operation: RegistryOperation) -> any Error {
    if error is RegistryError || error is CancellationError { return error }
    return RegistryError(.local, "\(operation.sentence): its content cannot be read", cause: error)
  }
}
