public import NIOCore
public import OCIModel

/// Where the bytes of a blob can be had: a store, memory, another registry.
public protocol BlobSource: Sendable {
  /// The bytes of `descriptor` from `offset` to the end. Called anew for every try, so it must give the same bytes each time.
  func content(of descriptor: Descriptor, from offset: Int64) async throws -> BlobContent
}

/// Takes the bytes of one blob. Its functions may block: they are called on threads made for that, never two at once.
public protocol BlobSink: AnyObject, Sendable {
  /// Whether `finish` fails unless the content has the digest and size; the client then does not hash a second time.
  var verifiesContent: Bool { get }
  func write(_ bytes: UnsafeRawBufferPointer) throws
  /// All bytes are there and right: keep them.
  func finish() throws
  /// Forget what was written; `write` begins anew from the first byte.
  func restart() throws
}

/// A blob's bytes as an asynchronous sequence of buffers. Iterate it once.
public struct BlobContent: AsyncSequence, Sendable {
  public typealias Element = ByteBuffer
  private let makeNext: @Sendable () -> () async throws -> ByteBuffer?

  /// `makeNext` gives a function that returns the next bytes, then nil.
  public init(_ makeNext: @escaping @Sendable () -> () async throws -> ByteBuffer?) { self.makeNext = makeNext }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let take: () async throws -> ByteBuffer?
    public mutating func next() async throws -> ByteBuffer? { try await take() }
  }
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(take: makeNext()) }
}

/// A blob in memory.
public struct MemoryBlobSource: BlobSource {
  private let bytes: ByteBuffer
  public init(_ bytes: [UInt8]) { self.bytes = ByteBuffer(bytes: bytes) }

  public func content(of descriptor: Descriptor, from offset: Int64) async throws -> BlobContent {
    guard offset >= 0, offset <= bytes.readableBytes, let rest = bytes.getSlice(at: bytes.readerIndex + Int(offset), length: bytes.readableBytes - Int(offset)) else {
      throw RegistryError(.local, "\(descriptor.digest) has \(bytes.readableBytes) bytes, not \(offset) and more")
    }
    return BlobContent {
      var pending: ByteBuffer? = rest
      return {
        defer { pending = nil }
        return pending?.readableBytes == 0 ? nil : pending
      }
    }
  }
}
