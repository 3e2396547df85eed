internal import ArgumentParser
internal import BuildInterface
internal import GoTemplate
internal import HostOS
internal import OCIModel
internal import OCIRegistry

struct ImagetoolsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "imagetools", abstract: "Look at images in registries, and join them.",
    discussion: """
      Examples:
        manifold imagetools inspect debian:bookworm
        manifold imagetools inspect --raw localhost:5000/me/hello | jq .
        manifold imagetools create -t localhost:5000/me/hello localhost:5000/me/hello:amd64 localhost:5000/me/hello:arm64
      """,
    subcommands: [ImagetoolsInspectCommand.self, ImagetoolsCreateCommand.self])
}

/// `manifold imagetools inspect`: buildx's, byte for byte.
struct ImagetoolsInspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Show what a name stands for in its registry: an index with its manifests, or one manifest.",
    usage: "manifold imagetools inspect [options] <name>",
    discussion: """
      Examples:
        manifold imagetools inspect debian:bookworm
        manifold imagetools inspect --raw localhost:5000/me/hello | sha256sum
        manifold imagetools inspect --format '{{json .Manifest}}' localhost:5000/me/hello
        manifold imagetools inspect --format '{{range $p, $i := .Image}}{{$p}}: {{$i.Config.Cmd}}{{"\n"}}{{end}}' localhost:5000/me/hello
        manifold imagetools inspect --format '{{json .Provenance}}' localhost:5000/me/hello
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The image: [registry/]repository[:tag|@digest].", valueName: "name")) var name: String
  @Flag(name: .customLong("raw"), help: "Print the document as the registry has it, byte for byte.") var raw = false
  @Option(
    name: .customLong("format"), parsing: .unconditional,
    help: ArgumentHelp(
      "A Go template over .Name, .Manifest, .Image, .Provenance and .SBOM, with the function json. {{.Manifest}} alone is what is shown without.",
      valueName: "template"))
  var format: String?

  /// buildx has no other function beside Go's own; docker's are a help, and do no harm.
  private static let functions = TemplateFunction.docker.merging(["json": TemplateFunction(1...1) { .string($0[0].indentedJSON) }]) { $1 }

  func validate() throws {
    if raw, let format, !format.isEmpty { throw ValidationError("--format and --raw exclude one another") }
    if name.hasPrefix("oci-layout://") { throw ValidationError("\(name): an OCI layout is not yet supported here") }
    _ = try Reference(parsing: name)
    if let format, !format.isEmpty {
      do throws(TemplateError) { _ = try GoTemplate(format, functions: Self.functions) } catch { throw ValidationError("--format: \(error)") }
    }
  }

  mutating func run() async throws {
    let reference = try Reference(parsing: name).withDefaultTag
    let (name, raw, format) = (name, raw, format ?? "")
    let output = try await RegistryAccess.withClient(global) { client in try await Self.output(name, reference, raw: raw, format: format, client) }
    Terminal.output(output)
  }

  private static func output(_ name: String, _ reference: Reference, raw: Bool, format: String, _ client: RegistryClient) async throws -> [UInt8] {
    let fetched = try await client.manifest(reference)
    if raw { return fetched.bytes }
    let inspection = try ImageInspection(name: name, reference: reference, manifest: fetched)
    if format.isEmpty || ImageInspection.isWholeManifest(format) { return Array(inspection.summary.utf8) }
    let template = try GoTemplate(format, functions: functions)
    let images = try await InspectedImages.load(inspection, client)
    do throws(TemplateError) { return Array(try template.execute(images.templateValue(inspection)).utf8) } catch { throw BuildError.usage("--format: \(error)") }
  }
}
