package import OCIModel

/// How a layer's archive becomes a blob.
package struct LayerForm: Sendable, Hashable {
  package var compression: Compression
  /// nil: the compression's default.
  package var level: Int?
  /// eStargz: gzip with a table of contents, of which single files can be fetched. Its compression is gzip.
  package var isSeekable: Bool
  /// No entry has a later time (`rewrite-timestamp`).
  package var latest: Timestamp?
  /// The entries, which are a tree's, are written as a Windows layer has them (`WindowsLayer`).
  package var isWindows: Bool

  package init(_ compression: Compression, level: Int? = nil, isSeekable: Bool = false, latest: Timestamp? = nil, isWindows: Bool = false) {
    (self.compression, self.level, self.isSeekable, self.latest, self.isWindows) = (isSeekable ? .gzip : compression, level, isSeekable, latest, isWindows)
  }
}

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
    /// What the descriptor says of the blob's form.
    package var annotations: [String: String] = [:]

    /// The blob's descriptor, in OCI's or Docker's media type.
    package func descriptor(docker: Bool = false, annotations: [String: String] = [:]) -> Descriptor {
      Descriptor(mediaType: compression.mediaType(docker: docker), digest: digest, size: size, annotations: self.annotations.merging(annotations) { _, given in given })
    }
  }

  /// Where the entries go; `LayerWriter.finish` finishes it.
  package let tar: TarWriter
  private let compression: Compression
  private let before: HashingSink
  private let after: HashingSink
  private let seekable: SeekableGzip?

  /// `sink` takes the blob; it is finished with it.
  package convenience init(compression: Compression, level: Int? = nil, into sink: any ByteSink) throws {
    try self.init(LayerForm(compression, level: level), into: sink)
  }

  /// `form.latest` is the business of who writes the entries.
  package init(_ form: LayerForm, into sink: any ByteSink) throws {
    compression = form.compression
    after = HashingSink(into: sink)
    seekable = form.isSeekable ? try SeekableGzip(into: after, level: form.level) : nil
    // An archive that is not compressed is hashed once.
    before =
      if let seekable { HashingSink(into: seekable) } else if compression == .none { after } else {
        HashingSink(into: try compression.compressor(into: after, level: form.level))
      }
    tar = TarWriter(before, isWindows: form.isWindows)
  }

  package func finish() throws -> Result {
    try tar.finish()
    return result
  }

  private var result: Result {
    Result(
      diffID: seekable?.diffID ?? before.digest, uncompressedSize: seekable?.uncompressedSize ?? before.size, digest: after.digest, size: after.size, compression: compression,
      annotations: seekable?.annotations ?? [:])
  }

  /// A layer's blob in another compression, its archive untouched.
  package static func convert(
    _ source: any ByteSource, compression: Compression, level: Int? = nil, latest: Timestamp? = nil, limits: DecompressionLimits = .default,
    into sink: any ByteSink, isCancelled: () -> Bool = { false }
  ) throws -> Result {
    try convert(source, to: LayerForm(compression, level: level, latest: latest), limits: limits, into: sink, isCancelled: isCancelled).result
  }

  /// A layer's blob in another form: its archive untouched, or with its times cut to `form.latest`, or as a Windows layer, which it must not be yet. Answers the given archive's diff ID, too.
  package static func convert(
    _ source: any ByteSource, to form: LayerForm, limits: DecompressionLimits = .default, into sink: any ByteSink, isCancelled: () -> Bool = { false }
  ) throws -> (result: Result, sourceDiffID: Digest) {
    let given = HashingSource(try DetectingSource(source, limits: limits))
    let plain = ReadAheadSource(given)
    let writer = try LayerWriter(form, into: sink)
    guard form.latest != nil || form.isWindows else {
      let buffer = IOBuffer(1 << 19)
      while true {
        if isCancelled() { throw CancellationError() }
        let n = try plain.read(into: buffer.all)
        if n == 0 { break }
        try writer.before.write(buffer.head(n))
      }
      try writer.before.finish()
      return (writer.result, given.digest)
    }
    let reader = TarReader(plain, globalHeaders: .report)
    var (files, stored): (Int64, Int64) = (0, 0)
    while var entry = try reader.next() {
      // Holes become zeros here.
      let (total, overflow) = files.addingReportingOverflow(entry.size)
      files = overflow ? .max : total
      stored += entry.sparse?.reduce(0) { $0 + $1.length } ?? entry.size
      try limits.check(files, from: stored, path: entry.path)
      if isCancelled() { throw CancellationError() }
      if let latest = form.latest { entry.clampTimes(to: latest) }
      // Marks of deletion are written as they are in the layers made here.
      if form.isWindows, entry.kind == .globalHeader { continue }
      try writer.tar.begin(entry, style: entry.path.lastComponent.hasPrefix(Whiteout.prefix) ? .compact : nil, asItIs: true)
      if entry.size > 0 { try writer.tar.writeContent(of: TarContent(reader)) }
    }
    try reader.drain()
    return (try writer.finish(), given.digest)
  }
}

/// The current entry's content, holes as zeros.
final class TarContent: ByteSource {
  private let reader: TarReader
  init(_ reader: TarReader) { self.reader = reader }
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try reader.read(into: buffer) }
}
