import Testing

@testable import LayerArchive

/// Archives that lie. Each is made of header blocks written by hand.
struct HostileTarTests {
  struct Block {
    var fields: [(Int, [UInt8])] = []
    var sum: Int64?
    static func header(_ name: String = "f", flag: Character = "0", size: String = "00000000000", mode: String = "0000644", uid: String = "0000000", magic: String = "ustar\u{0}00", more: [(Int, [UInt8])] = []) -> [UInt8] {
      var b = [UInt8](repeating: 0, count: 512)
      func put(_ offset: Int, _ bytes: [UInt8]) { for (i, c) in bytes.enumerated() { b[offset + i] = c } }
      put(0, Array(name.utf8))
      put(100, Array(mode.utf8))
      put(108, Array(uid.utf8))
      put(116, Array("0000000".utf8))
      put(124, Array(size.utf8))
      put(136, Array("00000000000".utf8))
      b[156] = flag.asciiValue ?? 0
      put(257, Array(magic.utf8))
      for (offset, bytes) in more { put(offset, bytes) }
      for i in 148..<156 { b[i] = 32 }
      let sum = b.reduce(0) { $0 + Int($1) }
      let text = String(sum, radix: 8)
      put(148, Array((String(repeating: "0", count: 6 - text.count) + text).utf8) + [0, 32])
      return b
    }
  }
  static func padded(_ text: String) -> [UInt8] { let b = Array(text.utf8); return b + [UInt8](repeating: 0, count: (512 - b.count % 512) % 512) }
  static func octal(_ n: Int) -> String { let t = String(n, radix: 8); return String(repeating: "0", count: 11 - t.count) + t }
  static func pax(_ records: String) -> [UInt8] { Block.header("x", flag: "x", size: octal(records.utf8.count)) + padded(records) + Block.header() }
  static let end = [UInt8](repeating: 0, count: 1024)

  static let table: [(String, [UInt8], LayerArchiveError.Code)] = [
    ("garbage", sample(2048), .invalidArchive),
    ("half a header", Array(Block.header().prefix(300)), .truncated),
    ("no content", Block.header(size: "00000001000"), .truncated),
    ("part of the content", Block.header(size: "00000001000") + [1, 2, 3], .truncated),
    ("a zero block in the middle", [UInt8](repeating: 0, count: 512) + Block.header() + end, .invalidArchive),
    ("wrong checksum", { var b = Block.header(); b[0] = 99; return b + end }(), .invalidArchive),
    ("negative size", Block.header(more: [(124, [UInt8](repeating: 0xff, count: 12))]) + end, .invalidArchive),
    ("huge base-256 size", Block.header(more: [(124, [0x80] + [UInt8](repeating: 0xff, count: 11))]) + end, .invalidArchive),
    ("size beyond the stream", Block.header(more: [(124, [0x80, 0, 0, 0, 0x7f] + [UInt8](repeating: 0xff, count: 7))]) + end, .truncated),
    ("size is no number", Block.header(size: "9999999zzzz") + end, .invalidArchive),
    ("pax of 2 MiB", Block.header("x", flag: "x", size: octal(2 << 20)) + [UInt8](repeating: 0, count: 2 << 20), .limit),
    ("long name of 2 MiB", Block.header("x", flag: "L", size: octal(2 << 20)) + [UInt8](repeating: 97, count: 2 << 20), .limit),
    ("pax without length", pax("path=x\n"), .invalidArchive),
    ("pax length too long", pax("99 path=x\n"), .invalidArchive),
    ("pax length too short", pax("6 path=x\n"), .invalidArchive),
    ("pax length zero", pax("0 path=x\n"), .invalidArchive),
    ("pax length overflows", pax("99999999999999999999999999 path=x\n"), .invalidArchive),
    ("pax without equals", pax("8 pathx\n"), .invalidArchive),
    ("pax without key", pax("6 =abc\n").self, .invalidArchive),
    ("pax with NUL in path", pax("12 path=a\u{0}bc\n"), .invalidArchive),
    ("pax size no number", pax("11 size=1x\n\n").self, .invalidArchive),
    ("pax size negative", pax("11 size=-1\n").self, .invalidArchive),
    ("pax mtime no time", pax("11 mtime=x\n"), .invalidArchive),
    ("sparse map odd", pax("22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n22 GNU.sparse.map=1,2,3\n".replacing("22 GNU.sparse.map=1,2,3", with: "24 GNU.sparse.map=1,2,3")), .invalidArchive),
    ("sparse map outside", pax("22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n21 GNU.sparse.size=5\n22 GNU.sparse.map=9,0\n".replacing("22 GNU.sparse.map", with: "22 GNU.sparse.map")), .invalidArchive),
    ("sparse map overlapping", pax("22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n22 GNU.sparse.size=50\n26 GNU.sparse.map=0,0,9,-3\n"), .invalidArchive),
    ("old sparse map without end", Block.header("s", flag: "S", magic: "ustar  \u{0}", more: [(482, [1])]) + [UInt8](repeating: 1, count: 4096), .invalidArchive),
    ("old sparse map longer than allowed", Block.header("s", flag: "S", magic: "ustar  \u{0}", more: [(482, [1])]) + ([UInt8](repeating: 0, count: 504) + [1] + [UInt8](repeating: 0, count: 7)).repeated(3000), .limit),
    ("old sparse in ustar", Block.header("s", flag: "S") + end, .invalidArchive),
  ]

  @Test(arguments: table.indices) func isRefused(index: Int) {
    let (name, bytes, expected) = Self.table[index]
    for step in [1000, Int.max] { #expect(code { _ = try read(bytes, step: step) } == expected, "\(name)") }
  }

  @Test func whatOthersTolerate() throws {
    // No end mark; one zero block; a lone trailing slash in v7; a hard link that claims a size.
    #expect(try read(Block.header("a")).count == 1)
    #expect(try read(Block.header("a") + [UInt8](repeating: 0, count: 512)).count == 1)
    #expect(try read(Block.header("d/", flag: "\u{0}", magic: "") + Self.end)[0].entry.kind == .directory)
    #expect(try read(Block.header("h", flag: "1", size: "00000001000") + Self.end)[0].entry.size == 0)
    #expect(try read(Block.header("u", more: [(108, [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe])]) + Self.end)[0].entry.uid == 0xffff_fffe)
    #expect(try read([UInt8]()).isEmpty)
    // The last records before an entry count, GNU's long name over pax's.
    let both = Block.header("L", flag: "L", size: Self.octal(5)) + Self.padded("gnu-n") + Self.pax("14 path=paxpax\n".replacing("14", with: "15")) + Self.end
    #expect(try read(both)[0].entry.path == "gnu-n")
  }

  /// Whatever a byte here or there becomes, reading ends with entries or with our error.
  @Test func mutationsNeverCrash() throws {
    var seeds = [try tar(TarTests.everything)] + Self.table.map(\.1).filter { $0.count < 8192 }
    seeds.append(Self.pax("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n28 GNU.sparse.realsize=5000\n") + Self.padded("2\n0\n3\n9\n4\n") + Self.end)
    var random = Random(42)
    for round in 0..<6000 {
      var bytes = seeds[Int(random.next() % UInt64(seeds.count))]
      for _ in 0...(random.next() % 6) where !bytes.isEmpty {
        let at = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 4 {
        case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.removeSubrange(at..<min(bytes.count, at + Int(random.next() % 700)))
        case 2: bytes[at] = [0x30, 0x37, 0xff, 0x80, 0x20, 0x3d, 0x0a][Int(random.next() % 7)]
        default: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 512)], at: at)
        }
      }
      // Half of them with a right checksum, so that they get further.
      if round % 2 == 0 { Self.reseal(&bytes) }
      do { _ = try read(bytes, step: 777, limits: TarLimits(headerBytes: 1 << 16, entrySize: 1 << 20), bufferSize: 2048) } catch is LayerArchiveError {}
    }
  }

  static func reseal(_ bytes: inout [UInt8]) {
    for block in stride(from: 0, to: bytes.count - 511, by: 512) where bytes[block + 257..<block + 262].elementsEqual("ustar".utf8) {
      for i in 148..<156 { bytes[block + i] = 32 }
      let text = String(bytes[block..<block + 512].reduce(0) { $0 + Int($1) }, radix: 8)
      for (i, c) in (String(repeating: "0", count: 6 - text.count) + text).utf8.enumerated() { bytes[block + 148 + i] = c }
      bytes[block + 154] = 0
    }
  }
}

extension Array where Element == UInt8 {
  func repeated(_ count: Int) -> [UInt8] { (0..<count).flatMap { _ in self } }
}
