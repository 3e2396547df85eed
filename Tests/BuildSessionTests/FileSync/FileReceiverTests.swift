import BuildInterface
import HostOS
import OCIModel
import PathPatterns
import Testing

@testable import BuildSession

/// The end of fsutil's protocol that takes files.
@Suite struct FileReceiverTests {
  /// A folder for one test.
  struct Scratch {
    let path: String
    let directory: Directory
    init() throws {
      path = try Files.makeTemporaryDirectory(in: "/tmp", prefix: "filesync-")
      directory = try Directory.open(path)
    }
    func remove() { try? Files.removeTree(path) }
    func put(_ name: String, _ text: String, modified: Int64 = 1_000_000_000, mode: UInt32 = 0o644) throws {
      let file = try directory.openFile(name, flags: [.writeOnly, .create, .truncate], mode: mode)
      try file.write(text)
      try file.setMode(mode)
      try file.setTimes(accessed: nil, modified: modified)
    }
    func text(_ name: String) throws -> String { String(decoding: try Files.read(path + "/" + name, limit: 1 << 20), as: UTF8.self) }
    var names: [String] { get throws { try directory.entries().map(\.name).sorted() } }
  }

  /// A receiver, and what it says.
  final class Bench {
    var said: [FilePacket] = []
    private(set) var receiver: FileReceiver!
    init(_ scratch: Scratch, _ options: ReceiveOptions = ReceiveOptions()) throws {
      receiver = try FileReceiver(scratch.directory, options) { [unowned self] in said.append($0) }
    }
    func take(_ packets: FilePacket...) throws { for packet in packets { try receiver.take(packet) } }
  }

  static func file(_ path: String, _ size: Int64, mode: UInt32 = 0o644, modified: Int64 = 1_000_000_000, link: String = "") -> FilePacket {
    .entry(FileEntry(path: Array(path.utf8), mode: mode, uid: HostFacts.userID, gid: HostFacts.groupID, size: size, modified: modified, linkTarget: Array(link.utf8)))
  }
  static func folder(_ path: String, modified: Int64 = 2_000_000_000) -> FilePacket { file(path, 0, mode: GoFileMode.directory | 0o755, modified: modified) }
  static func symlink(_ path: String, _ target: String) -> FilePacket { file(path, Int64(target.utf8.count), mode: GoFileMode.symbolicLink | 0o777, link: target) }

  @Test("What fsutil sends is read and written byte for byte, and received as fsutil receives it", .enabled(if: HostFacts.isRoot, "gives files to others"))
  func golden() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let bench = try Bench(scratch)
    let coding = FilePacketCoding()
    var expected: [[UInt8]] = []
    for (isSender, bytes) in FileSyncGolden.packets {
      #expect(FilePacketCoding.encode(try bytes.withUnsafeBytes { try coding.decode($0) }) == bytes)
      if !isSender {
        // An empty file is not asked for.
        if bytes != FilePacketCoding.encode(.request(9)) { expected.append(bytes) }
        continue
      }
      let packet = try bytes.withUnsafeBytes { try coding.decode($0) }
      if packet == .data(9, []) { continue }
      try bench.receiver.take(packet)
    }
    #expect(bench.receiver.isDone)
    #expect(bench.said.map { FilePacketCoding.encode($0) } == expected)
    #expect(try scratch.names == ["a.txt", "dir", "dir-after", "empty", "empty.txt", "fifo", PathText.decode([0x6e, 0x61, 0xff, 0x6d, 0x65])])
    let inner = try scratch.directory.status("dir/b")
    #expect(inner.inode == (try scratch.directory.status("dir/linked").inode))
    #expect(inner.uid == 1000 && inner.gid == 1001 && inner.mtime == 1_706_933_106_123_456_789)
    #expect(try scratch.directory.status("a.txt").permissions == 0o4755)
    #expect(try scratch.directory.status("empty").permissions == 0o1777)
    #expect(try scratch.directory.readLink("dir/link") == "../a.txt")
    #expect(try scratch.directory.status("dir").mtime == 1_706_933_106_123_456_789)
    #expect(try scratch.directory.status("fifo").kind == .fifo)
  }

  @Test("Only what changed is asked for, and what there is no more goes")
  func changes() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.put("gone", "old")
    try scratch.put("same", "same")
    try scratch.put("touched", "abcd", modified: 7)
    try scratch.put("mode", "abcd", mode: 0o600)
    _ = try scratch.directory.makeDirectories("old/deep/down")
    try scratch.put("old/deep/down/file", "x")
    _ = try scratch.directory.makeDirectories("was-folder")
    var options = ReceiveOptions()
    options.hash = { entry in
      var hasher = DigestHasher()
      hasher.update(entry.path)
      return hasher
    }
    let bench = try Bench(scratch, options)
    try bench.take(
      Self.file("empty", 0), Self.file("mode", 4), Self.file("same", 4), Self.file("touched", 4), Self.file("was-folder", 3), .endOfEntries)
    #expect(bench.said == [.request(1), .request(3), .request(4)])
    try bench.take(.data(3, Array("ef".utf8)), .data(1, Array("mode".utf8)), .data(3, Array("gh".utf8)), .data(1, []), .data(3, []), .data(4, Array("new".utf8)), .data(4, []))
    #expect(bench.said.last == .finish)
    try bench.take(.finish)
    #expect(bench.receiver.isDone)
    #expect(try scratch.names == ["empty", "mode", "same", "touched", "was-folder"])
    #expect(try scratch.text("touched") == "efgh")
    #expect(bench.receiver.received.map { String(decoding: $0.path, as: UTF8.self) } == ["empty", "mode", "touched", "was-folder"])
    #expect(bench.receiver.received[2].digest == Digest.sha256(of: "touchedefgh"))
  }

  @Test("Large files of several at once, written beside and renamed; links follow their file's change")
  func largeAndLinks() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.put("a", "1")
    try scratch.directory.hardlink(from: "a", to: "b")
    let bench = try Bench(scratch)
    let piece = [UInt8](repeating: 0x61, count: 32 << 10)
    // b is a file of its own now, c another name of a, and l another of large.
    try bench.take(Self.file("a", 1), Self.file("b", 1), Self.file("c", 0, link: "a"), Self.file("l", 200 << 10), Self.file("m", 0, link: "l"), .endOfEntries)
    #expect(bench.said == [.request(1), .request(3)])
    for _ in 0..<6 { try bench.take(.data(3, piece)) }
    #expect(try scratch.directory.statusIfPresent("l") == nil)
    try bench.take(.data(1, [0x32]), .data(1, []), .data(3, Array(piece.prefix(8 << 10))), .data(3, []), .finish)
    #expect(try scratch.names == ["a", "b", "c", "l", "m"])
    #expect(try scratch.directory.status("a").inode == scratch.directory.status("c").inode)
    #expect(try scratch.directory.status("a").inode != scratch.directory.status("b").inode)
    #expect(try scratch.directory.status("l").inode == scratch.directory.status("m").inode)
    #expect(try scratch.directory.status("l").size == 200 << 10)
  }

  @Test("An end that lies or breaks the protocol is refused, and nothing of it is left outside or half-written")
  func hostile() throws {
    let deep = String(repeating: "d", count: 256)
    let cases: [(String, [FilePacket])] = [
      ("an absolute path", [Self.file("/etc/passwd", 1)]),
      ("a parent", [Self.file("..", 1)]),
      ("a path upwards", [Self.file("../x", 1)]),
      ("a path upwards from within", [Self.folder("a"), Self.file("a/../../x", 1)]),
      ("a dot", [Self.file("./x", 1)]),
      ("an empty path", [Self.file("", 1)]),
      ("a slash at the end", [Self.folder("a"), Self.file("a/", 1)]),
      ("two slashes", [Self.folder("a"), Self.file("a//b", 1)]),
      ("a NUL", [Self.file("a\0b", 1)]),
      ("a long name", [Self.file(deep, 1)]),
      ("a long path", [Self.file(String(repeating: "d/", count: 3000) + "x", 1)]),
      ("no parent", [Self.file("a/b", 1)]),
      ("a file as parent", [Self.file("a", 0), Self.file("a/b", 1)]),
      ("a link as parent", [Self.symlink("a", "/etc"), Self.file("a/passwd", 1)]),
      ("a link to no possible path", [Self.file("a", 0, mode: GoFileMode.symbolicLink | 0o777)]),
      ("wrong order", [Self.file("b", 0), Self.file("a", 0)]),
      ("the same twice", [Self.file("a", 0), Self.file("a", 0)]),
      ("a folder twice", [Self.folder("a"), Self.file("b", 0), Self.file("a/x", 0)]),
      ("a link to nothing", [Self.file("b", 0, link: "a"), .endOfEntries]),
      ("a link to what comes later", [Self.file("b", 0, link: "c")]),
      ("a link outside", [Self.file("b", 0, link: "../../etc/passwd"), .endOfEntries]),
      ("a link to a link", [Self.symlink("a", "/etc/passwd"), Self.file("b", 0, link: "a"), .endOfEntries]),
      ("a link to a folder", [Self.folder("a"), Self.file("b", 0, link: "a"), .endOfEntries]),
      ("a negative size", [Self.file("a", -1)]),
      ("more than there can be", [Self.file("a", .max), Self.file("b", .max)]),
      ("a kind that there is not", [Self.file("a", 0, mode: GoFileMode.irregular)]),
      ("content for nothing", [.data(0, [1])]),
      ("content of a folder", [Self.folder("a"), .data(0, [1])]),
      ("content after its end", [Self.file("a", 1), .data(0, [1]), .data(0, []), .data(0, [1])]),
      ("too little", [Self.file("a", 2), .data(0, [1]), .data(0, [])]),
      ("nothing at all", [Self.file("a", 2), .data(0, [])]),
      ("too much", [Self.file("a", 2), .data(0, [1, 2, 3])]),
      ("entries after their end", [.endOfEntries, Self.file("a", 0)]),
      ("two ends", [Self.file("a", 1), .endOfEntries, .endOfEntries]),
      ("an early finish", [Self.file("a", 1), .endOfEntries, .finish]),
      ("a request", [.request(0)]),
      ("an error", [.failure("no access")]),
    ]
    for (what, packets) in cases {
      let scratch = try Scratch()
      defer { scratch.remove() }
      let bench = try Bench(scratch)
      #expect(throws: FileSyncError.self, "\(what)") { for packet in packets { try bench.receiver.take(packet) } }
      bench.receiver.abandon()
      #expect(try scratch.names.allSatisfy { !$0.hasPrefix(".tmp.") }, "\(what)")
      #expect(throws: FileSyncError.self, "\(what)") { try bench.receiver.end() }
    }
  }

  @Test("Symbolic links and directories of the destination are not followed: they give way")
  func symlinksInTheWay() throws {
    let scratch = try Scratch(), outside = try Scratch()
    defer { scratch.remove(); outside.remove() }
    try outside.put("file", "outside")
    try scratch.directory.symlink(target: outside.path, at: "folder")
    try scratch.directory.symlink(target: outside.path + "/file", at: "linked")
    for keeps in [false, true] {
      var options = ReceiveOptions()
      options.keepsOthers = keeps
      let bench = try Bench(scratch, options)
      try bench.take(Self.folder("folder"), Self.file("folder/file", 3), Self.file("linked", 3), .endOfEntries, .data(1, Array("new".utf8)), .data(1, []), .data(2, Array("new".utf8)), .data(2, []), .finish)
      #expect(try scratch.text("folder/file") == "new")
      #expect(try scratch.text("linked") == "new")
      #expect(try outside.text("file") == "outside")
      try scratch.directory.removeContents()
      try scratch.directory.symlink(target: outside.path, at: "folder")
      try scratch.directory.symlink(target: outside.path + "/file", at: "linked")
    }
  }

  @Test("Limits: entries, what is outstanding, files that come at once")
  func limits() throws {
    var options = ReceiveOptions()
    (options.limits.entries, options.limits.outstanding, options.limits.openFiles) = (8, 700, 1)
    func fails(_ packets: [FilePacket]) throws -> FileSyncError.Code? {
      let scratch = try Scratch()
      defer { scratch.remove() }
      let bench = try Bench(scratch, options)
      defer { bench.receiver.abandon() }
      do { for packet in packets { try bench.receiver.take(packet) } } catch let error as FileSyncError { return error.code }
      return nil
    }
    #expect(try fails((0..<9).map { Self.folder("d\($0)") }) == .limit)
    #expect(try fails((0..<4).map { Self.file("f\($0)", 1) }) == .limit)
    let piece = [UInt8](repeating: 1, count: 64 << 10)
    #expect(try fails([Self.file("a", 1 << 20), Self.file("b", 1 << 20), .data(0, piece), .data(1, piece)]) == .limit)
    let large = FileEntry(path: [0x61], attributes: [.init(name: [0x62], value: [UInt8](repeating: 0, count: 2 << 20))])
    #expect(throws: FileSyncError.self) { try FilePacketCoding.encode(.entry(large)).withUnsafeBytes { try FilePacketCoding().decode($0) } }
  }

  @Test("Metadata alone: everything is listed, and only what is asked for comes")
  func metadataOnly() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.put("old", "x")
    var options = ReceiveOptions()
    options.metadataOnlyExcept = try PatternList(["a/wanted"])
    let bench = try Bench(scratch, options)
    let entries = [Self.folder("a"), Self.file("a/other", 3), Self.file("a/wanted", 3), Self.folder("b"), Self.file("b/none", 1)]
    for entry in entries { try bench.take(entry) }
    try bench.take(.endOfEntries)
    #expect(bench.said == [.request(2)])
    try bench.take(.data(2, Array("yes".utf8)), .data(2, []), .finish)
    #expect(try scratch.names == [".fsutil-metadata", "a"])
    #expect(try scratch.directory.entries("a").map(\.name) == ["wanted"])
    let list = try Files.read(scratch.path + "/.fsutil-metadata", limit: 1 << 20)
    #expect(list.count > 5 * 10 && list[1] == 0 && list[3] == 0)
  }
}
