import ContentStore
import GRDB
import LayerArchive
import OCIModel

/// For which system's images a layer's archive is written (`WindowsLayer`). One blob read in two ways is two trees, so it is part of a layer's name.
package enum LayerSystem: Int64, Sendable {
  case common = 0
  /// Of a build that stands on a Windows image, and had from where that is not said (an imported cache): its first bytes tell, once they are needed.
  case untold = 1
  case windows = 2
}

extension ChainID {
  /// What the names of layers in Windows' form begin with; nothing for others.
  static func prefix(_ system: LayerSystem) -> String {
    switch system {
    case .common: ""
    case .untold: "untold "
    case .windows: "windows "
    }
  }
}

extension RefStore {
  /// The system of a ref's own layer, found out if need be.
  func system(of row: RefRow, providers: [Digest: any LayerProvider]) async throws -> LayerSystem {
    guard row.system == .untold else { return row.system }
    let id = row.id
    let known = try await store.read { db -> LayerSystem? in
      // It may have become known of the same layer under another ref, or of this one after the row was read.
      try Int64.fetchOne(
        db, sql: "SELECT system FROM ref WHERE system <> ?2 AND (id = ?1 OR chain = (SELECT chain FROM ref WHERE id = ?1)) LIMIT 1", arguments: [id, LayerSystem.untold.rawValue]
      ).flatMap { LayerSystem(rawValue: $0) }
    }
    if let known { return known }
    let blobs = try await store.read { try BlobRow.all($0, [id])[id] ?? [] }
    guard !blobs.isEmpty else {
      // Made here, on what is below.
      guard let parent = row.parent, let below = try await store.read({ try RefRow.chain($0, parent).last }) else { return .common }
      return try await system(of: below, providers: providers)
    }
    let blob = try await fetch(blobs.map(\.descriptor), ref: id, providers)
    return try await blocking { _ in try self.system(ofBlob: blob, ref: id) }
  }

  /// Looks into a blob that is in the store, and remembers. Blocks.
  func system(ofBlob blob: OCIModel.Descriptor, ref id: String) throws -> LayerSystem {
    let reader = try store.reader(blob.digest)
    let isWindows: Bool
    do { isWindows = try WindowsLayer.isWindows(PositionedSource(reader.descriptor, count: reader.size)) } catch let error as LayerArchiveError {
      throw SnapshotError(.system, "cannot unpack the layer \(blob.digest)", ref: id, digest: blob.digest, cause: error)
    }
    let system: LayerSystem = isWindows ? .windows : .common
    try store.writeBlocking { try $0.execute(sql: "UPDATE ref SET system = ? WHERE id = ?", arguments: [system.rawValue, id]) }
    return system
  }
}
