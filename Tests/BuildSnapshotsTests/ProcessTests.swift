#if os(Linux)
  @testable import BuildSnapshots
  import ContentStore
  import GRDB
  import Glibc
  import HostOS
  import OCIModel
  import Testing

  @Suite struct CacheMountTests {
    private func path(_ mount: CacheMountRef) async throws -> String {
      guard case .bind(let path, false) = try await mount.mountPlan() else { return "" }
      return path
    }

    @Test func sharing() async throws {
      try await withScratch { scratch in
        let stores = try await [openRefs(scratch + "/root"), openRefs(scratch + "/root")]
        let a = try await stores[0].cacheMount(id: "go", sharing: .shared), b = try await stores[1].cacheMount(id: "go", sharing: .shared)
        let shared = try await path(a)
        #expect(try await path(b) == shared)
        try Files.writeAtomically(Array("x".utf8), to: shared + "/kept", durable: false)
        // Others have it: an instance of its own, and then another.
        let p = try await stores[0].cacheMount(id: "go", sharing: .private), q = try await stores[1].cacheMount(id: "go", sharing: .private)
        let paths = try await [path(a), path(p), path(q)]
        #expect(Set(paths).count == 3)
        #expect(try await path(stores[0].cacheMount(id: "other", sharing: .shared)) != paths[0])
        await p.release()
        // The instance is free again, and used again.
        let r = try await stores[1].cacheMount(id: "go", sharing: .private)
        #expect(try await path(r) == paths[1])
        for mount in [a, b, q, r] { await mount.release() }

        let held = try await stores[0].cacheMount(id: "apt", sharing: .locked)
        let heldPath = try await path(held)
        let (waits, tellsWait) = AsyncStream.makeStream(of: Void.self)
        let waiting = Task { try await stores[1].cacheMount(id: "apt", sharing: .locked, onWait: { tellsWait.yield() }) }
        for await _ in waits { break }
        await held.release()
        let next = try await waiting.value
        #expect(try await path(next) == heldPath)
        await next.release()
        for store in stores { try await store.close() }
        let again = try await openRefs(scratch + "/root")
        let kept = try await again.cacheMount(id: "go", sharing: .shared)
        #expect(try await path(kept) == paths[0] && Files.exists(paths[0] + "/kept"))
        await kept.release()
        try await again.close()
      }
    }

    @Test func beginsWithItsBase() async throws {
      try await withScratch { scratch in
        let refs = try await openRefs(scratch + "/root")
        let layer = try await makeLayer(scratch, "mkdir d; echo f > d/f; chmod 711 d")
        let base = try await refs.pull([layer], CountingProvider([layer]))
        let mount = try await refs.cacheMount(id: "c", sharing: .locked, base: base)
        #expect(try await listing(Directory.open(path(mount))) == base.listing())
        let other = try await refs.cacheMount(id: "c", sharing: .locked)
        #expect(try await listing(Directory.open(path(other))) == [])
        for mount in [mount, other] { await mount.release() }
        await base.release()
        try await refs.close()
      }
    }
  }

  /// Run by the suite below in other starts of this program.
  @Suite(.enabled(if: getenv("MANIFOLD_TEST_SNAPSHOTS") != nil)) struct OtherProcess {
    @Test func otherProcess() async throws {
      let root = String(cString: try #require(getenv("MANIFOLD_TEST_SNAPSHOTS")))
      let refs = try await openRefs(root)
      let layers = try await [makeLayer("/tmp", "echo a > a"), makeLayer("/tmp", "echo b > b")]
      let ref = try await refs.pull(layers, CountingProvider(layers))
      let mutable = try await refs.newMutable(parent: ref, description: "never committed")
      try await mutable.withMounted { try $0.makeDirectory("x") }
      let done = try await refs.newMutable(parent: ref, description: "retained").commit()
      try await refs.retain(done)
      let mount = try await refs.cacheMount(id: "held", sharing: .locked)
      try Files.writeAtomically(Array("\(getpid())".utf8), to: root + "/ready")
      try await Task.sleep(for: .seconds(60))
      await mount.release()
      await mutable.discard()
    }
  }

  /// Run by the suite below, several at once.
  @Suite(.enabled(if: getenv("MANIFOLD_TEST_UNPACK") != nil)) struct Unpackers {
    @Test func unpackBesideOthers() async throws {
      let root = String(cString: try #require(getenv("MANIFOLD_TEST_UNPACK")))
      let refs = try await openRefs(root)
      let layers = try await (0..<6).asyncMap { i in try await makeLayer("/tmp", "mkdir -p d; for j in $(seq 200); do echo \(i) > d/f\(i)-$j; done") }
      let provider = CountingProvider(layers)
      let ref = try await refs.pull(layers, provider)
      try await refs.retain(ref)
      for _ in 0..<1000 where !Files.exists(root + "/go") { try await Task.sleep(for: .milliseconds(5)) }
      #expect(try await ref.withMounted { try $0.entries("d").count } == 1200)
      try Files.writeAtomically(Array("\(provider.total)".utf8), to: "\(root)/fetched-\(getpid())")
      await ref.release()
      try await refs.close()
    }
  }

  @Suite(.serialized) struct ProcessTests {
    private func command(_ filter: String, _ environment: [String]) throws -> [String] {
      let program = try Directory.open("/").openDirectory("proc/self").readLink("exe")
      let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? program
      let arguments = (bundle.hasSuffix(".xctest") ? ["--test-bundle-path", bundle] : []) + ["--testing-library", "swift-testing", "--filter", filter]
      return ["env"] + environment + [program] + arguments
    }

    @Test func aKilledProcessLeavesNothing() async throws {
      try await withScratch { scratch in
        let root = scratch + "/root"
        let refs = try await openRefs(root)
        let command = try command("otherProcess", ["MANIFOLD_TEST_SNAPSHOTS=\(root)"])
        let other = Task { try await Processes.run(command[0], Array(command.dropFirst()), limit: 1 << 22) }
        for _ in 0..<2000 where !Files.exists(root + "/ready") { try await Task.sleep(for: .milliseconds(10)) }
        let pid = try #require(Int32(String(decoding: try Files.read(root + "/ready", limit: 100), as: UTF8.self)))
        // While it lives, its snapshots are its own.
        let beside = try await openRefs(root)
        #expect(try await beside.count("ref") == 4)
        // Where overlays cannot be mounted a tree is one directory, not one a layer.
        let isOverlay = beside.overlayProblem == nil
        #expect(try !isOverlay || beside.directories == 5)
        try await beside.close()
        try Processes.kill(pid, signal: SIGKILL)
        _ = try await other.value
        // The cache is free, and after the next open only what a record points at is left.
        let mount = try await refs.cacheMount(id: "held", sharing: .locked)
        await mount.release()
        let after = try await openRefs(root)
        #expect(try await after.count("ref") == 3)
        #expect(try await after.count("snapshot_holder") == 2)
        #expect(try !isOverlay || after.directories == 4)
        let id = try #require(try await after.store.read { try String.fetchOne($0, sql: "SELECT id FROM ref WHERE durable = 1") })
        let found = try #require(try await after.ref(id))
        #expect(try await found.listing().count == 2)
        await found.release()
        for store in [refs, after] { try await store.close() }
      }
    }

    /// What fills the disk goes before a row about it must be written, whether its writer gives it up or was killed.
    @Test func aFullDiskIsNoDeadEnd() async throws {
      try await withScratch { scratch in
        guard isRoot, mount("tmpfs", scratch, "tmpfs", 0, "size=4m") == 0 else { return print("SKIPPED aFullDiskIsNoDeadEnd: cannot mount a tmpfs here") }
        defer { umount2(scratch, Int32(MNT_DETACH)) }
        let root = scratch + "/root"
        let refs = try await openRefs(root)
        func fill(_ mutable: MutableRef) async throws {
          try await mutable.withMounted { tree in
            let file = try tree.openFile("big", flags: [.writeOnly, .create], mode: 0o644)
            let piece = [UInt8](repeating: 1, count: 4096)
            while (try? file.write(piece)) != nil {}
          }
        }
        let first = try await refs.newMutable(parent: nil, description: "first")
        try await fill(first)
        await #expect(throws: (any Error).self) { try await refs.newMutable(parent: nil, description: "no room") }
        await first.discard()
        let second = try await refs.newMutable(parent: nil, description: "second")
        // Its process is dead by now, as the rows have it.
        try await refs.store.write { try $0.execute(sql: "UPDATE snapshot_holder SET start = start + 1") }
        try await fill(second)
        let after = try await openRefs(root)
        #expect(try after.directories == 0)
        #expect(try await after.count("snapshot_holder") == 1)
        let kept = try await after.newMutable(parent: nil, description: "third").commit()
        await kept.release()
        try await after.close()
        await second.discard()
      }
    }

    @Test func processesUnpackOnceTogether() async throws {
      try await withScratch { scratch in
        let root = scratch + "/root"
        let command = try command("unpackBesideOthers", ["MANIFOLD_TEST_UNPACK=\(root)"])
        let refs = try await openRefs(root)
        try await withThrowingTaskGroup(of: ProcessOutput.self) { group in
          for _ in 0..<3 { group.addTask { try await Processes.run(command[0], Array(command.dropFirst()), limit: 1 << 22) } }
          for _ in 0..<2000 where try await refs.count("snapshot_holder") < 4 { try await Task.sleep(for: .milliseconds(10)) }
          try Files.writeAtomically([], to: root + "/go")
          for try await output in group { #expect(output.succeeded, "\(output.outputText) \(output.errorText)") }
        }
        #expect(try await refs.count("ref") == 6)
        #expect(try await refs.count("snapshot") == (refs.form == .plain ? 1 : 6))
        let fetched = try Directory.open(root).entries().filter { $0.name.hasPrefix("fetched-") }
        #expect(fetched.count == 3)
        let total = try fetched.reduce(0) { $0 + (Int(String(decoding: try Files.read(root + "/" + $1.name, limit: 10), as: UTF8.self)) ?? 100) }
        #expect(total == 6)
        try await refs.close()
      }
    }

    /// The suites about layers again, as root of a user namespace with one id, `nobody`'s.
    /// And as `nobody` without any namespace, where everything is a copy.
    @Test(.enabled(if: isRoot && !HostFacts.inUserNamespace && Processes.executablePath("su") != nil), arguments: [["MANIFOLD_STAGE=namespaces"], []])
    func asNobody(_ environment: [String]) async throws {
      let command = try command("ChangeTests|CacheMountTests|LayerTests", environment)
      let output = try await Processes.run(
        "su", ["-s", "/bin/sh", "nobody", "-c", command.map { "'\($0)'" }.joined(separator: " ")], workingDirectory: "/", limit: 1 << 24)
      #expect(output.succeeded && (output.outputText + output.errorText).contains("passed after"), "\(output.status) \(output.outputText) \(output.errorText)")
    }
  }
#endif
