internal import ArgumentParser
internal import BuildInterface
internal import GoTemplate
internal import HostOS
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

struct ImagetoolsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "imagetools", abstract: "Look at images wherever they are, and join them.",
    discussion: """
      Examples:
        manifold imagetools inspect debian:bookworm
        manifold imagetools inspect --raw localhost:5000/me/hello | jq .
        manifold imagetools create -t localhost:5000/me/hello localhost:5000/me/hello:amd64 localhost:5000/me/hello:arm64
      """,
    subcommands: [ImagetoolsInspectCommand.self, ImagetoolsCreateCommand.self])
}

/// `manifold imagetools inspect`: buildx's, byte for byte with `--compat`; without it, attestations are shown with the images that they are about.
struct ImagetoolsInspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Show what a name stands for: an index with its manifests, or one manifest.",
    usage: "manifold imagetools inspect [options] <name>",
    discussion: """
      Examples:
        manifold imagetools inspect debian:bookworm
        manifold imagetools inspect --raw localhost:5000/me/hello | sha256sum
        manifold imagetools inspect --format '{{json .Manifest}}' localhost:5000/me/hello
        manifold imagetools inspect --format '{{range $p, $i := .Image}}{{$p}}: {{$i.Config.Cmd}}{{"\n"}}{{end}}' localhost:5000/me/hello
        manifold imagetools inspect --format '{{json .Provenance}}' localhost:5000/me/hello
        manifold imagetools inspect oci-layout://./app:1
        manifold imagetools inspect local:hello
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The image: [registry/]repository[:tag|@digest], oci-layout://PATH[:TAG][@DIGEST], or local:NAME.", valueName: "name")) var name: String
  @Flag(name: .customLong("raw"), help: "Print the document as the registry has it, byte for byte.") var raw = false
  @Flag(name: .customLong("compat"), help: "Print what docker buildx prints, byte for byte.") var compat = false
  @Option(name: .customLong("builder"), parsing: .unconditional, help: .hidden) var builder: String?
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
    if builder != nil { throw ValidationError("--builder is not yet supported") }
    do { _ = try ImageLocation(parsing: name) } catch let error as ImageStoreError { throw ValidationError(error.message) }
    if let format, !format.isEmpty {
      do throws(TemplateError) { _ = try GoTemplate(format, functions: Self.functions) } catch { throw ValidationError("--format: \(error)") }
    }
  }

  mutating func run() async throws {
    let location = try ImageCommands.location(name)
    let (name, raw, compat, format) = (name, raw, compat, format ?? "")
    Terminal.output(
      try await ImageCommands.withAccess(global, [location]) { access in try await Self.output(name, try access.source(location), at: location, raw: raw, compat: compat, format: format) })
  }

  /// `location`: as it is shown.
  static func output(_ name: String, _ source: any ImageSource, at location: ImageLocation, raw: Bool, compat: Bool, format: String) async throws -> [UInt8] {
    let fetched = try await source.root()
    if raw { return fetched.bytes }
    var inspection = try ImageInspection(name: name, location: location, manifest: fetched)
    inspection.listed = try await (source as? LayoutImageSource)?.entry()
    if format.isEmpty || ImageInspection.isWholeManifest(format) {
      return Array((compat ? inspection.summary : inspection.view(await InspectedImages.predicates(inspection, source))).utf8)
    }
    let template = try GoTemplate(format, functions: functions)
    let images = try await InspectedImages.load(inspection, source, attestations: format.contains("Provenance") || format.contains("SBOM"))
    do throws(TemplateError) { return Array(try template.execute(images.templateValue(inspection)).utf8) } catch { throw BuildError.usage("--format: \(error)") }
  }
}
