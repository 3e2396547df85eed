@testable import HostOS
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Everything twice: resolved by the kernel, and step by step.
@Suite struct DirectoryTests {
  static let ways = [false, true]

  /// <scratch>/root is the root, <scratch>/secret must not be reached.
  private func withRoot(_ walks: Bool, _ body: (Directory, String) throws -> Void) throws {
    try withScratch { path in
      try Files.makeDirectories(path + "/root/usr/lib")
      try write("secret", path + "/secret")
      try Files.makeDirectories(path + "/outside")
      try body(try Directory.open(path + "/root", walks: walks), path)
    }
  }

  @Test(arguments: ways) func linksAreResolvedInsideTheRoot(walks: Bool) throws {
    try withRoot(walks) { root, path in
      try root.symlink(target: "usr/lib", at: "lib")
      try root.symlink(target: "/usr/lib/../../lib/deep", at: "absolute")
      try root.symlink(target: "../../../../../../usr", at: "up")
      try root.symlink(target: "/secret", at: "escape")
      try root.symlink(target: path + "/secret", at: "escape2")
      try root.symlink(target: "../secret", at: "escape3")
      try root.makeDirectory("usr/lib/deep")
      try root.openFile("lib/deep/file", flags: [.writeOnly, .create, .exclusive]).write("inside")
      #expect(try text(root.read("absolute/file", limit: 100)) == "inside")
      #expect(try text(root.read("/up/lib/deep/file", limit: 100)) == "inside")
      #expect(try text(root.read("../../usr/lib/../lib/deep/file", limit: 100)) == "inside")
      for name in ["escape", "escape2", "escape3", "usr/../../secret", "lib/../../../../secret"] {
        #expect(code { _ = try root.read(name, limit: 100) } == .notFound, "\(name)")
      }
      // Creating through a link that leads out makes the file inside.
      try root.openFile("escape3", flags: [.writeOnly, .create]).write("mine")
      #expect(try text(root.read("secret", limit: 100)) == "mine")
      #expect(try text(Files.read(path + "/secret", limit: 100)) == "secret")
    }
  }

  @Test(arguments: ways) func withoutFollowingLinksAreRefused(walks: Bool) throws {
    try withRoot(walks) { root, _ in
      try root.symlink(target: "usr", at: "u")
      try root.symlink(target: "lib", at: "usr/l")
      #expect(code { _ = try root.openDirectory("u/lib", follow: .none) } == .symbolicLink)
      #expect(code { _ = try root.openDirectory("usr/l", follow: .none) } == .symbolicLink || code { _ = try root.openDirectory("usr/l", follow: .none) } == .notDirectory)
      #expect(code { _ = try root.openFile("u", follow: .none) } == .symbolicLink)
      #expect(code { _ = try root.openDirectory("../root", follow: .none) } == .escapes)
      #expect(code { _ = try root.openDirectory("usr/../../root", follow: .none) } == .escapes)
      #expect(try root.openDirectory("usr/../usr/lib", follow: .none).descriptor.status().kind == .directory)
    }
  }

  @Test(arguments: ways) func loopsEnd(walks: Bool) throws {
    try withRoot(walks) { root, _ in
      try root.symlink(target: "b", at: "a")
      try root.symlink(target: "a", at: "b")
      #expect(code { _ = try root.openFile("a") } == .symbolicLink)
      #expect(code { _ = try root.openFile("a/x") } == .symbolicLink)
      #expect(code { _ = try root.canonicalPath(of: "a/x") } == .symbolicLink)
    }
  }

  @Test(arguments: ways) func slashesDotsAndErrors(walks: Bool) throws {
    try withRoot(walks) { root, _ in
      for path in ["", ".", "/", "//", "./", "..", "/..", "usr/.."] { #expect(try root.status(path).inode == root.descriptor.status().inode, "\(path)") }
      #expect(try root.status("/usr/lib/").kind == .directory)
      #expect(try root.openDirectory("usr//lib///").descriptor.status().inode == root.status("usr/lib").inode)
      try root.openFile("file", flags: [.writeOnly, .create]).close()
      #expect(code { _ = try root.openFile("file/") } == .notDirectory)
      #expect(code { _ = try root.openFile("file/x") } == .notDirectory)
      #expect(code { _ = try root.openFile("none/x") } == .notFound)
      #expect(code { _ = try root.openDirectory("file") } == .notDirectory)
      #expect(code { _ = try root.openFile("file", flags: [.writeOnly, .create, .exclusive]) } == .exists)
      #expect(try root.statusIfPresent("file/x") == nil)
      #expect(try root.statusIfPresent("nothing/at/all") == nil)
      try root.symlink(target: "nowhere", at: "dangling")
      #expect(try root.status("dangling").kind == .symbolicLink)
      #expect(code { _ = try root.status("dangling", followLast: true) } == .notFound)
      #expect(code { _ = try root.openFile("dangling", flags: [.writeOnly, .create, .exclusive]) } == .exists)
      #expect(code { _ = try root.openFile("dangling", flags: [.readOnly, .noFollow]) } == .symbolicLink)
      #expect(try root.openFile("dangling", flags: [.path, .noFollow]).status().kind == .symbolicLink)
    }
  }

  @Test(arguments: ways) func operations(walks: Bool) throws {
    try withRoot(walks) { root, _ in
      try root.makeDirectories("a/b/c")
      try root.makeDirectories("a/b/c")
      try root.symlink(target: "/new/place", at: "dangling")
      try root.makeDirectories("dangling/x")
      #expect(try root.status("new/place/x").kind == .directory)
      try root.openFile("a/f", flags: [.writeOnly, .create]).write("1")
      try root.hardlink(from: "a/f", to: "a/b/g")
      #expect(try root.status("a/b/g").links == 2)
      try root.rename("a/b/g", to: "a/b/h")
      #expect(code { try root.rename("a/b/h", to: "a/f", mode: .noReplace) } == .exists)
      try root.setMode("a/f", 0o4751)
      try root.setTimes("a/f", accessed: nil, modified: -1_500_000_000)
      let status = try root.status("a/f")
      #expect(status.permissions == 0o4751 && status.mtime == -1_500_000_000 && status.size == 1)
      try root.symlink(target: "f", at: "a/l")
      try root.setTimes("a/l", accessed: 5, modified: 1_234_567_890_123_456_789)
      #expect(try root.status("a/l").mtime == 1_234_567_890_123_456_789)
      #expect(try root.status("a/f").mtime == -1_500_000_000)
      #expect(code { try root.setMode("a/l", 0o600) } == .notSupported)
      try root.makeNode("a/fifo", kind: .fifo, mode: 0o644)
      #expect(try Dictionary(uniqueKeysWithValues: root.entries("a").map { ($0.name, $0.kind) }) == ["b": .directory, "f": .regular, "l": .symbolicLink, "fifo": .fifo])
      #expect(code { try root.unlink("a") } == .isDirectory)
      #expect(code { try root.removeDirectory("a") } == .notEmpty)
      try root.removeTree("a")
      try root.removeTree("a")
      #expect(try root.statusIfPresent("a") == nil)
    }
  }

  @Test(.enabled(if: isRoot), arguments: ways) func ownersAndDevices(walks: Bool) throws {
    try withRoot(walks) { root, _ in
      try root.makeNode("null", kind: .characterDevice, mode: 0o666, device: DeviceNumber(major: 1, minor: 3))
      try root.makeNode("gone", kind: .characterDevice, mode: 0, device: DeviceNumber(major: 0, minor: 0))
      #expect(try root.status("null").rdev == DeviceNumber(major: 1, minor: 3))
      #expect(try root.status("gone").isWhiteout && !root.status("null").isWhiteout)
      try root.symlink(target: "null", at: "l")
      try root.setOwner("l", uid: 4_000_000_000, gid: 7)
      #expect(try root.status("l").uid == 4_000_000_000 && root.status("l").gid == 7)
      #expect(try root.status("null").uid == 0)
    }
  }

  @Test(arguments: ways) func attributes(walks: Bool) throws {
    try withRoot(walks) { root, _ in
      try root.openFile("usr/f", flags: [.writeOnly, .create]).close()
      try root.symlink(target: "f", at: "usr/l")
      let large = [UInt8](repeating: 7, count: 3000)
      try root.setXattr("usr/f", "user.large", large)
      try root.setXattr("usr/f", "user.empty", [])
      #expect(try root.xattr("usr/f", "user.large") == large)
      #expect(try root.xattr("usr/f", "user.empty") == [])
      #expect(try root.xattr("usr/f", "user.none") == nil)
      #expect(try Set(root.xattrNames("usr/f").filter { $0.hasPrefix("user.") }) == ["user.large", "user.empty"])
      try root.removeXattr("usr/f", "user.large")
      #expect(code { try root.removeXattr("usr/f", "user.large") } == .noAttribute)
      // user.* is not for symbolic links: an error shows that the link was not followed.
      #expect(code { try root.setXattr("usr/l", "user.x", [1]) } == .permission)
      if isRoot {
        try root.setXattr("usr/l", "trusted.t", [1, 2])
        #expect(try root.xattr("usr/l", "trusted.t") == [1, 2])
        #expect(try root.xattr("usr/f", "trusted.t") == nil)
      }
      try root.setXattr("usr", "user.dir", [9])
      #expect(try root.openDirectory("usr").xattr(".", "user.dir") == [9])
    }
  }

  @Test func canonicalPaths() throws {
    try withRoot(false) { root, _ in
      try root.symlink(target: "usr/lib", at: "lib")
      try root.symlink(target: "/opt/missing", at: "usr/m")
      let table = [
        ("", ""), ("/", ""), ("lib", "usr/lib"), ("lib/x/y", "usr/lib/x/y"), ("lib/../x", "usr/x"), ("usr/m/z", "opt/missing/z"), ("no/such/../way", "no/way"),
        ("no/such/../../lib/q", "usr/lib/q"), ("../../..", ""), ("usr/m/../../lib", "usr/lib"),
      ]
      for (path, expected) in table { #expect(try root.canonicalPath(of: path) == expected, "\(path)") }
    }
  }

  /// While one thread swaps a directory for a link to the outside, no open may ever reach the outside.
  @Test(arguments: ways) func swappingRace(walks: Bool) async throws {
    try await withScratch { path in
      try Files.makeDirectories(path + "/root/d")
      try Files.makeDirectories(path + "/out")
      try write("inside", path + "/root/d/f")
      try write("outside", path + "/out/f")
      let root = try Directory.open(path + "/root", walks: walks)
      try root.symlink(target: path + "/out", at: "evil")
      try root.symlink(target: "../out", at: "evil2")
      let swapper = Task {
        while !Task.isCancelled {
          try await Blocking.run {
            for evil in ["evil", "evil2"] {
              try root.rename("d", to: evil, mode: .exchange)
              try root.rename("d", to: evil, mode: .exchange)
            }
          }
        }
      }
      try await Blocking.run {
        var seen = 0
        for _ in 0..<20_000 {
          if let bytes = try? root.read("d/f", limit: 100) {
            seen += 1
            #expect(text(bytes) == "inside")
          }
        }
        #expect(seen > 0)
      }
      swapper.cancel()
      _ = try? await swapper.value
    }
  }
}
