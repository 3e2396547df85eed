internal import ArgumentParser
internal import BuildInterface
internal import ContentStore
internal import HostOS
internal import ImageTools
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `manifold history`: docker's.
struct HistoryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history", abstract: "Show how an image of the local store was made.", usage: "manifold history [options] <image>",
    discussion: """
      Examples:
        manifold history hello
        manifold history --no-trunc --platform linux/arm64 hello
        manifold history --format '{{.CreatedBy}}: {{.Size}}' hello

      Sizes are those of the layers' blobs, as they lie in the store.
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: [.customLong("human"), .customShort("H")], inversion: .prefixedNo, help: "Sizes and times for people.") var human = true
  @Flag(name: .shortAndLong, help: "Print ids only.") var quiet = false
  @Flag(name: .customLong("no-trunc"), help: "Show everything whole.") var noTruncation = false
  @Option(name: .customLong("platform"), parsing: .unconditional, help: ArgumentHelp("Of which platform: os/arch[/variant].", valueName: "platform")) var platform: String?
  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("table, json (one object a line), or a Go template for each line.", valueName: "format")) var format = "table"
  @Argument(help: ArgumentHelp("The image: a name, a digest or an id.", valueName: "image")) var image: String

  struct Row {
    var id: String
    /// Seconds since 1970; nil where nobody said.
    var created: Int64?
    var createdBy: String
    var size: Int64
    var comment: String
  }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let wanted = try platform.map { try StoreAccess.platforms([$0], host: facts.host)[0] }
    let image = image
    let rows = try await StoreAccess.withStore(global) { engine in
      let found = try await StoredImages(engine.store).find(image)
      return try await Blocking.run {
        let chosen = try found.image.image(for: wanted, host: facts.host, name: image)
        guard let manifest = chosen.manifest else { return [Row]() }
        let config = try ImageConfig(parsing: engine.store.bytes(manifest.config.digest, limit: DocumentLimits.config))
        return HistoryCommand.rows(config, manifest.layers.map(\.size), id: found.image.root.digest.description)
      }
    }
    Terminal.output(try text(rows, now: Int64(time(nil))))
  }

  /// The last first; only the image itself has an id.
  static func rows(_ config: ImageConfig, _ sizes: [Int64], id: String) -> [Row] {
    var sizes = sizes[...]
    var rows = config.history.map { item in
      Row(id: "<missing>", created: item.created?.seconds, createdBy: item.createdBy, size: item.emptyLayer ? 0 : sizes.popFirst() ?? 0, comment: item.comment)
    }
    // Layers that nobody wrote history for.
    rows += sizes.map { Row(id: "<missing>", created: nil, createdBy: "", size: $0, comment: "") }
    rows.reverse()
    if !rows.isEmpty { rows[0].id = id }
    return rows
  }

  /// - Parameter now: seconds since 1970.
  func text(_ rows: [Row], now: Int64) throws -> String {
    if quiet { return rows.map { shortID($0.id) + "\n" }.joined() }
    if let template = try RowTemplate(format) { return try template.text(rows.map { fields($0, now) }, header: HistoryCommand.headings) }
    switch format {
    case "json": return rows.map { JSONValue.object(fields($0, now)).encodedString() + "\n" }.joined()
    case "table":
      var table = AlignedText(minimumWidth: 10, padding: 3)
      table.add("IMAGE", human ? "CREATED" : "CREATED AT", "CREATED BY", "SIZE", "COMMENT")
      for row in rows { table.add(shortID(row.id), human ? since(row, now) : at(row), by(row), size(row), row.comment) }
      return table.flush()
    default: throw BuildError.usage("--format \(format): formats are table, json, or a template such as '{{.CreatedBy}}'")
    }
  }

  private func fields(_ row: Row, _ now: Int64) -> JSONObject {
    JSONObject([
      ("Comment", .string(row.comment)), ("CreatedAt", .string(at(row))), ("CreatedBy", .string(by(row))), ("CreatedSince", .string(human ? since(row, now) : at(row))),
      ("ID", .string(shortID(row.id))), ("Size", .string(size(row))),
    ])
  }
  private static let headings = [
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
  ]

  private func shortID(_ id: String) -> String { noTruncation || !id.hasPrefix("sha256:") ? id : String(id.dropFirst(7).prefix(12)) }
  private func size(_ row: Row) -> String { human ? HumanFigures.size(row.size) : String(row.size) }
  /// Docker's time of nothing is Go's zero time.
  private func at(_ row: Row) -> String { row.created.map { Timestamp(seconds: $0).description } ?? "0001-01-01T00:00:00Z" }
  /// A time that is no time, as reproducible builds have it, is none.
  private func since(_ row: Row, _ now: Int64) -> String {
    guard let created = row.created, created > 946_684_800 else { return "N/A" }
    return HumanFigures.duration(seconds: max(0, now - created)) + " ago"
  }
  private func by(_ row: Row) -> String {
    let text = row.createdBy.replacing("\t", with: " ")
    guard !noTruncation, text.unicodeScalars.count > 45 else { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.prefix(44))) + "…"
  }
}
