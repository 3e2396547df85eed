import Foundation
import BuildKitProto
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@testable import BuildEngine

/// What file actions make of a client's directory. The listings are those of the layers that a real BuildKit (commit 73ed6825c4b7, overlay, root) makes of
/// the same context; "now" is a time of the step itself. Owners, devices and capabilities need root.
@Suite(.enabled(if: geteuid() == 0, "SKIPPED: copying owners and devices needs root")) struct CopyTests {
  private static let then: Int64 = 1_500_000_000_000_000_000

  private func context(_ root: Directory) throws {
    func file(_ path: String, _ text: String, _ mode: UInt32 = 0o644) throws {
      let file = try root.openFile(path, flags: [.writeOnly, .create, .exclusive])
      try file.write(text)
      try file.setMode(mode)
    }
    try root.makeDirectory("dir")
    try root.setMode("dir", 0o2710)
    try file("a.txt", "aaa")
    try file("dir/x", "x", 0o4755)
    try file("cap", "c", 0o755)
    try root.setXattr("cap", "security.capability", [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    try root.hardlink(from: "a.txt", to: "a2.txt")
    try root.hardlink(from: "a.txt", to: "dir/hard")
    try root.symlink(target: "a.txt", at: "ln")
    try root.makeNode("pipe", kind: .fifo, mode: 0o640)
    try root.makeNode("sock", kind: .socket, mode: 0o755)
    try root.setOwner("dir/x", uid: 100, gid: 200)
    try root.setMode("dir/x", 0o4755)
    for name in ["a.txt", "dir/x", "cap", "ln", "pipe", "sock", "dir"] { try root.setTimes(name, accessed: Self.then, modified: Self.then) }
  }

  /// `path type mode owner time`, of all in it; hard links name the first of them.
  private func listing(_ root: Directory, from began: Int64) throws -> [String] {
    let tree = MountedTree(root)
    var first: [UInt64: String] = [:]
    var lines: [String] = []
    func visit(_ folder: String) throws {
      for name in try tree.children(folder) {
        let path = TreePaths.join(folder, name)
        guard let status = try tree.status(path) else { continue }
        var line = "\(path) \(status.kind) \(String(status.mode & 0o7777, radix: 8)) \(status.uid):\(status.gid)"
        line += status.mtime == Self.then ? "" : status.mtime >= began - 1_000_000_000 ? " now" : " \(status.mtime)"
        if status.kind == .symbolicLink { line += " -> \(try tree.readLink(path))" }
        if status.kind != .directory, status.links > 1 {
          if let other = first[status.inode] { line += " = \(other)" } else { first[status.inode] = path }
        }
        for (name, _) in try tree.xattrs(path) { line += " +\(name)" }
        lines.append(line)
        if status.kind == .directory { try visit(path) }
      }
    }
    try visit("")
    return lines
  }

  private func copied(_ action: (inout Pb_FileActionCopy) -> Void, expecting expected: [String], _ location: Testing.SourceLocation = #_sourceLocation) throws {
    try withScratch { _, scratch in
      for name in ["from", "to"] { try scratch.makeDirectory(name) }
      let from = try scratch.openDirectory("from"), to = try scratch.openDirectory("to")
      try context(from)
      let began = HostClock.now
      let source = try LocalTree(from, filter: LocalFilter())
      var copy = Pb_FileActionCopy()
      (copy.mode, copy.timestamp, copy.dirCopyContents, copy.createDestPath) = (-1, -1, true, true)
      (copy.allowWildcard, copy.allowEmptyWildcard) = (true, true)
      action(&copy)
      let hash = ContentHash(source)
      _ = try hash.digest(of: [ContentSelector(path: "/")])
      try FileActions(to).copy(copy, from: source, owner: nil, expected: { hash.knownDigest($0) })
      #expect(try listing(to, from: began) == expected, sourceLocation: location)
    }
  }

  @Test func allOfAContext() throws {
    try copied({ ($0.src, $0.dest) = ("/", "/s/") }, expecting: [
      "s directory 755 0:0 now", "s/a.txt regular 644 0:0", "s/a2.txt regular 644 0:0 = s/a.txt", "s/cap regular 755 0:0", "s/dir directory 2710 0:0",
      "s/dir/hard regular 644 0:0 = s/a.txt", "s/dir/x regular 4755 0:0", "s/ln symbolicLink 777 0:0 -> a.txt", "s/pipe fifo 640 0:0", "s/sock regular 755 0:0",
    ])
  }

  @Test func sourcesOfAWildcardAreNotLinked() throws {
    try copied({ ($0.src, $0.dest) = ("/a*.txt", "/w/") }, expecting: ["w directory 755 0:0 now", "w/a.txt regular 644 0:0", "w/a2.txt regular 644 0:0"])
  }

  @Test func madeParentsGetPermissionsOnly() throws {
    try copied({ ($0.src, $0.dest, $0.mode) = ("/dir", "/o/p/", 0o2751) }, expecting: [
      "o directory 751 0:0 now", "o/p directory 751 0:0", "o/p/hard regular 2751 0:0", "o/p/x regular 2751 0:0",
    ])
  }

  @Test func anEscapedStarIsNone() throws {
    try withScratch { _, scratch in
      try scratch.openFile("st*r", flags: [.writeOnly, .create]).write("s")
      try scratch.openFile("star", flags: [.writeOnly, .create]).write("s")
      let tree = MountedTree(scratch)
      #expect(try Wildcards.matches("/st[*]r", in: tree, followLinks: false) == ["/st*r"])
      #expect(try Wildcards.matches("/st\\*r", in: tree, followLinks: false) == ["/st\\*r"])
      #expect(try Wildcards.matches("/st*", in: tree, followLinks: false) == ["/st*r", "/star"])
    }
  }

  /// What matches nothing is nothing; what is looked for below a directory that is not there is a mistake. A file has nothing below it.
  @Test func wildcardsBelowAMissingDirectory() throws {
    try withScratch { _, scratch in
      try scratch.openFile("file", flags: [.writeOnly, .create]).write("s")
      try scratch.makeDirectory("src", mode: 0o755)
      let tree = MountedTree(scratch)
      #expect(try Wildcards.matches("/src/*.go", in: tree, followLinks: false) == [])
      #expect(try Wildcards.matches("/file/*", in: tree, followLinks: false) == [])
      #expect(throws: TreeError.self) { try Wildcards.matches("/scr/*.go", in: tree, followLinks: false) }
    }
  }

  /// In every compression that the peers unpack. Directories that the archive does not name are made now, and those it writes into change.
  @Test(arguments: ["", "gzip", "xz", "bzip2", "zstd"]) func archives(program: String) async throws {
    if !program.isEmpty, Processes.executablePath(program) == nil { return print("SKIPPED: \(program) is not installed") }
    let scratch = try Files.makeTemporaryDirectory(prefix: "manifold-add-")
    defer { try? Files.removeTree(scratch) }
    let script = """
      mkdir -p tree/top tree/imp/licit to/u && echo f >tree/top/f && echo g >tree/imp/licit/g && chmod 750 tree/top && chmod 4711 tree/top/f
      find tree to -exec touch -h -d @1500000000 {} + && tar -C tree --owner=5 --group=6 --numeric-owner --no-recursion -cf t.tar top/ top/f imp/licit/g
      \(program.isEmpty ? "mv t.tar t" : "\(program) -c <t.tar >t")
      """
    let made = try await Processes.run("sh", ["-euc", script], workingDirectory: scratch)
    try #require(made.succeeded, "\(made.errorText)")
    let root = try Directory.open(scratch), to = try root.openDirectory("to")
    var add = Pb_FileActionCopy()
    (add.src, add.dest, add.mode, add.timestamp, add.createDestPath, add.attemptUnpackDockerCompatibility) = ("/t", "/u/", -1, -1, true, true)
    let began = HostClock.now
    try FileActions(to).copy(add, from: MountedTree(root), owner: nil, expected: nil)
    #expect(try listing(to, from: began) == [
      "u directory 755 0:0 now", "u/imp directory 755 0:0 now", "u/imp/licit directory 755 0:0 now", "u/imp/licit/g regular 644 5:6",
      "u/top directory 750 5:6", "u/top/f regular 4711 5:6",
    ])
  }
}
