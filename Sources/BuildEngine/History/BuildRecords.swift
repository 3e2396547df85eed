package import BuildInterface
package import BuildKitProto
internal import BuildProgress
package import ContentStore
internal import FoundationEssentials
internal import GRDB
package import OCIModel
internal import Synchronization
internal import SwiftProtobuf

/// How many records of builds a store keeps: one goes when it is beyond both, and not pinned (`[history]` of buildkitd.toml).
package struct RecordLimits: Sendable, Hashable {
  /// Seconds.
  package var age: Int64
  package var entries: Int
  package init(age: Int64 = 48 * 3600, entries: Int = 50) { (self.age, self.entries) = (age, entries) }
}

/// What builds leave behind, in BuildKit's form: a record for each build, and the blobs that it names (its log, how it was made, what it failed with, the documents of its
/// images). Records are of the store: of every process that builds in it, and of builds past. Builds that are under way, and events, are of this process.
///
/// Everything is rows: a record and its blobs are written in one transaction, and no collector has to know of them.
package final class BuildRecords: Sendable {
  package typealias Record = Moby_Buildkit_V1_BuildHistoryRecord
  package typealias Event = Moby_Buildkit_V1_BuildHistoryEvent

  package let store: ContentStore
  package let limits: RecordLimits
  private struct State {
    var active: [String: Record] = [:]
    var listeners: [Int: AsyncStream<Event>.Continuation] = [:]
    var next = 0
    var isStopping = false
  }
  private let state = Mutex(State())

  package static let migration = StoreMigration(
    "build-records", 1,
    sql: """
      CREATE TABLE build_record (ref TEXT PRIMARY KEY, created INTEGER NOT NULL, completed INTEGER NOT NULL, pinned INTEGER NOT NULL, message BLOB NOT NULL) WITHOUT ROWID;
      CREATE TABLE build_record_blob (digest TEXT PRIMARY KEY, created INTEGER NOT NULL, bytes BLOB NOT NULL);
      CREATE TABLE build_record_use (ref TEXT NOT NULL REFERENCES build_record(ref) ON DELETE CASCADE, digest TEXT NOT NULL, PRIMARY KEY (ref, digest)) WITHOUT ROWID;
      CREATE INDEX build_record_use_digest ON build_record_use (digest);
      """)

  /// The store must have been opened with `Engine.migrations`.
  package init(store: ContentStore, limits: RecordLimits = RecordLimits()) { (self.store, self.limits) = (store, limits) }

  // MARK: - Builds tell

  /// A build began. `complete` or `forget` must follow.
  func begin(_ record: Record) {
    state.withLock { state in
      state.active[record.ref] = record
      send(.started, record, &state)
    }
  }

  /// A build ended, well or not. The record is in the store when this returns, and listeners are told.
  func complete(_ record: Record, blobs: [[UInt8]]) async throws {
    defer { forget(record.ref) }
    let limits = limits, named = blobs.map { (digest: Digest.sha256(of: $0).description, bytes: $0) }, message: [UInt8] = try record.serializedBytes()
    let created = Timestamp(record.createdAt).nanosecondsSinceEpoch, completed = Timestamp(record.completedAt).nanosecondsSinceEpoch
    let removed = try await store.write { db in
      try db.execute(sql: "INSERT OR REPLACE INTO build_record VALUES (?, ?, ?, ?, ?)", arguments: [record.ref, created, completed, record.pinned, Data(message)])
      for blob in named {
        try db.execute(sql: "INSERT OR IGNORE INTO build_record_blob VALUES (?, ?, ?)", arguments: [blob.digest, completed, Data(blob.bytes)])
        try db.execute(sql: "INSERT OR IGNORE INTO build_record_use VALUES (?, ?)", arguments: [record.ref, blob.digest])
      }
      return try Self.collect(db, limits, now: completed)
    }
    state.withLock { state in
      state.active[record.ref] = nil
      send(.complete, record, &state)
      removed.forEach { sendDeleted($0, &state) }
    }
  }

  /// A build that leaves no record.
  func forget(_ ref: String) {
    state.withLock { state in
      state.active[ref] = nil
      if state.isStopping, state.active.isEmpty { finish(&state) }
    }
  }

  /// Removes what is beyond the limits. Answers the refs that went.
  private static func collect(_ db: Database, _ limits: RecordLimits, now: Int64) throws -> [String] {
    let (age, overflow) = limits.age.multipliedReportingOverflow(by: 1_000_000_000)
    let old = overflow ? Int64.min : now.subtractingReportingOverflow(age).partialValue
    let refs = try String.fetchAll(
      db, sql: "SELECT ref FROM (SELECT ref, completed FROM build_record WHERE NOT pinned ORDER BY completed DESC LIMIT -1 OFFSET ?) WHERE completed < ?",
      arguments: [max(0, limits.entries), old])
    for ref in refs { try remove(db, ref) }
    return refs
  }

  private static func remove(_ db: Database, _ ref: String) throws {
    try db.execute(sql: "DELETE FROM build_record WHERE ref = ?", arguments: [ref])
    // Without the cascade, too, where foreign keys are off.
    try db.execute(sql: "DELETE FROM build_record_use WHERE ref = ?", arguments: [ref])
    try db.execute(sql: "DELETE FROM build_record_blob WHERE NOT EXISTS (SELECT 1 FROM build_record_use WHERE build_record_use.digest = build_record_blob.digest)")
    try db.execute(sql: "DELETE FROM build WHERE ref = ?", arguments: [ref])
  }

  // MARK: - Events

  private func send(_ type: Moby_Buildkit_V1_BuildHistoryEventType, _ record: Record, _ state: inout State) {
    var event = Event()
    (event.type, event.record) = (type, record)
    for (id, listener) in state.listeners {
      // One that does not read is not waited for, and not told half of it either.
      if case .dropped = listener.yield(event) {
        listener.finish()
        state.listeners[id] = nil
      }
    }
  }

  private func sendDeleted(_ ref: String, _ state: inout State) {
    var record = Record()
    record.ref = ref
    send(.deleted, record, &state)
  }

  private func finish(_ state: inout State) {
    state.listeners.values.forEach { $0.finish() }
    state.listeners = [:]
  }

  /// Listeners end as soon as no build is under way.
  package func stop() {
    state.withLock { state in
      state.isStopping = true
      if state.active.isEmpty { finish(&state) }
    }
  }

  private static let listenerBuffer = 4096

  // MARK: - Clients ask

  /// Hands `deliver` what BuildKit's ListenBuildHistory answers: builds under way, those past, and then events as they come, until the task is cancelled, `deliver` throws, or
  /// `stop`; with `earlyExit` no events. Throws `BuildError`.
  package func listen(_ request: Moby_Buildkit_V1_BuildHistoryRequest, _ deliver: (Event) async throws -> Void) async throws {
    let filter = try HistoryFilter(request.filter)
    if request.limit < 0 { throw BuildError(.invalidArgument, .usage, "invalid limit \(request.limit)") }
    let (stream, continuation) = AsyncStream.makeStream(of: Event.self, bufferingPolicy: .bufferingOldest(Self.listenerBuffer))
    let (id, active) = state.withLock { state in
      state.next += 1
      if request.earlyExit || (state.isStopping && state.active.isEmpty) { continuation.finish() } else { state.listeners[state.next] = continuation }
      return (state.next, state.active.values.filter { request.ref.isEmpty || $0.ref == request.ref })
    }
    defer { state.withLock { $0.listeners[id] = nil } }
    for record in active.sorted(by: { $0.ref < $1.ref }) {
      var event = Event()
      (event.type, event.record) = (.started, record)
      try await deliver(event)
    }
    if !request.activeOnly {
      for record in filter.select(try await records(ref: request.ref), limit: Int(request.limit)) {
        var event = Event()
        (event.type, event.record) = (.complete, record)
        try await deliver(event)
      }
    }
    for await event in stream where request.ref.isEmpty || event.record.ref == request.ref { try await deliver(event) }
    try Task.checkCancellation()
  }

  /// Builds past, by ref.
  private func records(ref: String) async throws -> [Record] {
    try await translated {
      try await self.store.read { db in
        let rows =
          ref.isEmpty
          ? try Data.fetchAll(db, sql: "SELECT message FROM build_record ORDER BY ref")
          : try Data.fetchAll(db, sql: "SELECT message FROM build_record WHERE ref = ?", arguments: [ref])
        // One that cannot be read is nobody's any more.
        return rows.compactMap { try? Record(serializedBytes: $0) }
      }
    }
  }

  /// nil when no build of that ref has ended.
  package func record(_ ref: String) async throws -> Record? { try await records(ref: ref).first }

  package func isActive(_ ref: String) -> Bool { state.withLock { $0.active[ref] != nil } }

  /// What a build past said on its way; nil when there is no record of it, none when it kept no log.
  package func log(of ref: String) async throws -> [Moby_Buildkit_V1_StatusResponse]? {
    guard let record = try await record(ref) else { return nil }
    guard record.hasLogs, let digest = Digest(record.logs.digest), let bytes = try await blob(digest) else { return [] }
    return try StatusLog.messages(bytes)
  }

  /// Pins, removes, or waits until nothing more will be written to a record. Throws `BuildError.notFound`.
  package func update(_ request: Moby_Buildkit_V1_UpdateBuildHistoryRequest) async throws {
    let ref = request.ref
    if request.delete {
      try await translated {
        try await self.store.write { db in
          guard try Self.exists(db, ref) else { throw Self.unknown(ref) }
          try Self.remove(db, ref)
        }
      }
      return state.withLock { sendDeleted(ref, &$0) }
    }
    // A record is whole when it is written: there is nothing to wait for.
    if request.finalize { return }
    let record = try await translated {
      try await self.store.write { db in
        guard let bytes = try Data.fetchOne(db, sql: "SELECT message FROM build_record WHERE ref = ?", arguments: [ref]) else { throw Self.unknown(ref) }
        var record = try Record(serializedBytes: bytes)
        record.pinned = request.pinned
        record.generation &+= 1
        let message: [UInt8] = try record.serializedBytes()
        try db.execute(sql: "UPDATE build_record SET pinned = ?, message = ? WHERE ref = ?", arguments: [record.pinned, Data(message), ref])
        return record
      }
    }
    state.withLock { send(.complete, record, &$0) }
  }

  private static func exists(_ db: Database, _ ref: String) throws -> Bool {
    try Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM build_record WHERE ref = ?)", arguments: [ref]) ?? false
  }
  private static func unknown(_ ref: String) -> BuildError { BuildError(.notFound, .usage, "there is no record of the build \(ref)") }

  private func translated<T: Sendable>(_ body: () async throws -> T) async throws -> T {
    do { return try await body() } catch { throw ErrorTranslation.buildError((error as? StoreError)?.cause as? BuildError ?? error) }
  }

  // MARK: - Blobs

  /// A blob that a record names; nil when none does.
  package func blob(_ digest: Digest) async throws -> [UInt8]? {
    try await translated {
      try await self.store.read { db in try Data.fetchOne(db, sql: "SELECT bytes FROM build_record_blob WHERE digest = ?", arguments: [digest.description]) }.map { [UInt8]($0) }
    }
  }

  package struct BlobInfo: Sendable, Hashable {
    package var digest: Digest
    package var size: Int64
    package var created: Timestamp
  }

  /// Of all blobs that records name, or of one.
  package func blobs(_ digest: Digest? = nil) async throws -> [BlobInfo] {
    try await translated {
      try await self.store.read { db in
        try Row.fetchAll(
          db, sql: "SELECT digest, length(bytes), created FROM build_record_blob WHERE ?1 IS NULL OR digest = ?1 ORDER BY digest", arguments: [digest?.description]
        ).compactMap { row in
          Digest(row[0] as String).map { BlobInfo(digest: $0, size: row[1], created: Timestamp(nanosecondsSinceEpoch: row[2])) }
        }
      }
    }
  }
}
