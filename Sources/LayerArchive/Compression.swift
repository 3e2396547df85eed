package import OCIModel

/// How a layer's bytes are compressed.
package enum Compression: String, Sendable, Hashable, CaseIterable, Codable {
  case none = "uncompressed"
  case gzip
  case zstd

  /// What the first bytes say. Needs 6 at most; anything unknown is `none`. xz and bzip2 are told apart only to be refused by name.
  package static func detect(_ head: some Collection<UInt8>) throws -> Compression {
    let b = Array(head.prefix(6))
    func starts(_ magic: [UInt8]) -> Bool { b.starts(with: magic) }
    if starts([0x1f, 0x8b, 0x08]) { return .gzip }
    if starts([0x28, 0xb5, 0x2f, 0xfd]) { return .zstd }
    // A skippable frame, RFC 8878 section 3.1.2: zstd:chunked and pzstd put one first.
    if b.count >= 4, b[0] & 0xf0 == 0x50, b[1] == 0x2a, b[2] == 0x4d, b[3] == 0x18 { return .zstd }
    if starts([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) { throw LayerArchiveError(.unsupported, "the stream is compressed with xz, which layers never are") }
    if starts([0x42, 0x5a, 0x68]) { throw LayerArchiveError(.unsupported, "the stream is compressed with bzip2, which layers never are") }
    return .none
  }

  /// From a layer's media type, OCI or Docker, distributable or not. nil when it names none of these compressions.
  package init?(mediaType: MediaType) {
    guard mediaType.isLayer else { return nil }
    let type = mediaType.rawValue
    if type.hasSuffix("+gzip") || type.hasSuffix(".tar.gzip") {
      self = .gzip
    } else if type.hasSuffix("+zstd") || type.hasSuffix(".tar.zstd") {
      self = .zstd
    } else if type.hasSuffix(".tar") {
      self = .none
    } else {
      return nil
    }
  }

  /// The media type of a layer in this compression.
  package func mediaType(docker: Bool = false) -> MediaType {
    switch self {
    case .none: docker ? .dockerLayer : .ociLayer
    case .gzip: docker ? .dockerLayerGzip : .ociLayerGzip
    case .zstd: docker ? .dockerLayerZstd : .ociLayerZstd
    }
  }

  /// Levels that may be asked for; outside is an error and not rounded.
  package var levels: ClosedRange<Int> {
    switch self {
    case .none: 0...0
    case .gzip: -1...9
    case .zstd: -7...22
    }
  }

  /// A sink that compresses into `sink` and finishes it with itself. The output depends on the input, the compression and the level alone:
  /// not on how the input came in pieces, the number of cores or the time.
  ///
  /// `level` nil is the default: for gzip 6 (`GzipMembers`, with the measurements), for zstd 3. gzip takes 0 (stored) to 9, and -1 for the
  /// default; zstd takes -7 to 22, and 0 for the default.
  package func compressor(into sink: any ByteSink, level: Int? = nil) throws -> any ByteSink {
    if let level, self != .none, !levels.contains(level) {
      throw LayerArchiveError(.invalidOption, "compression level \(level) of \(rawValue): expected \(levels.lowerBound) to \(levels.upperBound)")
    }
    switch self {
    case .none: return sink
    case .gzip:
      return BlockCompressor(into: sink, format: GzipMembers(level: level.flatMap { $0 < 0 ? nil : $0 } ?? GzipMembers.defaultLevel))
    case .zstd: return try ZstdCompressor(into: sink, level: level ?? 3)
    }
  }

  /// A source that decompresses `source`.
  package func decompressor(_ source: any ByteSource, limits: DecompressionLimits = .default) throws -> any ByteSource {
    let input = CountingSource(source)
    switch self {
    case .none: return BoundedSource(input, counting: input, limits: limits)
    case .gzip: return BoundedSource(try GzipSource(input), counting: input, limits: limits)
    case .zstd: return BoundedSource(try ZstdSource(input, windowLog: limits.windowLog), counting: input, limits: limits)
    }
  }
}

/// Counts what goes in, for the ratio.
final class CountingSource: ByteSource {
  private let source: any ByteSource
  private(set) var count: Int64 = 0
  init(_ source: any ByteSource) { self.source = source }
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let n = try source.read(into: buffer)
    count += Int64(n)
    return n
  }
}

/// Ends with an error when more comes out than the limits allow.
final class BoundedSource: ByteSource {
  private let source: any ByteSource
  private let input: CountingSource
  private let limits: DecompressionLimits
  private var count: Int64 = 0

  init(_ source: any ByteSource, counting input: CountingSource, limits: DecompressionLimits) { (self.source, self.input, self.limits) = (source, input, limits) }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let n = try source.read(into: buffer)
    count += Int64(n)
    try limits.check(count, from: input.count)
    return n
  }
}

/// Decompresses what the first bytes say it is.
package final class DetectingSource: ByteSource {
  package let compression: Compression
  private let source: any ByteSource

  package init(_ source: any ByteSource, limits: DecompressionLimits = .default) throws {
    let head = IOBuffer(6)
    let n = try source.readFully(into: head.all)
    compression = try Compression.detect(head.all[..<n])
    self.source = try compression.decompressor(PrefixedSource(Array(head.all[..<n]), source), limits: limits)
  }
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try source.read(into: buffer) }
}

/// Bytes already read, then the rest.
final class PrefixedSource: ByteSource {
  private var prefix: ArraySlice<UInt8>
  private let source: any ByteSource
  init(_ prefix: [UInt8], _ source: any ByteSource) { (self.prefix, self.source) = (prefix[...], source) }
  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    if prefix.isEmpty { return try source.read(into: buffer) }
    let n = min(prefix.count, buffer.count)
    prefix.prefix(n).withUnsafeBytes { buffer.copyMemory(from: $0) }
    prefix = prefix.dropFirst(n)
    return n
  }
}
