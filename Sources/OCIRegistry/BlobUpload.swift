internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import OCIModel
internal import Synchronization

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
  /// Remembers the session of a blob that is worth it.
  let memory: (any UploadMemory)?
  let report: @Sendable (_ bytes: Int64, _ state: TransferProgress.State) -> Void

  /// Registries forget or refuse sessions; each time the upload begins anew, but not for ever.
  static let maximumSessions = 8
  static let maximumMounts = 3

  /// Smaller blobs are sent anew.
  static let rememberedSize: Int64 = 4 << 20

  var operation: RegistryOperation { RegistryOperation("push", "\(repository.familiarName)@\(descriptor.digest)", in: repository) }
  var scopes: RegistryScopes { RegistryScopes([.push(repository.path)]) }
  var blobs: String { "/v2/\(repository.path)/blobs/" }

  func exists() async throws -> Bool {
    let call = RegistryConnection.Call(
      method: .HEAD, target: .path(blobs + descriptor.digest.description), scopes: scopes, operation: operation,
      // A redirect leads to where the content is, so it is there; signed addresses often answer GET only.
      accepts: { $0 == 200 || RegistryClient.absent.contains($0) || [301, 302, 303, 307, 308].contains($0) })
    return !RegistryClient.absent.contains(try await connection.exchange(call, limit: RegistryErrorBody.limit).status)
  }

  // MARK: Mounting

  /// What came of the attempt to mount: a mounted blob, a session to upload it in, or neither.
  struct Start: Sendable {
    var mounted: PushOutcome?
    var session: Session?
  }
  struct Session: Sendable {
    var location: RegistryURL
    var minimumChunk: Int
  }

  /// The caller has already asked whether it exists.
  func mount(_ candidates: [Reference]) async throws -> Start {
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
          report(descriptor.size, .mounted(from: repository.domain + "/" + candidate.path))
          return Start(mounted: .mounted(from: candidate.path))
        }
        session = try self.session(headers, url, call)
      } catch let error as RegistryError where error.status.map({ (400..<500).contains($0) && $0 != 429 }) ?? false {
        // Not allowed to read from there, or mounting is unknown here: an upload does as well.
        continue
      }
    }
    return Start(session: session)
  }

  private func begin() async throws -> Session {
    var target = RegistryConnection.Target.path(blobs + "uploads/")
    if descriptor.digest.algorithm != .sha256 { target = .path(blobs + "uploads/", query: [("digest-algorithm", descriptor.digest.algorithm.rawValue)]) }
    let call = RegistryConnection.Call(method: .POST, target: target, scopes: scopes, operation: operation, accepts: { $0 == 202 })
    let (_, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
    return try session(headers, url, call)
  }

  private func session(_ headers: HTTPHeaders, _ url: RegistryURL, _ call: RegistryConnection.Call) throws -> Session {
    guard let text = headers.first(name: "Location"), let location = BlobUpload.location(text, from: url) else {
      throw connection.error(.invalidResponse, call, "it began an upload without saying where (no usable Location)", url)
    }
    if location.scheme == .http, url.scheme == .https { throw connection.error(.invalidResponse, call, "it wants the content sent without TLS, to \(location.authority)", url) }
    return Session(location: location, minimumChunk: headers.first(name: "OCI-Chunk-Min-Length").flatMap { Int($0) }.map { min(max($0, 0), 1 << 30) } ?? 0)
  }

  /// A registry behind something that ends TLS for it often does not know, and calls itself by plain HTTP: what leads back to the same host stays with TLS.
  static func location(_ text: String, from url: RegistryURL) -> RegistryURL? {
    guard var location = url.resolving(text) else { return nil }
    if location.scheme == .http, url.scheme == .https, location.host == url.host, [nil, 80, url.origin.port].contains(location.port) {
      (location.scheme, location.port) = (.https, url.port)
    }
    return location
  }

  /// Best effort, as the specification says; the registry forgets sessions by itself.
  func cancel(_ session: Session) async {
    let call = RegistryConnection.Call(method: .DELETE, target: .url(session.location), scopes: scopes, operation: operation, accepts: { _ in true }, isRepeatable: false)
    _ = try? await connection.exchange(call, limit: RegistryErrorBody.limit)
  }

  // MARK: Uploading

  /// Uploads, in the session that the attempt to mount began if there is one.
  func run(_ start: Start) async throws -> PushOutcome {
    var session = start.session
    let isRemembered = memory != nil && descriptor.size >= BlobUpload.rememberedSize
    var progress = Progress(
      chunked: descriptor.size > configuration.chunkedUploadThreshold || (memory != nil && descriptor.size > configuration.resumableUploadThreshold && !connection.refusesChunks.load(ordering: .relaxed)), chunk: configuration.uploadChunkSize,
      memory: isRemembered ? memory : nil)
    if isRemembered, let (taken, offset) = await recalled() {
      if let unused = session { await cancel(unused) }
      (session, progress.taken) = (taken, offset)
    }
    while true {
      let current: Session
      if let session { current = session } else { current = try await begin() }
      session = nil
      progress.sessions += 1
      progress.offset = progress.taken
      progress.wasTaken = progress.taken > 0 && progress.sessions == 1
      progress.taken = 0
      report(progress.offset, .transferring)
      await note(current, progress)
      if try await upload(current, &progress) {
        if isRemembered { await memory?.forget(repository: repository.name, digest: descriptor.digest.description) }
        return .uploaded
      }
      if isRemembered { await memory?.forget(repository: repository.name, digest: descriptor.digest.description) }
      guard progress.sessions < BlobUpload.maximumSessions, let failure = progress.failure else { break }
      try await wait(failure, &progress)
    }
    throw progress.failure ?? RegistryError(.serverFailure, operation.sentence, host: repository.domain, repository: repository.path)
  }

  struct Progress: Sendable {
    var chunked: Bool
    var chunk: Int
    var memory: (any UploadMemory)?
    /// What the registry is known to hold in the current session.
    var offset: Int64 = 0
    /// What it holds in a session that another process began.
    var taken: Int64 = 0
    var wasTaken = false
    /// The registry does not take chunks.
    var refusesChunks = false
    /// It told less of a chunk than it must have taken.
    var isGuess = false
    /// Chunks refused for their range, one after another.
    var misplaced = 0
    /// What is sent came damaged from another registry.
    var damaged = 0
    /// It does not take the whole.
    var refusesWhole = false
    var sessions = 0
    var attempt = 1
    var failure: RegistryError?
  }

  private func wait(_ failure: RegistryError, _ progress: inout Progress) async throws {
    let status = failure.code == .rateLimited ? 429 : failure.status.flatMap { RetryPolicy.isTransient($0) ? $0 : nil } ?? 503
    let kind: RetryPolicy.Failure = failure.code == .network ? .connection : .status(status, retryAfter: failure.retryAfterSeconds.map { .seconds($0) })
    let isFinal = failure.code == .network && !failure.isTransient
    guard !isFinal, try await connection.again(kind, &progress.attempt, failure.host, failure.request, failure.summary) else { throw failure }
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
        progress.misplaced = error.status == 416 ? progress.misplaced + 1 : 0
        switch classify(error, progress) {
        case .fatal:
          await cancel(session)
          if let memory = progress.memory { await memory.forget(repository: repository.name, digest: descriptor.digest.description) }
          throw error
        case .smallerChunks:
          progress.chunk = progress.chunked ? progress.chunk / 4 : min(progress.chunk, 16 << 20)
          progress.chunked = true
          await cancel(session)
          return false
        case .whole:
          (progress.chunked, progress.refusesChunks, progress.isGuess, progress.misplaced) = (false, true, false, 0)
          connection.refusesChunks.store(true, ordering: .relaxed)
          await cancel(session)
          return false
        case .chunks:
          (progress.chunked, progress.refusesWhole) = (true, true)
          await cancel(session)
          return false
        case .newSession: return false
        case .anew:
          progress.damaged += 1
          await cancel(session)
          return false
        case .askAndResume:
          try await wait(error, &progress)
          // The answer may be lost while the content arrived.
          if try await exists() { return true }
          guard let (location, offset) = try await status(session) else {
            // What is lost with a request that breaks is less with small ones.
            if descriptor.size > Int64(progress.chunk), !progress.refusesChunks { progress.chunked = true }
            return false
          }
          session.location = location
          if offset > progress.offset { progress.attempt = 1 }
          guard offset <= descriptor.size, offset > 0 || progress.chunked else { return false }
          progress.offset = offset
          await note(session, progress)
        }
      }
    }
  }

  private enum Remedy { case fatal, smallerChunks, whole, chunks, newSession, anew, askAndResume }
  private func classify(_ error: RegistryError, _ progress: Progress) -> Remedy {
    let canBeWhole = (progress.chunked || progress.offset > 0) && !progress.refusesChunks && !progress.refusesWhole
    switch error.code {
    // Not implemented; or a registry that stumbles over the end of chunks again and again, as some do without a word.
    case .serverFailure where canBeWhole && (error.status == 501 || progress.attempt > 2): return .whole
    case .serverFailure where error.status == 501: return progress.chunked || progress.refusesChunks ? .fatal : .chunks
    case .network, .serverFailure, .rateLimited: return .askAndResume
    case .notFound: return error.details.contains { $0.code == "NAME_UNKNOWN" } ? .fatal : .newSession
    case .refused:
      let codes = Set(error.details.map(\.code))
      if codes.contains("DIGEST_INVALID") || codes.contains("SIZE_INVALID") {
        // Bytes that another process sent, or that the registry did not tell of, may be others than were meant.
        return progress.isGuess && !progress.refusesChunks ? .whole : progress.wasTaken ? .newSession : .fatal
      }
      if progress.wasTaken { return .newSession }
      switch error.status {
      case 413: return progress.chunked && progress.chunk <= 1 << 20 ? .fatal : .smallerChunks
      // GitHub's says so of chunks larger than 4 MiB, and takes any size in one request.
      case 416 where canBeWhole && (progress.offset == 0 || progress.misplaced > 1 || error.details.contains { $0.message.contains("too large") }): return .whole
      case 408, 416: return .askAndResume
      case _ where !codes.isDisjoint(with: ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "RANGE_INVALID"]): return .newSession
      // Some take the whole in one request only, others (Artifactory was one) in chunks only.
      case 400, 405, 411, 415: return canBeWhole && progress.offset == 0 ? .whole : !progress.chunked && !progress.refusesChunks ? .chunks : .fatal
      default: return .fatal
      }
    // Of a blob that is read from another registry while it is sent to this one.
    case .digestMismatch where error.request.hasPrefix("GET ") && progress.damaged == 0: return .anew
    default: return .fatal
    }
  }
}
