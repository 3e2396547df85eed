internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import OCIModel

/// An upload session: sending in it, asking where it stands, remembering it.
extension BlobUpload {
  /// A session that another process left, and the bytes that the registry holds in it. nil when there is none, or the registry does not know it any more.
  func recalled() async -> (Session, Int64)? {
    guard let memory, let known = await memory.recall(repository: repository.name, digest: descriptor.digest.description) else { return nil }
    guard let location = RegistryURL(known.location), let (now, offset) = try? await status(Session(location: location, minimumChunk: 0)), offset > 0, offset <= descriptor.size else {
      await memory.forget(repository: repository.name, digest: descriptor.digest.description)
      return nil
    }
    return (Session(location: now, minimumChunk: 0), offset)
  }

  func note(_ session: Session, _ progress: Progress) async {
    await progress.memory?.remember(RememberedUpload(location: session.location.description, offset: progress.offset), repository: repository.name, digest: descriptor.digest.description)
  }

  /// Where the session stands: its current location and the bytes it holds. nil when the registry does not know it; throws when the registry cannot be asked,
  /// and so may know it yet.
  func status(_ session: Session) async throws -> (RegistryURL, Int64)? {
    let call = RegistryConnection.Call(method: .GET, target: .url(session.location), scopes: scopes, operation: operation, accepts: { $0 == 204 || $0 == 202 || $0 == 200 })
    do {
      let (_, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
      guard let offset = headers.first(name: "Range").flatMap({ HTTPFields.uploadedBytes($0) }) else { return nil }
      return (headers.first(name: "Location").flatMap { BlobUpload.location($0, from: url) } ?? session.location, offset)
    } catch let error as RegistryError where ![.network, .serverFailure, .rateLimited].contains(error.code) {
      return nil
    }
  }

  func sendChunks(_ session: inout Session, _ progress: inout Progress) async throws {
    let chunk = Int64(max(progress.chunk, session.minimumChunk, 1))
    while progress.offset < descriptor.size {
      let end = min(progress.offset + chunk, descriptor.size)
      var call = RegistryConnection.Call(
        method: .PATCH, target: .url(session.location), scopes: scopes, operation: operation, accepts: { [200, 201, 202, 204].contains($0) }, isRepeatable: false)
      call.headers = ["Content-Type": "application/octet-stream", "Content-Range": "\(progress.offset)-\(end - 1)"]
      call.body = body(from: progress.offset, to: end)
      let (_, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
      if let text = headers.first(name: "Location"), let next = BlobUpload.location(text, from: url) { session.location = next }
      // What the registry says it holds decides: it may have taken less than it was sent. Some (ECR) keep on telling of the first chunk only: the digest will tell.
      var held = headers.first(name: "Range").flatMap { HTTPFields.uploadedBytes($0) } ?? end
      if held <= progress.offset || held > end { (held, progress.isGuess) = (end, true) }
      progress.offset = held
      progress.attempt = 1
      await note(session, progress)
    }
    try await put(session, from: descriptor.size)
  }

  /// Ends the session with what is left from `offset`.
  func put(_ session: Session, from offset: Int64) async throws {
    var call = RegistryConnection.Call(
      method: .PUT, target: .url(session.location.adding([("digest", descriptor.digest.description)])), scopes: scopes, operation: operation,
      accepts: { $0 == 201 || $0 == 200 || $0 == 202 || $0 == 204 }, isRepeatable: false)
    if offset < descriptor.size {
      call.headers = ["Content-Type": "application/octet-stream"]
      call.body = body(from: offset, to: descriptor.size)
    }
    let (status, headers, _, url) = try await connection.exchange(call, limit: RegistryErrorBody.limit)
    // "Accepted" is not "created": some say so and mean it is there, others that they have not looked yet.
    if status == 202, try await !exists() { throw connection.error(.serverFailure, call, "it accepted the content and does not have it", url) }
    if let told = headers.first(name: "Docker-Content-Digest"), let digest = Digest(told), digest.algorithm == descriptor.digest.algorithm, digest != descriptor.digest {
      throw connection.error(.digestMismatch, call, "it stored the content as \(digest)", url)
    }
  }

  func body(from offset: Int64, to end: Int64) -> @Sendable () async throws -> HTTPClientRequest.Body {
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
