package import OCIModel

/// Writes a layer's blob: a tar archive, compressed, hashed before and after. Blocks; one thread at a time.
package final class LayerWriter {
  package struct Result: Sendable, Hashable {
    /// Of the archive.
    package var diffID: Digest
    package var uncompressedSize: Int64
    /// Of the blob.
    package var digest: Digest
    package var size: Int64
    package var compression: Compression

    /// The blob's descriptor, in OCI's or Docker's media type.
    package func descriptor(docker: Bool = false, annotations: [String: String] = [:]) -> Descriptor {
      Descriptor(mediaType: compression.mediaType(docker: docker), digest: digest, size: size, annotations: annotations)
    }
  }

  /// Where the entries go; `LayerWriter.finish` finishes it.
  package let tar: TarWriter
  private let compression: Compression
  private let before: HashingSink
  private let after: HashingSink

  /// `sink` takes the blob; it is finished with it.
  package init(compression: Compression, level: Int? = nil, into sink: any ByteSink) throws {
    self.compression = compression
    after = HashingSink(into: sink)
    // An archive that is not compressed is hashed once.
    before = compression == .none ? after : HashingSink(into: try compression.compressor(into: after, level: level))
    tar = TarWriter(before)
  }

  package func finish() throws -> Result {
    try tar.finish()
    return Result(diffID: before.digest, uncompressedSize: before.size, digest: after.digest, size: after.size, compression: compression)
  }

  /// A layer's blob in another compression, its archive untouched; or, when `latest` is given, with no time later than that (`rewrite-timestamp`).
  package static func convert(
    _ source: any ByteSource, compression: Compression, level: Int? = nil, latest: Timestamp? = nil, limits: DecompressionLimits = .default,
    into sink: any ByteSink, isCancelled: () -> Bool = { false }
  ) throws -> Result {
    let plain = ReadAheadSource(try DetectingSource(source, limits: limits))
    let writer = try LayerWriter(compression: compression, level: level, into: sink)
    guard let latest else {
      let buffer = IOBuffer(1 << 19)
      while true {
        if isCancelled() { throw CancellationError() }
        let n = try plain.read(into: buffer.all)
        if n == 0 { break }
        try writer.before.write(buffer.head(n))
      }
      try writer.before.finish()
      return Result(diffID: writer.before.digest, uncompressedSize: writer.before.size, digest: writer.after.digest, size: writer.after.size, compression: compression)
    }
    let reader = TarReader(plain, globalHeaders: .report)
    while var entry = try reader.next() {
      if isCancelled() { throw CancellationError() }
      entry.clampTimes(to: latest)
      try writer.tar.begin(entry)
      if entry.size > 0 { try writer.tar.writeContent(of: TarContent(reader)) }
    }
    try reader.drain()
    return try writer.finish()
  }
}

/// The current entry's content, holes as zeros.
final class TarContent: ByteSource {
  private let reader: TarReader
  init(_ reader: TarReader) { self.reader = reader }
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try reader.read(into: buffer) }
}
