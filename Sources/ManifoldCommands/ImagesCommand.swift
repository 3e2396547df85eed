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

/// `manifold images`: docker's, with the platforms of each image.
struct ImagesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "images", abstract: "List the images of the local store.", usage: "manifold images [options] [<repository[:tag]>]",
    discussion: """
      Examples:
        manifold images
        manifold images -q hello
        manifold images --format json | jq -r .Platforms
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("Only images of this name.", valueName: "repository[:tag]")) var name: String?
  @Flag(name: .shortAndLong, help: "Print the images' ids only.") var quiet = false
  @Flag(name: .customLong("digests"), help: "Show digests.") var digests = false
  @Flag(name: .customLong("no-trunc"), help: "Show whole ids.") var noTruncation = false
  @Flag(name: .shortAndLong, help: .hidden) var all = false
  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("table, json (one object a line), or a Go template for each image, such as '{{.Repository}} {{.Platforms}}'.", valueName: "format")) var format =
    "table"

  func validate() throws {
    do {
      if !["table", "json"].contains(format), try RowTemplate(format) == nil { throw ValidationError("--format \(format): formats are table, json, or a template") }
    } catch let error as BuildError { throw ValidationError(error.message) }
    if let name { _ = try Reference(parsing: name) }
  }

  mutating func run() async throws {
    let composition = try Composition.required()
    let settings = global.settings(try CommandFacts.current())
    let images = try await Interruption.guarding { _ in try await composition.withEngine(settings) { engine in try await engine.images() } }
    Terminal.output(try text(try selected(images), now: Int64(time(nil))))
  }

  private func selected(_ images: [LocalImage]) throws -> [LocalImage] {
    guard let name else { return images }
    let wanted = try Reference(parsing: name)
    return images.filter {
      $0.reference.name == wanted.name && (wanted.tag == nil || wanted.tag == $0.reference.tag) && (wanted.digest == nil || wanted.digest == $0.digest)
    }
  }

  /// - Parameter now: seconds since 1970.
  func text(_ images: [LocalImage], now: Int64) throws -> String {
    if quiet { return images.map { id($0) + "\n" }.joined() }
    if let template = try RowTemplate(format) { return try template.text(images.map { fields($0, now: now) }, header: ImagesCommand.headings) }
    if format == "json" { return images.map { JSONValue.object(fields($0, now: now)).encodedString() + "\n" }.joined() }
    var table = AlignedText(minimumWidth: 10, padding: 3)
    table.add(["REPOSITORY", "TAG"] + (digests ? ["DIGEST"] : []) + ["IMAGE ID", "CREATED", "SIZE", "PLATFORMS"])
    for image in images {
      table.add(
        [image.reference.familiarName, image.reference.tag ?? "<none>"] + (digests ? [image.digest.description] : [])
          + [id(image), since(image, now), HumanFigures.size(image.size), image.platforms.map(\.description).joined(separator: ", ")])
    }
    return table.flush()
  }

  private func id(_ image: LocalImage) -> String { noTruncation ? image.digest.description : String(image.digest.hex.prefix(12)) }
  private func since(_ image: LocalImage, _ now: Int64) -> String { HumanFigures.duration(seconds: max(0, now - image.created.seconds)) + " ago" }

  /// Docker's members, in its order, and the platforms.
  private func fields(_ image: LocalImage, now: Int64) -> JSONObject {
    let created = image.created.description
    return JSONObject([
      ("Containers", "N/A"), ("CreatedAt", .string("\(created.prefix(10)) \(created.dropFirst(11).prefix(8)) +0000 UTC")), ("CreatedSince", .string(since(image, now))),
      ("Digest", .string(image.digest.description)), ("ID", .string(id(image))), ("Platforms", .string(image.platforms.map(\.description).joined(separator: ","))),
      ("Repository", .string(image.reference.familiarName)), ("SharedSize", "N/A"), ("Size", .string(HumanFigures.size(image.size))),
      ("Tag", .string(image.reference.tag ?? "<none>")), ("UniqueSize", "N/A"),
    ])
  }

  private static let headings = ["ID": "IMAGE ID", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE"]
}
