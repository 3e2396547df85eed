import HostOS
import OCIModel
import Testing

@testable import LayerArchive

/// eStargz, by the format's own description: every file's bytes are found by the table alone. (Its reference reader has read them too: see LayerArchive's commit.)
@Suite struct SeekableTests {
  static let big = [UInt8]((0..<(9 << 20) + 77).map { UInt8(truncatingIfNeeded: $0 / 1000) })
  static var items: [Item] {
    var big = Item.file("d/big")
    big.content = Self.big
    big.entry.size = Int64(Self.big.count)
    return [.directory("d"), .file("d/empty"), .file("d/a", "hello"), big] + TarTests.everything.filter { $0.entry.path != "d" && $0.entry.path != "d/empty" && $0.entry.path != "d/a" }
  }

  private func seekable(_ archive: [UInt8], level: Int? = nil) throws -> (bytes: [UInt8], result: LayerWriter.Result) {
    let sink = BytesSink()
    let (result, given) = try LayerWriter.convert(BytesSource(archive, step: 1000), to: LayerForm(.gzip, level: level, isSeekable: true), into: sink)
    #expect(given == .sha256(of: archive))
    return (sink.bytes, result)
  }

  /// The table, found as a reader finds it: by the footer.
  private func table(_ blob: [UInt8]) throws -> (entries: [JSONValue], json: [UInt8]) {
    let footer = blob.suffix(51)
    #expect(Array(footer) == SeekableGzip.footer(tableAt: Int64(String(decoding: footer.dropFirst(16).prefix(16), as: UTF8.self), radix: 16) ?? -1))
    let start = Int(String(decoding: footer.dropFirst(16).prefix(16), as: UTF8.self), radix: 16) ?? 0
    let items = try read(Compression.gzip.decompressor(BytesSource(Array(blob[start...]))).readToEnd(limit: 1 << 24))
    #expect(items.map(\.entry.path) == ["stargz.index.json"])
    let json = items[0].content
    #expect(try JSONValue(parsing: json)["version"] == .number("1"))
    return (try JSONValue(parsing: json)["entries"]?.arrayValue ?? [], json)
  }

  @Test(arguments: [nil, 0, 1, 9]) func filesAreFoundByTheTable(level: Int?) throws {
    let archive = try tar(Self.items)
    let (blob, result) = try seekable(archive, level: level)
    let whole = try Compression.gzip.decompressor(BytesSource(blob)).readToEnd(limit: 1 << 26)
    #expect(Array(whole.prefix(archive.count)) == archive)
    #expect(result.diffID == .sha256(of: whole) && result.uncompressedSize == Int64(whole.count) && result.digest == .sha256(of: blob) && result.size == Int64(blob.count))
    let (entries, json) = try table(blob)
    #expect(result.annotations == ["containerd.io/snapshot/stargz/toc.digest": "\(Digest.sha256(of: json))", "io.containers.estargz.uncompressed-size": "\(whole.count)"])
    // Whoever knows nothing of the table reads the archive.
    #expect(try read(whole).map(\.entry.path).count == Self.items.count)

    var contents: [String: [UInt8]] = [:]
    for entry in entries {
      guard let name = entry["name"]?.stringValue, let offset = entry["offset"]?.intValue else { continue }
      let size = entry["chunkSize"]?.intValue ?? (entry["type"] == "chunk" ? Int64(Self.big.count) - (entry["chunkOffset"]?.intValue ?? 0) : entry["size"]?.intValue ?? 0)
      let chunk = Array(try Compression.gzip.decompressor(BytesSource(Array(blob[Int(offset)...]))).readToEnd(limit: 1 << 26).prefix(Int(size)))
      #expect(entry["chunkDigest"]?.stringValue == "\(Digest.sha256(of: chunk))", "\(name)")
      contents[name, default: []] += chunk
    }
    for item in Self.items where item.entry.kind == .file && !item.content.isEmpty {
      let name = String(decoding: item.entry.path.bytes, as: UTF8.self)
      #expect(contents[name] == item.content, "\(name)")
      #expect(entries.first { $0["name"]?.stringValue == name }?["digest"]?.stringValue == "\(Digest.sha256(of: item.content))")
    }
    #expect(entries.filter { $0["name"] == "d/big" }.map { $0["type"]?.stringValue } == ["reg", "chunk", "chunk"])
    #expect(entries.first { $0["name"] == "x" }?["xattrs"]?["user.b"] == "AAE9Cg==")
  }

  @Test func writtenAtOnceOrInPieces() throws {
    let archive = try tar(Self.items)
    let expected = try seekable(archive).bytes
    let sink = BytesSink()
    let writer = try LayerWriter(LayerForm(.gzip, isSeekable: true), into: sink)
    for item in Self.items {
      try writer.tar.begin(item.entry)
      try item.content.withUnsafeBytes { try writer.tar.write($0) }
    }
    let result = try writer.finish()
    #expect(sink.bytes == expected && result.digest == .sha256(of: expected))
  }

  @Test func refused() throws {
    #expect(code { _ = try seekable(tar([.file("stargz.index.json", "mine")])) } == .unrepresentable)
    #expect(code { _ = try seekable(Array(tar([.file("a", String(repeating: "x", count: 2000))]).prefix(1024))) } == .truncated)
    let (blob, _) = try seekable(tar([]))
    #expect(try table(blob).entries.isEmpty)
  }

  /// Cut while it is made of the files, or afterwards of the blob: the same archive.
  @Test func timesAreCutTheSameWayEitherWay() throws {
    try withScratch { scratch in
      let old = try makeDirectory(scratch + "/old"), new = try makeDirectory(scratch + "/new")
      let long = String(repeating: "n", count: 120)
      for name in ["gone", long, "kept"] {
        try old.writeAtomically(Array("x".utf8), to: name)
        if name == "kept" { try new.writeAtomically(Array("yy".utf8), to: name) }
      }
      try new.makeDirectory("d", mode: 0o755)
      try new.writeAtomically(Array("z".utf8), to: "d/z")
      try new.setTimes("d/z", accessed: nil, modified: 5_000_000_000)
      for latest in [Timestamp(seconds: 1000), Timestamp(seconds: -5)] {
        let plain = BytesSink(), direct = BytesSink(), after = BytesSink()
        let writer = try LayerWriter(compression: .gzip, into: plain)
        try LayerDiffer().treeDiff(old: old, new: new, into: writer.tar)
        _ = try writer.finish()
        let cut = try LayerWriter(compression: .none, into: direct)
        try LayerDiffer(latest: latest).treeDiff(old: old, new: new, into: cut.tar)
        _ = try cut.finish()
        _ = try LayerWriter.convert(BytesSource(plain.bytes), compression: .none, latest: latest, into: after)
        #expect(direct.bytes == after.bytes)
        #expect(try read(direct.bytes).allSatisfy { $0.entry.modified <= latest })
      }
    }
  }
}
