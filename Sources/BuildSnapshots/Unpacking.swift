import ContentStore
import GRDB
import HostOS
import LayerArchive
import OCIModel
import Synchronization

/// Makes the directories of a chain. Locks are taken from the bottom of a chain up, so that two chains that share layers cannot wait for each other.
struct Unpacking: Sendable {
  let refs: RefStore
  let id: String
  let providers: [Digest: any LayerProvider]
  private var store: ContentStore { refs.store }
  private var form: SnapshotForm { refs.form }

  init(_ refs: RefStore, id: String, providers: [Digest: any LayerProvider]) { (self.refs, self.id, self.providers) = (refs, id, providers) }

  /// Which layers of a chain (bottommost first) must be had from blobs before it can be mounted.
  static func missing(_ rows: [RefRow], form: SnapshotForm) -> [Int] {
    let base = rows.lastIndex { $0.flat != nil } ?? -1
    if !form.isOverlay { return base + 1 < rows.count ? Array(base + 1..<rows.count) : [] }
    var missing: [Int] = []
    for i in rows.indices.reversed() {
      if rows[i].layerSnapshot(form) != nil { continue }
      if rows[i].flat != nil { break }
      missing.append(i)
    }
    return missing.reversed()
  }

  /// What to mount, the topmost first. `rows` lack nothing.
  private func directories(of rows: ArraySlice<RefRow>) -> [String] {
    if !form.isOverlay { return rows.last?.flat.map { [refs.tree($0.id)] } ?? [] }
    var out: [String] = []
    for row in rows.reversed() {
      if let layer = row.layerSnapshot(form) {
        out.append(refs.tree(layer))
      } else if let flat = row.flat {
        return out + [refs.tree(flat.id)]
      }
    }
    return out
  }

  private func rows() async throws -> [RefRow] {
    let id = id
    let rows = try await store.read { try RefRow.chain($0, id) }
    if rows.isEmpty { throw RefStore.notFound(id) }
    return rows
  }

  func directories() async throws -> [String] {
    let rows = try await rows()
    let missing = Self.missing(rows, form: form)
    if missing.isEmpty { return directories(of: rows[...]) }
    return form.isOverlay ? try await unpackLayers(rows, missing) : try await unpackTree(rows)
  }

  private func lock(_ row: RefRow) async throws -> FileLock { try await store.locks.lock("snapshot:\(form.rawValue):\(row.chain?.description ?? row.id)") }

  /// What others made meanwhile, for this ref or for another of the same content.
  private func refresh(_ rows: [RefRow], _ indices: [Int]) async throws -> [RefRow] {
    let ids = indices.map { rows[$0].id }
    let id = id
    return try await store.write { db in
      for id in ids { try refs.adopt(db, id) }
      return try RefRow.chain(db, id)
    }
  }

  // MARK: - Overlay: one directory a layer

  /// A layer that is unpacked and not looked at by anyone yet.
  private struct Unpacked: Sendable {
    var snapshot: Int64
    var implicitParents: [ByteString]
  }

  private func unpackLayers(_ stale: [RefRow], _ candidates: [Int]) async throws -> [String] {
    var locks: [Int: FileLock] = [:]
    defer { for lock in locks.values { lock.release() } }
    for i in candidates { locks[i] = try await lock(stale[i]) }
    let rows = try await refresh(stale, candidates)
    guard rows.count == stale.count else { throw RefStore.notFound(id) }
    let missing = Self.missing(rows, form: form)
    for i in candidates where !missing.contains(i) { locks.removeValue(forKey: i)?.release() }
    guard let first = missing.first else { return directories(of: rows[...]) }
    let blobs = try await blobs(of: missing.map { rows[$0].id })
    let below = first > 0 ? directories(of: rows[..<first]) : []
    var waiting = missing[...]
    var ready = rows
    var done: [Int: Unpacked] = [:]
    let made = MadeSnapshots()
    do {
      try await withThrowingTaskGroup(of: (Int, Unpacked).self) { group in
        for i in missing {
          group.addTask {
            let blob = try await fetch(rows[i], blobs[rows[i].id] ?? [])
            return try await refs.unpacking.run {
              // The lowest sees what is below it; the others are mended when that is there.
              (i, try await unpack(rows[i], blob, lower: i == first ? .ready(below) : .later, made))
            }
          }
        }
        for try await (i, unpacked) in group {
          done[i] = unpacked
          while let next = waiting.first, let unpacked = done.removeValue(forKey: next) {
            let blob = try await fetch(rows[next], blobs[rows[next].id] ?? [])
            let below = next > 0 ? directories(of: ready[..<next]) : []
            let snapshot = next == first ? unpacked.snapshot : try await settle(rows[next], blob, unpacked, below, made)
            try await refs.markReady(snapshot, ref: rows[next], form: form)
            made.remove(snapshot)
            ready[next].snapshot = SnapshotRow(id: snapshot, form: form)
            locks.removeValue(forKey: next)?.release()
            waiting.removeFirst()
          }
        }
      }
    } catch {
      await refs.abandon(made.all)
      throw error
    }
    return directories(of: ready[...])
  }

  private enum Below: Sendable {
    case ready([String])
    case later
  }

  /// Into a directory of its own. What could not be done without the layers below is left for `settle`.
  private func unpack(_ row: RefRow, _ blob: OCIModel.Descriptor, lower: Below, _ made: MadeSnapshots) async throws -> Unpacked {
    let snapshot = try await refs.newSnapshot(form: form)
    made.insert(snapshot)
    let parents = try await blocking { isCancelled -> [ByteString] in
      try refs.makeDirectory(snapshot)
      let view: LowerView =
        switch lower {
        case .ready(let directories): directories.isEmpty ? .none : .view(try refs.open(directories))
        case .later: .later
        }
      do {
        return try apply(row, blob, to: snapshot, form: .overlay(userXattr: form == .overlayUser, lower: view), isCancelled)
      } catch let error as SnapshotError {
        guard let cause = error.cause as? LayerArchiveError, cause.code == .needsLowerView else { throw error }
        return []
      }
    }
    return Unpacked(snapshot: snapshot, implicitParents: parents)
  }

  /// Everything below is ready: gives directories that the layer only passed through their metadata, or unpacks it again, looking at them.
  private func settle(_ row: RefRow, _ blob: OCIModel.Descriptor, _ unpacked: Unpacked, _ below: [String], _ made: MadeSnapshots) async throws -> Int64 {
    let isSettled = try await blocking { isCancelled -> Bool in
      // Nothing at all was listed when it broke off.
      guard !unpacked.implicitParents.isEmpty else { return false }
      let tree = try Directory.open(refs.tree(unpacked.snapshot))
      // The root's own metadata is the same in all layers; for what lies deeper the layers are looked at together.
      let lower = unpacked.implicitParents.allSatisfy(\.isEmpty) ? try Directory.open(below[0]) : try refs.open(below)
      do {
        try applier(.overlay(userXattr: form == .overlayUser, lower: .later)).reconcile(unpacked.implicitParents, in: tree, lower: lower)
        return true
      } catch let error as LayerArchiveError where error.code == .needsLowerView { return false }
    }
    if isSettled { return unpacked.snapshot }
    await refs.abandon([unpacked.snapshot])
    made.remove(unpacked.snapshot)
    return try await unpack(row, blob, lower: .ready(below), made).snapshot
  }

  // MARK: - Plain: one directory for the whole tree

  private func unpackTree(_ stale: [RefRow]) async throws -> [String] {
    let lock = try await lock(stale[stale.count - 1])
    defer { lock.release() }
    let rows = try await refresh(stale, Array(stale.indices))
    let missing = Self.missing(rows, form: form)
    guard let first = missing.first, let last = rows.last else { return directories(of: rows[...]) }
    let blobs = try await blobs(of: missing.map { rows[$0].id })
    let fetched = try await withThrowingTaskGroup(of: (Int, OCIModel.Descriptor).self) { group in
      for i in missing { group.addTask { (i, try await fetch(rows[i], blobs[rows[i].id] ?? [])) } }
      var out: [Int: OCIModel.Descriptor] = [:]
      for try await (i, blob) in group { out[i] = blob }
      return out
    }
    let snapshot = try await refs.newSnapshot(form: .plain)
    do {
      try await refs.unpacking.run {
        try await blocking { isCancelled in
          try refs.makeDirectory(snapshot)
          if first > 0, let base = rows[first - 1].flat {
            try TreeCopy(from: Directory.open(refs.tree(base.id)), to: Directory.open(refs.tree(snapshot)), isCancelled: isCancelled).copy()
          }
          for i in missing { if let blob = fetched[i] { _ = try apply(rows[i], blob, to: snapshot, form: .plain, isCancelled) } }
        }
      }
      try await refs.markReady(snapshot, ref: last, form: .plain)
    } catch {
      await refs.abandon([snapshot])
      throw error
    }
    return [refs.tree(snapshot)]
  }

  // MARK: - One layer

  private func applier(_ form: LayerApplier.Form) -> LayerApplier { LayerApplier(form: form, ownership: RefStore.ownership) }

  /// Blocks. Throws `diffIDMismatch`.
  private func apply(
    _ row: RefRow, _ blob: OCIModel.Descriptor, to snapshot: Int64, form: LayerApplier.Form, _ isCancelled: @escaping () -> Bool
  ) throws -> [ByteString] {
    let result: ApplyResult
    do {
      let reader = try store.reader(blob.digest)
      var applier = applier(form)
      applier.isWindows = try row.system == .windows || row.system == .untold && refs.system(ofBlob: blob, ref: row.id) == .windows
      applier.decompressionLimits.packedSize = reader.size
      result = try applier.apply(PositionedSource(reader.descriptor, count: reader.size), to: Directory.open(refs.tree(snapshot)), isCancelled: isCancelled)
    } catch let error as LayerArchiveError {
      if (error.cause as? HostError)?.code == .noSpace {
        throw SnapshotError(
          .system,
          "cannot unpack the layer \(blob.digest): it needs more than \(refs.currentUsage(snapshot)) bytes, and no space is left on the device that holds \(store.root): free some, or put the store elsewhere with --root",
          ref: row.id, digest: blob.digest, cause: error)
      }
      throw SnapshotError(.system, "cannot unpack the layer \(blob.digest)", ref: row.id, digest: blob.digest, cause: error)
    }
    if let expected = row.diffID, expected != result.diffID {
      throw SnapshotError(
        .diffIDMismatch, "the layer \(blob.digest) holds the archive \(result.diffID), not \(expected) as its image's config says: the image is damaged where it comes from",
        ref: row.id, digest: blob.digest)
    }
    refs.notices.say(result, of: blob.digest)
    return result.implicitParents
  }

  private func blobs(of ids: [String]) async throws -> [String: [BlobRow]] { try await store.read { try BlobRow.all($0, ids) } }

  /// One of the layer's blobs, in the store.
  private func fetch(_ row: RefRow, _ blobs: [BlobRow]) async throws -> OCIModel.Descriptor {
    try await refs.fetch(blobs.map(\.descriptor), ref: row.id, providers)
  }
}

extension RefStore {
  /// One of a layer's blobs, brought into the store when none of them is there.
  func fetch(_ blobs: [OCIModel.Descriptor], ref: String, _ providers: [Digest: any LayerProvider]) async throws -> OCIModel.Descriptor {
    for blob in blobs where store.contains(blob.digest) { return blob }
    for blob in blobs {
      guard let provider = providers[blob.digest] else { continue }
      // Chains that share a layer do not ask for it twice.
      let lock = try await store.locks.lock("fetch:\(blob.digest)")
      defer { lock.release() }
      if store.contains(blob.digest) { return blob }
      try await provider.fetch(blob, into: store)
      guard store.contains(blob.digest) else {
        throw SnapshotError(.missingContent, "the layer \(blob.digest) is still not in the store after it was fetched", ref: ref, digest: blob.digest)
      }
      return blob
    }
    throw SnapshotError(
      .missingContent, "the content of \(blobs.first.map { "the layer \($0.digest)" } ?? "the snapshot \(ref)") is not in the store at \(store.root), and nothing in this build provides it",
      ref: ref, digest: blobs.first?.digest)
  }

  /// Where this process has one id to give files to, and cannot remember whom they belong to, all are its own.
  static var ownership: LayerApplier.Ownership { OwnerRecords.need != .none || HostFacts.isRoot && HostFacts.idMap.count > 1 ? .preserve : .ignore }
}

/// Directories that nothing refers to yet.
private final class MadeSnapshots: Sendable {
  private let ids = Mutex<Set<Int64>>([])
  var all: [Int64] { ids.withLock { Array($0) } }
  func insert(_ id: Int64) { ids.withLock { _ = $0.insert(id) } }
  func remove(_ id: Int64) { ids.withLock { _ = $0.remove(id) } }
}
