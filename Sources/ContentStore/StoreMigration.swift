package import GRDB

/// One step of a component's tables. A component's steps are numbered from 1 without a gap, and are never changed once released.
package struct StoreMigration: Sendable {
  /// Who owns the tables: `images`, `snapshots`, `cache` …
  package let component: String
  package let version: Int
  package let apply: @Sendable (Database) throws -> Void

  package init(_ component: String, _ version: Int, _ apply: @escaping @Sendable (Database) throws -> Void) {
    (self.component, self.version, self.apply) = (component, version, apply)
  }
  package init(_ component: String, _ version: Int, sql: String) {
    self.init(component, version) { try $0.execute(sql: sql) }
  }
}

/// Brings the tables up to date, and refuses those of a newer program.
struct StoreSchema {
  /// Of the whole database: raised when an older program could do harm even where it knows its own tables.
  static let format = 1

  let steps: [String: [StoreMigration]]

  init(_ migrations: [StoreMigration]) throws {
    steps = Dictionary(grouping: migrations, by: \.component).mapValues { $0.sorted { $0.version < $1.version } }
    for (component, list) in steps where list.map(\.version) != Array(1...list.count) {
      throw StoreError(.invalid, "schema steps of \(component) are not numbered from 1 on: \(list.map(\.version))")
    }
  }

  /// Whether anything is to be done; throws when the database is a newer program's.
  func isCurrent(_ db: Database, root: String) throws -> Bool {
    let format = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
    if format > Self.format { throw newer(root, "format \(format), known \(Self.format)") }
    if format == 0 { return false }
    let present = try versions(db)
    for (component, list) in steps {
      let version = present[component] ?? 0
      if version > list.count { throw newer(root, "\(component) \(version), known \(list.count)") }
      if version < list.count { return false }
    }
    return true
  }

  /// In one transaction.
  func migrate(_ db: Database, root: String) throws {
    // Another process may have been first.
    if try isCurrent(db, root: root) { return }
    try db.execute(sql: "CREATE TABLE IF NOT EXISTS component (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID")
    let present = try versions(db)
    for (component, list) in steps.sorted(by: { $0.key < $1.key }) {
      for step in list.dropFirst(present[component] ?? 0) { try step.apply(db) }
      try db.execute(
        sql: "INSERT INTO component VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = max(version, excluded.version)", arguments: [component, list.count])
    }
    try db.execute(sql: "PRAGMA user_version = \(Self.format)")
  }

  private func versions(_ db: Database) throws -> [String: Int] {
    var out: [String: Int] = [:]
    for row in try Row.fetchAll(db, sql: "SELECT name, version FROM component") { out[row[0]] = row[1] as Int }
    return out
  }

  private func newer(_ root: String, _ what: String) -> StoreError {
    StoreError(
      .newerSchema, "the store at \(root) was written by a newer manifold (\(what)): use that version, or another --root (or MANIFOLD_ROOT)",
      path: root + "/" + StoreLayout.database)
  }
}
