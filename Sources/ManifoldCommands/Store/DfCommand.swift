internal import ArgumentParser
internal import BuildInterface
internal import OCIModel

/// `manifold system df` (and `df`): docker's summary of what takes room.
struct DfCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "df", abstract: "Show what takes room in the store, in docker's summary (system df).", usage: "manifold system df [options]",
    discussion: """
      Examples:
        manifold system df
        manifold system df --format '{{.Type}} {{.Size}}'

      manifold du shows each record.
      """, shouldDisplay: false)

  @OptionGroup var global: GlobalOptions
  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("table, json (one object a line), or a Go template for each line.", valueName: "format")) var format = "table"
  @Flag(name: .shortAndLong, help: .hidden) var verbose = false

  mutating func run() async throws {
    if verbose { throw BuildError.notYet("system df --verbose", suggestion: "manifold du --verbose shows each record.") }
    let composition = try Composition.required()
    let settings = global.settings(try CommandFacts.current())
    let records = try await Interruption.guarding { _ in try await composition.withEngine(settings) { engine in try await engine.diskUsage() } }
    Terminal.output(try text(records))
  }

  func text(_ records: [UsageRecord]) throws -> String {
    let rows = Self.rows(records)
    if let template = try RowTemplate(format) { return try template.text(rows, header: ["TotalCount": "TOTAL"]) }
    if format == "json" { return rows.map { JSONValue.object($0).encodedString() + "\n" }.joined() }
    guard format == "table" else { throw BuildError.usage("--format \(format): formats are table, json, or a template such as '{{.Type}} {{.Size}}'") }
    var table = AlignedText(minimumWidth: 10, padding: 3)
    table.add("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")
    for row in rows { table.add(["Type", "TotalCount", "Active", "Size", "Reclaimable"].map { row[$0]?.stringValue ?? "" }) }
    return table.flush()
  }

  /// No container is kept here, and no volume. Images stay until rmi: nobody uses them, so that docker calls all of them reclaimable.
  static func rows(_ records: [UsageRecord]) -> [JSONObject] {
    func row(_ type: String, _ some: [UsageRecord], active: Int, reclaimable: Int64) -> JSONObject {
      let size = some.reduce(0) { $0 + $1.size }
      let share = size > 0 ? " (\(reclaimable * 100 / size)%)" : ""
      return JSONObject([
        ("Active", .string("\(active)")), ("Reclaimable", .string(HumanFigures.size(reclaimable) + share)), ("Size", .string(HumanFigures.size(size))),
        ("TotalCount", .string("\(some.count)")), ("Type", .string(type)),
      ])
    }
    let images = records.filter { $0.type == "image" }, cache = records.filter { $0.type != "image" && $0.type != "internal" }
    return [
      row("Images", images, active: 0, reclaimable: images.reduce(0) { $0 + $1.size }), row("Containers", [], active: 0, reclaimable: 0),
      row("Local Volumes", [], active: 0, reclaimable: 0),
      row("Build Cache", cache, active: cache.count(where: \.inUse), reclaimable: cache.filter { !$0.inUse }.reduce(0) { $0 + $1.size }),
    ]
  }
}
