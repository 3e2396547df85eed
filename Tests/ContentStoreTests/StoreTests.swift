@testable import ContentStore
import GRDB
import HostOS
import OCIModel
import Testing

#if canImport(Glibc)
import Glibc
#endif

@Suite struct StoreTests {
  @Test func layoutAndReopening() async throws {
    try await withRoot { root in
      let store = try await ContentStore.open(root: root + "/deep/er")
      #expect(try names(root + "/deep/er").filter { !$0.hasPrefix("manifold.db-") } == ["ballast", "blobs", "idmap", "ingest", "locks", "manifold.db"])
      try await store.close()
      let again = try await ContentStore.open(root: root + "/deep/../deep/er/")
      #expect(again.root == store.root)
      try await again.close()
    }
  }

  @Test func defaultRoots() throws {
    let all = ["MANIFOLD_ROOT": "/m", "XDG_DATA_HOME": "/x", "HOME": "/h"]
    #expect(try StoreLayout.defaultRoot(environment: all, isSystem: true) == "/m")
    #expect(try StoreLayout.defaultRoot(environment: ["XDG_DATA_HOME": "/x", "HOME": "/h"], isSystem: false) == "/x/manifold")
    #expect(try StoreLayout.defaultRoot(environment: ["XDG_DATA_HOME": "x", "HOME": "/h"], isSystem: false) == "/h/.local/share/manifold")
    #expect(try StoreLayout.defaultRoot(environment: ["HOME": "/h"], isSystem: true) == "/var/lib/manifold")
    #expect(throws: StoreError.self) { try StoreLayout.defaultRoot(environment: [:], isSystem: false) }
  }

  @Test("any number of processes may make and open a root at once") func openedByMany() async throws {
    try await withRoot { root in
      let counted = StoreMigration("counter", 1, sql: "CREATE TABLE counter (n INTEGER NOT NULL); INSERT INTO counter VALUES (0)")
      let stores = try await withThrowingTaskGroup(of: ContentStore.self) { group in
        for _ in 0..<12 { group.addTask { try await ContentStore.open(root: root, migrations: [counted]) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for store in stores {
          for _ in 0..<10 { group.addTask { try await store.write { try $0.execute(sql: "UPDATE counter SET n = n + 1") } } }
        }
        try await group.waitForAll()
      }
      #expect(try await stores[0].read { try Int.fetchOne($0, sql: "SELECT n FROM counter") } == 120)
      for store in stores { try await store.close() }
    }
  }

  @Test func migrationsOfComponents() async throws {
    let one = StoreMigration("other", 1, sql: "CREATE TABLE a (x)"), two = StoreMigration("other", 2, sql: "ALTER TABLE a ADD COLUMN y")
    try await withRoot { root in
      try await ContentStore.open(root: root).close()
      try await ContentStore.open(root: root, migrations: [one]).close()
      let store = try await ContentStore.open(root: root, migrations: [two, one])
      #expect(try await store.read { try $0.columns(in: "a").map(\.name) } == ["x", "y"])
      try await store.close()
      // Who does not know the component does not mind; who knows an older one does.
      try await ContentStore.open(root: root).close()
      await expectStoreError(.newerSchema, "newer manifold (other 2, known 1)") { try await ContentStore.open(root: root, migrations: [one]) }
      await expectStoreError(.invalid, "not numbered from 1") { try await ContentStore.open(root: root, migrations: [two]) }
    }
  }

  @Test func newerFormat() async throws {
    try await withRoot { root in
      let store = try await ContentStore.open(root: root)
      try await store.write { try $0.execute(sql: "PRAGMA user_version = 99") }
      try await store.close()
      await expectStoreError(.newerSchema, "use that version, or another --root") { try await ContentStore.open(root: root) }
    }
  }

  @Test func aMigrationThatFailsLeavesNothing() async throws {
    struct Broken: Error {}
    try await withRoot { root in
      let broken = StoreMigration("b", 1) { db in
        try db.execute(sql: "CREATE TABLE b (x)")
        throw Broken()
      }
      await #expect(throws: (any Error).self) { try await ContentStore.open(root: root, migrations: [broken]) }
      let store = try await ContentStore.open(root: root)
      #expect(try await store.read { try $0.tableExists("b") } == false)
      try await store.close()
    }
  }

  @Test func damagedDatabase() async throws {
    try await withRoot { root in
      try await ContentStore.open(root: root).close()
      // Without its log, which holds a whole copy of so young a database.
      for suffix in ["-wal", "-shm"] { try Files.removeTree(root + "/manifold.db" + suffix) }
      try Files.writeAtomically(Array("this is no database, however one looks at it".utf8) + [UInt8](repeating: 0, count: 8192), to: root + "/manifold.db")
      await expectStoreError(.corrupt, "is damaged") { try await ContentStore.open(root: root) }
    }
  }

  @Test func refusals() async throws {
    try await withRoot { root in
      let file = root + "/file"
      try Files.writeAtomically([], to: file)
      await expectStoreError(.system) { try await ContentStore.open(root: file) }
      await expectStoreError(.networkFilesystem, "network filesystem (nfs)") { try RootChecks.refuseNetwork("/x", kind: .nfs) }
      try RootChecks.refuseNetwork("/x", kind: .ext)
      try RootChecks.checkIDMap(root, users: .initial, groups: .initial)
      try RootChecks.checkIDMap(root, users: .initial, groups: .initial)
      let other = IDMap([.init(inside: 0, outside: 1000, count: 1), .init(inside: 1, outside: 100_000, count: 65536)])
      await expectStoreError(.otherIDMap, "uid 0 1000 1, uid 1 100000 65536") { try RootChecks.checkIDMap(root, users: other, groups: other) }
    }
    if HostFacts.isRoot, Files.exists("/proc/sys") {
      await expectStoreError(.notFound) { try await ContentStore.open(root: "/proc/manifold-root") }
    }
  }

  @Test func fullDisk() async throws {
    // A tiny tmpfs, if the test may mount one.
    try await withRoot { root in
      guard HostFacts.isRoot, mount("tmpfs", root, "tmpfs", 0, "size=3m") == 0 else { return print("SKIPPED fullDisk: cannot mount a tmpfs here") }
      defer { umount2(root, Int32(MNT_DETACH)) }
      let store = try await ContentStore.open(root: root)
      let small = try await store.put(Array("small".utf8))
      await expectStoreError(.noSpace, "no space left on the device that holds \(root)") {
        let writer = try store.writer()
        for _ in 0..<64 { try writer.write([UInt8](repeating: 1, count: 65536)) }
      }
      #expect(try names(root + "/ingest") == [] && store.bytes(small.digest, limit: 10) == Array("small".utf8))
      // Nor is a part kept to be taken up later: it would be what fills the disk.
      await expectStoreError(.noSpace) {
        guard let writer = try await store.writer(for: .sha256(of: "promised"), size: 1 << 30) else { return }
        for _ in 0..<64 { try writer.write([UInt8](repeating: 1, count: 65536)) }
      }
      #expect(try names(root + "/ingest") == [])
      let again = try await store.put(Array("smaller".utf8))
      #expect(store.contains(again.digest))
      try await store.close()
    }
  }
}

@Suite struct LeaseTests {
  @Test func leftoversOfTheDeadAreSwept() async throws {
    try await withRoot { root in
      let store = try await ContentStore.open(root: root)
      let child = try Child("sleep", ["1000"])
      let start = try #require(ProcessIdentity.startTime(of: child.pid))
      let me = ProcessIdentity.current
      let alive = "tmp.\(child.pid).\(start).\(me.pidNamespace).\(me.bootID).a", otherBoot = "tmp.\(child.pid).\(start).\(me.pidNamespace).another-boot.b"
      for name in [alive, otherBoot, "sha256-\(String(repeating: "a", count: 64)).part", "sha256-\(String(repeating: "b", count: 64)).part"] {
        try Files.writeAtomically([1], to: root + "/ingest/" + name)
      }
      try Directory.open(root + "/ingest").setTimes("sha256-\(String(repeating: "b", count: 64)).part", accessed: 0, modified: 0)
      let mine = try await store.lease("mine")
      try await mine.pin([.sha256(of: "x")])
      try await store.write { db in
        try db.execute(sql: "INSERT INTO lease VALUES ('c', 'child', 1, ?, ?, ?, ?)", arguments: [child.pid, Int64(start), me.bootID, Int64(me.pidNamespace)])
        try db.execute(sql: "INSERT INTO lease_item VALUES ('c', 'ref', 'r')")
      }
      try await ContentStore.open(root: root).close()
      #expect(try names(root + "/ingest") == ["sha256-\(String(repeating: "a", count: 64)).part", alive])
      #expect(try await store.read { try Lease.pinned($0, "ref") } == ["r"])
      child.kill()
      try await ContentStore.open(root: root).close()
      #expect(try names(root + "/ingest") == ["sha256-\(String(repeating: "a", count: 64)).part"])
      #expect(try await store.read { try Lease.pinned($0, "ref") } == [])
      #expect(try await store.read { try Lease.pinned($0, "blob") } == [Digest.sha256(of: "x").description])
      try await mine.release()
      try await store.close()
    }
  }

  @Test func heldForTheLengthOfTheWork() async throws {
    struct Failure: Error {}
    try await withStore { store in
      let count = { try await store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM lease") } }
      #expect(try await store.withLease("build") { _ in try await count() } == 1)
      await #expect(throws: Failure.self) { try await store.withLease("build") { _ in throw Failure() } }
      let task = Task {
        try await store.withLease("build") { _ in try await Task.sleep(for: .seconds(60)) }
      }
      while try await count() == 0 { await Task.yield() }
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(try await count() == 0)
    }
  }
}

private actor Inside {
  private(set) var most = 0
  private var now = 0
  func enter() { now += 1; most = max(most, now) }
  func leave() { now -= 1 }
}

@Suite struct KeyLockTests {
  @Test("work on a key is done by one at a time, among stores too") func exclusion() async throws {
    try await withRoot { root in
      let stores = try await [ContentStore.open(root: root), ContentStore.open(root: root)]
      let inside = Inside()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for i in 0..<40 {
          group.addTask {
            try await stores[i % 2].locks.withLock("key") {
              await inside.enter()
              try await Task.sleep(for: .microseconds(200))
              await inside.leave()
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(await inside.most == 1)
      for store in stores { try await store.close() }
    }
  }

  @Test("a lock ends with its process") func killed() async throws {
    try await withStore { store in
      let offset = KeyLocks.offset("key")
      let script = """
        import fcntl,struct,sys,time
        f=open(sys.argv[1],'r+b')
        fcntl.fcntl(f,38,struct.pack('hhqqixxxx',fcntl.F_WRLCK,0,int(sys.argv[2]),1,0))
        print('held',flush=True); time.sleep(1000)
        """
      guard let child = try Child.start("python3", ["-c", script, store.root + "/locks/keys", String(offset)]) else { return print("SKIPPED killed: no python3") }
      #expect(try child.line() == "held")
      #expect(try store.locks.tryLock("key") == nil)
      #expect(try store.locks.tryLock("another") != nil)
      let (waits, told) = AsyncStream.makeStream(of: Void.self)
      let task = Task { try await store.locks.withLock("key", onWait: { told.yield() }) { true } }
      for await _ in waits { break }
      child.kill()
      #expect(try await task.value)
    }
  }

  @Test func offsets() {
    #expect((0..<1000).allSatisfy { KeyLocks.offset("k\($0)") >= 0 && KeyLocks.offset("k\($0)") < 1 << 62 })
    #expect(KeyLocks.offset("") == Int64(0xe3b0_c442_98fc_1c14 as UInt64 >> 2))
  }
}
