internal import BuildInterface
internal import ContentStore
internal import HostOS
internal import OCIModel
internal import Synchronization

/// A client's OCI layout: a directory of this machine, or blobs behind a connection.
enum OpenedLayout: Sendable {
  case here(OCILayout)
  case remote(any RemoteLayout, name: String)

  var name: String {
    switch self {
    case .here(let layout): layout.path
    case .remote(_, let name): name
    }
  }

  func size(of digest: Digest) async throws -> Int64? {
    switch self {
    case .here(let layout): try await Blocking.run { layout.size(of: digest) }
    case .remote(let layout, _): try await layout.size(of: digest)
    }
  }

  /// A document, checked.
  func bytes(_ digest: Digest, limit: Int) async throws -> [UInt8] {
    switch self {
    case .here(let layout): return try await Blocking.run { try layout.bytes(digest, limit: limit) }
    case .remote(let layout, let name):
      guard let size = try await layout.size(of: digest) else { throw StoreError(.notFound, "\(digest) is not in the OCI layout \(name)", digest: digest) }
      guard size >= 0, size <= Int64(limit) else { throw StoreError(.tooLarge, "\(digest) in \(name) has \(size) bytes, more than the \(limit) expected of it", digest: digest) }
      let taken = Pieces()
      try await layout.read(digest, from: 0, count: size) { taken.append($0) }
      let bytes = taken.bytes
      var hasher = DigestHasher(digest.algorithm)
      hasher.update(bytes)
      guard hasher.finish() == digest else { throw StoreError(.digestMismatch, "\(digest) in the OCI layout \(name) has other content than its name promises", digest: digest) }
      return bytes
    }
  }

  /// Takes a blob into the store, which checks it; goes on where an earlier attempt ended.
  func take(_ descriptor: OCIModel.Descriptor, into writer: BlobWriter, progress: @escaping @Sendable (Int64) -> Void) async throws {
    switch self {
    case .here(let layout):
      try await Blocking.run {
        let blob = try layout.reader(descriptor.digest)
        // What an earlier attempt took is hashed already.
        var offset = writer.offset
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        while case let n = try blob.descriptor.readFully(into: buffer, at: offset), n > 0 {
          try Task.checkCancellation()
          try writer.write(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
          offset += Int64(n)
          progress(offset)
        }
        _ = try writer.commit()
      }
    case .remote(let layout, _):
      try await layout.read(descriptor.digest, from: writer.offset, count: descriptor.size - writer.offset) { piece in
        try await Blocking.run { try piece.withUnsafeBytes { try writer.write($0) } }
        progress(writer.offset)
      }
      _ = try await Blocking.run { try writer.commit() }
    }
  }

  private final class Pieces: Sendable {
    private let taken = Mutex<[UInt8]>([])
    func append(_ piece: [UInt8]) { taken.withLock { $0 += piece } }
    var bytes: [UInt8] { taken.withLock { $0 } }
  }
}
