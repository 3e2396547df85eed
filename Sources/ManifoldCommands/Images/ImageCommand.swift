internal import ArgumentParser
internal import BuildInterface
internal import ContentStore
internal import GoTemplate
internal import HostOS
internal import ImageTools
internal import OCIModel

/// `manifold image`: docker's. Most of it is other verbs' longer spelling (`Spellings`).
struct ImageCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image", abstract: "Inspect or prune images of the local store; docker's longer spelling of other commands.",
    usage: "manifold image inspect|prune|build|history|load|ls|pull|push|rm|save|tag …",
    discussion: """
      Examples:
        manifold image inspect -f '{{.Architecture}}' hello
        manifold image prune -a -f
        manifold image ls

      image build, history, load, ls (list), pull, push, rm (remove), save and tag are manifold build, history, load, images, pull, push, rmi, save and tag.
      """,
    subcommands: [ImageInspectCommand.self, ImagePruneCommand.self])
}

struct ImageInspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Show everything about images of the local store.", usage: "manifold image inspect [options] <image>…",
    discussion: """
      Examples:
        manifold image inspect hello
        manifold image inspect --platform linux/arm64 -f '{{json .Config.Env}}' hello
      """)

  @OptionGroup var global: GlobalOptions
  @Option(
    name: [.customLong("format"), .customShort("f", allowingJoined: true)], parsing: .unconditional, help: ArgumentHelp("json, or a Go template for each image.", valueName: "format")) var format: String?
  @Option(name: .customLong("platform"), parsing: .unconditional, help: ArgumentHelp("Of which platform: os/arch[/variant].", valueName: "platform")) var platform: String?
  @Argument(help: ArgumentHelp("Images: names, digests or ids.", valueName: "image")) var images: [String] = []

  func validate() throws {
    if images.isEmpty { throw ValidationError("image inspect needs the name of an image") }
  }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let wanted = try platform.map { try StoreAccess.platforms([$0], host: facts.host)[0] }
    let template: GoTemplate?
    do throws(TemplateError) { template = try Self.isDocument(format) ? nil : GoTemplate(format ?? "") } catch { throw BuildError.usage("--format: \(error)") }
    let images = images
    let isLine = format == "json"
    try await StoreAccess.withStore(global) { engine in
      var values: [TemplateValue] = []
      var failures: [any Error] = []
      for text in images {
        do {
          let found = try await StoredImages(engine.store).find(text)
          values.append(try await Blocking.run { try ImageDetails(found, wanted, host: facts.host, engine.store) }.value)
        } catch let error as ImageToolsError { failures.append(error) }
      }
      // What there is is shown, also when something is not.
      Terminal.output(try Self.text(values, template, isLine: isLine))
      if let first = failures.first {
        for failure in failures.dropFirst() { Terminal.error(ErrorText.of((failure as? ImageToolsError).map(BuildError.init) ?? failure)) }
        throw first
      }
    }
  }

  private static func isDocument(_ format: String?) -> Bool { format == nil || format == "" || format == "json" }

  static func text(_ values: [TemplateValue], _ template: GoTemplate?, isLine: Bool) throws -> String {
    guard let template else {
      let list = try JSONValue(parsing: TemplateValue.list(values).json)
      return list.encodedString(isLine ? .compact : .indented("    "), escapeHTML: false) + "\n"
    }
    do throws(TemplateError) {
      var out = ""
      for value in values { out += try template.execute(value) + "\n" }
      return out
    } catch { throw BuildError.usage("--format: \(error)") }
  }
}

struct ImagePruneCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prune", abstract: "Remove images that have no name, or all.", usage: "manifold image prune [options]",
    discussion: """
      Examples:
        manifold image prune -f
        manifold image prune -a -f --filter until=168h
        manifold image prune -a -f --filter label!=keep

      The build cache has its own: manifold prune. Filters: until (a time or an age), label, label!.
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: .shortAndLong, help: "Also images that have names.") var all = false
  @Flag(name: .shortAndLong, help: "Do not ask.") var force = false
  @Option(name: .customLong("filter"), parsing: .unconditionalSingleValue, help: ArgumentHelp("Only these. May be repeated; all must hold.", valueName: "filter")) var filters: [String] = []

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let filter = try ImageFilter(filters, allowed: ["until", "label", "label!", "dangling"])
    if !force, !facts.standardInputIsTerminal {
      throw BuildError.usage("image prune asks before it removes anything, and there is no terminal to ask on", suggestion: "Give --force (-f) to remove without being asked.")
    }
    let (all, force) = (all, force)
    try await StoreAccess.withStore(global) { engine in
      if !force {
        Terminal.output("WARNING! This will remove all \(all ? "images without at least one container associated to them" : "dangling images").\nAre you sure you want to continue? [y/N] ")
        let answer = try await Blocking.run { readLine() ?? "" }
        guard ["y", "yes"].contains(answer.lowercased()) else { return }
      }
      let store = engine.store
      let before = try await store.read { try StoredBlob.total($0) }
      let rows = try await ImageRow.all(store, host: facts.host)
      let chosen = try filter.selected(rows, all: rows).filter { all || $0.isUnnamed }
      var lines: [String] = []
      for row in chosen {
        guard try await engine.removeImage(row.reference) else { continue }
        if !row.isUnnamed { lines.append("untagged: \(row.reference.familiar)\n") }
        if try await LocalImages(store).withID(row.digest.description).isEmpty { lines.append("deleted: \(row.digest)\n") }
      }
      let freed = max(0, try await before - store.read { try StoredBlob.total($0) })
      Terminal.output((lines.isEmpty ? "" : "Deleted Images:\n" + lines.joined() + "\n") + "Total reclaimed space: \(HumanFigures.size(freed))\n")
    }
  }
}
