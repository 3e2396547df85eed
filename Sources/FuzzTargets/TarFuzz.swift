import LayerArchive
import OCIModel

enum TarFuzz {
  static let limits = TarLimits(headerBytes: 1 << 14, entrySize: 1 << 20)

  /// Reads the archive twice, by large and by small pieces: the same entries or the same error, content within the entry.
  static func read(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    let options = input.byte()
    var archive = input.bytes
    if options & 1 != 0 { reseal(&archive) }
    let headers: GlobalHeaders = options & 2 != 0 ? .ignore : options & 4 != 0 ? .report : .apply
    let whole = try summary(archive, step: .max, buffer: 1 << 18, headers)
    let pieces = try summary(archive, step: 1 + Int(options >> 3) * 37, buffer: 2048, headers)
    try FuzzFinding.check(whole == pieces, "the archive reads differently by pieces:\n\(whole)\n\(pieces)")
  }

  private static func summary(_ archive: [UInt8], step: Int, buffer: Int, _ headers: GlobalHeaders) throws -> [String] {
    let reader = TarReader(BytesSource(archive, step: step), limits: limits, globalHeaders: headers, bufferSize: buffer)
    var out: [String] = []
    do {
      while let entry = try reader.next() {
        try FuzzFinding.check(entry.size >= 0 && entry.size <= limits.entrySize, "an entry of \(entry.size) bytes")
        var end: Int64 = 0
        var hash: UInt64 = 5381
        while let chunk = try reader.nextChunk() {
          try FuzzFinding.check(chunk.offset >= end && !chunk.bytes.isEmpty, "a chunk at \(chunk.offset) after \(end)")
          end = chunk.offset + Int64(chunk.bytes.count)
          try FuzzFinding.check(end <= entry.size, "content of \(end) bytes in an entry of \(entry.size)")
          for byte in chunk.bytes { hash = hash &* 33 &+ UInt64(byte) }
        }
        out.append("\(entry.path.bytes) \(entry.kind) \(entry.linkTarget.bytes) \(entry.mode) \(entry.uid):\(entry.gid) \(entry.size) \(entry.modified) \(entry.xattrs.count) \(hash)")
      }
      try reader.drain()
    } catch let error as LayerArchiveError { out.append(error.code.rawValue) }
    return out
  }

  /// Gives header blocks right checksums: a fuzzer does not find them by itself.
  static func reseal(_ bytes: inout [UInt8]) {
    for block in stride(from: 0, to: bytes.count - 511, by: 512) where bytes[block + 257..<block + 262].elementsEqual("ustar".utf8) {
      for i in 148..<156 { bytes[block + i] = 32 }
      var sum = bytes[block..<block + 512].reduce(0) { $0 + Int($1) }
      for i in stride(from: block + 153, through: block + 148, by: -1) {
        bytes[i] = 0x30 + UInt8(sum & 7)
        sum >>= 3
      }
      bytes[block + 154] = 0
    }
  }
}

enum CompressionFuzz {
  static func run(_ bytes: [UInt8]) throws {
    var input = FuzzInput(bytes)
    let options = input.byte()
    if options & 3 == 3 { return try roundTrip(input.bytes, options) }
    var limits = DecompressionLimits()
    (limits.maximumSize, limits.windowLog) = (1 << 20, 20)
    let whole = outcome(input.bytes, step: .max, limits)
    let pieces = outcome(input.bytes, step: 1 + Int(options >> 2), limits)
    try FuzzFinding.check(whole == pieces, "the stream decompresses differently by pieces: \(whole) and \(pieces)")
  }

  private enum Outcome: Equatable { case bytes(Digest), failed }

  private static func outcome(_ bytes: [UInt8], step: Int, _ limits: DecompressionLimits) -> Outcome {
    do {
      let source = try DetectingSource(BytesSource(bytes, step: step), limits: limits)
      return .bytes(Digest.sha256(of: try source.readToEnd(limit: 2 << 20)))
    } catch { return .failed }
  }

  private static func roundTrip(_ bytes: [UInt8], _ options: UInt8) throws {
    let compression: Compression = options & 4 != 0 ? .gzip : .zstd
    let sink = BytesSink()
    let compressor = try compression.compressor(into: sink, level: options & 8 != 0 ? 1 : nil)
    try compressor.write(bytes)
    try compressor.finish()
    let back = try compression.decompressor(BytesSource(sink.bytes, step: 1 + Int(options >> 4) * 99)).readToEnd(limit: 1 << 20)
    try FuzzFinding.check(back == bytes, "\(compression) does not give back what it was given")
  }
}
