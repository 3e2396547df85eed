internal import ArgumentParser
internal import BuildInterface
internal import GoTemplate
internal import HostOS
internal import OCIModel

struct VersionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Show the program's version and the platform it runs on.",
    discussion: """
      Examples:
        manifold version
        manifold version -f '{{.Server.Version}}'
        manifold --version
      """)

  @OptionGroup var global: GlobalOptions
  @Option(
    name: [.customLong("format"), .customShort("f", allowingJoined: true)], parsing: .unconditional,
    help: ArgumentHelp("json, or a Go template over docker's document, such as '{{.Client.Version}}'.", valueName: "format")) var format: String?

  mutating func run() async throws {
    let text = try FormattedDocument.text(Self.document, format) ?? "manifold \(Manifold.version) \(Platform.current)\n"
    Terminal.output(text)
  }

  /// In docker's shape: the engine is in the program, so that client and server are one.
  static var document: JSONObject {
    let platform: JSONValue = .object(JSONObject([("Name", "Manifold")]))
    let about: [(String, JSONValue)] = [
      ("Platform", platform), ("Version", .string(Manifold.version)), ("Os", .string(Platform.current.os)), ("Arch", .string(Platform.current.architecture)),
    ]
    return JSONObject([
      ("Client", .object(JSONObject(about + [("Context", "default")]))), ("Server", .object(JSONObject(about + [("KernelVersion", .string(HostFacts.kernelRelease))]))),
    ])
  }
}

/// `--format` of a verb that shows one document: `json`, or a Go template.
enum FormattedDocument {
  /// nil: no format was asked for.
  static func text(_ document: JSONObject, _ format: String?) throws -> String? {
    guard let format, !format.isEmpty else { return nil }
    if format == "json" { return JSONValue.object(document).encodedString(escapeHTML: false) + "\n" }
    do throws(TemplateError) { return try GoTemplate(format).execute(value(.object(document))) + "\n" } catch { throw BuildError.usage("--format: \(error)") }
  }

  /// Objects as structs: a name that there is none of is an error, as in docker.
  private static func value(_ json: JSONValue) -> TemplateValue {
    switch json {
    case .object(let object): .object(TemplateObject(type: "document", fields: object.members.map { .init($0.key, value($0.value)) }))
    case .array(let list): .list(list.map(value))
    default: ImageTemplateData.any(json)
    }
  }
}
