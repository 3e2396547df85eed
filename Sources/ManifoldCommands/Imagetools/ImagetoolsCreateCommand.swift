internal import ArgumentParser
internal import BuildInterface
internal import BuildProgress
internal import HostOS
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

/// `manifold imagetools create`: buildx's.
struct ImagetoolsCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make one index of images and indexes, wherever they are, and push it.", usage: "manifold imagetools create [options] [<source> ...]",
    discussion: """
      A source is a name, a digest or a descriptor in JSON; those without a repository belong to the only one that is named. Sources and tags are in registries, in OCI layouts
      (oci-layout://PATH[:TAG][@DIGEST]) or in the local store (local:NAME), in any mixture.

      Examples:
        manifold imagetools create -t reg/me/app:1 reg/me/app:1-amd64 reg/me/app:1-arm64
        manifold imagetools create -t reg/me/app:1 --append reg/me/app:1-riscv64
        manifold imagetools create -t reg/other/app:1 reg/me/app:1        # a copy of all platforms
        manifold imagetools create -t oci-layout://./app:1 local:app reg/me/app:windows
        manifold imagetools create --dry-run -p linux/arm64 --annotation index:org.opencontainers.image.version=1 reg/me/app:1
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("Names, digests or descriptors.", valueName: "source")) var sources: [String] = []
  @Option(
    name: [.customLong("tag"), .customShort("t", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp("The new image's name. May be repeated.", valueName: "name[:tag]")) var tags: [String] = []
  @Option(
    name: [.customLong("file"), .customShort("f", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp("A file with a source, such as a descriptor. May be repeated.", valueName: "file")) var files: [String] = []
  @Option(
    name: .customLong("annotation"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("index:key=value, or manifest-descriptor[platform]:key=value. May be repeated.", valueName: "annotation")) var annotations: [String] = []
  @Option(
    name: [.customLong("platform"), .customShort("p", allowingJoined: true)], parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Keep these platforms only. May be repeated, or separated by commas.", valueName: "platform")) var platforms: [String] = []
  @Flag(name: .customLong("append"), help: "Add to what the first --tag has now.") var append = false
  @Flag(name: .customLong("dry-run"), help: "Print the new index and push nothing.") var dryRun = false
  @Flag(name: .customLong("prefer-index"), inversion: .prefixedNo, help: "Make an index also of a single image; else its manifest is copied as it is.") var preferIndex = true
  @Option(name: .customLong("metadata-file"), parsing: .unconditional, help: ArgumentHelp("Write the result's descriptor and names to a file.", valueName: "file")) var metadataFile: String?
  @Option(name: .customLong("progress"), parsing: .unconditional, help: ArgumentHelp("auto, tty, plain, rawjson, quiet or none.", valueName: "view")) var progress = "auto"
  @Option(name: .customLong("builder"), parsing: .unconditional, help: .hidden) var builder: String?

  mutating func run() async throws {
    if builder != nil { throw BuildError.notYet("--builder") }
    let facts = try CommandFacts.current()
    guard let mode = ProgressMode(rawValue: progress) else {
      throw BuildError.usage("--progress \(progress): there is no such view", suggestion: "Views are \(ProgressMode.allCases.map(\.rawValue).joined(separator: ", ")).")
    }
    guard !sources.isEmpty || !files.isEmpty else { throw BuildError.usage("no sources specified") }
    guard dryRun || !tags.isEmpty else { throw BuildError.usage("can't push with no tags specified, please set --tag or --dry-run") }
    let creation = try self.creation()
    let tags = try tags.map(ImageCommands.location)
    let named = tags + sources.compactMap { try? CreationSource(parsing: $0).location }
    let (command, dryRun) = (self, dryRun)
    let result: ImageCreation.Result
    if named.contains(where: \.isLocal) || files.contains(where: { Self.isStream(facts.absolute($0)) }) {
      // A stream cannot be read a second time, after the program was started anew.
      result = try await ImageCommands.withAccess(global, [], opensStore: true) { access in
        try await command.make(creation, try await command.parsedSources(tags, facts), tags, access, mode, facts)
      }
    } else {
      let sources = try await parsedSources(tags, facts)
      result = try await ImageCommands.withAccess(global, tags + sources.compactMap(\.location)) { access in try await command.make(creation, sources, tags, access, mode, facts) }
    }
    if dryRun { return Terminal.output(result.bytes + [0x0a]) }
    if let metadataFile { try await write(Self.metadata(result, tags), to: facts.absolute(metadataFile)) }
  }

  private static func isStream(_ path: String) -> Bool { (try? Files.status(path)).map { $0.kind != .regular } ?? false }

  private func make(
    _ creation: ImageCreation, _ sources: [CreationSource], _ tags: [ImageLocation], _ access: ImageAccess, _ mode: ProgressMode, _ facts: CommandFacts
  ) async throws -> ImageCreation.Result {
    let result = try await creation.withReferrers(try creation.result(try await ImageCreation.load(sources, access)))
    for warning in result.warnings { Terminal.error("WARNING: \(TerminalText.singleLine(warning))\n") }
    if !dryRun { try await ImagetoolsPush(result: result, tags: tags, access: access).run(mode, facts.environment) }
    return result
  }

  func creation() throws -> ImageCreation {
    ImageCreation(
      annotations: try annotations.filter { !$0.isEmpty }.flatMap { text in
        do throws(OCIError) { return try IndexAnnotation.parse(text) } catch { throw BuildError.usage("failed to parse annotations: \(error.message)") }
      }, prefersIndex: preferIndex,
      platforms: try platforms.flatMap { try $0.split(separator: ",", omittingEmptySubsequences: false).map { try Platform(parsing: String($0)) } })
  }

  private func parsedSources(_ tags: [ImageLocation], _ facts: CommandFacts) async throws -> [CreationSource] {
    var texts: [String] = []
    for file in files {
      let path = facts.absolute(file)
      do { texts.append(String(decoding: try await Blocking.run { try Files.read(path, limit: DocumentLimits.manifest) }, as: UTF8.self)) } catch let error as HostError {
        throw BuildError.usage("cannot read --file \(file): \(error)")
      }
    }
    if append, let first = self.tags.first { texts.insert(first, at: 0) }
    return try ImageCreation.locate(try (texts + sources).map { try CreationSource(parsing: $0) }, tags: tags)
  }

  /// buildx's file: the descriptor, and the repositories.
  static func metadata(_ result: ImageCreation.Result, _ tags: [ImageLocation]) -> [UInt8] {
    let names = Set(tags.map(\.place)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    return JSONValue.object(JSONObject([("containerimage.descriptor", result.descriptor.json), ("image.name", .string(names.joined(separator: ",")))])).encoded(.indented("  "))
  }

  private func write(_ bytes: [UInt8], to path: String) async throws {
    do { try await Blocking.run { try Files.writeAtomically(bytes, to: path, durable: false) } } catch let error as HostError {
      throw BuildError(.permissionDenied, .usage, "the image is pushed, but \(path) cannot be written: \(error)")
    }
  }
}

/// Brings a new index and what it needs into the places of its tags: in each the members first, all at once, then the tags.
struct ImagetoolsPush: Sendable {
  var result: ImageCreation.Result
  var tags: [ImageLocation]
  var access: ImageAccess

  func run(_ mode: ProgressMode, _ environment: [String: String]) async throws {
    let display = ProgressDisplay(mode: mode, environment: environment)
    var places: [String] = []
    for tag in tags where !places.contains(tag.place) { places.append(tag.place) }
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for place in places { group.addTask { try await push(to: place, display) } }
        try await group.waitForAll()
      }
      await display.finish()
    } catch {
      await display.finish()
      throw error
    }
  }

  private func push(to place: String, _ sink: any ProgressSink) async throws {
    let tags = tags.filter { $0.place == place }
    let destinations = try tags.map { try access.destination($0) }
    guard let first = destinations.first else { return }
    let document = FetchedManifest(descriptor: Descriptor(mediaType: result.descriptor.mediaType, digest: result.descriptor.digest, size: Int64(result.bytes.count)), bytes: result.bytes)
    try await ProgressTask("[internal] pushing \(place)", id: "pushing " + place, sink).run { task in
      for member in result.members { task.log("copying \(member.descriptor.digest) from \(member.source.source.location.fullDescription) to \(place)", stream: 1) }
      let transfer = ImageTransfer()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for member in result.members {
          let bytes = member.descriptor.digest == member.source.descriptor.digest ? member.source.bytes : nil
          let source = member.source.source
          group.addTask {
            try await transfer.copy([IndexMember(member.descriptor, in: source, bytes: bytes)], to: first)
            try await transfer.copyReferrers(result.referrers[member.descriptor.digest] ?? [], of: member.descriptor.digest, from: source, to: first)
          }
        }
        try await group.waitForAll()
      }
      for (tag, destination) in zip(tags, destinations) {
        task.log("pushing \(result.descriptor.digest) to \(tag.fullDescription)", stream: 1)
        try await destination.put(manifest: document, tagged: true)
      }
    }
  }
}
