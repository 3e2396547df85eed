@testable import HostOS
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct RemoveTreeTests {
  @Test func deepTreesTakeFewDescriptors() throws {
    try withScratch { path in
      var directory = try Directory.open(path).makeDirectories("deep")
      for _ in 0..<3000 {
        try directory.makeDirectory("d")
        try directory.openFile("f", flags: [.writeOnly, .create]).close()
        directory = try directory.openDirectory("d")
      }
      let before = try Directory.open("/proc/self/fd").entries().count
      try Directory.open(path).removeTree("deep")
      #expect(try Directory.open(path).entries().isEmpty)
      // One for each level would be thousands; other suites in this process open some meanwhile.
      #expect(try Directory.open("/proc/self/fd").entries().count <= before + 1000)
    }
  }

  @Test func linksAreRemovedNotFollowed() throws {
    try withScratch { path in
      try Files.makeDirectories(path + "/keep/sub")
      try write("x", path + "/keep/sub/f")
      let root = try Directory.open(path).makeDirectories("tree/a")
      try root.symlink(target: path + "/keep", at: "link")
      try root.symlink(target: "../../keep", at: "link2")
      try Directory.open(path).removeTree("tree")
      #expect(try text(Files.read(path + "/keep/sub/f", limit: 10)) == "x")
      try Directory.open(path).symlink(target: "keep", at: "top")
      try Directory.open(path).removeTree("top")
      #expect(Files.exists(path + "/keep/sub/f"))
    }
  }

  @Test(.enabled(if: isRoot)) func mountsAreNotEntered() throws {
    try withScratch { path in
      for name in ["precious", "tree/a/mnt"] { try Files.makeDirectories(path + "/" + name) }
      try write("x", path + "/precious/f")
      try Mounts.mount(.bind(path: path + "/precious", readOnly: false), at: path + "/tree/a/mnt")
      defer { try? Mounts.unmount(path + "/tree/a/mnt") }
      #expect(code { try Directory.open(path).removeTree("tree") } == .busy)
      #expect(Files.exists(path + "/precious/f"))
    }
  }

  @Test func contentsOnly() throws {
    try withScratch { path in
      let root = try Directory.open(path)
      try root.makeDirectories("a/b")
      try root.removeContents()
      #expect(try root.entries().isEmpty)
      #expect(Files.exists(path))
      try Files.removeTree(path + "/none/none")
    }
  }
}

@Suite struct FileTests {
  @Test func atomicWritingReplacesAndLeavesNothing() throws {
    try withScratch { path in
      try Files.writeAtomically([1, 2], to: path + "/f", mode: 0o600)
      try Files.writeAtomically([3], to: path + "/f", mode: 0o666)
      #expect(try Files.read(path + "/f", limit: 10) == [3])
      #expect(try Files.status(path + "/f").permissions == 0o666)
      #expect(code { try Files.writeAtomically([1], to: path + "/no/f") } == .notFound)
      try Files.makeDirectories(path + "/dir/x")
      #expect(code { try Files.writeAtomically([1], to: path + "/dir") } == .isDirectory)
      #expect(try Directory.open(path).entries().count == 2)
    }
  }

  @Test func limits() throws {
    try withScratch { path in
      try write(String(repeating: "x", count: 100_000), path + "/f")
      #expect(try Files.read(path + "/f", limit: 100_000).count == 100_000)
      #expect(code { _ = try Files.read(path + "/f", limit: 99_999) } == .tooLarge)
      #expect(try Files.read("/proc/self/status", limit: 1 << 20).count > 100)
      #expect(code { _ = try Files.read(path + "/none", limit: 1) } == .notFound)
    }
  }

  @Test func copiesKeepHoles() throws {
    try withScratch { path in
      let root = try Directory.open(path)
      let from = try root.openFile("from", flags: [.readWrite, .create])
      try from.truncate(to: 64 << 20)
      try [UInt8](repeating: 1, count: 5000).withUnsafeBytes { try from.write($0, at: 10 << 20) }
      try [UInt8](repeating: 2, count: 5000).withUnsafeBytes { try from.write($0, at: (64 << 20) - 5000) }
      let to = try root.openFile("to", flags: [.readWrite, .create])
      try from.copyContents(to: to, size: 64 << 20)
      #expect(try to.status().size == 64 << 20)
      #expect(try to.status().allocated < 1 << 20)
      var a = [UInt8](repeating: 9, count: 64 << 20), b = a
      #expect(try a.withUnsafeMutableBytes { try from.readFully(into: $0, at: 0) } == 64 << 20)
      #expect(try b.withUnsafeMutableBytes { try to.readFully(into: $0, at: 0) } == 64 << 20)
      #expect(a == b)
      // From a filesystem that the kernel does not copy within.
      let shm = try Descriptor.open("/dev/shm", flags: .path)
      let other = try? Directory(shm).openFile("hostos-copy-\(getpid())", flags: [.readWrite, .create])
      if let other {
        try from.copyContents(to: other, size: 64 << 20)
        #expect(try other.status().size == 64 << 20)
        try Directory(shm).unlink("hostos-copy-\(getpid())")
      }
    }
  }

  @Test func shrinkingSourceIsAnError() throws {
    try withScratch { path in
      try write("short", path + "/a")
      let to = try Descriptor.open(path + "/b", flags: [.readWrite, .create])
      let from = try Descriptor.open(path + "/a")
      #expect(code { try from.copyContents(to: to, size: 1 << 20) } == .system)
    }
  }

  @Test func facts() throws {
    #expect(try FileSystemFacts.of("/proc").totalBytes == 0)
    #expect(try FileSystemFacts.of("/").availableBytes > 0)
    #expect(FileSystemFacts.kind(0x6969).isNetwork && !FileSystemFacts.kind(0xEF53).isNetwork)
    #expect(HostFacts.kernel >= (4, 0))
    #expect(HostFacts.cores >= 1 && HostFacts.memory > 1 << 20)
    #expect(KernelVersion(text: "6.18.44-fc-v657").map { $0 >= (6, 18) } == true)
    #expect(KernelVersion(text: "5.4") == KernelVersion(major: 5, minor: 4))
    let map = IDMap(text: "         0       1000          1\n         1     100000      65536\n")
    #expect(map.outside(of: 0) == 1000 && map.outside(of: 65536) == 165535 && map.outside(of: 65537) == nil && map.inside(of: 100_000) == 1)
    #expect(map.count == 65537 && !map.isInitial && IDMap(text: "0 0 4294967295\n").isInitial)
  }
}
