internal import ContentStore
internal import FoundationEssentials
internal import GRDB
internal import OCIModel

/// The last builds of a store: what each step was made of and what came of it, so that `explain` can say what changed between two.
struct BuildHistory: Sendable {
  let store: ContentStore
  /// Builds kept; older ones go when a new one is written.
  static let kept = 100

  static let migration = StoreMigration(
    "build-history", 1,
    sql: """
      CREATE TABLE build (ref TEXT PRIMARY KEY, number INTEGER NOT NULL, context TEXT NOT NULL, dockerfile TEXT NOT NULL, target TEXT NOT NULL,
        started INTEGER NOT NULL, completed INTEGER NOT NULL, outcome TEXT NOT NULL, error TEXT NOT NULL) WITHOUT ROWID;
      CREATE INDEX build_number ON build (number);
      CREATE TABLE build_step (build TEXT NOT NULL REFERENCES build(ref) ON DELETE CASCADE, ordinal INTEGER NOT NULL, digest TEXT NOT NULL, name TEXT NOT NULL,
        platform TEXT NOT NULL, outcome TEXT NOT NULL, forced INTEGER NOT NULL, duration INTEGER NOT NULL, inputs TEXT NOT NULL, facts TEXT NOT NULL,
        PRIMARY KEY (build, ordinal)) WITHOUT ROWID;
      CREATE TABLE build_listing (key TEXT PRIMARY KEY, entries BLOB NOT NULL) WITHOUT ROWID;
      """)

  func save(_ record: BuildRecord) async throws {
    try await store.write { db in
      let number = (try Int64.fetchOne(db, sql: "SELECT max(number) FROM build") ?? 0) + 1
      try db.execute(
        sql: "INSERT OR REPLACE INTO build VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        arguments: [
          record.ref, number, record.context, record.dockerfile, record.target, record.started, record.completed, record.outcome.rawValue, record.error,
        ])
      let insert = try db.cachedStatement(sql: "INSERT INTO build_step VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
      for (i, step) in record.steps.enumerated() {
        try insert.execute(
          arguments: [
            record.ref, i, step.digest.description, step.name, step.platform, step.outcome.rawValue, step.isForced, step.duration, step.inputsText,
            step.factsText,
          ])
      }
      try db.execute(sql: "DELETE FROM build WHERE number <= ?", arguments: [number - Int64(Self.kept)])
      if db.changesCount > 0 {
        try db.execute(sql: "DELETE FROM build_listing WHERE NOT EXISTS (SELECT 1 FROM build_step WHERE inputs LIKE '%' || build_listing.key || '%')")
      }
    }
  }

  func hasListing(_ key: Digest) async throws -> Bool {
    try await store.read { db in
      try Bool.fetchOne(db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM build_listing WHERE key = ?)"), arguments: [key.description]) ?? false
    }
  }

  func save(_ listing: TreeListing, _ key: Digest) async throws {
    try await store.write { try $0.execute(sql: "INSERT OR IGNORE INTO build_listing VALUES (?, ?)", arguments: [key.description, Data(listing.encoded)]) }
  }

  func listing(_ key: Digest) async throws -> TreeListing? {
    let bytes = try await store.read { try Data.fetchOne($0, sql: "SELECT entries FROM build_listing WHERE key = ?", arguments: [key.description]) }
    return bytes.flatMap { TreeListing(encoded: Array($0)) }
  }

  // MARK: - Reading

  /// The newest first, without their steps.
  func builds(limit: Int = BuildHistory.kept) async throws -> [BuildRecord] {
    try await store.read { db in try Row.fetchAll(db, sql: "SELECT * FROM build ORDER BY number DESC LIMIT ?", arguments: [limit]).map(BuildRecord.init(row:)) }
  }

  /// By the beginning of its ref; nil takes the last. Throws `HistoryError`.
  func build(_ prefix: String?) async throws -> BuildRecord {
    let found = try await builds().filter { prefix == nil || $0.ref.hasPrefix(prefix ?? "") }
    guard var record = found.first else {
      throw HistoryError(prefix.map { "there is no build \($0) in this store's history" } ?? "this store has no build in its history")
    }
    if prefix != nil, found.count > 1, record.ref != prefix { throw HistoryError("\(found.count) builds begin with \(prefix ?? "")") }
    record.steps = try await steps(record.ref)
    return record
  }

  /// The build of the same Dockerfile, context and target before this one.
  func before(_ record: BuildRecord) async throws -> BuildRecord? {
    let row = try await store.read { db in
      try Row.fetchOne(
        db,
        sql: """
          SELECT * FROM build WHERE context = ? AND dockerfile = ? AND target = ? AND number < (SELECT number FROM build WHERE ref = ?) ORDER BY number DESC LIMIT 1
          """, arguments: [record.context, record.dockerfile, record.target, record.ref]
      ).map(BuildRecord.init(row:))
    }
    guard var found = row else { return nil }
    found.steps = try await steps(found.ref)
    return found
  }

  private func steps(_ ref: String) async throws -> [BuildRecord.Step] {
    try await store.read { db in
      try Row.fetchAll(db, sql: "SELECT * FROM build_step WHERE build = ? ORDER BY ordinal", arguments: [ref]).compactMap(BuildRecord.Step.init(row:))
    }
  }
}

struct HistoryError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// One build as it is remembered.
struct BuildRecord: Sendable {
  enum Outcome: String, Sendable { case completed, failed, cancelled }
  struct Step: Sendable {
    /// What became of a step; `waiting` was never reached.
    enum Outcome: String, Sendable { case cached, executed, failed, cancelled, waiting }
    /// What a step read: from which step, and by which content key where it has one.
    struct Input: Sendable, Equatable {
      var step: Digest
      var content: Digest?
    }
    var digest: Digest
    var name: String
    var platform: String
    var outcome = Outcome.waiting
    /// Told to run anew (`--no-cache`).
    var isForced: Bool
    /// In nanoseconds.
    var duration: Int64 = 0
    var inputs: [Input]
    var facts: StepFacts
  }
  var ref: String
  var context: String
  var dockerfile: String
  var target: String
  /// In nanoseconds since 1970.
  var started: Int64
  var completed: Int64
  var outcome: Outcome
  var error: String
  /// Inputs before those that read them.
  var steps: [Step]
}

extension BuildRecord {
  fileprivate init(row: Row) {
    self.init(
      ref: row["ref"], context: row["context"], dockerfile: row["dockerfile"], target: row["target"], started: row["started"], completed: row["completed"],
      outcome: Outcome(rawValue: row["outcome"]) ?? .failed, error: row["error"], steps: [])
  }
}

extension BuildRecord.Step {
  fileprivate init?(row: Row) {
    guard let digest = Digest(row["digest"] as String), let inputs = Self.inputs(row["inputs"]), let facts = Self.facts(row["facts"]) else { return nil }
    self.init(
      digest: digest, name: row["name"], platform: row["platform"], outcome: Outcome(rawValue: row["outcome"]) ?? .waiting, isForced: row["forced"],
      duration: row["duration"], inputs: inputs, facts: facts)
  }

  fileprivate var inputsText: String { inputs.map { "\($0.step) \($0.content?.description ?? "-")" }.joined(separator: "\n") }

  private static func inputs(_ text: String) -> [Input]? {
    text.split(separator: "\n").map { line in
      let parts = line.split(separator: " ").map(String.init)
      return parts.count == 2 ? Digest(parts[0]).map { Input(step: $0, content: Digest(parts[1])) } : nil
    }.reduce(into: [Input]?.some([])) { all, one in if let one { all?.append(one) } else { all = nil } }
  }

  fileprivate var factsText: String { JSONValue.array(facts.facts.map { .array([.string($0.name), .string($0.value)]) }).encodedString() }

  private static func facts(_ text: String) -> StepFacts? {
    guard let list = (try? JSONValue(parsing: text))?.arrayValue else { return nil }
    return StepFacts(facts: list.compactMap { item in
      guard let pair = item.arrayValue, pair.count == 2, let name = pair[0].stringValue, let value = pair[1].stringValue else { return nil }
      return StepFacts.Fact(name: name, value: value)
    })
  }
}
