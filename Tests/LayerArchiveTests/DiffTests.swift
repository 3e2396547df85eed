import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@testable import LayerArchive

struct DiffTests {
  static let base = """
    mkdir -p etc usr/lib/deep usr/bin opt/gone opt/emptied/sub; echo a > etc/a; echo b > etc/b; echo c > etc/c; echo lib > usr/lib/deep/so; ln -s so usr/lib/deep/so.1
    echo bin > usr/bin/tool; chmod 4755 usr/bin/tool; echo g > opt/gone/f; echo h > opt/emptied/h; echo i > opt/emptied/sub/i; echo one > etc/one; ln etc/one etc/two; chown -R 3:4 opt
    find . -exec touch -h -d @1600000000 {} +
    """
  static let changes = """
    echo changed > etc/a; rm etc/b; chmod 600 etc/c; rm -r opt/gone; rm -r opt/emptied; mkdir opt/emptied; echo new > opt/emptied/n; mkdir -p new/dir/deep; echo x > new/dir/deep/x; ln new/dir/deep/x new/y
    ln -s ../etc new/link; mkfifo new/pipe; echo longer > "new/$(printf 'n%.0s' $(seq 150))"; echo u > new/ümläut; rm usr/lib/deep/so.1; mkdir usr/lib/deep/so.1; echo f > usr/lib/deep/so.1/f
    rm usr/bin/tool; echo bin > usr/bin/tool; chmod 4755 usr/bin/tool; mv etc/c etc/c2; mv etc/c2 etc/c; chown 3000000:5 new/y; mknod new/null c 1 3; chmod 1777 new
    python3 -c 'import os; os.setxattr("new/y","security.capability",bytes([1,0,0,2,0,4]+[0]*14))'
    find new opt/emptied etc/a etc/c usr -exec touch -h -d @1700000000.5 {} +; touch -d @1600000000 usr usr/lib usr/lib/deep usr/bin
    find . opt etc new -maxdepth 0 -exec touch -d @1700000001 {} +
    """

  struct Made {
    let upper: Directory, lower: Directory, merged: Directory
  }

  /// An overlay with the changes made in it.
  static func make(_ path: String, changes: String = changes) throws -> Made? {
    let lower = try makeDirectory(path + "/lower"), upper = try makeDirectory(path + "/upper")
    _ = try makeDirectory(path + "/work")
    guard try run("sh", ["-ec", "umask 022; " + base], directory: path + "/lower")?.status == 0 else { return nil }
    let mounted = try Mounts.open(.overlay(lowers: [path + "/lower"], upper: path + "/upper", work: path + "/work", userXattr: false))
    guard try run("sh", ["-ec", "cd /proc/\(getpid())/fd/\(mounted.descriptor.raw)/; umask 022; " + changes])?.status == 0 else {
      print("SKIPPED: the changes could not be made")
      return nil
    }
    let view = try Mounts.open(.overlay(lowers: [path + "/upper", path + "/lower"], upper: nil, work: nil, userXattr: false))
    return Made(upper: upper, lower: lower, merged: view)
  }

  static func diff(_ body: (TarWriter) throws -> Void) throws -> [UInt8] {
    let sink = BytesSink()
    let writer = TarWriter(sink)
    try body(writer)
    try writer.finish()
    return sink.bytes
  }

  @Test(.enabled(if: isRoot)) func overlayAndTreesGiveOneLayer() throws {
    try withScratch { path in
      guard let made = try Self.make(path) else { return }
      let overlay = try Self.diff { try LayerDiffer().overlayDiff(upper: made.upper, lower: .view(made.lower), into: $0) }
      let trees = try Self.diff { try LayerDiffer().treeDiff(old: made.lower, new: made.merged, into: $0) }
      let names = try read(overlay).map { "\($0.entry.path)" }
      #expect(names == (try read(trees)).map { "\($0.entry.path)" })
      #expect(overlay == trees)
      // What nobody changed is not there; what is deleted is.
      #expect(!names.contains("etc/one") && !names.contains("etc/b"))
      #expect(names.contains("etc/.wh.b") && names.contains("opt/.wh.gone") && names.contains("opt/emptied/.wh.h") && names.contains("opt/emptied/.wh.sub"))
      // Applied to the base, it gives the tree (times in seconds), and again no difference.
      let copy = try makeDirectory(path + "/copy")
      _ = try run("cp", ["-a", "--preserve=all", path + "/lower/.", path + "/copy"])
      _ = try LayerApplier(form: .plain).apply(BytesSource(overlay), to: copy)
      #expect(try listing(copy, times: false) == listing(made.merged, times: false))
      let whole = try Self.diff { try LayerDiffer().treeDiff(old: nil, new: made.merged, into: $0) }
      let fresh = try makeDirectory(path + "/fresh")
      _ = try LayerApplier(form: .plain).apply(BytesSource(whole), to: fresh)
      #expect(try Self.diff { try LayerDiffer().treeDiff(old: fresh, new: copy, into: $0) }.count == 1024)
    }
  }

  @Test(.enabled(if: isRoot)) func asContainerdWritesIt() throws {
    try withScratch { path in
      guard let made = try Self.make(path) else { return }
      let overlay = try Self.diff { try LayerDiffer(attributes: .capabilities).overlayDiff(upper: made.upper, lower: .view(made.lower), into: $0) }
      // What BuildKit's util/overlay with containerd's archive writer gives for the same tree.
      #expect(Digest.sha256(of: overlay).hex == Self.golden)
    }
  }
  static let golden = "c3d64179bf5cf7e0f90d191cf64577327705e553cdfaf7f9143fa3029c16222c"

  @Test(.enabled(if: isRoot)) func nothingChanged() throws {
    try withScratch { path in
      guard let made = try Self.make(path, changes: "cat etc/a > /dev/null; mv etc/a x; mv x etc/a; chmod 644 usr/bin/tool; chmod 4755 usr/bin/tool; touch etc/q; rm etc/q") else { return }
      let overlay = try Self.diff { try LayerDiffer().overlayDiff(upper: made.upper, lower: .view(made.lower), into: $0) }
      #expect(try read(overlay).map(\.entry.path) == [])
    }
  }

  @Test(.enabled(if: isRoot)) func withoutSeeingBelow() throws {
    try withScratch { path in
      guard let made = try Self.make(path) else { return }
      let bytes = try Self.diff { try LayerDiffer().overlayDiff(upper: made.upper, lower: .unseen, into: $0) }
      let names = try read(bytes).map { "\($0.entry.path)" }
      let at = try #require(names.firstIndex(of: "opt/emptied/.wh..wh..opq"))
      #expect(names[at - 1] == "opt/emptied/" && names[at + 1] == "opt/emptied/n")
      let copy = try makeDirectory(path + "/copy")
      _ = try run("cp", ["-a", "--preserve=all", path + "/lower/.", path + "/copy"])
      _ = try LayerApplier(form: .plain).apply(BytesSource(bytes), to: copy)
      #expect(try listing(copy, times: false) == listing(made.merged, times: false))
    }
  }

  @Test(.enabled(if: isRoot)) func optionsCount() throws {
    try withScratch { path in
      let root = try makeDirectory(path + "/t")
      try root.makeDirectory("d")
      _ = try root.openFile("d/f", flags: [.writeOnly, .create])
      try root.setXattr("d/f", "user.k", [1])
      try root.setTimes("d/f", accessed: 0, modified: 5_500_000_000)
      func entry(_ differ: LayerDiffer) throws -> TarEntry { try #require(try read(Self.diff { try differ.treeDiff(old: nil, new: root, into: $0) }).last).entry }
      #expect(try entry(LayerDiffer()).modified == Timestamp(seconds: 5))
      #expect(try entry(LayerDiffer(times: .nanoseconds)).modified == Timestamp(seconds: 5, nanoseconds: 500_000_000))
      #expect(try entry(LayerDiffer(latest: Timestamp(seconds: 3))).modified == Timestamp(seconds: 3))
      #expect(try entry(LayerDiffer()).xattrs == ["user.k": [1]])
      #expect(try entry(LayerDiffer(attributes: .capabilities)).xattrs == [:])
      _ = try root.openFile("d/.wh.x", flags: [.writeOnly, .create])
      #expect(code { _ = try entry(LayerDiffer()) } == .unrepresentable)
    }
  }

  @Test func archivesOfTrees() throws {
    try withScratch { path in
      let root = try makeDirectory(path + "/t")
      guard try run("sh", ["-ec", "mkdir -p b/c; echo x > b/c/x; ln b/c/x a; ln -s x b/l; printf 1 > 'B'; touch -h -d @1700000000.7 B b/l"], directory: path + "/t")?.status == 0 else { return }
      let first = try Self.diff { try DirectoryArchiver(owner: (1, 2)).archive(root, into: $0) }
      #expect(first == (try Self.diff { try DirectoryArchiver(owner: (1, 2)).archive(root, into: $0) }))
      let items = try read(first)
      #expect(items.map(\.entry.path) == ["B", "a", "b/", "b/c/", "b/c/x", "b/l"])
      #expect(items[4].entry.kind == .hardLink && items[4].entry.linkTarget == "a")
      #expect(items[0].entry.modified == Timestamp(seconds: 1_700_000_001))
      #expect(items.allSatisfy { $0.entry.uid == 1 && $0.entry.gid == 2 })
      let under = try read(Self.diff { try DirectoryArchiver(latest: Timestamp(seconds: 7)).archive(root, under: "linux_amd64", into: $0, include: { p, _ in p != "b/c" }) })
      #expect(under.map(\.entry.path) == ["linux_amd64/", "linux_amd64/B", "linux_amd64/a", "linux_amd64/b/", "linux_amd64/b/l"])
      #expect(under.allSatisfy { $0.entry.modified <= Timestamp(seconds: 7) })
    }
  }
}
