internal import ArgumentParser
internal import BuildInterface
internal import ContentStore
internal import ImageTools
internal import OCIModel

/// `manifold rmi`: takes images out of the local store.
struct RmiCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rmi", abstract: "Remove images from the local store.", usage: "manifold rmi [options] <image>…",
    discussion: """
      Examples:
        manifold rmi hello
        manifold rmi hello:1 hello:2
        manifold rmi -f 3f2a9c

      An image's content goes with its last name, but for what the build cache has too.
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: .shortAndLong, help: "Also an image that has several names, by its id; and what is not there is no error.") var force = false
  @Flag(name: .customLong("no-prune"), help: .hidden) var noPrune = false
  @Option(name: .customLong("platform"), parsing: .unconditionalSingleValue, help: .hidden) var platforms: [String] = []
  @Argument(help: ArgumentHelp("Images: names, digests or ids.", valueName: "image")) var names: [String] = []

  func validate() throws {
    if names.isEmpty { throw ValidationError("rmi needs the name of an image") }
  }

  mutating func run() async throws {
    if !platforms.isEmpty { throw BuildError.notYet("rmi --platform") }
    let (names, force) = (names, force)
    try await StoreAccess.withStore(global) { engine in
      var missing: [BuildError] = []
      for name in names {
        do { try await Self.remove(name, force: force, engine) } catch let error as ImageToolsError where error.code == .noSuchImage { missing.append(BuildError(error)) }
      }
      guard let first = missing.first else { return }
      // Docker says so too, and goes on.
      if force { return missing.forEach { Terminal.error(ErrorText.of($0)) } }
      for other in missing.dropFirst() { Terminal.error(ErrorText.of(other)) }
      throw first
    }
  }

  private static func remove(_ text: String, force: Bool, _ engine: any EmbeddedEngine) async throws {
    let found = try await StoredImages(engine.store).find(text)
    let digest = found.image.root.digest
    var removed = found.names
    if let reference = found.reference {
      removed = found.names.filter { $0.reference.name == reference.name && (reference.tag == nil || $0.reference.tag == reference.tag) }
      guard !removed.isEmpty else {
        throw BuildError.usage("\(text) is one platform's image of another: only the whole can be removed")
      }
    } else if removed.count > 1, !force {
      let several = Set(removed.map(\.reference.name)).count > 1
      if several {
        throw BuildError(.failedPrecondition, .usage, "conflict: unable to delete \(digest.hex.prefix(12)) (must be forced) - image is referenced in multiple repositories", suggestion: "Its names are \(removed.map(\.reference.familiar).joined(separator: ", ")).")
      }
    }
    for name in removed where try await engine.removeImage(name.reference) {
      if !name.isUnnamed { Terminal.output("Untagged: \(name.reference.familiar)\n") }
    }
    if try await LocalImages(engine.store).withID(digest.description).isEmpty { Terminal.output("Deleted: \(digest)\n") }
  }
}
