package import OCIModel

/// Passes bytes on and hashes them on the way.
package final class HashingSink: ByteSink {
  private var hasher: DigestHasher
  private let sink: any ByteSink
  package init(into sink: any ByteSink, algorithm: Digest.Algorithm = .sha256) { (self.sink, hasher) = (sink, DigestHasher(algorithm)) }
  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    hasher.update(bytes)
    try sink.write(bytes)
  }
  package func finish() throws { try sink.finish() }
  /// Of all that was written so far.
  package var digest: Digest { hasher.finish() }
  /// Bytes written so far.
  package var size: Int64 { hasher.count }
}

/// Hands bytes out and hashes them on the way. The digest is of what was read: read to the end before asking for it.
package final class HashingSource: ByteSource {
  private var hasher: DigestHasher
  private let source: any ByteSource
  package init(_ source: any ByteSource, algorithm: Digest.Algorithm = .sha256) { (self.source, hasher) = (source, DigestHasher(algorithm)) }
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let n = try source.read(into: buffer)
    if n > 0 { hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<n])) }
    return n
  }
  package var digest: Digest { hasher.finish() }
  package var size: Int64 { hasher.count }
}
