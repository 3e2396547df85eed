import LayerArchive
import OCIModel

private final class NullSink: ByteSink {
  var count = 0
  func write(_ bytes: UnsafeRawBufferPointer) throws { count += bytes.count }
  func finish() throws {}
}

/// Text as programs have it: words from a list, so that compressors find about what they find in real layers; every fourth 64 KiB is noise.
private func sample(_ size: Int) -> [UInt8] {
  var state: UInt64 = 7
  func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state >> 33
  }
  let words = (0..<2000).map { _ in (0..<(2 + Int(next() % 9))).map { _ in UInt8(97 + next() % 26) } }
  var out: [UInt8] = []
  out.reserveCapacity(size + 16)
  while out.count < size {
    if out.count / 65536 % 4 == 3 {
      for _ in 0..<1024 { out.append(UInt8(truncatingIfNeeded: next())) }
    } else {
      out += words[Int(next() % 2000)]
      out.append(32)
    }
  }
  return Array(out[..<size])
}

func archiveBenchmarks() async throws {
  guard wanted.isEmpty || ["tar", "hash", "compress"].contains(where: { wanted.hasPrefix($0) }) else { return }
  let data = sample(64 << 20)
  let entries = 20_000
  try await measure("tar: 20,000 files of 1,300 bytes", {
    let sink = NullSink()
    let tar = TarWriter(sink)
    try data.withUnsafeBytes { data in
      for i in 0..<entries {
        var entry = TarEntry(path: ByteString(Array("src/d\(i % 200)/file\(i).txt".utf8)), mode: 0o644)
        (entry.kind, entry.size) = (.file, 1300)
        try tar.begin(entry)
        try tar.write(UnsafeRawBufferPointer(rebasing: data[i..<i + 1300]))
      }
    }
    try tar.finish()
    return Double(entries)
  }, note: rate("files"))
  try await measure("hash: sha256 of 64 MiB", {
    var hasher = DigestHasher()
    data.withUnsafeBytes { hasher.update($0) }
    _ = hasher.finish()
    return Double(data.count)
  }, note: megabytes)
  try await measure("hash: sha256 of 100,000 pieces of 64 bytes", {
    var hasher = DigestHasher()
    data.withUnsafeBytes { data in
      for i in 0..<100_000 { hasher.update(UnsafeRawBufferPointer(rebasing: data[i * 64..<i * 64 + 64])) }
    }
    _ = hasher.finish()
    return 100_000
  }, note: rate("pieces"))
  for (name, compression, level) in [("gzip", Compression.gzip, nil), ("gzip 1", .gzip, 1), ("gzip 6", .gzip, 6), ("zstd 3", .zstd, 3)] as [(String, Compression, Int?)] {
    var out = 0
    try await measure("compress: \(name), hashed both ways", runs: 3, {
      let sink = NullSink()
      let inner = HashingSink(into: sink)
      let outer = HashingSink(into: try compression.compressor(into: inner, level: level))
      try data.withUnsafeBytes { data in
        for at in stride(from: 0, to: data.count, by: 1 << 20) { try outer.write(UnsafeRawBufferPointer(rebasing: data[at..<at + (1 << 20)])) }
      }
      try outer.finish()
      out = sink.count
      return Double(data.count)
    }, note: { "\(megabytes($0, $1)), to \((Double(out) / $0 * 1000).rounded() / 10) %" })
  }
}
