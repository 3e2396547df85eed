import ContentStore
import GRDB
import HostOS
package import LayerArchive
package import OCIModel

package typealias LayerCompression = Compression

/// A layer as it is known now; nothing is computed or fetched to tell.
package struct LayerInfo: Sendable {
  package var ref: String
  /// Unknown until a layer made here is first asked for as a blob.
  package var diffID: Digest?
  package var descriptors: [LayerCompression: OCIModel.Descriptor]
  /// Where the blobs that are not in the store come from, by their digests.
  package var providers: [Digest: any LayerProvider]
  package var description: String
  package var created: Timestamp
  /// Who has the layer's blobs elsewhere, whether they are here too or not: from there they can be mounted into another repository.
  package var source: (any LayerProvider)?
  package var system: LayerSystem
}

/// A layer in the form it goes into an image.
package struct LayerBlob: Sendable {
  package var descriptor: OCIModel.Descriptor
  package var diffID: Digest
  /// Not nil: the blob is not in the store, and is had from there.
  package var provider: (any LayerProvider)?
  package init(descriptor: OCIModel.Descriptor, diffID: Digest, provider: (any LayerProvider)? = nil) { (self.descriptor, self.diffID, self.provider) = (descriptor, diffID, provider) }
}

extension ImmutableRef {
  /// The chain, the bottommost first.
  package func layers() async throws -> [LayerInfo] {
    let id = id
    let (rows, blobs) = try await refs.store.read { db in
      let rows = try RefRow.chain(db, id)
      return (rows, try BlobRow.all(db, rows.map(\.id)))
    }
    if rows.isEmpty { throw RefStore.notFound(id) }
    let (providers, store) = (providers, refs.store)
    return try await Blocking.run {
      rows.map { row in
        let known = blobs[row.id] ?? []
        let absent = known.map(\.descriptor.digest).filter { !store.contains($0) }
        return LayerInfo(
          ref: row.id, diffID: row.diffID, descriptors: Dictionary(known.map { ($0.compression, $0.descriptor) }) { $1 },
          providers: Dictionary(absent.compactMap { digest in providers[digest].map { (digest, $0) } }) { $1 }, description: row.description,
          created: Timestamp(nanosecondsSinceEpoch: row.created), source: known.lazy.compactMap { providers[$0.descriptor.digest] }.first, system: row.system)
      }
    }
  }

  /// The chain as blobs, the bottommost first. Those that are not known are computed, in `compression`; ones that are stay as they are unless `force` asks for all of
  /// them in `compression`. Each is computed once among all tasks and processes, and remembered.
  package func layerBlobs(compression: LayerCompression, level: Int? = nil, force: Bool = false) async throws -> [LayerBlob] {
    try await layerBlobs(LayerForm(compression, level: level), force: force)
  }

  /// The same for any form. With `form.latest` (`rewrite-timestamp`) all layers are rewritten that are not the first of `base`, the diff IDs of the image that
  /// this one is built on: those stay what they are, and so does what registries share of them. `made` is told of each blob that was made by this
  /// call, as soon as it is there.
  package func layerBlobs(_ form: LayerForm, force: Bool = false, base: [Digest] = [], made: @escaping @Sendable (LayerBlob) -> Void = { _ in }) async throws -> [LayerBlob] {
    let (id, refs, providers) = (id, refs, providers)
    let rows = try await refs.store.read { try RefRow.chain($0, id) }
    if rows.isEmpty { throw RefStore.notFound(id) }
    let work = BlobWork(refs: refs, rows: rows, providers: providers, form: form, force: force, kept: zip(rows, base).prefix { $0.diffID == $1 }.count, made: made)
    let blobs = try await withThrowingTaskGroup(of: (Int, LayerBlob).self) { group in
      for i in rows.indices { group.addTask { (i, try await work.blob(i)) } }
      var out = [LayerBlob?](repeating: nil, count: rows.count)
      for try await (i, blob) in group { out[i] = blob }
      return out.compactMap { $0 }
    }
    if rows.contains(where: { $0.chain == nil || $0.blobChain == nil }) { try await refs.nameChain(id) }
    return blobs
  }

  /// Bytes on the disk that are this layer's own: its directory, or its blob as long as it is not unpacked.
  package func size() async throws -> Int64 {
    let id = id
    let (row, blobs) = try await refs.store.read { db in (try RefRow.chain(db, id).last, try BlobRow.all(db, [id])[id] ?? []) }
    guard let row else { throw RefStore.notFound(id) }
    guard let snapshot = row.snapshot?.id ?? row.flat?.id else { return blobs.first?.descriptor.size ?? 0 }
    return try await refs.size(of: snapshot)
  }
}

struct BlobWork: Sendable {
  let refs: RefStore
  let rows: [RefRow]
  let providers: [Digest: any LayerProvider]
  let form: LayerForm
  let force: Bool
  /// How many layers from the bottom on keep their times.
  let kept: Int
  var made: @Sendable (LayerBlob) -> Void = { _ in }
  var store: ContentStore { refs.store }
  private var compression: LayerCompression { form.compression }

  func blob(_ i: Int) async throws -> LayerBlob {
    if let variant = try await variant(i) { return try await blob(i, of: variant) }
    if let known = try await known(i) { return known }
    // Refs that share a directory are one layer.
    let shared = rows[i].layerSnapshot(refs.form)
    let lock = try await store.locks.lock(shared.map { "blob:snapshot:\($0)" } ?? "blob:\(rows[i].id)")
    defer { lock.release() }
    if let shared { try await adopt(i, from: shared) }
    if let known = try await known(i) { return known }
    let blob = try await remember(i, try await make(i, LayerForm(compression, level: form.level)))
    made(blob)
    return blob
  }

  /// From a blob of the layer, when there is one, else from its files.
  func make(_ i: Int, _ form: LayerForm) async throws -> LayerWriter.Result {
    let sources = try await blobs(i)
    if sources.contains(where: { store.contains($0.descriptor.digest) || providers[$0.descriptor.digest] != nil }) {
      return try await convert(i, sources.map(\.descriptor), form)
    }
    return try await compute(i, form)
  }

  /// Takes over what is known of the same layer on another tree.
  private func adopt(_ i: Int, from snapshot: Int64) async throws {
    let (id, system) = (rows[i].id, rows[i].system)
    if system == .untold { return }
    try await store.write { db in
      guard let twin = try Row.fetchOne(
        db, sql: "SELECT id, diff_id FROM ref WHERE snapshot = ? AND id <> ? AND system = ? AND diff_id IS NOT NULL AND EXISTS (SELECT 1 FROM ref_blob b WHERE b.ref = ref.id AND b.compression NOT LIKE 'variant %')",
        arguments: [snapshot, id, system.rawValue])
      else { return }
      try db.execute(sql: "UPDATE ref SET diff_id = ? WHERE id = ? AND diff_id IS NULL", arguments: [twin[1] as String, id])
      guard db.changesCount > 0 else { return }
      for blob in try BlobRow.all(db, [twin[0]])[twin[0]] ?? [] { try BlobRow.add(db, ref: id, compression: blob.compression, descriptor: blob.descriptor) }
    }
  }

  func blobs(_ i: Int) async throws -> [BlobRow] {
    let id = rows[i].id
    return try await store.read { try BlobRow.all($0, [id])[id] ?? [] }
  }

  /// One that is here or can be had, of the compression that is wanted if there is a choice.
  private func known(_ i: Int) async throws -> LayerBlob? {
    let all = try await blobs(i).filter { !force || $0.compression == compression }
    for blob in all.filter({ $0.compression == compression }) + all.filter({ $0.compression != compression }) {
      let digest = blob.descriptor.digest
      let isHere = store.contains(digest)
      guard isHere || providers[digest] != nil, let diffID = try await diffID(i) else { continue }
      return LayerBlob(descriptor: blob.descriptor, diffID: diffID, provider: isHere ? nil : providers[digest])
    }
    return nil
  }

  private func diffID(_ i: Int) async throws -> Digest? {
    if let known = rows[i].diffID { return known }
    let id = rows[i].id
    return try await store.read { try String.fetchOne($0, sql: "SELECT diff_id FROM ref WHERE id = ?", arguments: [id]) }.flatMap { Digest($0) }
  }

  private func convert(_ i: Int, _ sources: [OCIModel.Descriptor], _ form: LayerForm) async throws -> LayerWriter.Result {
    let source = try await refs.fetch(sources, ref: rows[i].id, providers)
    let (store, expected, ref) = (store, try await diffID(i), rows[i].id)
    return try await refs.unpacking.run {
      try await blocking { isCancelled in
        let reader = try store.reader(source.digest)
        return try store.writeLayer { sink in
          let (result, holds): (LayerWriter.Result, Digest)
          do {
            (result, holds) = try LayerWriter.convert(
              PositionedSource(reader.descriptor, count: reader.size), to: form, limits: .default.packed(reader.size), into: sink, isCancelled: isCancelled)
          } catch let error as LayerArchiveError {
            throw SnapshotError(.system, "cannot unpack the layer \(source.digest)", ref: ref, digest: source.digest, cause: error)
          }
          if let expected, expected != holds {
            throw SnapshotError(.diffIDMismatch, "the layer \(source.digest) holds the archive \(holds), not \(expected) as its image's config says", ref: ref, digest: source.digest)
          }
          return result
        }
      }
    }
  }

  /// What the layer changes in those below it.
  private func compute(_ i: Int, _ form: LayerForm) async throws -> LayerWriter.Result {
    let row = rows[i]
    guard row.snapshot(in: refs.form) != nil || row.flat != nil else {
      throw SnapshotError(.missingContent, "the content of the snapshot \(row.id) (\(row.description)) is not here any more, and nothing in this build provides it", ref: row.id)
    }
    var form = form
    form.isWindows = try await refs.system(of: row, providers: providers) == .windows
    let below = i > 0 && !row.isAlone ? try await Unpacking(refs, id: rows[i - 1].id, providers: providers).directories() : []
    let (refs, written) = (refs, form)
    return try await refs.unpacking.run {
      try await blocking { isCancelled in
        let lower = below.isEmpty ? nil : try refs.open(below)
        return try refs.store.writeLayer { sink in
          let writer = try LayerWriter(written, into: sink)
          // As with BuildKit, whose layers hold no `user.*` attributes: they come with files of a context, and differ from machine to machine.
          let differ = LayerDiffer(attributes: .capabilities, latest: written.latest)
          if let layer = row.layerSnapshot(refs.form) {
            let upper = try Directory.open(refs.tree(layer))
            try differ.overlayDiff(upper: upper, lower: lower.map { .view($0) } ?? .nothing, into: writer.tar, isCancelled: isCancelled)
          } else if let flat = row.flat {
            try differ.treeDiff(old: lower, new: Directory.open(refs.tree(flat.id)), into: writer.tar, isCancelled: isCancelled)
          }
          return try writer.finish()
        }
      }
    }
  }

  private func remember(_ i: Int, _ result: LayerWriter.Result) async throws -> LayerBlob {
    let descriptor = result.descriptor()
    let id = rows[i].id
    // A layer of another's image, whose blob is gone, made anew from its files: the same tree, but others know it by another name.
    if let known = rows[i].diffID, known != result.diffID { return LayerBlob(descriptor: descriptor, diffID: result.diffID, provider: nil) }
    try await store.write { db in
      try db.execute(sql: "UPDATE ref SET diff_id = ? WHERE id = ?", arguments: [result.diffID.description, id])
      if db.changesCount == 0 { throw RefStore.notFound(id) }
      try BlobRow.add(db, ref: id, compression: result.compression, descriptor: descriptor)
    }
    return LayerBlob(descriptor: descriptor, diffID: result.diffID, provider: nil)
  }
}

extension ContentStore {
  /// Blocks.
  func writeLayer(_ body: (any ByteSink) throws -> LayerWriter.Result) throws -> LayerWriter.Result {
    let writer = try writer()
    do {
      let result = try body(FunctionSink { try writer.write($0) })
      _ = try writer.commit(expecting: result.digest)
      return result
    } catch {
      writer.abort()
      throw error
    }
  }
}

extension RefStore {
  /// Layers made here get the names by which the same layers, pulled, would be found: so an image that was built here needs no download as another's base.
  fileprivate func nameChain(_ id: String) async throws {
    try await store.write { db in
      var chain: Digest?
      var blobs: String?
      for (i, row) in try RefRow.chain(db, id).enumerated() {
        guard let diffID = row.diffID, i == 0 || chain != nil else { return }
        chain = ChainID.of(chain, diffID, row.system)
        if row.chain == nil {
          try db.execute(sql: "UPDATE ref SET chain = ? WHERE id = ?", arguments: [chain?.description, row.id])
          for snapshot in [row.snapshot, row.flat].compactMap({ $0 }) {
            try db.execute(sql: "UPDATE OR IGNORE snapshot SET chain = ? WHERE id = ? AND chain IS NULL", arguments: [chain?.description, snapshot.id])
          }
        }
        if let known = row.blobChain {
          blobs = known.description
        } else if let blob = try BlobRow.all(db, [row.id])[row.id]?.first {
          blobs = ChainID.blobs(blobs, blob.descriptor.digest, diffID, row.system).description
          try db.execute(sql: "UPDATE OR IGNORE ref SET blob_chain = ? WHERE id = ?", arguments: [blobs, row.id])
        } else {
          return
        }
      }
    }
  }
}
