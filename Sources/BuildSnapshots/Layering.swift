import ContentStore
import GRDB
import HostOS
import LayerArchive
import OCIModel

/// Trees laid over one another, and taken apart: what LLB's merge and diff ops are made of (BuildKit's docs/dev/mergediff.md). Layers are kept as they are:
/// nothing is copied, and nothing downloaded or unpacked that was not before.
extension RefStore {
  /// The trees over one another, the last on top; there is at least one. All are lent.
  package func merge(_ trees: [ImmutableRef], description: String) async throws -> ImmutableRef {
    guard let first = trees.first else { throw SnapshotError(.notFound, "a merge of no trees is no tree") }
    var merged = first.clone()
    for tree in trees.dropFirst() {
      do {
        let next = try await put(tree, on: merged, description)
        await merged.release()
        merged = next
      } catch {
        await merged.release()
        throw error
      }
    }
    return merged
  }

  private func put(_ tree: ImmutableRef, on below: ImmutableRef, _ description: String) async throws -> ImmutableRef {
    let providers = below.providers.merging(tree.providers) { $1 }
    if let id = try await shared(tree.id, on: below.id, description) { return ImmutableRef(self, id: id, providers: providers) }
    // A layer that was made over others may hide in its directory what only they had: as archives, layers say what they change and no more.
    let (blobs, known) = (try await tree.layerBlobs(compression: .gzip), try await tree.layers())
    let all = blobs.reduce(into: providers) { if let provider = $1.provider { $0[$1.descriptor.digest] = provider } }
    var layers = blobs.map { ($0.descriptor, $0.diffID) }, systems = known.map(\.system)
    if try await isWindows(below) {
      for i in layers.indices where systems[i] == .common {
        layers[i] = try await windows(blobs[i].descriptor, all)
        systems[i] = .windows
      }
    }
    return try await self.layers(on: below, layers, providers: all, facts: known.map { LayerFacts(description: $0.description, created: $0.created) }, systems: systems)
  }

  private func isWindows(_ ref: ImmutableRef) async throws -> Bool {
    let id = ref.id
    guard let row = try await store.read({ try RefRow.chain($0, id).last }) else { return false }
    return try await system(of: row, providers: ref.providers) == .windows
  }

  /// The same layer as one of a Windows image has it. (BuildKit on Linux leaves it as it is, and Windows cannot unpack the image.)
  private func windows(_ blob: OCIModel.Descriptor, _ providers: [Digest: any LayerProvider]) async throws -> (OCIModel.Descriptor, Digest) {
    let source = try await fetch([blob], ref: blob.digest.description, providers)
    let layer = try await unpacking.run {
      try await blocking { isCancelled in
        let reader = try self.store.reader(source.digest)
        return try self.store.writeLayer { sink in
          do {
            return try LayerWriter.convert(
              PositionedSource(reader.descriptor, count: reader.size), to: LayerForm(.gzip, isWindows: true), limits: .default.packed(reader.size), into: sink, isCancelled: isCancelled).result
          } catch let error as LayerArchiveError { throw SnapshotError(.system, "cannot unpack the layer \(source.digest)", digest: source.digest, cause: error) }
        }
      }
    }
    return (layer.descriptor(), layer.diffID)
  }

  /// A tree of one layer that was made here: its directory serves on any other tree as well. A row and no files; nil when it is of another kind.
  private func shared(_ tree: String, on below: String, _ description: String) async throws -> String? {
    guard form.isOverlay else { return nil }
    let (id, form) = (Self.freshID(), form)
    return try await store.write { db in
      let rows = try RefRow.chain(db, tree)
      guard rows.count == 1, let row = rows.first, let snapshot = row.layerSnapshot(form), let lower = try RefRow.chain(db, below).last else { return nil }
      // Its archive is the same there unless one of them is written for Windows.
      let isSame = row.system == lower.system && row.system != .untold
      let diffID = isSame ? row.diffID : nil
      let chain = lower.chain.flatMap { chain in diffID.map { ChainID.of(chain, $0, row.system) } }
      try self.insert(db, id, below, diffID: diffID, chain: chain, description: description, recordType: .regular, system: lower.system == .common ? row.system : lower.system)
      try db.execute(sql: "UPDATE ref SET snapshot = ?, alone = 1, created = ? WHERE id = ?", arguments: [snapshot, row.created, id])
      for blob in isSame ? try BlobRow.all(db, [tree])[tree] ?? [] : [] { try BlobRow.add(db, ref: id, compression: blob.compression, descriptor: blob.descriptor) }
      try self.claim(db, id)
      return id
    }
  }

  /// What `upper` has over `lower`, as a tree of its own: the layers above those that the two share, or else one layer that would make the one of the other. Both are
  /// lent, and not the same; no `upper` is an empty tree.
  package func diff(from lower: ImmutableRef, to upper: ImmutableRef?, description: String) async throws -> ImmutableRef {
    guard let upper else {
      let empty = try await newMutable(parent: nil, description: description).commit()
      do {
        let layer = try await difference(lower, empty, description)
        await empty.release()
        return layer
      } catch {
        await empty.release()
        throw error
      }
    }
    let (lowerID, upperID) = (lower.id, upper.id)
    let (lowerRows, upperRows) = try await store.read { (try RefRow.chain($0, lowerID), try RefRow.chain($0, upperID)) }
    let common = zip(lowerRows, upperRows).prefix { $0.id == $1.id }.count
    if common == lowerRows.count, common < upperRows.count {
      let (blobs, known) = (try await upper.layerBlobs(compression: .gzip), try await upper.layers())
      let providers = blobs.reduce(into: upper.providers) { if let provider = $1.provider { $0[$1.descriptor.digest] = provider } }
      return try await layers(
        on: nil, blobs.dropFirst(common).map { ($0.descriptor, $0.diffID) }, providers: providers,
        facts: known.dropFirst(common).map { LayerFacts(description: $0.description, created: $0.created) }, systems: known.dropFirst(common).map(\.system))
    }
    return try await difference(lower, upper, description)
  }

  private func difference(_ lower: ImmutableRef, _ upper: ImmutableRef, _ description: String) async throws -> ImmutableRef {
    let (old, new) = (try await lower.open(), try await upper.open())
    let layer = try await unpacking.run {
      try await blocking { isCancelled in
        try self.store.writeLayer { sink in
          let writer = try LayerWriter(LayerForm(.gzip), into: sink)
          try LayerDiffer(attributes: .capabilities).treeDiff(old: old, new: new, into: writer.tar, isCancelled: isCancelled)
          return try writer.finish()
        }
      }
    }
    return try await layers(on: nil, [(layer.descriptor(), layer.diffID)], providers: [:], facts: [LayerFacts(description: description)], systems: [.common])
  }
}
