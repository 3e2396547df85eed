internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import ContentStore
internal import HostOS
internal import ImageTools
internal import LayerArchive
internal import OCIModel
internal import Synchronization

/// `manifold save`: docker's, for any number of platforms.
struct SaveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "save", abstract: "Write images of the local store to a tar archive.", usage: "manifold save [options] <image>…",
    discussion: """
      Examples:
        manifold save -o app.tar app:1
        manifold save --platform linux/arm64 app:1 base:1 | gzip > both.tar.gz
        manifold save --format docker app:1 | docker load

      Formats: both (the default: an OCI layout with all platforms, in which docker load of any age finds one), oci (an OCI layout alone; oci-archive: of \
      skopeo and podman), docker (docker-archive: one platform an image, layers uncompressed). A file appears whole or not at all.
      """)

  @OptionGroup var global: GlobalOptions
  @Option(name: [.customLong("output"), .customShort("o", allowingJoined: true)], parsing: .unconditional, help: ArgumentHelp("Write to a file instead of standard output.", valueName: "file")) var output: String?
  @Option(
    name: .customLong("platform"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Only these platforms: os/arch[/variant]. May be repeated, or separated by commas.", valueName: "platform")) var platforms: [String] = []
  @Option(name: .customLong("format"), parsing: .unconditional, help: ArgumentHelp("both, oci or docker.", valueName: "format")) var format = "both"
  @Argument(help: ArgumentHelp("Images: names, digests or ids.", valueName: "image")) var images: [String] = []

  func validate() throws {
    if images.isEmpty { throw ValidationError("save needs the name of an image") }
    if form == nil { throw ValidationError("--format \(format): formats are both, oci and docker") }
  }

  private var form: ImageArchive.Form? {
    switch format {
    case "oci-archive": .oci
    case "docker-archive": .docker
    default: ImageArchive.Form(rawValue: format)
    }
  }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    if output == nil, facts.standardOutputIsTerminal { throw BuildError.usage("cowardly refusing to save to a terminal. Use the -o flag or redirect") }
    let wanted = try StoreAccess.platforms(platforms, host: facts.host)
    let (images, form, path) = (images, form ?? .both, output.map(facts.absolute))
    let format = format
    try await StoreAccess.withStore(global) { engine in
      var items: [ImageArchive.Item] = []
      for text in images {
        let found = try await StoredImages(engine.store).find(text)
        let item = try await Blocking.run { try Self.item(found, wanted, form, host: facts.host, engine.store) }
        if let note = form == .docker ? Self.left(item, found) : ImageNotes.leftOut(item.selection, "saved", text) { Terminal.error("note: \(TerminalText.singleLine(note))\n") }
        items.append(item)
      }
      let archive = ImageArchive(Self.merged(items), form: form, store: engine.store)
      do {
        try await Self.write(archive, to: path)
      } catch let error as HostError {
        throw BuildError(
          error.code == .noSpace ? .resourceExhausted : .permissionDenied, .build, "cannot write the \(format == "both" ? "" : format + " ")archive\(path.map { " \($0)" } ?? "")", cause: error)
      }
    }
  }

  private static func item(_ found: FoundImage, _ wanted: [Platform], _ form: ImageArchive.Form, host: Platform, _ store: ContentStore) throws -> ImageArchive.Item {
    var wanted = wanted
    if form == .docker {
      if wanted.count > 1 {
        throw BuildError.usage("a docker archive holds one platform of an image, and \(wanted.count) were asked for", suggestion: "Save each to a file of its own, or use --format oci.")
      }
      if wanted.isEmpty, let platform = try found.image.image(for: nil, host: host, name: found.text).platform { wanted = [platform] }
    }
    let selection = try ImageSelection(found.image, platforms: wanted, name: found.text, store: store)
    // Which one docker gets.
    let matcher = PlatformMatcher(only: host)
    let images = selection.images.filter { $0.manifest?.config.mediaType.isConfig == true }
    let own = images.filter { $0.platform.map(matcher.matches) ?? false }.min { matcher.isBetter($0.platform, than: $1.platform) }
    return ImageArchive.Item(names: found.reference.map { $0.tag == nil ? [] : [$0.withoutDigest] } ?? [], selection: selection, docker: own ?? images.first)
  }

  /// One image under several names is one.
  private static func merged(_ items: [ImageArchive.Item]) -> [ImageArchive.Item] {
    var out: [ImageArchive.Item] = []
    for item in items {
      if let place = out.firstIndex(where: { $0.selection.root.digest == item.selection.root.digest }) {
        out[place].names += item.names.filter { !out[place].names.contains($0) }
      } else {
        out.append(item)
      }
    }
    return out
  }

  private static func left(_ item: ImageArchive.Item, _ found: FoundImage) -> String? {
    let others = found.image.platforms.filter { $0 != item.docker?.platform }
    guard let own = item.docker?.platform, !others.isEmpty, item.selection.images.count == 1 else { return nil }
    return "a docker archive holds one platform of an image: it gets \(own.fullDescription) of \(found.text), and not \(others.map(\.fullDescription).joined(separator: ", "))"
  }

  private static func write(_ archive: ImageArchive, to path: String?) async throws {
    let cancelled = CancelMark()
    try await withTaskCancellationHandler {
      try await Blocking.run {
        try OutputFile.write(to: path) { file in try archive.write(into: DescriptorSink(file), isCancelled: { cancelled.isSet }) }
      }
    } onCancel: {
      cancelled.set()
    }
  }
}

/// Tells blocking work that its task was cancelled.
final class CancelMark: Sendable {
  private let flag = Atomic<Bool>(false)
  var isSet: Bool { flag.load(ordering: .relaxed) }
  func set() { flag.store(true, ordering: .relaxed) }
}

extension Reference {
  fileprivate var withoutDigest: Reference { with(digest: nil) }
}
