package import ContentStore
internal import HostOS
internal import NIOCore
package import OCIModel

/// The process's downloads into stores: two clients that want the same blob in the same store share one.
private struct StoreDownload: Hashable, Sendable {
  var root: String
  var digest: Digest
}
private let storeDownloads = SharedWork<StoreDownload, Bool, TransferProgress>()

extension RegistryClient {
  /// Fetches a blob into `store`, unless it is there. At most one download of a blob goes on at once, here and in other processes with the same
  /// store; who comes later waits and sees its progress. What an earlier, broken attempt left is taken up again.
  ///
  /// Returns whether anything was downloaded. Throws `RegistryError`; `.local` when the store cannot take it.
  @discardableResult
  package func fetchBlob(
    _ descriptor: OCIModel.Descriptor, from repository: Reference, into store: ContentStore, progress: @escaping TransferProgressHandler = { _ in }
  ) async throws -> Bool {
    while true {
      let outcome = try await storeDownloads.run(StoreDownload(root: store.root, digest: descriptor.digest), observer: progress) { emit in
        try await self.download(descriptor, from: repository, into: store, progress: emit)
      }
      switch outcome {
      case .own(let downloaded): return downloaded
      // A size may have been promised that the other did not check.
      case .joined: if store.contains(descriptor.digest) { return false }
      // The other's credentials, repository or patience may have been worse: try by ourselves.
      case .joinedFailure: continue
      }
    }
  }

  private func download(_ descriptor: OCIModel.Descriptor, from repository: Reference, into store: ContentStore, progress: @escaping TransferProgressHandler) async throws -> Bool {
    func report(_ bytes: Int64, _ state: TransferProgress.State) { progress(TransferProgress(.fetch, descriptor, repository: repository.name, bytes: bytes, state: state)) }
    func local(_ error: any Error) -> any Error {
      if error is RegistryError || error is CancellationError { return error }
      let code: RegistryError.Code = (error as? StoreError)?.code == .sizeMismatch ? .sizeMismatch : .local
      return RegistryError(code, "cannot store \(descriptor.digest) of \(repository.familiarName)", host: repository.domain, repository: repository.path, cause: error)
    }
    report(0, .waiting)
    let request = "GET /v2/\(repository.path)/blobs/\(descriptor.digest)"
    var attempt = 1
    while true {
      let writer: BlobWriter?
      do { writer = try await store.writer(for: descriptor.digest, size: descriptor.size) } catch { throw local(error) }
      guard let writer else {
        report(descriptor.size, .exists)
        return false
      }
      do {
        try await retrying(.fetch, descriptor, repository, progress) { progress in
          try await transfer(repository.domain) {
            try await BlobFetch(client: self, descriptor: descriptor, repository: repository, sink: StoreSink(writer), offset: writer.offset, progress: progress).download()
          }
        }
        // From there it can be mounted later. What this costs when it fails is that.
        try? await store.noteOrigin(repository, of: [descriptor.digest])
        report(descriptor.size, .done)
        return true
      } catch let error as RegistryError where (error.cause as? StoreError)?.code == .digestMismatch {
        // The store threw the content away. What was wrong may have been the remains of an earlier attempt, or a proxy: once more.
        guard attempt < 2 else {
          throw RegistryError(
            .digestMismatch, "cannot fetch \(repository.familiarName)@\(descriptor.digest): \(repository.domain) sent other content", host: repository.domain, repository: repository.path,
            request: request, cause: error.cause)
        }
        attempt += 1
        let retry = RegistryRetry(host: repository.domain, request: request, reason: "the content had another digest", wait: .zero, attempt: attempt, maximumAttempts: 2)
        report(0, .retrying(retry))
        (RegistryRetry.observer ?? configuration.onRetry)?(retry)
      }
    }
  }

  /// Pushes a blob from `store`; see `pushBlob(_:from:to:mountFrom:progress:)`. What the store saw in other repositories is mounted from there if it can be, and
  /// what it has not itself is read from there.
  @discardableResult
  package func pushBlob(
    _ descriptor: OCIModel.Descriptor, from store: ContentStore, to repository: Reference, mountFrom: [Reference] = [], progress: @escaping TransferProgressHandler = { _ in }
  ) async throws -> PushOutcome {
    let origins = (try? await store.origins(of: descriptor.digest)) ?? []
    let isElsewhere = !origins.isEmpty && !store.contains(descriptor.digest)
    let source: any OCIRegistry.BlobSource = isElsewhere ? OriginBlobSource(client: self, origins: origins) : StoreBlobSource(store)
    let outcome = try await pushBlob(descriptor, from: source, to: repository, mountFrom: mountFrom + origins, progress: progress)
    if outcome != .exists { try? await store.noteOrigin(repository, of: [descriptor.digest]) }
    return outcome
  }
}

/// A part of an image that was never brought here: from where it was seen.
private struct OriginBlobSource: BlobSource {
  let client: RegistryClient
  let origins: [Reference]

  func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent {
    for origin in origins {
      try Task.checkCancellation()
      if (try? await client.blobExists(descriptor, in: origin)) == true { return client.blobContent(descriptor, from: origin, offset: offset) }
    }
    throw RegistryError(
      .local, "\(descriptor.digest), a part of the image, is neither in the local store nor any more in \(origins.map(\.familiarName).joined(separator: ", "))",
      advice: "Build or pull the image again.")
  }
}

/// A blob of a store, read where it lies.
package struct StoreBlobSource: BlobSource {
  private let store: ContentStore
  package init(_ store: ContentStore) { self.store = store }

  static let pieceSize = 1 << 20

  package func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent {
    let (store, digest) = (store, descriptor.digest)
    let reader = try await Blocking.run { try store.reader(digest) }
    return BlobContent {
      var position = offset
      return {
        guard position < reader.size else { return nil }
        let (start, count) = (position, Int(min(Int64(StoreBlobSource.pieceSize), reader.size - position)))
        let buffer = try await Blocking.run { () throws -> ByteBuffer in
          var buffer = ByteBuffer()
          try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { try reader.descriptor.readFully(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]), at: start) }
          return buffer
        }
        position += Int64(buffer.readableBytes)
        return buffer.readableBytes == 0 ? nil : buffer
      }
    }
  }
}

/// The store checks digest and size itself, and keeps what a broken download left.
private final class StoreSink: BlobSink {
  private let writer: BlobWriter
  init(_ writer: BlobWriter) { self.writer = writer }
  var verifiesContent: Bool { true }
  func write(_ bytes: UnsafeRawBufferPointer) throws { try writer.write(bytes) }
  func finish() throws { _ = try writer.commit() }
  func restart() throws { try writer.restart() }
}
