#if os(Linux)
  @testable import HostOS
  import Glibc
  import Testing

  /// Real mounts; they need root (or to be run inside namespaces).
  @Suite(.enabled(if: isRoot), .serialized) struct MountTests {
    private var userXattr: Bool { HostFacts.inUserNamespace }

    private func layers(_ path: String, _ count: Int) throws -> [String] {
      try (0..<count).map { index in
        let layer = "\(path)/s/\(String(index, radix: 36))/fs"
        try Files.makeDirectories(layer)
        try write("\(index)", layer + "/f\(index)")
        try write("\(index)", layer + "/top")
        return layer
      }
    }

    @Test(arguments: [2, 127, 300]) func overlayOfAnyDepth(count: Int) throws {
      try withScratch { path in
        let lowers = try layers(path, count)
        for name in ["up", "work"] { try Files.makeDirectories(path + "/" + name) }
        let plan = MountPlan.overlay(lowers: lowers.reversed(), upper: path + "/up", work: path + "/work", userXattr: userXattr)
        let merged = try Mounts.open(plan)
        #expect(try text(merged.read("top", limit: 10)) == "\(count - 1)")
        #expect(try merged.entries().count == count + 1)
        try merged.unlink("f0")
        #expect(try Files.status(path + "/up/f0", followLast: false).isWhiteout)
        // Nothing shows in the namespace.
        #expect(Files.text("/proc/self/mounts")?.contains(path) == false)
        let view = try Mounts.open(plan.readOnly)
        #expect(try view.statusIfPresent("f0") == nil)
        #expect(code { try view.makeDirectory("x") } == .readOnly)
      }
    }

    @Test func theOlderWayWorksToo() throws {
      try withScratch { path in
        let lowers = try layers(path, 300)
        for name in ["up", "work", "mnt"] { try Files.makeDirectories(path + "/" + name) }
        let plan = MountPlan.overlay(lowers: lowers.reversed(), upper: path + "/up", work: path + "/work", userXattr: userXattr, volatile: true)
        for _ in 0..<2 {
          try Mounts.mountLegacy(plan, at: path + "/mnt")
          #expect(try text(Files.read(path + "/mnt/top", limit: 10)) == "299")
          try Mounts.unmount(path + "/mnt")
        }
        try Mounts.mountLegacy(.bind(path: lowers[0], readOnly: true), at: path + "/mnt")
        #expect(code { try Files.makeDirectories(path + "/mnt/x") } == .readOnly)
        try Mounts.unmount(path + "/mnt")
        #expect(code { try Mounts.unmount(path + "/mnt") } == .invalid)
      }
    }

    @Test func tooManyLayersAreRefusedInWords() throws {
      let plan = MountPlan.overlay(lowers: Array(repeating: "/x", count: 501), upper: nil, work: nil, userXattr: false)
      #expect(code { _ = try Mounts.open(plan) } == .unavailable)
    }

    @Test func mountingAndVolatile() throws {
      try withScratch { path in
        let lowers = try layers(path, 3)
        for name in ["up", "work", "mnt"] { try Files.makeDirectories(path + "/" + name) }
        let plan = MountPlan.overlay(lowers: lowers, upper: path + "/up", work: path + "/work", userXattr: userXattr, volatile: true)
        // Volatile refuses the same work directory twice unless its mark is taken away.
        for round in 0..<3 {
          try Mounts.mount(plan, at: path + "/mnt")
          try write("\(round)", path + "/mnt/r\(round)")
          try Mounts.unmount(path + "/mnt", detach: false)
        }
        #expect(try Directory.open(path + "/up").entries().count == 3)
        try Mounts.mount(.tmpfs(size: 1 << 20), at: path + "/mnt")
        #expect(try FileSystemFacts.of(path + "/mnt").kind == .tmpfs)
        #expect(try FileSystemFacts.of(path + "/mnt").totalBytes == 1 << 20)
        try Mounts.unmount(path + "/mnt")
      }
    }

    @Test func bindsOfFilesAndSubtrees() throws {
      try withScratch { path in
        let lowers = try layers(path, 1)
        try write("target", path + "/file")
        try Mounts.mount(.bind(path: lowers[0] + "/f0", readOnly: true), at: path + "/file")
        #expect(try text(Files.read(path + "/file", limit: 10)) == "0")
        #expect(code { _ = try Descriptor.open(path + "/file", flags: .writeOnly) } == .readOnly)
        try Mounts.unmount(path + "/file")
        // A link in the tree that leads out is resolved inside it.
        let tree = try Mounts.open(.bind(path: path + "/s", readOnly: false))
        try tree.symlink(target: "/0/fs", at: "link")
        let sub = try Mounts.bindTree("link", beneath: tree, readOnly: true)
        #expect(try text(Directory(sub).read("f0", limit: 10)) == "0")
        #expect(code { try Directory(sub).makeDirectory("x") } == .readOnly)
      }
    }

    @Test func probing() throws {
      try withScratch { path in
        #expect(OverlaySupport.probe(in: path) == .works(userXattr: userXattr))
        let lowers = try layers(path, 2)
        for name in ["up", "work", "mnt"] { try Files.makeDirectories(path + "/" + name) }
        try Mounts.mount(.overlay(lowers: lowers, upper: path + "/up", work: path + "/work", userXattr: userXattr), at: path + "/mnt")
        defer { try? Mounts.unmount(path + "/mnt") }
        guard case .impossible(let reason) = OverlaySupport.probe(in: path + "/mnt") else { return #expect(Bool(false), "overlay on overlay") }
        #expect(reason.contains("overlay"))
        #expect(try Directory.open(path).entries().count == 4)
      }
    }

    @Test func commonDirectories() {
      #expect(Mounts.commonDirectory(["/a/b/c/fs", "/a/b/d/fs"]) == "/a/b")
      #expect(Mounts.commonDirectory(["/a/b"]) == "/a")
      #expect(Mounts.commonDirectory(["/a/b", "/c"]) == "/")
    }
  }
#endif
