package import BuildInterface
internal import BuildSnapshots
internal import ContentStore
internal import GRDB
internal import HostOS
internal import OCIModel
internal import Synchronization

/// Reads a store again: the database, every blob against its digest, every snapshot against what was recorded of it when it was made, every image down to its layers,
/// every cached result for its content. Builds may go on meanwhile.
struct StoreVerification: Sendable {
  let store: ContentStore
  let refs: RefStore
  let collector: StoreCollector
  let repairs: Bool

  func run() async throws -> StoreReport {
    var report = StoreReport()
    try await Blocking.run { try store.reconcileBlobs() }
    try await checkDatabase(&report)
    try await checkBlobs(&report)
    try await checkSnapshots(&report)
    try await checkRefs(&report)
    // After the blobs: what is gone by now is missing from them.
    try await checkImages(&report)
    return report
  }

  private func add(_ report: inout StoreReport, _ kind: String, _ item: String, _ problem: String, repair: () async throws -> String?) async {
    var done: String?
    if repairs { do { done = try await repair() } catch { done = "cannot be mended: \(error)" } }
    report.findings.append(StoreFinding(kind: kind, item: item, problem: problem, repair: done))
  }

  private func checkDatabase(_ report: inout StoreReport) async throws {
    let (problems, strangers) = try await store.read { db in
      (try String.fetchAll(db, sql: "PRAGMA integrity_check(20)").filter { $0 != "ok" }, try Row.fetchAll(db, sql: "PRAGMA foreign_key_check").prefix(20).map { "a row of \($0[0] as String) refers to one of \($0[2] as String) that there is none of" })
    }
    for problem in problems + strangers {
      await add(&report, "database", store.root + "/" + StoreLayout.database, problem) {
        try await store.write { try $0.execute(sql: "REINDEX") }
        return "indexes were made anew; if it is still damaged, remove the file: the cache and the images' names start anew"
      }
    }
  }

  // MARK: - Blobs

  private func checkBlobs(_ report: inout StoreReport) async throws {
    let store = store
    let files = try await Blocking.run { try store.blobFiles() }
    let bytes = Mutex<Int64>(0)
    let broken = try await inParallel(files) { file -> (Digest, String)? in
      do {
        let problem = try Self.problem(of: file.digest, in: store) { count in bytes.withLock { $0 += count } }
        return problem.map { (file.digest, $0) }
      } catch let error as StoreError where error.code == .notFound {
        // Collected meanwhile.
        return nil
      }
    }
    report.blobs += files.count
    report.bytes += bytes.withLock { $0 }
    for (digest, problem) in broken {
      await add(&report, "blob", digest.description, problem) {
        try await Blocking.run { try store.discardBlob(digest) }
        return "removed"
      }
    }
    for path in try await Blocking.run({ try store.strangers() }) {
      await add(&report, "blob", path, "is no blob: it has no digest for its name") {
        try await Blocking.run { try Files.removeTree(path) }
        return "removed"
      }
    }
  }

  /// Blocks.
  private static func problem(of digest: Digest, in store: ContentStore, _ count: (Int64) -> Void) throws -> String? {
    let blob = try store.reader(digest)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { buffer.deallocate() }
    var hasher = DigestHasher(digest.algorithm)
    do {
      while true {
        let n = try blob.descriptor.readFully(into: buffer, at: hasher.count)
        if n == 0 { break }
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
        count(Int64(n))
        try Task.checkCancellation()
      }
    } catch let error as HostError { return "cannot be read: \(error)" }
    let found = hasher.finish()
    return found == digest ? nil : "is damaged: its content is that of \(found)"
  }

  // MARK: - Snapshots

  private func checkSnapshots(_ report: inout StoreReport) async throws {
    let recorded = try await refs.recorded()
    let bytes = Mutex<Int64>(0)
    let broken = try await inParallel(recorded) { item -> (RefStore.Recorded, String)? in
      let problem = Self.problem(of: item) { count in bytes.withLock { $0 += count } }
      return problem.map { (item, $0) }
    }
    report.snapshots += recorded.count
    report.bytes += bytes.withLock { $0 }
    for (item, problem) in broken {
      // Removed while it was read.
      guard try await refs.isRecorded(item.snapshot) else { continue }
      let name = item.path + (item.description.isEmpty ? "" : " (\(item.description))")
      await add(&report, "snapshot", name, problem) {
        try await refs.discardDamaged(item.snapshot) ? "removed" : "a running build stands on it: try again when that has ended"
      }
    }
  }

  /// Blocks.
  private static func problem(of item: RefStore.Recorded, _ count: (Int64) -> Void) -> String? {
    do {
      guard try Files.status(item.path + "/fs").kind == .directory else { return "is no directory" }
      if let fingerprint = item.fingerprint, !item.isCacheMount, try Files.usage(item.path).fingerprint != fingerprint {
        return "has been changed since it was made: a name, a size, a time or a mode is another"
      }
      try read(Directory.open(item.path + "/fs"), depth: 0, count)
      return nil
    } catch let error as HostError where error.code == .notFound {
      return "is missing"
    } catch { return "cannot be read: \(error)" }
  }

  private static func read(_ directory: Directory, depth: Int, _ count: (Int64) -> Void) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { buffer.deallocate() }
    for entry in try directory.entries() {
      try Task.checkCancellation()
      guard let status = try directory.statusIfPresent(entry.name) else { continue }
      switch status.kind {
      case .directory where depth < 500:
        do { try read(try directory.openDirectory(entry.name, follow: .none), depth: depth + 1, count) } catch let error as HostError where error.code == .permission {}
      case .regular:
        do {
          let file = try directory.openFile(entry.name, flags: [.readOnly, .noFollow], follow: .none)
          var offset: Int64 = 0
          while case let n = try file.readFully(into: buffer, at: offset), n > 0 { offset += Int64(n) }
          count(offset)
        } catch let error as HostError where error.code == .permission || error.code == .notFound {
          // A step may take its own rights away, and a cache directory changes.
        }
      default: break
      }
    }
  }

  // MARK: - Refs and images

  private func checkRefs(_ report: inout StoreReport) async throws {
    report.refs += try await store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM ref") ?? 0 }
    for ref in try await refs.contentless() {
      await add(&report, "ref", ref.id + (ref.description.isEmpty ? "" : " (\(ref.description))"), "has neither files nor a blob") { "removed from the cache" }
    }
    guard repairs else { return }
    try await refs.discardContentless()
    // Records of results that are gone are let go when they are looked at; now that all are, they can go at once.
    try await store.write { db in
      let stale = try String.fetchAll(
        db, sql: "SELECT DISTINCT id FROM cache_result WHERE id <> ? AND NOT EXISTS (SELECT 1 FROM ref WHERE ref.id = cache_result.id)", arguments: [TreeResult.scratchID])
      for id in stale { try SQLiteCacheKeyStorage.release(id, db) }
    }
  }

  private func checkImages(_ report: inout StoreReport) async throws {
    let store = store
    let images = try await store.read { try ContentStore.images($0) }
    report.images += images.count
    for image in images {
      let problem = await Blocking.result { () -> String? in
        let closure = try store.closure(of: image.descriptor)
        // Of an index only some platforms may have been pulled.
        let isPartial = closure.documents.contains { $0.mediaType.isManifest && $0.attestedDigest == nil }
        let missing = closure.missing.filter { !(isPartial && $0.mediaType.isManifest) }
        guard let first = missing.first else { return nil }
        let more = missing.count > 1 ? " and \(missing.count - 1) more" : ""
        return "lacks \(first.digest) (\(first.mediaType), \(first.size) bytes)\(more)"
      }
      guard let problem else { continue }
      await add(&report, "image", image.name, problem) {
        _ = try await collector.removeImage(Reference(parsing: image.name))
        return "its name was taken away: build or pull it again"
      }
    }
  }

  /// Those of the items with which something is wrong, in their order.
  private func inParallel<Item: Sendable, Problem: Sendable>(_ items: [Item], _ check: @escaping @Sendable (Item) throws -> Problem?) async throws -> [Problem] {
    let limiter = AsyncLimiter(max(2, HostFacts.cores))
    return try await withThrowingTaskGroup(of: (Int, Problem)?.self) { group in
      for (i, item) in items.enumerated() {
        group.addTask { try await limiter.run { try await Blocking.run { try check(item).map { (i, $0) } } } }
      }
      var found: [(Int, Problem)] = []
      for try await problem in group { if let problem { found.append(problem) } }
      return found.sorted { $0.0 < $1.0 }.map(\.1)
    }
  }
}

extension Blocking {
  /// A check's answer, or its error in words.
  fileprivate static func result(_ body: @escaping @Sendable () throws -> String?) async -> String? {
    do { return try await run(body) } catch { return "cannot be read: \(error)" }
  }
}

extension Engine {
  /// Reads the whole store again. With `repair`, what is broken goes.
  package func verifyStore(repair: Bool) async throws -> StoreReport {
    do { return try await StoreVerification(store: store, refs: refs, collector: collector, repairs: repair).run() } catch { throw ErrorTranslation.buildError(error) }
  }
}
