internal import BuildInterface
internal import BuildProgress
internal import OCIModel

/// Records as buildx's du and prune show them.
struct UsageText {
  /// Seconds since 1970.
  var now: Int64

  private func since(_ record: UsageRecord) -> String {
    record.lastUsed.map { HumanFigures.duration(seconds: max(0, now - $0.seconds)) + " ago" } ?? ""
  }
  private func size(_ record: UsageRecord) -> String { HumanFigures.size(record.size) + (record.shared ? "*" : "") }
  private func id(_ record: UsageRecord) -> String { TerminalText.singleLine(record.id) + (record.mutable ? "*" : "") }

  func table(_ records: [UsageRecord]) -> String {
    var table = AlignedText(minimumWidth: 10, padding: 3)
    table.add("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED")
    for record in records { table.add(id(record), "\(!record.inUse)", size(record), since(record)) }
    return table.flush()
  }

  /// What there is of each kind, and in all.
  func summary(_ records: [UsageRecord]) -> String {
    func total(_ some: [UsageRecord]) -> Int64 { some.reduce(0) { $0 + $1.size } }
    var kinds = AlignedText(minimumWidth: 10, padding: 3)
    kinds.add("TYPE", "RECLAIMABLE", "SIZE")
    for (type, some) in Dictionary(grouping: records, by: \.type).sorted(by: { $0.key < $1.key }) {
      kinds.add(type, HumanFigures.size(total(some.filter { !$0.inUse })), HumanFigures.size(total(some)))
    }
    let all = total(records), shared = total(records.filter(\.shared))
    var sums: [(String, Int64)] = []
    if shared > 0 { sums = [("Shared", shared), ("Private", all - shared)] }
    sums += [("Reclaimable", total(records.filter { !$0.inUse })), ("Total", all)]
    let width = sums.map { ($0.0.count + 2 + 7) / 8 }.max() ?? 1
    return kinds.flush() + "\n"
      + sums.map { name, bytes in "\(name):" + String(repeating: "\t", count: width - (name.count + 1) / 8) + HumanFigures.size(bytes) + "\n" }.joined()
  }

  /// `--verbose`, `--format pretty`.
  func pretty(_ records: [UsageRecord]) -> String {
    records.map { record in
      var out = "ID:           \(TerminalText.singleLine(record.id))\n"
      if !record.parents.isEmpty { out += "Parents:\n" + record.parents.map { " - \($0)\n" }.joined() }
      out += "Created at:   \(GoTime.text(record.created))\nMutable:      \(record.mutable)\nReclaimable:  \(!record.inUse)\nShared:       \(record.shared)\n"
      out += "Size:         \(HumanFigures.size(record.size))\n"
      if !record.description.isEmpty { out += "Description:  \(TerminalText.singleLine(record.description))\n" }
      out += "Usage count:  \(record.usageCount)\n"
      if record.lastUsed != nil { out += "Last used:    \(since(record))\n" }
      if !record.type.isEmpty { out += "Type:         \(record.type)\n" }
      return out + "\n"
    }.joined()
  }

  /// A line of JSON for each.
  func json(_ records: [UsageRecord]) -> String { records.map { JSONValue.object(fields($0)).encodedString() + "\n" }.joined() }

  /// What templates and JSON have of a record; `Bytes` is ours.
  func fields(_ record: UsageRecord) -> JSONObject {
    JSONObject([
      ("Bytes", .int(record.size)), ("CreatedAt", .string(GoTime.text(record.created))), ("Description", .string(record.description)),
      ("ID", .string(record.id)), ("LastUsedAt", .string(since(record))), ("Mutable", .bool(record.mutable)),
      ("Parents", record.parents.isEmpty ? .null : .array(record.parents.map { .string($0) })), ("Reclaimable", .bool(!record.inUse)), ("Shared", .bool(record.shared)),
      ("Size", .string(HumanFigures.size(record.size))), ("Type", .string(record.type)), ("UsageCount", .int(record.usageCount)),
    ])
  }

  static let headings = [
    "ID": "ID", "CreatedAt": "CREATED AT", "Description": "DESCRIPTION", "LastUsedAt": "LAST ACCESSED", "UsageCount": "USAGE COUNT", "Reclaimable": "RECLAIMABLE", "Size": "SIZE",
    "Type": "TYPE",
  ]

  // MARK: - prune

  static let pruneHeader = "ID\t\t\t\t\t\tRECLAIMABLE\tSIZE\t\tLAST ACCESSED\n"

  /// A line as soon as the record is gone.
  func pruned(_ record: UsageRecord) -> String {
    let name = id(record)
    return name + String(repeating: " ", count: max(0, 40 - name.count)) + "\t\(!record.inUse)\t\t" + size(record).padded(10) + "\t\(since(record))\n"
  }
  func prunedVerbose(_ record: UsageRecord) -> String { pretty([record]) }
}

extension String {
  fileprivate func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}

/// Go's time.Time.String(), in UTC.
enum GoTime {
  static func text(_ time: Timestamp) -> String {
    let text = time.description
    return "\(text.prefix(10)) \(text.dropFirst(11).dropLast()) +0000 UTC"
  }
}
