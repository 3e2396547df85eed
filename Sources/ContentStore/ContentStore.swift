package import GRDB
import HostOS
import OCIModel
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// One root: blobs named by their digest, and rows that refer to them.
///
/// Any number of processes and of stores in one process may use a root at once. A blob is written to a file beneath `ingest`, checked,
/// synced and renamed, so a name in `blobs` always means the whole content, whenever a process is killed. Its directory entry is
/// synced before a transaction of `write` commits, so after a power failure no row refers to a blob that the disk never got; a row
/// itself may be lost then (WAL, `synchronous=NORMAL`), which costs work and nothing else. Deleting is left to garbage collection
/// (`removeBlobs`), which takes nothing that a live store has written, or found where it would have written it (`keep`).
package final class ContentStore: Sendable {
  /// Absolute.
  package let root: String
  /// Readers at once, one writer; WAL. Rows that refer to blobs are written through `write`.
  package let database: DatabasePool
  package let locks: KeyLocks

  let directory: Directory
  /// The lease that names what this store has written or relied on.
  let session = StoreSession()
  let resumable = Mutex<[Digest: ResumePoint]>([:])
  /// Blobs renamed into place whose directory was not synced since, by algorithm.
  private let unsynced = Mutex<Set<Digest.Algorithm>>([])

  private init(root: String, database: DatabasePool, directory: Directory, locks: KeyLocks) {
    (self.root, self.database, self.directory, self.locks) = (root, database, directory, locks)
  }

  /// The time others' transactions may take before `StoreError.busy`.
  private static let busyTimeout = 30.0

  /// Opens the store at `root`, making it if need be, with the tables of `migrations` and its own.
  ///
  /// Throws `StoreError`: `networkFilesystem`, `otherIDMap`, `notWritable`, `newerSchema`, `noSpace`, `corrupt`.
  package static func open(root: String, migrations: [StoreMigration] = []) async throws -> ContentStore {
    let store = try await Blocking.run { try openBlocking(root: root, migrations: migrations) }
    return store
  }

  /// As `open`. Blocks; call through Blocking.run.
  package static func openBlocking(root given: String, migrations: [StoreMigration] = []) throws -> ContentStore {
    let schema = try StoreSchema(ownMigrations + migrations)
    try RootChecks.prepare(given)
    guard let root = realPath(given) else { throw StoreError(.notFound, "cannot resolve \(given)", path: given) }
    try RootChecks.refuseNetwork(root, kind: FileSystemFacts.of(root).kind)
    let locks = try StoreError.wrapping("cannot make the store's lock files", root: root) { try KeyLocks(directory: root + "/" + StoreLayout.locks) }
    try RootChecks.checkIDMap(root, users: HostFacts.idMap, groups: HostFacts.groupIDMap)
    let directory = try StoreError.wrapping("cannot open \(root)", root: root) { try Directory.open(root) }
    Ballast.makeRoom(root)
    let database = try StoreError.wrapping("cannot open the store's database", root: root) {
      do { return try openDatabase(root, schema, locks) } catch where Ballast.isNeeded(error, root) && Ballast.drop(root) { return try openDatabase(root, schema, locks) }
    }
    let store = ContentStore(root: root, database: database, directory: directory, locks: locks)
    try store.sweep()
    try store.countFirstBlobs()
    Ballast.load(root)
    return store
  }

  private static var ownMigrations: [StoreMigration] { LocalImages.migrations + Lease.migrations + FileHashCache.migrations + StoredBlob.migrations + PushRecords.migrations }

  private static func openDatabase(_ root: String, _ schema: StoreSchema, _ locks: KeyLocks) throws -> DatabasePool {
    var configuration = Configuration()
    configuration.busyMode = .timeout(busyTimeout)
    configuration.label = "manifold"
    configuration.maximumReaderCount = 8
    configuration.prepareDatabase { db in
      try db.execute(sql: "PRAGMA temp_store = MEMORY")
      try db.execute(sql: "PRAGMA mmap_size = 134217728")
      // The log is cut whenever it begins anew.
      try db.execute(sql: "PRAGMA journal_size_limit = 1048576")
    }
    let path = root + "/" + StoreLayout.database
    // Making the file, turning on WAL and the first tables exclude other openers: the switch to WAL does not wait for locks.
    let isNew = ((try? Files.status(path).size) ?? 0) == 0
    let first = isNew ? try locks.lockBlocking("store:create") : nil
    defer { first?.release() }
    // SQLite would make it readable for all, and its journals as it is.
    if isNew { _ = try HostOS.Descriptor.open(path, flags: [.readWrite, .create], mode: 0o600) }
    let pool = try DatabasePool(path: path, configuration: configuration)
    if try !pool.read({ try schema.isCurrent($0, root: root) }) { try pool.write { try schema.migrate($0, root: root) } }
    return pool
  }

  /// Writes what the log holds into the database and closes it. A process that merely ends loses nothing: the next one reads the log.
  package func close() async throws {
    let database = database
    try await Blocking.run {
      self.endSession()
      // A long log is work for whoever reads it next, and takes room that nothing else can have.
      if let log = try? Files.status("\(self.root)/\(StoreLayout.database)-wal"), log.allocated > 1 << 20 {
        try? database.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
      }
      try database.close()
      Ballast.reload(self.root)
    }
  }

  /// Writes what the database's log holds into the database, so that what the two take is what will stay. Best effort: others that read keep it as it is. Blocks.
  package func shortenLog() { try? database.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) } }

  // MARK: - Rows

  /// Reads rows, all of one moment.
  package func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
    do { return try await database.read(body) } catch { throw StoreError.wrap(error, "cannot read the store's database", root: root) }
  }

  /// One short transaction, `BEGIN IMMEDIATE`: no I/O but the database's in `body`. Blobs written before the call are on the disk before it commits.
  package func write<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
    do {
      if hasUnsynced { try await Blocking.run { try self.syncDirectories() } }
      do { return try await database.write(body) } catch where Ballast.isNeeded(error, root) {
        guard try await Blocking.run({ Ballast.drop(self.root) }) else { throw error }
        return try await database.write(body)
      }
    } catch { throw StoreError.wrap(error, "cannot write the store's database", root: root) }
  }

  /// As `read`. Blocks; call through Blocking.run.
  package func readBlocking<T>(_ body: (Database) throws -> T) throws -> T {
    try StoreError.wrapping("cannot read the store's database", root: root) { try database.read(body) }
  }
  /// As `write`. Blocks; call through Blocking.run.
  package func writeBlocking<T>(_ body: (Database) throws -> T) throws -> T {
    try StoreError.wrapping("cannot write the store's database", root: root) {
      try syncDirectories()
      do { return try database.write(body) } catch where Ballast.isNeeded(error, root) && Ballast.drop(root) { return try database.write(body) }
    }
  }

  private var hasUnsynced: Bool { unsynced.withLock { !$0.isEmpty } }

  func noteUnsynced(_ algorithm: Digest.Algorithm) { unsynced.withLock { _ = $0.insert(algorithm) } }

  private func syncDirectories() throws {
    let pending = unsynced.withLock { set in
      defer { set = [] }
      return set
    }
    for algorithm in pending {
      do { try directory.openDirectory("\(StoreLayout.blobs)/\(algorithm.rawValue)").sync() } catch {
        noteUnsynced(algorithm)
        throw error
      }
    }
  }
}

/// Absolute and without symbolic links, so that one root has one name.
func realPath(_ path: String) -> String? {
  guard let resolved = realpath(path, nil) else { return nil }
  defer { free(resolved) }
  return String(cString: resolved)
}
