internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import ContentStore
internal import HostOS
internal import ImageTools
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

/// `manifold push`: docker's.
struct PushCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "push", abstract: "Send an image of the local store to its registry.", usage: "manifold push [options] <name[:tag]>",
    discussion: """
      Examples:
        manifold push reg/me/app:1
        manifold push --platform linux/arm64 reg/me/app:1
        manifold push --all-tags reg/me/app
        manifold push --resume reg/me/app:1

      All platforms that are in the store go, with their index and their attestations; what the index lists and the store lacks is told. With one --platform its \
      manifest goes alone, with several an index of these. The tag is set last. \
      What the registry has is not sent again, and large layers that an earlier push left half-sent are taken up where it stopped.
      """)

  @OptionGroup var global: GlobalOptions
  @Flag(name: [.customLong("all-tags"), .customShort("a")], help: "All tags that the repository has in the local store.") var allTags = false
  @Option(
    name: .customLong("platform"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Only these platforms: os/arch[/variant]. May be repeated, or separated by commas.", valueName: "platform")) var platforms: [String] = []
  @Flag(name: .customLong("resume"), help: "Go on with a push that was broken off, and say how much of it was there. (Every push goes on so; it only does not say it.)") var resume = false
  @Flag(name: .shortAndLong, help: "Print only the image's full name.") var quiet = false
  @Option(name: .customLong("progress"), parsing: .unconditional, help: ArgumentHelp("auto, tty, plain, rawjson, quiet or none.", valueName: "view")) var progress = "auto"
  @Flag(name: .customLong("disable-content-trust"), help: .hidden) var disableContentTrust = false
  @Argument(help: ArgumentHelp("The image.", valueName: "name[:tag]")) var name: String

  func validate() throws {
    let reference = try Reference(parsing: name)
    if allTags, reference.tag != nil || reference.digest != nil { throw ValidationError("tag can't be used with --all-tags/-a") }
    if reference.digest != nil { throw ValidationError("cannot push a digest reference") }
  }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let wanted = try StoreAccess.platforms(platforms, host: facts.host)
    let given = try StoreAccess.reference(name)
    let mode = quiet ? .quiet : try StoreAccess.view(progress)
    let (allTags, quiet, resume) = (allTags, quiet, resume)
    try await StoreAccess.withStoreAndRegistry(global) { engine, client in
      if !allTags, given != given.withDefaultTag, !quiet { Terminal.output("Using default tag: latest\n") }
      let images = try await Self.images(given, allTags: allTags, engine.store)
      if !quiet { Terminal.output("The push refers to repository [\(given.name)]\n") }
      for (reference, image) in images {
        let image = image.counting(try await Self.reachable(image, engine.store))
        let selection = try await Blocking.run { try ImageSelection(image, platforms: wanted, name: reference.familiar, store: engine.store) }
        if let note = ImageNotes.leftOut(selection, "pushed", reference.familiar) { Terminal.error("note: \(TerminalText.singleLine(note))\n") }
        let sources = try await Self.mounts(selection, to: reference, engine.store)
        let found = PushedBefore()
        try await TransferView.run("pushing \(reference.familiar)", mode) { view in
          let progress: TransferProgressHandler = { event in
            found.note(event)
            view.follow(event)
          }
          try await StorePush(client, from: engine.store, progress: progress).push(selection, to: reference, mountFrom: sources)
        }
        if resume, !quiet { Terminal.error("note: \(found.text(of: selection.blobs.count))\n") }
        Terminal.output(quiet ? "\(reference)\n" : "\(reference.tag ?? ""): digest: \(selection.root.digest) size: \(selection.root.size)\n")
      }
    }
  }

  private static func images(_ given: Reference, allTags: Bool, _ store: ContentStore) async throws -> [(Reference, StoredImage)] {
    let names = try await LocalImages(store).list()
    let chosen = names.filter { $0.reference.name == given.name && (allTags ? $0.reference.tag != nil : $0.reference.tag == given.withDefaultTag.tag) }
    guard !chosen.isEmpty else {
      throw BuildError(
        .notFound, .usage,
        allTags ? "An image does not exist locally with the name: \(given.familiarName)" : "An image does not exist locally with the tag: \(given.withDefaultTag.familiar)",
        suggestion: allTags ? nil : "Name it with manifold tag, or build it with -t \(given.familiar).")
    }
    return try await Blocking.run { try chosen.sorted { $0.reference.familiar < $1.reference.familiar }.map { ($0.reference, try store.storedImage($0.descriptor)) } }
  }

  /// Parts that are not here, and were seen in registries.
  private static func reachable(_ image: StoredImage, _ store: ContentStore) async throws -> Set<Digest> {
    var found: Set<Digest> = []
    for part in Set(image.images.flatMap(\.missing).map(\.digest)) where try await !store.origins(of: part).isEmpty { found.insert(part) }
    return found
  }

  /// Other repositories of the registry that the store knows to have had some of it.
  private static func mounts(_ selection: ImageSelection, to target: Reference, _ store: ContentStore) async throws -> [Reference] {
    let blobs = Set(selection.blobs.map(\.digest))
    let others = try await LocalImages(store).list().filter { $0.reference.domain == target.domain && $0.reference.path != target.path }
    return try await Blocking.run {
      var found: [Reference] = []
      for image in others where !found.contains(image.reference.repository) && found.count < 4 {
        guard let closure = try? store.closure(of: image.descriptor), closure.blobs.contains(where: { blobs.contains($0.digest) }) else { continue }
        found.append(image.reference.repository)
      }
      return found
    }
  }
}

/// How much of a push an earlier one had done.
final class PushedBefore: Sendable {
  private let state = Mutex<(sent: Set<Digest>, there: Set<Digest>, resumed: [Digest: Int64])>(([], [], [:]))

  func note(_ event: TransferProgress) {
    state.withLock { state in
      let digest = event.descriptor.digest
      switch event.state {
      case .exists: state.there.insert(digest)
      // The first word of a transfer says where it begins.
      case .transferring where event.bytes > 0 && !state.sent.contains(digest) && state.resumed[digest] == nil: state.resumed[digest] = event.bytes
      case .transferring where event.bytes == 0: state.sent.insert(digest)
      default: break
      }
    }
  }

  func text(of count: Int) -> String {
    state.withLock { state in
      // Nothing was asked for: the manifest was there, and so all of it.
      if state.there.isEmpty, state.sent.isEmpty, state.resumed.isEmpty { return "all of it was there" }
      let half = state.resumed.values.reduce(0, +)
      return "\(state.there.count) of \(count) configs and layers were there already" + (half > 0 ? ", and \(HumanFigures.size(half)) of what was half-sent" : "")
    }
  }
}

/// Words about images that are here in part.
enum ImageNotes {
  /// Nothing goes anywhere with fewer platforms than were asked for without this.
  static func leftOut(_ selection: ImageSelection, _ done: String, _ name: String) -> String? {
    guard !selection.absent.isEmpty else { return nil }
    func list(_ platforms: [Platform]) -> String { platforms.map(\.fullDescription).joined(separator: ", ") }
    return
      "\(name) is in the local store for \(list(selection.images.compactMap(\.platform))) only: this is \(done), as \(selection.root.digest); it is not here for \(list(selection.absent)) (manifold pull --all-platforms brings all of an image)"
  }
}
