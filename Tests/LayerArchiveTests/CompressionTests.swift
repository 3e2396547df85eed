import HostOS
import OCIModel
import Testing

@testable import LayerArchive

struct CompressionTests {
  static let inputs: [[UInt8]] = [[], [7], sample(1000), sample(1 << 20), sample((1 << 20) + 1), sample(5_300_000), [UInt8](repeating: 0, count: 3_000_000), noise(2_500_000)]
  static func noise(_ count: Int) -> [UInt8] { var r = Random(9); return (0..<count / 8).flatMap { _ in withUnsafeBytes(of: r.next()) { Array($0) } } }
  static let ways: [(Compression, Int?)] = [(.none, nil), (.gzip, nil), (.gzip, -1), (.gzip, 0), (.gzip, 1), (.gzip, 6), (.gzip, 9), (.zstd, nil), (.zstd, 1), (.zstd, 10), (.zstd, -3)]

  @Test(arguments: ways.indices) func roundTrips(way: Int) throws {
    let (compression, level) = Self.ways[way]
    for input in Self.inputs {
      let packed = try compress(input, compression, level: level)
      #expect(packed == (try compress(input, compression, level: level, step: 65_537)), "the pieces must not matter")
      #expect(try decompress(packed) == input)
      if input.count < 2000 { #expect(try decompress(packed, step: 1) == input) }
      if compression != .none { #expect(try Compression.detect(packed) == compression) }
    }
  }

  @Test func coresDoNotMatter() throws {
    let input = sample(9_000_000)
    func gzip(_ format: any BlockFormat, threads: Int) throws -> [UInt8] {
      let sink = BytesSink()
      let compressor = BlockCompressor(into: sink, format: format, pool: WorkerPool(threads: threads))
      try compressor.write(input)
      try compressor.finish()
      #expect(sink.finished)
      return sink.bytes
    }
    func zstd(_ threads: Int) throws -> [UInt8] {
      let sink = BytesSink()
      let compressor = try ZstdCompressor(into: sink, level: 3, threads: threads)
      try compressor.write(input)
      try compressor.finish()
      return sink.bytes
    }
    let one = try gzip(GzipMembers(level: GzipMembers.defaultLevel), threads: 1)
    for threads in [2, 5] {
      #expect(try gzip(GzipMembers(level: GzipMembers.defaultLevel), threads: threads) == one)
      #expect(try gzip(GzipMembers(level: 4), threads: threads) == gzip(GzipMembers(level: 4), threads: 1))
      #expect(try zstd(threads) == zstd(1))
    }
    // Nothing of the time or the machine is in the header.
    #expect(Array(one.prefix(10)) == [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])
  }

  @Test func othersReadIt() throws {
    for input in [Self.inputs[0], Self.inputs[2], Self.inputs[5]] {
      for level in [nil, 6] as [Int?] {
        if let result = try run("gzip", ["-dc"], input: compress(input, .gzip, level: level)) { #expect(result.status == 0 && result.output == input) }
        let script = "import gzip,sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))"
        if let result = try run("python3", ["-c", script], input: compress(input, .gzip, level: level)) { #expect(result.status == 0 && result.output == input) }
      }
      if let result = try run("zstd", ["-dcq"], input: compress(input, .zstd)) { #expect(result.status == 0 && result.output == input) }
      if let result = try run("gzip", ["-9cn"], input: input) { #expect(try decompress(result.output) == input) }
      if let result = try run("zstd", ["-19cq"], input: input) { #expect(try decompress(result.output) == input) }
    }
  }

  @Test func severalMembersAndHeaders() throws {
    let a = sample(3000), b = sample(70_000, seed: 2)
    #expect(try decompress(compress(a, .gzip) + compress(b, .gzip, level: 3) + compress([], .gzip)) == a + b)
    #expect(try decompress(compress(a, .gzip) + [0, 0, 0]) == a)
    #expect(code { _ = try decompress(try compress(a, .gzip) + [1, 2]) } == .corruptCompression)
    #expect(code { _ = try decompress(try compress(a, .gzip) + [0, 1]) } == .corruptCompression)
    #expect(try decompress(compress(a, .zstd) + compress(b, .zstd)) == a + b)
    let skippable: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]
    #expect(try decompress(skippable + compress(a, .zstd)) == a)
    // A header with a name, a comment, extra bytes.
    var named = try compress(a, .gzip)
    named[3] = 0x1c
    named.insert(contentsOf: [2, 0, 9, 9] + Array("name\u{0}comment\u{0}".utf8), at: 10)
    for step in [1, 5, 4000] { #expect(try decompress(named, step: step) == a) }
  }

  @Test func damageIsSeen() throws {
    let input = sample(300_000)
    for compression in [Compression.gzip, .zstd] {
      let packed = try compress(input, compression)
      for cut in [7, 20, packed.count / 2, packed.count - 1] { #expect(code { _ = try decompress(Array(packed.prefix(cut))) } == .truncated, "\(compression) \(cut)") }
      var flipped = packed
      flipped[packed.count - 3] ^= 1
      #expect(code { _ = try decompress(flipped) } == .corruptCompression)
    }
    #expect(code { _ = try decompress([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]) } == .unsupported)
    var random = Random(7)
    for _ in 0..<600 {
      var packed = try compress(Array(input.prefix(5000)), random.next() % 2 == 0 ? .gzip : .zstd)
      for _ in 0...(random.next() % 4) { packed[Int(random.next() % UInt64(packed.count))] = UInt8(truncatingIfNeeded: random.next()) }
      do { _ = try decompress(packed, step: 300) } catch is LayerArchiveError {}
    }
  }

  @Test func limits() throws {
    let bomb = try compress([UInt8](repeating: 0, count: 20 << 20), .zstd)
    #expect(code { _ = try decompress(bomb, limits: DecompressionLimits(maximumSize: 1 << 20)) } == .limit)
    #expect(code { _ = try decompress(bomb, limits: DecompressionLimits(maximumRatio: 100, ratioFrom: 1 << 20)) } == .limit)
    #expect(try decompress(bomb).count == 20 << 20)
    if let long = try run("zstd", ["--ultra", "-22", "--long=28", "-cq"], input: sample(1000)) { _ = try? decompress(long.output) }
    for (compression, level) in [(Compression.gzip, 10), (.gzip, -2), (.zstd, 23)] { #expect(code { _ = try compress([1], compression, level: level) } == .invalidOption) }
  }

  @Test func mediaTypes() {
    for compression in Compression.allCases {
      for docker in [false, true] { #expect(Compression(mediaType: compression.mediaType(docker: docker)) == compression) }
    }
    #expect(Compression(mediaType: .dockerForeignLayer) == .gzip)
    #expect(Compression(mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd") == .zstd)
    #expect(Compression(mediaType: .ociConfig) == nil)
  }

  @Test func readAhead() throws {
    let input = sample(3_000_000)
    for size in [100, 4096, 1 << 20] { #expect(try ReadAheadSource(BytesSource(input, step: 999), size: size).readToEnd(limit: 1 << 24) == input) }
    #expect(code { _ = try ReadAheadSource(DetectingSource(BytesSource(Array(try compress(input, .gzip).dropLast())))).readToEnd(limit: 1 << 24) } == .truncated)
    for _ in 0..<50 { _ = ReadAheadSource(BytesSource(input), size: 1000) }
  }

  @Test func layerWriterHashesBothSides() throws {
    let items = TarTests.everything
    for (compression, level) in Self.ways {
      let sink = BytesSink()
      let writer = try LayerWriter(compression: compression, level: level, into: sink)
      for item in items {
        try writer.tar.begin(item.entry)
        try item.content.withUnsafeBytes { try writer.tar.write($0) }
      }
      let result = try writer.finish()
      #expect(result.digest == .sha256(of: sink.bytes) && result.size == Int64(sink.bytes.count))
      #expect(result.diffID == .sha256(of: try tar(items)))
      #expect(result.descriptor().mediaType == compression.mediaType())
      // Converted, the archive is the same; clamped, it is not.
      let other = BytesSink()
      let converted = try LayerWriter.convert(BytesSource(sink.bytes), compression: .zstd, into: other)
      #expect(converted.diffID == result.diffID && converted.digest == .sha256(of: other.bytes))
      let clamped = BytesSink()
      _ = try LayerWriter.convert(BytesSource(sink.bytes), compression: .none, latest: Timestamp(seconds: 100), into: clamped)
      #expect(try read(clamped.bytes).map(\.entry.modified).max() == Timestamp(seconds: 100))
    }
  }
}
