internal import NIOCore
internal import OCIRegistry

/// A blob's content in pieces of about a megabyte, so that not each packet costs a change of threads.
struct Pieces: AsyncSequence, Sendable {
  static var size: Int { 1 << 20 }
  private let content: BlobContent
  init(_ content: BlobContent) { self.content = content }

  struct AsyncIterator: AsyncIteratorProtocol {
    var inner: BlobContent.AsyncIterator
    var isAtEnd = false
    mutating func next() async throws -> ByteBuffer? {
      if isAtEnd { return nil }
      var gathered: ByteBuffer?
      while (gathered?.readableBytes ?? 0) < Pieces.size {
        guard var next = try await inner.next() else {
          isAtEnd = true
          break
        }
        if gathered == nil { gathered = next } else { gathered?.writeBuffer(&next) }
      }
      return gathered
    }
  }
  func makeAsyncIterator() -> AsyncIterator { AsyncIterator(inner: content.makeAsyncIterator()) }
}
