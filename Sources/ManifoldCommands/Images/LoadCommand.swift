internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import HostOS
internal import ImageTools
internal import OCIModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// `manifold load`: docker's.
struct LoadCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "load", abstract: "Take the images of a tar archive into the local store.", usage: "manifold load [options]",
    discussion: """
      Examples:
        manifold load -i app.tar
        docker save app:1 | manifold load
        manifold load --platform linux/arm64 < app.tar.zst

      The archive is an OCI layout, or a docker archive old or new; plain, or compressed with gzip, zstd, xz or bzip2. Of a broken one nothing gets a name.
      """)

  @OptionGroup var global: GlobalOptions
  @Option(name: [.customLong("input"), .customShort("i", allowingJoined: true)], parsing: .unconditional, help: ArgumentHelp("Read a file instead of standard input.", valueName: "file")) var input: String?
  @Flag(name: .shortAndLong, help: "Show no progress.") var quiet = false
  @Option(
    name: .customLong("platform"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Only these platforms: os/arch[/variant]. May be repeated, or separated by commas.", valueName: "platform")) var platforms: [String] = []
  @Option(name: .customLong("progress"), parsing: .unconditional, help: ArgumentHelp("auto, tty, plain, rawjson, quiet or none.", valueName: "view")) var progress = "auto"

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let path = input.flatMap { $0 == "-" ? nil : facts.absolute($0) }
    if path == nil, facts.standardInputIsTerminal { throw BuildError.usage("requested load from stdin, but stdin is empty") }
    let wanted = try StoreAccess.platforms(platforms, host: facts.host)
    let mode = quiet ? .quiet : try StoreAccess.view(progress)
    let loaded = try await StoreAccess.withStore(global) { engine in
      let file = try await Blocking.run { try Self.open(path) }
      return try await TransferView.run("loading \(path ?? "standard input")", mode) { view in
        try await ImageLoad(engine.store, platforms: wanted, progress: { view.show($0, "taking", $1) }).load(file)
      }
    }
    for image in loaded {
      let title = image.names.first?.familiar ?? image.descriptor.digest.description
      if !image.absent.isEmpty, wanted.isEmpty {
        Terminal.error("note: \(TerminalText.singleLine("of \(title) the archive has \(Self.list(image.platforms)); it lacks \(Self.list(image.absent))"))\n")
      }
      if image.names.isEmpty { Terminal.output("Loaded image ID: \(image.descriptor.digest)\n") }
      for name in image.names { Terminal.output("Loaded image: \(name.familiar)\n") }
    }
  }

  private static func list(_ platforms: [Platform]) -> String { platforms.map(\.fullDescription).joined(separator: ", ") }

  private static func open(_ path: String?) throws -> HostOS.Descriptor {
    guard let path else { return try HostOS.Descriptor.duplicate(of: STDIN_FILENO) }
    do {
      if try Files.status(path).kind == .directory { throw BuildError.usage("\(path) is a directory, and load takes an archive", suggestion: "tar -C \(path) -c . | manifold load") }
      return try HostOS.Descriptor.open(path)
    } catch let error as HostError { throw BuildError.usage("cannot read \(path): \(error)") }
  }
}
