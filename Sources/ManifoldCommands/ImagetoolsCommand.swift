internal import ArgumentParser
internal import BuildInterface
internal import HostOS
internal import OCIModel
internal import OCIRegistry

struct ImagetoolsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "imagetools", abstract: "Look at images in registries.",
    discussion: """
      Examples:
        manifold imagetools inspect debian:bookworm
        manifold imagetools inspect --raw localhost:5000/me/hello | jq .
      """,
    subcommands: [ImagetoolsInspectCommand.self])
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
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The image: [registry/]repository[:tag|@digest].", valueName: "name")) var name: String
  @Flag(name: .customLong("raw"), help: "Print the document as the registry has it, byte for byte.") var raw = false
  @Option(
    name: .customLong("format"), parsing: .unconditional,
    help: ArgumentHelp(
      "{{.Manifest}} (as without), {{json .Manifest}}, {{.Manifest.Digest}}, {{.Manifest.MediaType}} or {{.Name}}; other templates not yet.",
      valueName: "template"))
  var format: String?

  func validate() throws {
    if raw, let format, !format.isEmpty { throw ValidationError("--format and --raw exclude one another") }
    if name.hasPrefix("oci-layout://") { throw ValidationError("\(name): an OCI layout is not yet supported here") }
    _ = try Reference(parsing: name)
    if let format, !format.isEmpty, ImageInspection.Template(format) == nil { throw ValidationError("--format '\(format)' is not yet supported") }
  }

  mutating func run() async throws {
    let reference = try Reference(parsing: name).withDefaultTag
    let configuration = RegistryConfiguration(insecureHosts: Set(global.insecureRegistries))
    let (name, raw, template) = (name, raw, format.flatMap { ImageInspection.Template($0) } ?? .manifest)
    let output = try await Interruption.guarding { _ in
      let client = RegistryClient(configuration, credentials: DockerConfigCredentials())
      do {
        let fetched = try await client.manifest(reference)
        await client.shutdown()
        return raw ? fetched.bytes : Array(try ImageInspection(name: name, reference: reference, manifest: fetched).text(template).utf8)
      } catch {
        await client.shutdown()
        throw error
      }
    }
    Terminal.output(output)
  }
}
