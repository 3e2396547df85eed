import OCIModel

@testable import LayerArchive

/// Layers as only a stranger would make them, and what comes of each. `HostileTableTests` applies every one in all forms.
struct HostileLayer: Sendable, CustomStringConvertible {
  enum Outcome: Sendable, Equatable {
    case refused(LayerArchiveError.Code)
    /// Applied; in the whole tree these paths are there ("-path": are not).
    case contained([String])
  }
  let description: String
  /// What the layer below has, besides `HostileLayers.below`.
  var lower: [Item] = []
  let archive: @Sendable () throws -> [UInt8]
  let outcome: Outcome

  init(_ description: String, lower: [Item] = [], _ items: [Item], _ outcome: Outcome) {
    (self.description, self.lower, archive, self.outcome) = (description, lower, { try tar(items) }, outcome)
  }
  init(_ description: String, bytes: @escaping @Sendable () throws -> [UInt8], _ outcome: Outcome) {
    (self.description, archive, self.outcome) = (description, bytes, outcome)
  }
}

enum HostileLayers {
  typealias Header = HostileTarTests.Block
  static let end = HostileTarTests.end
  /// A layer with links out of the root, and something to hide and to replace. OUTSIDE stands for a directory beside the root.
  static let below: [Item] = [
    .directory("d"), .file("d/f", "below"), .file("f", "below"), .link("outside", to: "OUTSIDE"), .link("up", to: "../../../../outside"), .link("canary", to: "OUTSIDE/canary"),
  ]
  static let limits = DecompressionLimits(maximumSize: 8 << 20, maximumRatio: 100, ratioFrom: 1 << 20, windowLog: 20)

  static let table: [HostileLayer] = escapes + links + whiteouts + kinds + names + numbers + headers + compressed + attributes

  static let escapes: [HostileLayer] = [
    HostileLayer("..", [.file("../x")], .contained(["x"])),
    HostileLayer("many ..", [.file("a/../../../../../../../../x")], .contained(["x"])),
    HostileLayer("absolute", [.file("/etc/x")], .contained(["etc/x"])),
    HostileLayer("the root itself, in four spellings", [.directory("/", mode: 0), .directory("./", mode: 0), .directory("..", mode: 0), .file("a/..")], .contained(["f"])),
    HostileLayer("through a link of this layer to /", [.link("l", to: "/"), .file("l/x")], .contained(["x"])),
    HostileLayer("through a link of this layer to ..", [.link("l", to: "../../.."), .file("l/x")], .contained(["x"])),
    HostileLayer("through a link of the layer below, absolute", [.file("outside/canary", "pwned")], .contained(["f"])),
    HostileLayer("through a link of the layer below, relative", [.file("up/canary", "pwned")], .contained(["outside"])),
    HostileLayer("through links to links", [.link("a", to: "b"), .link("b", to: "c"), .link("c", to: "/.."), .file("a/x")], .contained(["x"])),
    HostileLayer("a directory becomes a link, then is written to", [.directory("q"), .link("q", to: "OUTSIDE"), .file("q/canary", "pwned")], .contained(["f"])),
    HostileLayer("a link becomes a directory", [.directory("outside"), .file("outside/canary", "inside")], .contained(["outside/canary"])),
    HostileLayer("a file over a link to outside", [.file("canary", "pwned")], .contained(["canary"])),
    HostileLayer("a directory's mode through a link", [.directory("outside/.", mode: 0o777)], .contained([])),
    HostileLayer("links in a circle", [.link("a", to: "b"), .link("b", to: "a"), .file("a/x")], .refused(.invalidEntry)),
    HostileLayer("a link to itself", [.link("a", to: "a"), .directory("a/b")], .refused(.invalidEntry)),
    HostileLayer("beneath a file", [.file("f/x")], .refused(.invalidEntry)),
  ]

  static let links: [HostileLayer] = [
    HostileLayer("a hard link to ../", [.hard("h", to: "../outside/canary")], .refused(.missingLinkTarget)),
    HostileLayer("a hard link to /etc/passwd", [.hard("h", to: "/etc/passwd")], .refused(.missingLinkTarget)),
    HostileLayer("a hard link through a link to outside", [.hard("h", to: "outside/canary")], .refused(.missingLinkTarget)),
    HostileLayer("a hard link to a link to outside, then written to", [.hard("h", to: "canary"), .file("h", "pwned")], .contained(["h"])),
    HostileLayer("a hard link to nothing", [.hard("h", to: "none")], .refused(.missingLinkTarget)),
    HostileLayer("a hard link to the root", [.hard("h", to: "/")], .refused(.missingLinkTarget)),
    HostileLayer("a hard link to itself", [.file("h"), .hard("h", to: "./h")], .refused(.invalidEntry)),
    HostileLayer("a hard link to a directory", [.hard("h", to: "d")], .refused(.invalidEntry)),
    HostileLayer("a hard link to what is deleted", [.whiteout(".wh.f"), .hard("h", to: "f")], .refused(.missingLinkTarget)),
    HostileLayer("a link to nothing", bytes: { Header.header("l", flag: "2") + end }, .refused(.invalidEntry)),
    HostileLayer("a link of 5000 bytes", [.link("l", to: ByteString([UInt8](repeating: 97, count: 5000)))], .refused(.system)),
    HostileLayer("a hard link that claims a size", bytes: { Header.header("f2") + Header.header("h", flag: "1", size: "00000001000", more: [(157, Array("f2".utf8))]) + end }, .contained(["h"])),
  ]

  static let whiteouts: [HostileLayer] = [
    HostileLayer("a whiteout of ..", [.whiteout(".wh...")], .refused(.invalidEntry)),
    HostileLayer("a whiteout of .", [.whiteout("d/.wh..")], .refused(.invalidEntry)),
    HostileLayer("a whiteout of nothing", [.whiteout(".wh.")], .refused(.invalidEntry)),
    HostileLayer("a whiteout beside the root", [.whiteout("../.wh.outside")], .contained(["-outside"])),
    HostileLayer("a whiteout through a link to outside", [.whiteout("outside/.wh.canary")], .contained(["canary"])),
    HostileLayer("an opaque mark through a link to outside", [.whiteout("outside/.wh..wh..opq")], .contained(["canary"])),
    HostileLayer("an opaque root", [.whiteout(".wh..wh..opq"), .file("new")], .contained(["new", "-f"])),
    HostileLayer("an opaque mark that is a link", [.link("d/.wh..wh..opq", to: "OUTSIDE")], .contained(["-d/f"])),
    HostileLayer("a whiteout and what it hides", [.file("d/n"), .whiteout(".wh.d")], .contained(["d/n", "-d/f"])),
    HostileLayer("a whiteout that is a directory", [.directory(".wh.d"), .file("f2")], .contained(["-d"])),
    HostileLayer("AUFS's own files", [.file(".wh..wh.aufs"), .file("f2")], .contained(["f2", "-.wh..wh.aufs"])),
    HostileLayer("an overlay's whiteout as a device", [.node("f", .characterDevice, 0, 0)], .contained(["d"])),
  ]

  static let kinds: [HostileLayer] = [
    HostileLayer("the disk as a device", [.node("sda", .blockDevice, 8, 0)], .contained(["f"])),
    HostileLayer("memory as a device", [.node("mem", .characterDevice, 1, 1)], .contained(["f"])),
    HostileLayer("a device number out of range", bytes: { Header.header("x", flag: "4", more: [(329, [0x80, 0, 0, 1, 0, 0, 0, 0])]) + end }, .refused(.invalidEntry)),
    HostileLayer("a negative device number", bytes: { Header.header("x", flag: "4", more: [(329, [UInt8](repeating: 0xff, count: 8))]) + end }, .refused(.invalidEntry)),
    HostileLayer("a fifo, then a file on it", [.node("p", .fifo), .file("p", "x"), .node("q", .fifo), .hard("r", to: "q")], .contained(["p", "q", "r"])),
    HostileLayer("setuid root", [.file("su", "x", mode: 0o6755)], .contained(["su"])),
    HostileLayer("all the bits of a mode", bytes: { Header.header("m", mode: "7777777") + end }, .contained(["m"])),
    HostileLayer("a type that nobody knows", bytes: { Header.header("x", flag: "Q") + end }, .refused(.unsupported)),
    HostileLayer("one name as everything in turn", [.file("n"), .directory("n"), .file("n/x"), .link("n", to: "/"), .node("n", .fifo), .hard("n", to: "f"), .directory("n")], .contained(["n", "-n/x"])),
    HostileLayer("one name three thousand times", bytes: { (0..<3000).flatMap { _ in Header.header("n") } + end }, .contained(["n"])),
    HostileLayer("more entries than allowed", bytes: { (0..<6000).flatMap { Header.header("n\($0)") } + end }, .refused(.limit)),
  ]

  static let names: [HostileLayer] = [
    HostileLayer("a newline, an escape, a tab", [.file("a\n#1 DONE\u{1b}[2J\t")], .contained(["a\n#1 DONE\u{1b}[2J\t"])),
    HostileLayer("not UTF-8", [.file(ByteString([0xff, 0xfe, 0x80]))], .contained(["f"])),
    HostileLayer("text that runs backwards", [.file("a\u{202e}txt.exe")], .contained(["a\u{202e}txt.exe"])),
    HostileLayer("a NUL in a pax name", bytes: { HostileTarTests.pax("12 path=a\u{0}bc\n") + end }, .refused(.invalidArchive)),
    HostileLayer("a NUL in a link's target", bytes: { HostileTarTests.pax("16 linkpath=a\u{0}bc\n") + end }, .refused(.invalidArchive)),
    HostileLayer("a name of 300 bytes", [.file(ByteString([UInt8](repeating: 97, count: 300)))], .refused(.system)),
    HostileLayer("a path of 5000 bytes", [.file(path(25, each: 200))], .contained(["f"])),
    HostileLayer("10,000 directories deep", [.directory(path(10_000, each: 1))], .refused(.limit)),
    HostileLayer("deep by way of links", (0..<30).map { i in .link(ByteString("l\(i)".utf8), to: ByteString(Array(repeating: "l\(i + 1)/..", count: 20).joined(separator: "/").utf8)) } + [.file("l0/x")], .refused(.invalidEntry)),
    HostileLayer("GNU's long name, out", bytes: { Header.header("L", flag: "L", size: HostileTarTests.octal(9)) + HostileTarTests.padded("../../out") + Header.header() + end }, .contained(["out"])),
    HostileLayer("a pax name, out", bytes: { HostileTarTests.pax("19 path=../../outp\n") + end }, .contained(["outp"])),
  ]

  static func path(_ depth: Int, each: Int) -> ByteString { ByteString(Array(repeating: [UInt8](repeating: 97, count: each), count: depth).joined(separator: [0x2f])) }

  static let numbers: [HostileLayer] = [
    HostileLayer("4 GiB that are not there", bytes: { Header.header("x", size: "40000000000") + end }, .refused(.limit)),
    HostileLayer("a size beyond the stream", bytes: { Header.header("x", size: "00000100000") + end }, .refused(.truncated)),
    HostileLayer("8 EiB in base 256", bytes: { Header.header("x", more: [(124, [0x80, 0, 0, 0, 0x7f] + [UInt8](repeating: 0xff, count: 7))]) + end }, .refused(.limit)),
    HostileLayer("a negative size", bytes: { Header.header("x", more: [(124, [UInt8](repeating: 0xff, count: 12))]) + end }, .refused(.invalidArchive)),
    HostileLayer("a size of more than 63 bits", bytes: { Header.header("x", more: [(124, [0x80] + [UInt8](repeating: 0xff, count: 11))]) + end }, .refused(.invalidArchive)),
    HostileLayer("an owner of -1", [.file("x", uid: -1)], .refused(.invalidEntry)),
    HostileLayer("an owner of 2^40", [.file("x", uid: 1 << 40)], .refused(.invalidEntry)),
    HostileLayer("times beyond all clocks", [.file("x", time: 1 << 60), .file("y", time: -(1 << 60))], .contained(["x", "y"])),
    HostileLayer("a hole of 8 EiB", bytes: { HostileTarTests.pax(sparse("9223372036854775807")) + end }, .refused(.limit)),
    HostileLayer("many small holes that add up", bytes: { (0..<40).flatMap { _ in HostileTarTests.pax(sparse("900000")) } + end }, .refused(.limit)),
    HostileLayer("a sparse map outside of its file", bytes: { HostileTarTests.pax(sparse("5").replacing("map=", with: "map=").replacing("22 GNU.sparse.map=0,0", with: "22 GNU.sparse.map=9,0")) + end }, .refused(.invalidArchive)),
  ]

  static func sparse(_ size: String) -> String {
    let record = "GNU.sparse.size=\(size)\n"
    return "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n\(record.utf8.count + 3) \(record)22 GNU.sparse.map=0,0\n"
  }

  static let headers: [HostileLayer] = [
    HostileLayer("a pax header of 2 MiB", bytes: { Header.header("x", flag: "x", size: HostileTarTests.octal(2 << 20)) + [UInt8](repeating: 32, count: 2 << 20) }, .refused(.limit)),
    HostileLayer("a thousand pax headers for one entry", bytes: { (0..<1000).flatMap { _ in HostileTarTests.pax("11 path=x1\n").dropLast(512) } + Header.header() + end }, .contained(["x1"])),
    HostileLayer("pax headers without an entry", bytes: { (0..<5).flatMap { _ in HostileTarTests.pax("11 path=x1\n").dropLast(512) } + end }, .contained(["-x1"])),
    HostileLayer("a pax size other than the header's", bytes: { HostileTarTests.pax("12 size=512\n") + HostileTarTests.padded("content") + end }, .contained(["f"])),
    HostileLayer("a global header that renames all", bytes: { Header.header("g", flag: "g", size: HostileTarTests.octal(18)) + HostileTarTests.padded("18 path=../../bad\n") + Header.header("ok") + end }, .contained(["ok", "-bad"])),
    HostileLayer("garbage", bytes: { sample(4096) }, .refused(.invalidArchive)),
    HostileLayer("half a header", bytes: { Array(Header.header().prefix(300)) }, .refused(.truncated)),
    HostileLayer("a wrong checksum", bytes: { var b = Header.header(); b[0] = 99; return b + end }, .refused(.invalidArchive)),
    HostileLayer("a zero block in the middle", bytes: { [UInt8](repeating: 0, count: 512) + Header.header() + end }, .refused(.invalidArchive)),
    HostileLayer("nothing at all", bytes: { [] }, .contained(["f"])),
    HostileLayer("entries after the end", bytes: { Header.header("ok") + end + Header.header("hidden") + end }, .contained(["ok", "-hidden"])),
  ]

  static let compressed: [HostileLayer] = [
    HostileLayer("a gzip bomb", bytes: { try compress(tar([.file("x", String(repeating: "\0", count: 12 << 20))]), .gzip) }, .refused(.limit)),
    HostileLayer("a zstd bomb", bytes: { try compress(tar([.file("x", String(repeating: "\0", count: 12 << 20))]), .zstd) }, .refused(.limit)),
    HostileLayer("a bomb of small size but great ratio", bytes: { try compress(tar([.file("x", String(repeating: "\0", count: 3 << 20))]), .gzip) }, .refused(.limit)),
    HostileLayer("a zstd window of 2 GiB", bytes: { [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0, 0] + sample(64) }, .refused(.limit)),
    HostileLayer("two gzip streams, the second with more", bytes: { try compress(Header.header("one"), .gzip) + compress(Header.header("two") + end, .gzip) }, .contained(["one", "two"])),
    HostileLayer("junk after gzip", bytes: { try compress(Header.header("one") + end, .gzip) + sample(100) }, .refused(.corruptCompression)),
    HostileLayer("gzip cut short", bytes: { Array(try compress(tar([.file("x", String(decoding: sample(5000), as: UTF8.self))]), .gzip).dropLast(20)) }, .refused(.truncated)),
    HostileLayer("gzip with a wrong sum", bytes: { var b = try compress(Header.header("x") + end, .gzip); b[b.count - 6] ^= 1; return b }, .refused(.corruptCompression)),
    HostileLayer("gzip in gzip", bytes: { try compress(compress(Header.header("x") + end, .gzip), .gzip) }, .refused(.truncated)),
    HostileLayer("xz", bytes: { [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] + sample(100) }, .refused(.unsupported)),
  ]

  static let attributes: [HostileLayer] = [
    HostileLayer("words to the overlay", [.directory("o", xattrs: ["trusted.overlay.opaque": [121], "user.overlay.opaque": [121], "trusted.overlay.redirect": Array("/".utf8), "user.overlay.metacopy": []]), .directory("d", xattrs: ["trusted.overlay.opaque": [121]])], .contained(["o", "d/f"])),
    HostileLayer("a capability that is none", [.file("x", xattrs: ["security.capability": [1, 2, 3]])], .refused(.system)),
    HostileLayer("an attribute of 1 MB", [.file("x", xattrs: ["user.big": [UInt8](repeating: 1, count: 1_000_000)])], .refused(.system)),
    HostileLayer("an attribute without a name", bytes: { HostileTarTests.pax("19 SCHILY.xattr.=a\n") + end }, .refused(.invalidEntry)),
    HostileLayer("an attribute of no kind", [.file("x", xattrs: ["nonsense": [1]])], .contained(["x"])),
  ]
}
