import ContentStore
import GRDB
package import HostOS

extension ImmutableRef {
  /// What `look` makes of the files of each layer above the first `base` ones, the bottommost first. A layer is looked at once in its life: what was found is kept in
  /// its row. nil: its files are not here by themselves (a layer that was not unpacked, or trees that are whole copies). `look` blocks.
  package func layerNotes(above base: Int, _ look: @escaping @Sendable (Directory) throws -> String) async throws -> [String?] {
    let (id, refs) = (id, refs)
    let (rows, known) = try await refs.store.read { db -> ([RefRow], [String: String]) in
      let rows = Array(try RefRow.chain(db, id).dropFirst(base))
      let statement = try db.cachedStatement(sql: "SELECT note FROM ref_note WHERE ref = ?")
      var known: [String: String] = [:]
      for row in rows { known[row.id] = try String.fetchOne(statement, arguments: [row.id]) }
      return (rows, known)
    }
    let missing = rows.filter { known[$0.id] == nil && $0.layerSnapshot(refs.form) != nil }
    if missing.isEmpty { return rows.map { known[$0.id] } }
    let form = refs.form
    let found = try await Blocking.run {
      var bySnapshot: [Int64: String] = [:], out: [String: String] = [:]
      for row in missing {
        guard let snapshot = row.layerSnapshot(form) else { continue }
        // One layer upon several trees: a copy that all platforms share.
        let note = try bySnapshot[snapshot] ?? look(Directory.open(refs.tree(snapshot)))
        bySnapshot[snapshot] = note
        out[row.id] = note
      }
      return out
    }
    try await refs.store.write { db in
      for (ref, note) in found { try db.execute(sql: "INSERT OR REPLACE INTO ref_note SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM ref WHERE id = ?1)", arguments: [ref, note]) }
    }
    return rows.map { known[$0.id] ?? found[$0.id] }
  }
}
