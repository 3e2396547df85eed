package import HostOS
package import OCIModel

/// A blob open for reading; it stays readable if it is collected meanwhile.
package struct BlobReader: Sendable {
  package let digest: Digest
  package let size: Int64
  /// Of a regular file; read at offsets, since copies of the reader share its position.
  package let descriptor: HostOS.Descriptor
}

extension ContentStore {
  // MARK: - Reading (one or two quick system calls on a local disk, unless said otherwise)

  package func contains(_ digest: Digest) -> Bool { size(of: digest) != nil }

  /// Bytes; nil when the blob is not here.
  package func size(of digest: Digest) -> Int64? {
    guard let status = try? directory.statusIfPresent(StoreLayout.blob(digest)), status.kind == .regular else { return nil }
    return status.size
  }

  /// Throws `StoreError.notFound`.
  package func reader(_ digest: Digest) throws -> BlobReader {
    do {
      let file = try directory.openFile(StoreLayout.blob(digest), flags: [.readOnly, .noFollow], follow: .none)
      return BlobReader(digest: digest, size: try file.size, descriptor: file)
    } catch let error as HostError where error.code == .notFound {
      throw StoreError(.notFound, "\(digest) is not in the store at \(root)", digest: digest)
    } catch { throw StoreError.wrap(error, "cannot read \(digest)", root: root) }
  }

  /// The blob's path, for programs that take paths. It must not be written to.
  package func path(of digest: Digest) -> String { root + "/" + StoreLayout.blob(digest) }

  /// A document: the whole content, hashed again. Throws `StoreError.tooLarge` beyond `limit` bytes, `notFound`, `corrupt`. Blocks for as long as reading it takes.
  package func bytes(_ digest: Digest, limit: Int) throws -> [UInt8] {
    let blob = try reader(digest)
    guard blob.size <= Int64(limit) else {
      throw StoreError(.tooLarge, "\(digest) has \(blob.size) bytes, more than the \(limit) expected of it", digest: digest)
    }
    let bytes = try StoreError.wrapping("cannot read \(digest)", root: root) { try blob.descriptor.readToEnd(limit: limit) }
    var hasher = DigestHasher(digest.algorithm)
    hasher.update(bytes)
    guard hasher.finish() == digest else {
      throw StoreError(.corrupt, "\(path(of: digest)) is damaged: its content is not that of its digest: remove it, and it will be fetched or made anew", path: path(of: digest), digest: digest)
    }
    return bytes
  }

  /// A manifest or index, with its children. Throws also `OCIError`.
  package func document(_ descriptor: OCIModel.Descriptor) throws -> ImageDocument {
    try ImageDocument(parsing: bytes(descriptor.digest, limit: DocumentLimits.manifest), mediaType: descriptor.mediaType)
  }

  // MARK: - Writing

  /// Takes in content whose digest is known beforehand, or nil when the blob is here already.
  ///
  /// One writer at a time, among all processes: a second one waits, and as a rule then finds the blob. What an earlier attempt left is kept and hashed:
  /// `offset` says where to go on. Throws CancellationError when the task is cancelled while it waits.
  package func writer(for digest: Digest, size: Int64? = nil, onWait: (@Sendable () -> Void)? = nil) async throws -> BlobWriter? {
    try await keep([digest])
    if try hasBlob(digest, size: size) { return nil }
    let lock = try await locks.lock("ingest:\(digest)", onWait: onWait)
    do {
      if try hasBlob(digest, size: size) {
        lock.release()
        return nil
      }
      return try await Blocking.run { try BlobWriter(self, resuming: digest, size: size, lock: lock) }
    } catch {
      lock.release()
      throw StoreError.wrap(error, "cannot take in \(digest)", root: root)
    }
  }

  /// Takes in content as it comes; the digest is known at the end. Blocks for one open(2).
  package func writer(algorithm: Digest.Algorithm = .sha256) throws -> BlobWriter {
    try StoreError.wrapping("cannot take in content", root: root) { try BlobWriter(self, algorithm: algorithm) }
  }

  /// A file on the store's disk that is gone as soon as nobody has it open, however the process ends. Blocks.
  package func scratchFile() throws -> HostOS.Descriptor {
    try StoreError.wrapping("cannot make a file", root: root) {
      let path = "\(StoreLayout.ingest)/\(IngestName.fresh())"
      let file = try directory.openFile(path, flags: [.readWrite, .create, .exclusive, .noFollow], mode: 0o600, follow: .none)
      try directory.unlink(path)
      return file
    }
  }

  /// Takes in a document. Blocks; call through Blocking.run.
  @discardableResult
  package func putBlocking(_ bytes: [UInt8], mediaType: MediaType = "application/octet-stream") throws -> OCIModel.Descriptor {
    let descriptor = OCIModel.Descriptor(mediaType: mediaType, of: bytes)
    try keepBlocking([descriptor.digest])
    if try hasBlob(descriptor.digest, size: descriptor.size) { return descriptor }
    let writer = try writer()
    try writer.write(bytes)
    _ = try writer.commit(expecting: descriptor.digest)
    return descriptor
  }

  /// Takes in a document.
  @discardableResult
  package func put(_ bytes: [UInt8], mediaType: MediaType = "application/octet-stream") async throws -> OCIModel.Descriptor {
    try await Blocking.run { try self.putBlocking(bytes, mediaType: mediaType) }
  }

  /// A descriptor that promises another size than the blob of its digest has is a lie.
  func hasBlob(_ digest: Digest, size: Int64?) throws -> Bool {
    guard let present = self.size(of: digest) else { return false }
    if let size, size != present {
      throw StoreError(.sizeMismatch, "\(digest) has \(present) bytes, not the \(size) that were promised", digest: digest)
    }
    return true
  }
}
