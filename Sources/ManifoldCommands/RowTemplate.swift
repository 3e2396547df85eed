internal import BuildInterface
internal import GoTemplate
internal import OCIModel

/// `--format` of a listing, as docker's has it: a Go template for each row, or `table` and one, whose columns are set apart by `\t`.
struct RowTemplate: Sendable {
  private let template: GoTemplate
  private let isTable: Bool

  /// nil for a word that is no template. Throws `BuildError`.
  init?(_ format: String) throws {
    guard format.contains("{{") else { return nil }
    isTable = format == "table" || format.hasPrefix("table ")
    var body = isTable ? Substring(format.dropFirst("table".count)) : format[...]
    while isTable, body.first == " " { body.removeFirst() }
    let source = body.replacing("\\t", with: "\t").replacing("\\n", with: "\n")
    do throws(TemplateError) { template = try GoTemplate(String(source)) } catch { throw BuildError.usage("--format: \(error)") }
  }

  /// A line a row. `header` says what stands above each field's column.
  func text(_ rows: [JSONObject], header: [String: String]) throws -> String {
    do throws(TemplateError) {
      var lines: [String] = []
      for row in rows { lines.append(try template.execute(Self.value(row))) }
      guard isTable else { return lines.map { $0 + "\n" }.joined() }
      // Names that have no heading are upper-cased, as docker has them.
      let names = rows.first.map { $0.members.map(\.key) } ?? Array(header.keys)
      let fields = Dictionary(uniqueKeysWithValues: Set(names + header.keys).map { ($0, TemplateValue.string(header[$0] ?? $0.uppercased())) })
      var table = AlignedText(minimumWidth: 10, padding: 3)
      for line in [try template.execute(.map(fields))] + lines { table.add(line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)) }
      return table.flush()
    } catch { throw BuildError.usage("--format: \(error)") }
  }

  private static func value(_ row: JSONObject) -> TemplateValue {
    .object(TemplateObject(type: "row", fields: row.members.map { .init($0.key, ImageTemplateData.any($0.value)) }))
  }
}
