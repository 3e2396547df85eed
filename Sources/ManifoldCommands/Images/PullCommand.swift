internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import ImageTools
internal import OCIModel
internal import OCIRegistry

/// `manifold pull`: docker's, for any number of platforms.
struct PullCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pull", abstract: "Bring an image of a registry into the local store.", usage: "manifold pull [options] <name[:tag|@digest]>",
    discussion: """
      Examples:
        manifold pull alpine
        manifold pull --platform linux/arm64,linux/amd64 alpine:3.22
        manifold pull --all-platforms reg/me/app@sha256:…

      Without --platform it is this machine's platform (or DOCKER_DEFAULT_PLATFORM's), and those that the store has under the name already. The index stays whole \
      as a document; other platforms can be pulled later.
      """)

  @OptionGroup var global: GlobalOptions
  @Option(
    name: .customLong("platform"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("These platforms: os/arch[/variant]. May be repeated, or separated by commas.", valueName: "platform")) var platforms: [String] = []
  @Flag(name: .customLong("all-platforms"), help: "All that the image has.") var allPlatforms = false
  @Flag(name: .shortAndLong, help: "Print only the image's full name.") var quiet = false
  @Option(name: .customLong("progress"), parsing: .unconditional, help: ArgumentHelp("auto, tty, plain, rawjson, quiet or none.", valueName: "view")) var progress = "auto"
  @Flag(name: [.customLong("all-tags"), .customShort("a")], help: .hidden) var allTags = false
  @Flag(name: .customLong("disable-content-trust"), help: .hidden) var disableContentTrust = false
  @Argument(help: ArgumentHelp("The image.", valueName: "name[:tag|@digest]")) var name: String

  func validate() throws {
    if allPlatforms, !platforms.isEmpty { throw ValidationError("--all-platforms and --platform exclude one another") }
    _ = try Reference(parsing: name)
  }

  func choice(_ facts: CommandFacts) throws -> ImagePull.Platforms {
    if allPlatforms { return .all }
    var texts = platforms
    if texts.isEmpty, let own = facts.environment["DOCKER_DEFAULT_PLATFORM"], !own.isEmpty { texts = [own] }
    return texts.isEmpty ? .host(facts.host) : .exactly(try StoreAccess.platforms(texts, host: facts.host))
  }

  mutating func run() async throws {
    if allTags { throw BuildError.notYet("pull --all-tags") }
    let facts = try CommandFacts.current()
    let choice = try choice(facts)
    let given = try StoreAccess.reference(name)
    let reference = given.withDefaultTag
    let mode = quiet ? .quiet : try StoreAccess.view(progress)
    let quiet = quiet
    let result = try await StoreAccess.withStoreAndRegistry(global) { engine, client in
      // (The engine starts the program anew: before it nothing may be written.)
      if given != reference, !quiet { Terminal.output("Using default tag: latest\n") }
      return try await TransferView.run("pulling \(reference.familiar)", mode) { view in
        do { return try await ImagePull(client, into: engine.store, progress: view.handler).pull(reference, choice) } catch let error as ImageToolsError where error.code == .noSuchPlatform {
          // What the registry has not.
          throw BuildError(.notFound, .registry, error.message, suggestion: error.suggestion)
        }
      }
    }
    if quiet { return Terminal.output("\(reference)\n") }
    if let note = Self.note(result, choice, reference) { Terminal.error("note: \(TerminalText.singleLine(note))\n") }
    Terminal.output(
      "Digest: \(result.root.digest)\nStatus: \(result.isNew ? "Downloaded newer image" : "Image is up to date") for \(reference.familiar)\n\(reference)\n")
  }

  /// Which platforms are here now, where that are not all.
  static func note(_ result: ImagePull.Result, _ choice: ImagePull.Platforms, _ reference: Reference) -> String? {
    let absent = result.image.absent
    guard !absent.isEmpty else { return nil }
    func list(_ platforms: [Platform]) -> String { platforms.map(\.fullDescription).joined(separator: ", ") }
    let here = "\(reference.familiar) is here for \(list(result.image.platforms))"
    guard case .host = choice else { return here }
    return "\(here); there is \(list(absent)) too: --platform or --all-platforms brings it"
  }
}
