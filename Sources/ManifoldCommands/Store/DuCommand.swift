internal import ArgumentParser
internal import BuildInterface
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `manifold du`: buildx's, of the whole store.
struct DuCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "du", abstract: "Show what takes room in the store, on the disk.", usage: "manifold du [options]",
    discussion: """
      Examples:
        manifold du
        manifold du --verbose --filter type=exec.cachemount
        manifold du --filter until=48h --filter inuse=false
        manifold du --format json | jq -s 'map(.Bytes) | add'

      Sizes are blocks on the disk, and add up to what du(1) says of the store. Types: regular (results of steps, and pulled layers), exec.cachemount, image (kept until
      `manifold rmi`), internal (documents of base images, the database, what running builds have).
      Filters: until, id, type, description, parents, inuse, mutable, immutable, shared, private; key=value, key!=value, key~=regular-expression.
      """)

  @OptionGroup var global: GlobalOptions
  @Option(name: .customLong("filter"), parsing: .unconditionalSingleValue, help: ArgumentHelp("Only these records. May be repeated; all must hold.", valueName: "filter"))
  var filters: [String] = []
  @Flag(name: .customLong("verbose"), help: "Everything about each record; as --format pretty.") var verbose = false
  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("table, pretty, json (one object a line), or a Go template for each record, such as 'table {{.ID}}\\t{{.Size}}'.", valueName: "format"))
  var format: String?

  enum Form: Equatable { case table, pretty, json, template(String) }

  func form() throws -> Form {
    if let format, !format.isEmpty, verbose { throw BuildError.usage("--format and --verbose cannot be used together") }
    switch format ?? "" {
    case "": return verbose ? .pretty : .table
    case "table": return .table
    case "pretty": return .pretty
    case "json", "{{json .}}", "{{ json . }}": return .json
    case let other:
      guard try RowTemplate(other) != nil else { throw BuildError.usage("--format \(other): formats are table, pretty, json, or a template such as '{{.ID}} {{.Size}}'") }
      return .template(other)
    }
  }

  mutating func run() async throws {
    let composition = try Composition.required()
    let form = try form()
    let option = try UsageFilterOption(filters)
    let settings = global.settings(try CommandFacts.current())
    let records = try await Interruption.guarding { _ in try await composition.withEngine(settings) { engine in try await engine.diskUsage() } }
    Terminal.output(try text(DuCommand.selected(records, option, now: Int64(time(nil))), form, now: Int64(time(nil))))
  }

  /// The smallest first, as BuildKit lists them.
  static func selected(_ records: [UsageRecord], _ option: UsageFilterOption, now: Int64) -> [UsageRecord] {
    records.filter { record in
      if option.keepDuration > 0, let used = record.lastUsed, now * 1_000_000_000 - used.nanosecondsSinceEpoch < option.keepDuration { return false }
      return option.filter.matches(record)
    }.sorted { ($0.size, $0.id) < ($1.size, $1.id) }
  }

  func text(_ records: [UsageRecord], _ form: Form, now: Int64) throws -> String {
    let text = UsageText(now: now)
    let isWhole = filters.isEmpty
    return switch form {
    case .json: text.json(records)
    case .template(let format): try RowTemplate(format)?.text(records.map(text.fields), header: UsageText.headings) ?? ""
    case .table: text.table(records) + (isWhole ? "\n" + text.summary(records) : "")
    case .pretty: text.pretty(records) + (isWhole ? text.summary(records) : "")
    }
  }
}
