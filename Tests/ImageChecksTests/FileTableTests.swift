import Binaries
import LayerArchive
import OCIModel
import Testing

@testable import ImageChecks

private func scan(_ files: [TestFile], hashes: Bool = false, step: Int = .max) throws -> LayerScan {
  let bytes = try tar(files)
  return LayerScan.read(BytesSource(bytes, step: step), Descriptor(mediaType: .ociLayer, of: bytes), hashesFiles: hashes, limits: .default)
}

private func table(_ layers: [[TestFile]], hashes: Bool = false) throws -> FileTable {
  let table = FileTable()
  for (i, files) in layers.enumerated() { try table.apply(try scan(files, hashes: hashes).entries, layer: i) }
  return table
}

extension FileTable {
  fileprivate var names: [String] {
    var out: [String] = []
    forEach { path, slot in out.append("\(path)" + (slot.node.facts.kind == .directory ? "/" : "")) }
    return out
  }
  fileprivate func real(_ path: String) -> String? { if case .found(let found) = lookup(ByteString(text: path)) { "\(found.path)" } else { nil } }
}

@Suite struct FileTableTests {
  @Test func layersMerge() throws {
    let merged = try table([
      [.directory("etc"), .text("etc/a", "1"), .text("etc/b", "1"), .directory("var"), .text("var/x", "1"), .text("gone/deep/f", "1")],
      [.text("etc/.wh.a", ""), .text("etc/c", "2"), .text("var/.wh..wh..opq", ""), .text("var/y", "2"), .text(".wh.gone", "")],
    ])
    #expect(merged.names == ["etc/", "etc/b", "etc/c", "var/", "var/y"])
  }

  /// As image-spec has it: a whiteout hides what is below, whatever the order within its layer.
  @Test func whiteoutsLeaveTheirOwnLayer() throws {
    let merged = try table([[.text("d/old", "1"), .text("f", "1")], [.text("d/new", "2"), .text(".wh.d", ""), .text("d/.wh..wh..opq", ""), .text("f", "2"), .text(".wh.f", "")]])
    #expect(merged.names == ["d/", "d/new", "f"])
  }

  @Test func parentsMayBeLinks() throws {
    let merged = try table([[.directory("usr/lib"), .link("lib", "usr/lib"), .text("lib/a", "1")], [.text("lib/b", "2"), .text("lib/.wh.a", ""), .link("abs", "/usr/../usr/lib"), .text("abs/c", "3")]])
    #expect(merged.names == ["abs", "lib", "usr/", "usr/lib/", "usr/lib/b", "usr/lib/c"])
    #expect(merged.real("/lib/b") == "usr/lib/b")
    #expect(merged.real("/../../lib/b") == "usr/lib/b")
    #expect(merged.real("/lib/none") == nil)
  }

  @Test func entriesReplace() throws {
    let merged = try table([[.directory("d"), .text("d/f", "1"), .text("g", "1")], [.link("d", "g"), .directory("g"), .text("g/h", "2")]])
    #expect(merged.names == ["d", "g/", "g/h"])
  }

  @Test func hardLinks() throws {
    let merged = try table([[.program("bin/a", elf())], [.hard("bin/b", "bin/a"), .text("bin/.wh.a", "")]])
    #expect(merged.names == ["bin/", "bin/b"])
    guard case .found(let found) = merged.lookup("bin/b") else { throw LayerArchiveError(.system, "bin/b is not there") }
    #expect(found.node.facts.program?.elf?.machine == 62)
    #expect(throws: LayerArchiveError.self) { try table([[.hard("a", "none")]]) }
    #expect(throws: LayerArchiveError.self) { try table([[.directory("d"), .hard("a", "d")]]) }
  }

  @Test func circlesEnd() throws {
    let merged = try table([[.link("a", "b"), .link("b", "a"), .link("self", "self/x")]])
    if case .loop = merged.lookup("a") {} else { Issue.record("a circle was not seen") }
    if case .loop = merged.lookup("self/y") {} else { Issue.record("a circle was not seen") }
    #expect(throws: LayerArchiveError.self) { try table([[.link("a", "b"), .link("b", "a"), .text("a/f", "1")]]) }
  }

  @Test func hostileLayersAreBounded() throws {
    let deep = try scan([.text(String(repeating: "a/", count: 300) + "f", "1")])
    #expect(deep.failure?.code == .limit)
    let bytes = try tar((0..<50).map { .text("f\($0)", "1") })
    let many = LayerScan.read(BytesSource(bytes), Descriptor(mediaType: .ociLayer, of: bytes), hashesFiles: false, limits: ScanLimits(entries: 20))
    #expect(many.failure?.code == .limit && many.digest == Digest.sha256(of: bytes), "what follows is hashed all the same")
    let named = LayerScan.read(BytesSource(bytes), Descriptor(mediaType: .ociLayer, of: bytes), hashesFiles: false, limits: ScanLimits(nameBytes: 60))
    #expect(named.failure?.code == .limit)
    // Each entry makes two hundred directories.
    let wide = try scan((0..<20).map { .text("\($0)/" + String(repeating: "a/", count: 200) + "f", "1") })
    #expect(throws: LayerArchiveError.self) { try FileTable(limits: ScanLimits(entries: 1000)).apply(wide.entries, layer: 0) }
  }

  @Test(arguments: [1, 100, 511, 4096, 1 << 20]) func programsAreKnownFromTheStream(step: Int) throws {
    let far = 40_000
    let files: [TestFile] = [
      .program("near", elf(interpreter: "/lib/ld.so")), .program("far", elf(interpreter: "/lib/far.so", interpreterAt: far)),
      .program("table", elf(interpreter: "/lib/table.so", tableAt: far)), .program("split", elf(interpreter: "/lib/split.so", interpreterAt: (8 << 10) - 3)),
      // The name stands before the table that points at it, and is passed when the table comes.
      .program("back", elf(interpreter: "/lib/back.so", interpreterAt: 9000, tableAt: far)), .script("script", "#!/bin/sh -e\n"), .script("other", "hello"), .program("empty", []),
      .text("data", "#!/bin/sh\n"), .file("library.so", elf(type: 3)),
    ]
    let read = try scan(files, step: step)
    func program(_ name: String) -> Program? {
      for entry in read.entries where entry.path == ByteString(text: name) { if case .add(let facts) = entry.change { return facts.program } }
      return nil
    }
    func interpreter(_ name: String) -> String? { if case .dynamic(let text)? = program(name)?.elf?.linkage { text } else { nil } }
    #expect(interpreter("near") == "/lib/ld.so")
    #expect(interpreter("far") == "/lib/far.so")
    #expect(interpreter("table") == "/lib/table.so")
    #expect(interpreter("split") == "/lib/split.so")
    #expect(program("back")?.elf?.machine == 62 && program("back")?.knowsInterpreter == (step > far))
    #expect(program("script")?.form == .binary(.script(interpreter: "/bin/sh", argument: "-e")))
    #expect(program("other")?.form == .other && program("empty")?.form == .other)
    #expect(program("data") == nil && program("library.so")?.elf?.machine == 62)
  }

  @Test func changes() throws {
    let old = try table([[.text("same", "1"), .text("text", "1"), .text("mode", "1"), .link("link", "a"), .directory("kind"), .text("gone/f", "1"), .text("size", "1")]], hashes: true)
    let new = try table([[.text("same", "1")], [.text("text", "2"), .text("mode", "1", mode: 0o600), .link("link", "b"), .text("kind", ""), .text("new", "1"), .text("size", "12")]], hashes: true)
    let found = old.changes(to: new).map { "\($0.kind.rawValue) \($0.path) \($0.aspects.map(\.name).joined(separator: ","))" }
    #expect(
      found == [
        "removed /gone ", "removed /gone/f ", "changed /kind type,mode", "changed /link link", "changed /mode mode", "added /new ", "changed /size size,content", "changed /text content",
      ])
    #expect(new.changes(to: new).isEmpty)
  }
}
