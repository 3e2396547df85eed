internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `manifold images`: docker's, with the platforms of each image.
struct ImagesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "images", abstract: "List the images of the local store.", usage: "manifold images [options] [<repository[:tag]>]",
    discussion: """
      Examples:
        manifold images
        manifold images --tree
        manifold images -q --filter reference='reg/me/*:1.*'
        manifold images --format json | jq -r .Platforms

      Filters: reference, label, before, since, until, dangling. SIZE is what the store has of the image, compressed, each blob once.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("Only images of this name; * and ? stand for what is not a slash.", valueName: "repository[:tag]")) var name: String?
  @Flag(name: .shortAndLong, help: "Print the images' ids only.") var quiet = false
  @Flag(name: .customLong("tree"), help: "Show each image's platforms beneath it, with digests and sizes.") var tree = false
  @Flag(name: .customLong("digests"), help: "Show digests.") var digests = false
  @Flag(name: .customLong("no-trunc"), help: "Show whole ids.") var noTruncation = false
  @Flag(name: .shortAndLong, help: "Also images that have no name.") var all = false
  @Option(
    name: [.customLong("filter"), .customShort("f", allowingJoined: true)], parsing: .unconditionalSingleValue, help: ArgumentHelp("Only these images. May be repeated.", valueName: "filter")) var filters: [String] = []
  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("table, json (one object a line), or a Go template for each image, such as '{{.Repository}} {{.Platforms}}'.", valueName: "format")) var format =
    "table"

  func validate() throws {
    do {
      if !["table", "json"].contains(format), try RowTemplate(format) == nil { throw ValidationError("--format \(format): formats are table, json, or a template") }
    } catch let error as BuildError { throw ValidationError(error.message) }
    if tree, quiet || digests || format != "table" { throw ValidationError("--tree shows digests itself, and goes with none of --quiet, --digests and --format") }
  }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    var filter = try ImageFilter(filters)
    if let name { try filter.add(reference: name) }
    let rows = try await StoreAccess.withStore(global) { engine in try await ImageRow.all(engine.store, host: facts.host) }
    let shown = try filter.selected(rows, all: rows)
    // As docker: an image without a name is shown with --all, or when it is asked for.
    Terminal.output(try text(all || filter.isAboutDangling ? shown : shown.filter { !$0.isUnnamed }, now: Int64(time(nil))))
  }

  /// - Parameter now: seconds since 1970.
  func text(_ rows: [ImageRow], now: Int64) throws -> String {
    if quiet { return rows.map { id($0.digest) + "\n" }.joined() }
    if tree { return treeText(rows) }
    if let template = try RowTemplate(format) { return try template.text(rows.map { fields($0, now: now) }, header: ImagesCommand.headings) }
    if format == "json" { return rows.map { JSONValue.object(fields($0, now: now)).encodedString() + "\n" }.joined() }
    var table = AlignedText(minimumWidth: 10, padding: 3)
    table.add(["REPOSITORY", "TAG"] + (digests ? ["DIGEST"] : []) + ["IMAGE ID", "CREATED", "SIZE", "PLATFORMS"])
    for row in rows {
      table.add(
        [row.repository, row.tag] + (digests ? [row.digest.description] : [])
          + [id(row.digest), since(row, now), HumanFigures.size(row.size), row.platforms.map(\.description).joined(separator: ", ")])
    }
    return table.flush()
  }

  /// One image under all its names, its platforms beneath.
  private func treeText(_ rows: [ImageRow]) -> String {
    var table = AlignedText(minimumWidth: 10, padding: 3)
    table.add("IMAGE", "DIGEST", "SIZE", "")
    var shown = Set<Digest>()
    for row in rows where shown.insert(row.digest).inserted {
      for other in rows where other.digest == row.digest && other.reference != row.reference { table.add(Self.title(other), "", "", "") }
      table.add(Self.title(row), id(row.digest), HumanFigures.size(row.size), "")
      for (i, part) in row.parts.enumerated() {
        let notes = (part.isHere ? [] : [part.size > 0 ? "not all of it here" : "not here"]) + (part.isAttested ? ["attested"] : [])
        table.add((i == row.parts.count - 1 ? "└─ " : "├─ ") + part.platform, id(part.digest), part.isHere || part.size > 0 ? HumanFigures.size(part.size) : "-", notes.joined(separator: ", "))
      }
    }
    return table.flush().split(separator: "\n", omittingEmptySubsequences: false).map { line in
      var line = line
      while line.last == " " { line.removeLast() }
      return String(line)
    }.joined(separator: "\n")
  }
  private static func title(_ row: ImageRow) -> String { row.isUnnamed ? "<none>" : row.reference.tag == nil ? "\(row.reference.familiarName)@" : row.reference.familiar }

  private func id(_ digest: Digest) -> String { noTruncation ? digest.description : String(digest.hex.prefix(12)) }
  private func since(_ row: ImageRow, _ now: Int64) -> String { HumanFigures.duration(seconds: max(0, now - row.created.seconds)) + " ago" }

  /// Docker's members, in its order, and the platforms.
  private func fields(_ row: ImageRow, now: Int64) -> JSONObject {
    let created = row.created.description
    return JSONObject([
      ("Containers", "N/A"), ("CreatedAt", .string("\(created.prefix(10)) \(created.dropFirst(11).prefix(8)) +0000 UTC")), ("CreatedSince", .string(since(row, now))),
      ("Digest", .string(row.digest.description)), ("ID", .string(id(row.digest))), ("Platforms", .string(row.platforms.map(\.description).joined(separator: ","))),
      ("Repository", .string(row.repository)), ("SharedSize", "N/A"), ("Size", .string(HumanFigures.size(row.size))),
      ("Tag", .string(row.tag)), ("UniqueSize", "N/A"),
    ])
  }

  private static let headings = ["ID": "IMAGE ID", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE"]
}
