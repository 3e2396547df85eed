internal import HostOS
internal import NIOCore
public import OCIModel

/// Brings a download into a sink: buffers gather to pieces worth a thread's while, and one piece is written while the next arrives.
struct BlobFetch: Sendable {
  let client: RegistryClient
  let descriptor: OCIModel.Descriptor
  let repository: Reference
  let sink: any BlobSink
  /// What the sink holds already.
  var offset: Int64 = 0
  let progress: TransferProgressHandler

  static let pieceSize = 1 << 20

  /// A download whose digest is wrong is made once more from the beginning, at the registry itself: a proxy's, a mirror's or a disk's fault need not last.
  func run() async throws {
    do {
      try await download()
    } catch let error as RegistryError where error.code == .digestMismatch {
      RegistryRetry.observer?(RegistryRetry(host: repository.domain, request: error.request, reason: "the content had another digest", wait: .zero, attempt: 2, maximumAttempts: 2))
      let sink = sink
      try await Blocking.run { try sink.restart() }
      try await download(usesMirrors: false)
    }
  }

  private func report(_ bytes: Int64, _ state: TransferProgress.State) {
    progress(TransferProgress(.fetch, descriptor, repository: repository.name, bytes: bytes, state: state))
  }

  /// Once, without another try for wrong content.
  func download(usesMirrors: Bool = true) async throws {
    report(offset, .transferring)
    if offset == 0, let bytes = embedded() {
      try await write([ByteBuffer(bytes: bytes)])
      return try await finish()
    }
    let download = BlobDownload(client, repository, descriptor, from: offset, verifies: !sink.verifiesContent, usesMirrors: usesMirrors)
    var gathered: [ByteBuffer] = [], size = 0
    var writing: Task<Void, any Error>?
    do {
      while let buffer = try await download.next() {
        gathered.append(buffer)
        size += buffer.readableBytes
        guard size >= BlobFetch.pieceSize else { continue }
        try await writing?.value
        let piece = gathered
        writing = Task { try await write(piece) }
        (gathered, size) = ([], 0)
        report(download.offset, .transferring)
      }
      try await writing?.value
      writing = nil
      if !gathered.isEmpty { try await write(gathered) }
    } catch {
      // No write may be under way when the sink is restarted or given up.
      _ = await writing?.result
      throw error
    }
    try await finish()
  }

  /// The content that small descriptors may carry themselves (descriptor.md, "data"), when it is what the digest says.
  private func embedded() -> [UInt8]? {
    guard let data = descriptor.data, let bytes = Base64.decode(data), Int64(bytes.count) == descriptor.size else { return nil }
    var hasher = DigestHasher(descriptor.digest.algorithm)
    hasher.update(bytes)
    return hasher.finish() == descriptor.digest ? bytes : nil
  }

  private func write(_ buffers: [ByteBuffer]) async throws {
    let sink = sink
    try await local {
      try await Blocking.run { for buffer in buffers { try buffer.withUnsafeReadableBytes { try sink.write($0) } } }
    }
  }

  private func finish() async throws {
    let sink = sink
    try await local { try await Blocking.run { try sink.finish() } }
  }

  private func local(_ body: () async throws -> Void) async throws {
    do { try await body() } catch {
      if error is CancellationError || error is RegistryError { throw error }
      throw RegistryError(.local, "cannot store \(descriptor.digest) of \(repository.familiarName)", host: repository.domain, repository: repository.path, cause: error)
    }
  }
}

/// A blob in a registry, as the source of a push to another.
public struct RegistryBlobSource: BlobSource {
  private let client: RegistryClient
  private let repository: Reference
  public init(_ client: RegistryClient, _ repository: Reference) {
    self.client = client
    self.repository = repository
  }
  public func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent { client.blobContent(descriptor, from: repository, offset: offset) }
}
