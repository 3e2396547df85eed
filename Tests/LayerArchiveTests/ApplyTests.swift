import HostOS
import OCIModel
import Testing

@testable import LayerArchive

struct ApplyTests {
  /// Chains of layers, and what the top must look like (or the error that the last layer ends with). They are applied in plain form, and in overlay form
  /// each with a view of those below; both must give one tree.
  struct Case: CustomStringConvertible, Sendable {
    let description: String
    let layers: [[Item]]
    var expected: [String]?
    var error: LayerArchiveError.Code?
    init(_ description: String, _ layers: [[Item]], _ expected: [String]? = nil, error: LayerArchiveError.Code? = nil) { (self.description, self.layers, self.expected, self.error) = (description, layers, expected, error) }
  }
  static let base: [Item] = [.directory("d", mode: 0o750, uid: 7, time: 500, xattrs: ["user.k": [65]]), .file("d/a", "A"), .file("d/b", "B"), .directory("d/s", time: 600), .file("d/s/x", "X"), .link("l", to: "d"), .file("f", "F"), .link("abs", to: "/d/s"), .link("up", to: "../../d")]

  static let cases: [Case] = [
    Case("files", [[.file("a", "x", mode: 0o4711, uid: 12, gid: 34, time: 99), .directory("d", mode: 0o1777, time: 5), .file("d/f"), .link("l", to: "nowhere"), .node("p", .fifo)]],
      ["a 4711 12:34 99", "d 1777 0:0 5", "d/f 644 0:0 1000000", "l 777 0:0 1000000", "p 644 0:0 1000000"]),
    Case("a parent that is not named", [[.file("x/y/z")]], ["x 755 0:0 0", "x/y 755 0:0 0", "x/y/z 644 0:0 1000000"]),
    Case("a parent of the layers below keeps what it is", [base, [.file("d/s/new")]], nil),
    Case("whiteout", [base, [.whiteout("d/.wh.a"), .whiteout(".wh.f")]], nil),
    Case("whiteout of a directory", [base, [.whiteout(".wh.d")]], nil),
    Case("whiteout of nothing", [base, [.whiteout(".wh.none"), .whiteout("no/where/.wh.none")]], nil),
    Case("whiteout, then again a directory", [base, [.whiteout(".wh.d"), .directory("d"), .file("d/new")]], nil),
    Case("whiteout, then something in it", [base, [.whiteout(".wh.d"), .file("d/new")]], nil),
    Case("whiteout does not hide its own layer", [base, [.file("d/new"), .file("f", "2"), .whiteout(".wh.d"), .whiteout(".wh.f")]], nil),
    Case("opaque first", [base, [.directory("d"), .whiteout("d/.wh..wh..opq"), .file("d/new")]], nil),
    Case("opaque last", [base, [.directory("d"), .file("d/new"), .directory("d/s"), .file("d/s/n"), .whiteout("d/.wh..wh..opq")]], nil),
    Case("opaque unnamed", [base, [.whiteout("d/.wh..wh..opq")]], nil),
    Case("opaque root", [base, [.file("d/new"), .whiteout(".wh..wh..opq"), .file("late")]], nil),
    Case("opaque of nothing", [base, [.whiteout("q/.wh..wh..opq")]], nil),
    Case("opaque through a link", [base, [.whiteout("l/.wh..wh..opq")]], nil),
    Case("file over directory", [base, [.file("d", "now a file")]], nil),
    Case("directory over file", [base, [.directory("f"), .file("f/in")]], nil),
    Case("file, then directory, over directory", [base, [.file("d", "x"), .directory("d"), .file("d/only")]], nil),
    Case("link over directory, directory over link", [base, [.link("d/s", to: "/"), .directory("l"), .file("l/in")]], nil),
    Case("through links", [base, [.file("l/new"), .file("abs/new"), .file("up/s/more")]], nil),
    Case("duplicates", [[.file("a", "1"), .file("a", "22"), .directory("d", mode: 0o700), .file("d/x"), .directory("d", mode: 0o711, time: 3)]], ["a 644 0:0 1000000", "d 711 0:0 3", "d/x 644 0:0 1000000"]),
    Case("directory's own metadata", [base, [.directory("d", mode: 0o700, uid: 9, time: 123)]], nil),
    Case("hard links", [[.file("a", "x", uid: 5), .hard("b", to: "a"), .hard("c/d", to: "/a"), .hard("e", to: "../../a")]], nil),
    Case("hard link to the layer below", [base, [.hard("n", to: "d/s/x"), .hard("n2", to: "l/s/x")]], nil),
    Case("hard link to a link below", [base, [.hard("n", to: "l")]], nil),
    Case("hard link over what is there", [base, [.hard("f", to: "d/a")]], nil),
    Case("names outside", [[.file("../../../e", "x"), .file("/abs/f"), .file("a/../../b"), .file("./c/./d"), .file("..")]], nil),
    Case("a link outside is inside", [[.link("out", to: "/../../etc"), .file("out2/x"), .directory("etc"), .file("out/passwd")]], nil),
    Case("a relative link outside is inside", [[.directory("etc"), .link("out", to: "../../../../../../../../etc"), .file("out/passwd")]], nil),
    Case("root's own entry means nothing", [[.directory("./", mode: 0o700), .file("a")]], ["a 644 0:0 1000000"]),
    Case("AUFS's own files", [[.file(".wh..wh.plnk"), .file("a")]], ["a 644 0:0 1000000"]),
    Case("attributes", [[.file("a", xattrs: ["user.k": [66], "security.capability": [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "trusted.x": [1], "user.overlay.opaque": [121]]), .directory("d", xattrs: ["user.overlay.opaque": [121]])]], nil),
    Case("times out of range", [[.file("a", time: -5), .file("b", time: 1 << 40)]], ["a 644 0:0 0", "b 644 0:0 0"]),
    Case("through a file", [base, [.file("f/x")]], error: .invalidEntry),
    Case("links in a circle", [[.link("a", to: "b"), .link("b", to: "a"), .file("a/x")]], error: .invalidEntry),
    Case("hard link to nothing", [[.hard("a", to: "none")]], error: .missingLinkTarget),
    Case("hard link outside", [[.hard("a", to: "../../../../../etc/hostname")]], error: .missingLinkTarget),
    Case("hard link to what is deleted", [base, [.whiteout(".wh.f"), .hard("n", to: "f")]], error: .missingLinkTarget),
    Case("hard link to a directory", [base, [.hard("n", to: "d")]], error: .invalidEntry),
    Case("hard link to itself", [[.file("a"), .hard("a", to: "./a")]], error: .invalidEntry),
    Case("whiteout of the parent", [[.whiteout("a/.wh...")]], error: .invalidEntry),
    Case("whiteout of no name", [[.whiteout("a/.wh.")]], error: .invalidEntry),
    Case("owner out of range", [[.file("a", uid: 1 << 33)]], error: .invalidEntry),
    Case("owner -1", [[.file("a", uid: 0xffff_ffff)]], error: .invalidEntry),
    Case("device out of range", [[.node("a", .characterDevice, 5000, 1)]], error: .invalidEntry),
    Case("unknown type", [[Item(entry: TarEntry(path: "v", kind: .other(UInt8(ascii: "V"))), content: [])]], error: .unsupported),
    Case("too deep", [[.file(ByteString(repeat: "d/", 300) + "x")]], error: .limit),
  ]

  static func apply(_ items: [Item], _ form: LayerApplier.Form, _ directory: Directory) throws -> ApplyResult {
    let bytes = try tar(items)
    let result = try LayerApplier(form: form).apply(BytesSource(compress(bytes, .gzip)), to: directory)
    #expect(result.diffID == .sha256(of: bytes) && result.size == Int64(bytes.count) && result.compression == .gzip && result.entries == items.count)
    return result
  }

  @Test(.enabled(if: isRoot), arguments: cases) func bothForms(_ test: Case) throws {
    try withScratch { path in
      let plain = try makeDirectory(path + "/plain")
      var failure: LayerArchiveError.Code?
      for layer in test.layers { failure = code { _ = try Self.apply(layer, .plain, plain) } }
      #expect(failure == test.error)
      var lowers: [String] = []
      var view: Directory?
      failure = nil
      for (index, layer) in test.layers.enumerated() {
        let upper = path + "/\(index)"
        let directory = try makeDirectory(upper)
        failure = code { _ = try Self.apply(layer, .overlay(userXattr: false, lower: view.map { .view($0) } ?? .none), directory) }
        lowers.insert(upper, at: 0)
        if failure == nil { view = lowers.count == 1 ? directory : try Mounts.open(.overlay(lowers: lowers, upper: nil, work: nil, userXattr: false)) }
      }
      #expect(failure == test.error)
      guard test.error == nil, let view else { return }
      let seen = try listing(plain)
      #expect(try listing(view) == seen)
      if let expected = test.expected { #expect(try brief(plain) == expected) }
      // Layers applied without seeing those below, then reconciled, are the same; or say that they must see them.
      try later(test, path, lowers, seen)
    }
  }

  private func later(_ test: Case, _ path: String, _ lowers: [String], _ seen: [String]) throws {
    guard test.layers.count == 2 else { return }
    let upper = try makeDirectory(path + "/later"), base = try Directory.open(path + "/0")
    let applier = LayerApplier(form: .overlay(userXattr: false, lower: .later))
    do {
      let result = try applier.apply(BytesSource(tar(test.layers[1])), to: upper)
      try applier.reconcile(result.implicitParents, in: upper, lower: base)
    } catch let error as LayerArchiveError where error.code == .needsLowerView { return }
    let view = try Mounts.open(.overlay(lowers: [path + "/later", path + "/0"], upper: nil, work: nil, userXattr: false))
    // A deletion in a directory that exists nowhere makes the directory, when nobody could know.
    if test.description != "whiteout of nothing", test.description != "opaque of nothing" {
        let found = try listing(view)
        #expect(found == seen, "overlay only \(found.filter { !seen.contains($0) }), plain only \(seen.filter { !found.contains($0) })")
      }
  }

  private func brief(_ directory: Directory) throws -> [String] {
    try listing(directory).map { line in
      let parts = line.split(separator: " ")
      return "\(parts[0]) \(parts[2]) \(parts[3]) \((Int64(parts[4]) ?? 0) / 1_000_000_000)"
    }
  }

  @Test(.enabled(if: isRoot)) func nothingOutsideIsTouched() throws {
    try withScratch { path in
      let outside = try makeDirectory(path + "/outside")
      let root = try makeDirectory(path + "/root")
      try root.symlink(target: path + "/outside", at: "planted")
      try root.symlink(target: "../outside", at: "planted2")
      _ = try Self.apply([.file("planted/x"), .file("planted2/y"), .whiteout("planted/.wh..wh..opq"), .hard("z", to: "planted/x")], .plain, root)
      #expect(try outside.entries().isEmpty)
    }
  }

  @Test(.enabled(if: isRoot)) func sparseFilesStaySparse() throws {
    try withScratch { path in
      guard let result = try run("sh", ["-c", "truncate -s 64M s; printf end | dd of=s bs=1 seek=30000000 conv=notrunc status=none; tar -S --format=pax -cf t.tar s"], directory: path), result.status == 0 else { return }
      let root = try makeDirectory(path + "/root")
      _ = try LayerApplier(form: .plain).apply(DescriptorSource(try Descriptor.open(path + "/t.tar")), to: root)
      let status = try root.status("s")
      #expect(status.size == 64 << 20 && status.allocated < 1 << 20)
      var word = [UInt8](repeating: 0, count: 3)
      _ = try word.withUnsafeMutableBytes { try root.openFile("s").read(into: $0, at: 30_000_000) }
      #expect(word == Array("end".utf8))
    }
  }

  @Test func asAnyUser() throws {
    try withScratch { path in
      let root = try makeDirectory(path + "/root")
      let applier = LayerApplier(form: .plain, ownership: .ignore)
      let items: [Item] = [.directory("d", mode: 0o555), .file("d/f", "x", uid: 1234), .directory("none", mode: 0), .file("none/f")]
      _ = try applier.apply(BytesSource(tar(items)), to: root)
      #expect(try root.status("d").permissions == 0o555)
      #expect(try root.status("d/f").uid == HostFacts.userID)
      try root.setMode("none", 0o755)
    }
  }

  @Test(.enabled(if: isRoot)) func devices() throws {
    try withScratch { path in
      let root = try makeDirectory(path + "/root")
      let result = try Self.apply([.file("was", "x"), .node("null", .characterDevice, 1, 3), .node("was", .blockDevice, 7, 9), .node("dir", .fifo)], .plain, root)
      if result.skippedDeviceCount == 0 {
        #expect(try root.status("null").rdev == DeviceNumber(major: 1, minor: 3))
        #expect(try root.status("was").kind == .blockDevice)
      } else {
        #expect(result.skippedDevices == ["null", "was"])
      }
      #expect(try root.entries().count == (result.skippedDeviceCount == 0 ? 3 : 2))
    }
  }

  @Test(.enabled(if: isRoot)) func attributesThatAreLeftOut() throws {
    try withScratch { path in
      let root = try makeDirectory(path + "/root")
      let result = try Self.apply([.file("a", xattrs: ["trusted.overlay.opaque": [121], "user.overlay.redirect": [97], "user.ok": [1]])], .overlay(userXattr: true, lower: .none), root)
      #expect(result.skippedXattrs.map(\.name) == ["trusted.overlay.opaque", "user.overlay.redirect"])
      #expect(try root.xattrNames("a").filter { !$0.hasPrefix("security.") } == ["user.ok"])
    }
  }

  @Test func cancelled() throws {
    try withScratch { path in
      let root = try makeDirectory(path + "/root")
      #expect(throws: CancellationError.self) { try LayerApplier(form: .plain, ownership: .ignore).apply(BytesSource(try tar([.file("a")])), to: root, isCancelled: { true }) }
    }
  }

  /// Random layers over random layers: both forms agree, and nothing crashes.
  @Test(.enabled(if: isRoot)) func randomLayersAgree() throws {
    var random = Random(2024)
    for _ in 0..<60 {
      let layers = (0..<3).map { _ in (0..<Int(random.next() % 12 + 1)).map { _ in Self.randomItem(&random) } }
      try bothForms(Case("random \(layers.map { $0.map { "\($0.entry.kind) \($0.entry.path) \($0.entry.linkTarget)" } })", layers, nil, error: nil), tolerant: true)
    }
  }

  private func bothForms(_ test: Case, tolerant: Bool) throws {
    try withScratch { path in
      let plain = try makeDirectory(path + "/plain")
      var lowers: [String] = []
      var view: Directory?
      for (index, layer) in test.layers.enumerated() {
        let upper = try makeDirectory(path + "/\(index)")
        let a = code { _ = try Self.apply(layer, .plain, plain) }
        let b = code { _ = try Self.apply(layer, .overlay(userXattr: false, lower: view.map { .view($0) } ?? .none), upper) }
        #expect(a == b, "\(test)")
        if a != nil || b != nil { return }
        lowers.insert(path + "/\(index)", at: 0)
        view = lowers.count == 1 ? upper : try Mounts.open(.overlay(lowers: lowers, upper: nil, work: nil, userXattr: false))
        if let view {
          let (a, b) = (try listing(view), try listing(plain))
          #expect(a == b, "layer \(index): overlay only \(a.filter { !b.contains($0) }), plain only \(b.filter { !a.contains($0) }) \(test)")
        }
      }
    }
  }


  private static func randomItem(_ random: inout Random) -> Item {
    func name() -> String { ["a", "b", "c"][Int(random.next() % 3)] }
    var path = name()
    for _ in 0..<random.next() % 3 { path += "/" + name() }
    switch random.next() % 10 {
    case 0, 1, 2: return .file(ByteString(text: path), String(random.next() % 100))
    case 3, 4: return .directory(ByteString(text: path), mode: 0o700 + UInt32(random.next() % 8), time: Int64(random.next() % 1000))
    case 5: return .link(ByteString(text: path), to: ByteString(text: ["a", "../b", "/c", "b/c"][Int(random.next() % 4)]))
    case 6: return .hard(ByteString(text: path), to: ByteString(text: name()))
    case 7: return .whiteout(ByteString(text: path).parent.appending(".wh..wh..opq"))
    default: return .whiteout(ByteString(text: path).parent.appending(ByteString(text: ".wh." + name())))
    }
  }
}
