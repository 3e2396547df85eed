import ContentStore
import GRDB
import HostOS
import LayerArchive
import OCIModel

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The rows. A snapshot is a directory `snapshots/<id in base 36>`; it may be trusted once its state is `ready`. A ref is one layer on top of its parent: content
/// that is had from `snapshot` (the layer alone, in overlay form), from `flat` (the whole tree), or from a blob. It stays while a holder claims it, a cache record
/// points at it (`durable`), or another ref stands on it.
enum SnapshotTables {
  static let migrations = [
    StoreMigration(
      "snapshots", 1,
      sql: """
        CREATE TABLE snapshot_holder (id TEXT PRIMARY KEY, pid INTEGER NOT NULL, start INTEGER NOT NULL, boot TEXT NOT NULL, namespace INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE snapshot (id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, form TEXT NOT NULL, chain TEXT, size INTEGER,
          created INTEGER NOT NULL, holder TEXT NOT NULL, boot TEXT NOT NULL, synced INTEGER NOT NULL);
        CREATE UNIQUE INDEX snapshot_chain ON snapshot (chain, form) WHERE chain IS NOT NULL;
        CREATE INDEX snapshot_unready ON snapshot (state) WHERE state <> 'ready';
        CREATE INDEX snapshot_unsynced ON snapshot (synced) WHERE synced = 0;
        CREATE TABLE ref (id TEXT PRIMARY KEY, parent TEXT REFERENCES ref(id), diff_id TEXT, chain TEXT, blob_chain TEXT,
          snapshot INTEGER REFERENCES snapshot(id) ON DELETE SET NULL, flat INTEGER REFERENCES snapshot(id) ON DELETE SET NULL,
          durable INTEGER NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL, uses INTEGER NOT NULL, description TEXT NOT NULL,
          record_type TEXT NOT NULL) WITHOUT ROWID;
        CREATE UNIQUE INDEX ref_blob_chain ON ref (blob_chain) WHERE blob_chain IS NOT NULL;
        CREATE INDEX ref_parent ON ref (parent);
        CREATE INDEX ref_snapshot ON ref (snapshot);
        CREATE INDEX ref_flat ON ref (flat);
        CREATE TABLE ref_claim (ref TEXT NOT NULL REFERENCES ref(id), holder TEXT NOT NULL REFERENCES snapshot_holder(id) ON DELETE CASCADE,
          PRIMARY KEY (ref, holder)) WITHOUT ROWID;
        CREATE INDEX ref_claim_holder ON ref_claim (holder);
        CREATE TABLE ref_blob (ref TEXT NOT NULL REFERENCES ref(id) ON DELETE CASCADE, compression TEXT NOT NULL, digest TEXT NOT NULL, position INTEGER NOT NULL,
          descriptor TEXT NOT NULL, PRIMARY KEY (ref, compression)) WITHOUT ROWID;
        CREATE INDEX ref_blob_digest ON ref_blob (digest);
        CREATE TABLE cache_mount (key TEXT NOT NULL, instance INTEGER NOT NULL, snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
          name TEXT NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL, uses INTEGER NOT NULL, PRIMARY KEY (key, instance)) WITHOUT ROWID;
        CREATE INDEX cache_mount_snapshot ON cache_mount (snapshot);
        """),
    // `used` orders uses whatever the clock does. A snapshot's size is of its whole directory now; a cache directory's is measured again after uses, but not
    // oftener than its cost allows.
    StoreMigration(
      "snapshots", 2,
      sql: """
        ALTER TABLE ref ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE cache_mount ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE cache_mount ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE cache_mount ADD COLUMN measured INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE cache_mount ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE snapshot ADD COLUMN fingerprint INTEGER;
        UPDATE snapshot SET size = NULL;
        CREATE INDEX snapshot_unmeasured ON snapshot (id) WHERE size IS NULL;
        """),
    // A layer of merged trees is what it is over nothing, whatever it lies on.
    StoreMigration("snapshots", 3, sql: "ALTER TABLE ref ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;"),
    // What was once found out about a layer's files by looking at all of them.
    StoreMigration(
      "snapshots", 4,
      sql: "CREATE TABLE ref_note (ref TEXT PRIMARY KEY REFERENCES ref(id) ON DELETE CASCADE, note TEXT NOT NULL) WITHOUT ROWID"),
    // LayerSystem
    StoreMigration("snapshots", 5, sql: "ALTER TABLE ref ADD COLUMN system INTEGER NOT NULL DEFAULT 0;"),
    // SyncedDirectory: since which start of the machine its files are what was written.
    StoreMigration("snapshots", 6, sql: "ALTER TABLE cache_mount ADD COLUMN boot TEXT NOT NULL DEFAULT '';"),
  ]
}

enum SnapshotState {
  /// Being written by its holder.
  static let new = "new"
  static let ready = "ready"
  /// Being removed by its holder.
  static let removing = "removing"
}

/// How a directory holds its tree.
enum SnapshotForm: String, Sendable {
  /// One layer, deletions as overlay marks them with trusted.* or user.* attributes.
  case overlay
  case overlayUser = "overlay.user"
  /// The whole tree.
  case plain

  var isOverlay: Bool { self != .plain }
}

struct SnapshotRow: Sendable {
  var id: Int64
  var form: SnapshotForm
}

struct RefRow: Sendable {
  var id: String
  var parent: String?
  var diffID: Digest?
  var chain: Digest?
  var blobChain: Digest?
  /// Ready ones only.
  var snapshot: SnapshotRow?
  var flat: SnapshotRow?
  var description: String
  /// Nanoseconds since 1970.
  var created: Int64
  /// The layer's archive is its difference from nothing: it was made so, and laid over others.
  var isAlone: Bool
  var system: LayerSystem

  /// The layer's directory, when it is in the form that can be mounted here.
  func layerSnapshot(_ form: SnapshotForm) -> Int64? { snapshot.flatMap { $0.form == form ? $0.id : nil } }
  func snapshot(in form: SnapshotForm) -> Int64? { form.isOverlay ? layerSnapshot(form) : flat?.id }

  /// The ref and what it stands on, the bottommost first; empty when there is no such ref.
  static func chain(_ db: Database, _ id: String) throws -> [RefRow] {
    let statement = try db.cachedStatement(
      sql: """
        WITH RECURSIVE up(id, depth) AS (SELECT ?1, 0 UNION ALL SELECT ref.parent, depth + 1 FROM up JOIN ref ON ref.id = up.id WHERE ref.parent IS NOT NULL)
        SELECT ref.id, ref.parent, ref.diff_id, ref.chain, ref.blob_chain, s.id, s.form, f.id, f.form, ref.description, ref.created, ref.alone, ref.system FROM up JOIN ref ON ref.id = up.id
        LEFT JOIN snapshot s ON s.id = ref.snapshot AND s.state = 'ready' LEFT JOIN snapshot f ON f.id = ref.flat AND f.state = 'ready' ORDER BY up.depth DESC
        """)
    return try Row.fetchAll(statement, arguments: [id]).map { RefRow($0) }
  }

  private init(_ row: Row) {
    id = row[0]
    parent = row[1]
    diffID = (row[2] as String?).flatMap { Digest($0) }
    chain = (row[3] as String?).flatMap { Digest($0) }
    blobChain = (row[4] as String?).flatMap { Digest($0) }
    snapshot = RefRow.snapshot(row[5], row[6])
    flat = RefRow.snapshot(row[7], row[8])
    description = row[9]
    created = row[10]
    isAlone = row[11]
    system = LayerSystem(rawValue: row[12]) ?? .common
  }

  private static func snapshot(_ id: Int64?, _ form: String?) -> SnapshotRow? {
    guard let id, let form = form.flatMap({ SnapshotForm(rawValue: $0) }) else { return nil }
    return SnapshotRow(id: id, form: form)
  }
}

/// A blob that a ref's layer is known to be in.
struct BlobRow: Sendable {
  var compression: Compression
  var descriptor: OCIModel.Descriptor

  /// By ref, in the order in which they became known. Of the layer as it is: variants apart.
  static func all(_ db: Database, _ refs: [String]) throws -> [String: [BlobRow]] {
    let statement = try db.cachedStatement(sql: "SELECT compression, descriptor FROM ref_blob WHERE ref = ? ORDER BY position")
    var out: [String: [BlobRow]] = [:]
    for ref in refs {
      out[ref] = try Row.fetchAll(statement, arguments: [ref]).compactMap { row in
        guard let compression = Compression(rawValue: row[0]) else { return nil }
        return BlobRow(compression: compression, descriptor: try OCIModel.Descriptor(json: JSONValue(parsing: row[1] as String)))
      }
    }
    return out
  }

  static func add(_ db: Database, ref: String, compression: Compression, descriptor: OCIModel.Descriptor) throws {
    try add(db, ref: ref, name: compression.rawValue, descriptor)
  }

  private static func add(_ db: Database, ref: String, name: String, _ descriptor: OCIModel.Descriptor) throws {
    try db.execute(
      sql: "INSERT OR REPLACE INTO ref_blob SELECT ?1, ?2, ?3, coalesce((SELECT max(position) + 1 FROM ref_blob WHERE ref = ?1), 0), ?4",
      arguments: [ref, name, descriptor.digest.description, descriptor.json.encodedString()])
  }

  /// Blobs of archives that are not the layer's own (`LayerVariant`) stand in the same table, under names that are no compression's; the descriptor says the diff ID.
  static func variant(_ db: Database, ref: String, _ name: String) throws -> (descriptor: OCIModel.Descriptor, diffID: Digest)? {
    guard let text = try String.fetchOne(db, sql: "SELECT descriptor FROM ref_blob WHERE ref = ? AND compression = ?", arguments: [ref, name]) else { return nil }
    var descriptor = try OCIModel.Descriptor(json: JSONValue(parsing: text))
    guard let diffID = descriptor.annotations.removeValue(forKey: diffIDAnnotation).flatMap({ Digest($0) }) else { return nil }
    return (descriptor, diffID)
  }

  static func addVariant(_ db: Database, ref: String, _ name: String, _ descriptor: OCIModel.Descriptor, diffID: Digest) throws {
    var descriptor = descriptor
    descriptor.annotations[diffIDAnnotation] = diffID.description
    try add(db, ref: ref, name: name, descriptor)
  }

  private static let diffIDAnnotation = "containerd.io/uncompressed"
}

/// BuildKit's words for what a record is for (control API, UsageRecord.RecordType).
package enum RecordType: String, Sendable, Codable {
  case regular, `internal`, frontend
  case localSource = "source.local"
  case gitCheckout = "source.git.checkout"
  case cacheMount = "exec.cachemount"
}

enum SnapshotClock {
  /// Nanoseconds since 1970.
  static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}

/// Names of what refs hold (OCI image-spec, config.md, "Layer ChainID"; the same over blobs).
enum ChainID {
  static func of(_ parent: Digest?, _ diffID: Digest, _ system: LayerSystem = .common) -> Digest {
    guard system == .common else { return .sha256(of: "\(prefix(system))\(parent?.description ?? "") \(diffID)") }
    return parent.map { .sha256(of: "\($0) \(diffID)") } ?? diffID
  }
  /// `parent` is nil for a bottommost layer, else its own blob chain, or what stands for it.
  static func blobs(_ parent: String?, _ blob: Digest, _ diffID: Digest, _ system: LayerSystem = .common) -> Digest {
    .sha256(of: "\(prefix(system))\(parent ?? "") \(blob) \(diffID)")
  }
}
