internal import BuildSnapshots
internal import ContentStore
internal import GRDB
internal import HostOS
internal import OCIModel

/// Content keys of snapshots, computed once: a snapshot never changes, so that a cached build neither mounts nor reads one to find
/// its keys again.
struct ContentKeys: Sendable {
  let store: ContentStore

  /// After `RefStore.migrations`: a key goes with its ref.
  static let migration = StoreMigration(
    "content-keys", 1,
    sql: """
      CREATE TABLE content_key (ref TEXT NOT NULL REFERENCES ref(id) ON DELETE CASCADE, selectors TEXT NOT NULL, digest TEXT NOT NULL,
        PRIMARY KEY (ref, selectors)) WITHOUT ROWID;
      """)

  func digest(of ref: ImmutableRef, _ selectors: [ContentSelector]) async throws -> Digest {
    let id = ref.id, name = ContentKeys.name(of: selectors)
    let known = try await store.read { db in
      try String.fetchOne(db.cachedStatement(sql: "SELECT digest FROM content_key WHERE ref = ? AND selectors = ?"), arguments: [id, name])
    }
    if let digest = known.flatMap({ Digest($0) }) { return digest }
    let digest = try await ref.withMounted { root in try ContentHash(MountedTree(root)).digest(of: selectors) }
    try await store.write { db in
      // A ref that has no row any more has no use for its key either.
      try db.execute(
        sql: "INSERT OR IGNORE INTO content_key SELECT id, ?, ? FROM ref WHERE id = ?", arguments: [name, digest.description, id])
    }
    return digest
  }

  /// One text for one list of selectors, and another for any other.
  private static func name(of selectors: [ContentSelector]) -> String {
    let list = selectors.map { selector -> JSONValue in
      func strings(_ list: [String]) -> JSONValue { .array(list.map { .string($0) }) }
      return .array([
        .string(selector.path), .bool(selector.wildcard), .bool(selector.followLinks), strings(selector.includePatterns), strings(selector.excludePatterns),
        strings(selector.requiredPaths),
      ])
    }
    return Digest.sha256(of: JSONValue.array(list).encoded()).hex
  }
}
