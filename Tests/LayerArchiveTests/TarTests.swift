import HostOS
import OCIModel
import Testing

@testable import LayerArchive

struct TarTests {
  static let everything: [Item] = [
    .directory("d"), .file("d/empty"), .file("d/a", "hello"), .file("setuid", "x", mode: 0o4755), .link("d/l", to: "../a/b"), .hard("h", to: "d/a"), .node("n", .characterDevice, 5, 1), .node("b", .blockDevice, 8, 17),
    .node("p", .fifo), .file("d/" + ByteString(repeat: "x", 300), "long"), .file("ümläut", "é"), .link("long", to: ByteString(repeat: "t/", 200)),
    .file(ByteString([0x66, 0xff, 0xfe, 0x67]), "not UTF-8"), .file("big-ids", "", uid: 4_000_000_000, gid: 3_000_000), .file("x", "", xattrs: ["user.b": [0, 1, 61, 10], "security.capability": [1, 0, 0, 2], "user.a": []]),
    .file("old", "", time: -12345), .file("far", "", time: 1 << 40), .file("page", String(repeating: "0123456789abcdef", count: 32)),
  ]

  static func normal(_ item: Item) -> Item {
    var item = item
    if item.entry.kind == .directory { item.entry.path.bytes.append(0x2f) }
    return item
  }

  @Test(arguments: [1, 7, 511, 512, 513, 100_000]) func whatIsWrittenIsRead(step: Int) throws {
    let bytes = try tar(Self.everything)
    #expect(bytes.count % 512 == 0)
    let items = try read(bytes, step: step, bufferSize: 2048)
    #expect(items.map(\.entry) == Self.everything.map { Self.normal($0).entry })
    #expect(items.map(\.content) == Self.everything.map(\.content))
  }

  @Test func timesToTheNanosecond() throws {
    for (seconds, nanos) in [(1, 5), (-1, 500_000_000), (0, 999_999_999), (-7, 1), (1_700_000_000, 120_000_000)] as [(Int64, Int32)] {
      var item = Item.file("f")
      item.entry.modified = Timestamp(seconds: seconds, nanoseconds: nanos)
      item.entry.accessed = Timestamp(seconds: seconds + 1, nanoseconds: nanos)
      item.entry.changed = Timestamp(seconds: seconds + 2)
      #expect(try read(tar([item]))[0].entry == item.entry)
    }
    #expect(PaxRecords.time(Array("-1.5".utf8)) == Timestamp(seconds: -2, nanoseconds: 500_000_000))
    #expect(PaxRecords.time(Array("12.3456789012345".utf8)) == Timestamp(seconds: 12, nanoseconds: 345_678_901))
    #expect(PaxRecords.time(Array("1.".utf8)) == Timestamp(seconds: 1))
    for bad in ["", ".", "1.x", "x", "1 ", "99999999999999999999"] { #expect(PaxRecords.time(Array(bad.utf8)) == nil) }
  }

  @Test func sameBytesEachTime() throws {
    #expect(try tar(Self.everything) == tar(Self.everything))
    // Go cuts a long name at a slash, and needs a record only where a fraction of a second needs one.
    let long = ByteString(repeat: "d/", 60) + "name"
    var item = Item.file(long)
    #expect(try tar([item]).count == 512 * 3)
    item.entry.modified.nanoseconds = 5
    let compact = try tar([item], style: .compact), pax = try tar([item])
    #expect(compact.count == 512 * 3)
    #expect(pax.count == 512 * 5)
    #expect(try read(compact)[0].entry.path == long && read(pax)[0].entry.path == long)
  }

  @Test func paxRecordLengthsThatGrow() {
    for n in 80...110 {
      let record = PaxRecords.format(["k": [UInt8](repeating: 120, count: n)])
      #expect(Int(String(decoding: record.prefix { $0 != 0x20 }, as: UTF8.self)) == record.count)
    }
  }

  @Test func whatCannotBeWritten() throws {
    for item in [Item.file(""), .file("a/"), .file("a\u{0}b"), .link("l", to: "a\u{0}"), .node("n", .characterDevice, 1 << 22, 0), .file("x", xattrs: ["user.a=b": []])] {
      #expect(code { _ = try tar([item]) } == .unrepresentable)
    }
    let writer = TarWriter(BytesSink())
    try writer.begin(Item.file("f", "abc").entry)
    #expect(code { try writer.write([UInt8](repeating: 0, count: 4)) } == .changedWhileRead)
    #expect(code { try writer.finish() } == .changedWhileRead)
  }

  @Test func globalHeaders() throws {
    var global = Item(entry: TarEntry(path: "g", kind: .globalHeader), content: [])
    global.entry.records = ["uid": Array("77".utf8), "comment": Array("hi".utf8)]
    let bytes = try tar([global, .file("a")])
    #expect(try read(bytes).map(\.entry.uid) == [77])
    #expect(try read(bytes, globalHeaders: .ignore).map(\.entry.uid) == [0])
    let reported = try read(bytes, globalHeaders: .report)
    #expect(reported.map(\.entry.kind) == [.globalHeader, .file])
    #expect(try tar(reported) == bytes)
  }

  @Test(arguments: [["--format=gnu"], ["--format=pax"], ["--format=ustar"], ["--format=v7"], ["--format=gnu", "--sparse"],
    ["--format=pax", "--sparse", "--sparse-version=0.0"], ["--format=pax", "--sparse", "--sparse-version=0.1"], ["--format=pax", "--sparse", "--sparse-version=1.0"]])
  func whatGNUTarWrites(options: [String]) throws {
    try withScratch { path in
      let name = options[0] == "--format=v7" || options[0] == "--format=ustar" ? "short" : String(repeating: "n", count: 180)
      let script = """
        mkdir d; printf hello > d/a; ln d/a h; ln -s d/a l; printf x > "\(name)"; touch -d @1234567.25 d/a
        truncate -s 3M sparse; for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do printf "data$i" | dd of=sparse bs=1 seek=$((i*90000)) conv=notrunc status=none; done
        truncate -s 1M hole; chmod 1777 d
        tar --sort=name \(options.joined(separator: " ")) -cf ../t.tar .
        """
      mkdirs(path + "/in")
      guard let result = try run("sh", ["-c", script], directory: path + "/in"), result.status == 0 else { return }
      let items = try read(try Directory.open(path).openFile("t.tar").readToEnd(limit: 1 << 26), step: 4096)
      let by = Dictionary(items.map { ($0.entry.path, $0) }, uniquingKeysWith: { $1 })
      let expected = try Directory.open(path + "/in")
      #expect(by["./d/a"]?.content == Array("hello".utf8) || by["./h"]?.content == Array("hello".utf8))
      #expect(by["./sparse"]?.content == (try expected.openFile("sparse").readToEnd(limit: 1 << 26)))
      #expect(by["./hole"]?.content == [UInt8](repeating: 0, count: 1 << 20))
      #expect(by["./" + ByteString(text: name)]?.content == Array("x".utf8))
      #expect(by["./l"]?.entry.linkTarget == "d/a")
      #expect(by["./d/"]?.entry.mode == 0o1777)
      if options.contains("--sparse") { #expect(by["./sparse"]?.entry.sparse?.isEmpty == false) }
      if options[0] == "--format=pax" { #expect(by["./d/a"]?.entry.modified.nanoseconds == 250_000_000) }
    }
  }

  @Test func othersReadWhatIsWritten() throws {
    try withScratch { path in
      let items: [Item] = [.directory("d", mode: 0o1777), .file("d/a", "hello", mode: 0o640, time: 1234567), .hard("h", to: "d/a"), .link("l", to: "d/a"), .file("d/" + ByteString(repeat: "x", 200), "long"), .file("ü", "u")]
      let bytes = try tar(items)
      for (program, arguments) in [("tar", ["-xf", "-", "-C"]), ("bsdtar", ["-xf", "-", "-C"])] {
        let directory = try makeDirectory(path + "/" + program)
        guard let result = try run(program, arguments + [path + "/" + program], input: bytes) else { continue }
        #expect(result.status == 0)
        #expect(try directory.status("d/a").permissions == 0o640)
        #expect(try directory.status("d/a").mtime == 1_234_567_000_000_000)
        #expect(try directory.status("h").inode == directory.status("d/a").inode)
        #expect(try directory.readLink("l") == "d/a")
        #expect(try directory.openFile("d/" + String(repeating: "x", count: 200)).readToEnd(limit: 10) == Array("long".utf8))
        #expect(try directory.openFile("ü").readToEnd(limit: 10) == [0x75])
      }
      let script = "import sys,tarfile\nfor m in tarfile.open(fileobj=sys.stdin.buffer,mode='r|'): print(m.name,m.type.decode(),m.size,m.uid,m.mtime,m.pax_headers.get('SCHILY.xattr.user.k'))"
      let attributed = try tar([.file("a", "xyz", uid: 4_000_000_000, xattrs: ["user.k": Array("v".utf8)])])
      if let result = try run("python3", ["-c", script], input: attributed), result.status == 0 {
        #expect(String(decoding: result.output, as: UTF8.self) == "a 0 3 4000000000 1000000 v\n")
      }
    }
  }

  @Test func whatBsdtarWrites() throws {
    try withScratch { path in
      mkdirs(path + "/in")
      guard let result = try run("sh", ["-c", "printf hi > f; setfattr -n user.k -v 'a=b' f 2>/dev/null; bsdtar --format=pax --xattrs -cf ../t.tar ."], directory: path + "/in"), result.status == 0 else { return }
      let item = try read(try Directory.open(path).openFile("t.tar").readToEnd(limit: 1 << 26)).first { $0.entry.path == "./f" }
      #expect(item?.content == Array("hi".utf8))
      if try Directory.open(path + "/in").xattr("f", "user.k") != nil { #expect(item?.entry.xattrs["user.k"] == Array("a=b".utf8)) }
    }
  }
}

extension ByteString {
  init(repeat text: String, _ count: Int) { self.init(Array(String(repeating: text, count: count).utf8)) }
  static func + (a: ByteString, b: ByteString) -> ByteString { ByteString(a.bytes + b.bytes) }
}

func mkdirs(_ path: String) { _ = try? makeDirectory(path) }
