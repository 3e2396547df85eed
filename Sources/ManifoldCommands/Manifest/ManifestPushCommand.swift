internal import ArgumentParser
internal import BuildInterface
internal import HostOS
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

struct ManifestPushCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "push", abstract: "Push a list: its images first, where they are not there yet, then the list under its name.",
    usage: "manifold manifest push [options] <list>",
    discussion: """
      Images of other repositories and registries are mounted or copied. Until the last step the name stands for what it stood for before.
      Prints the digest.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The list.", valueName: "list")) var list: String
  @Flag(name: .shortAndLong, help: "Forget the list on this machine when it is pushed.") var purge = false
  @Flag(name: .customLong("insecure"), help: "Talk to these registries without verified TLS, or in plain HTTP.") var insecure = false
  @Flag(name: .customLong("strict"), help: "Refuse a list with two images for one platform.") var strict = false

  mutating func run() async throws {
    let list = try ManifestLists.location(list, try CommandFacts.current()), key = ManifestLists.key(list)
    let store = try ManifestLists.store()
    let entries = try await Blocking.run { try store.entries(key) }
    guard !entries.isEmpty else { throw ManifestLists.missing(list) }
    if case .layout(_, _, .some) = list { throw BuildError.usage("\(list): a list is pushed to a tag, not to a digest") }
    if ImageCommands.references([list]).contains(where: { $0.digest != nil }) { throw BuildError.usage("\(list): a list is pushed to a tag, not to a digest") }
    try check(entries)
    let index = ManifestLists.index(entries)
    let bytes = index.dockerEncoded
    let sources = entries.map(ManifestLists.source)
    let document = FetchedManifest(descriptor: OCIModel.Descriptor(mediaType: index.mediaType, of: bytes), bytes: bytes)
    try await ImageCommands.withAccess(global, [list] + sources, insecure: insecure ? ImageCommands.references([list] + sources) : []) { access in
      let destination = try access.destination(list)
      try await ImageTransfer().copy(
        try zip(entries, sources).map { entry, source in IndexMember(entry.descriptor, in: try access.source(source), bytes: entry.bytes) }, to: destination)
      for (entry, source) in zip(entries, sources) where !source.sharesContent(with: list) {
        Terminal.output("Pushed ref \(Self.name(of: entry.descriptor.digest, in: list)) with digest: \(entry.descriptor.digest)\n")
      }
      try await destination.put(manifest: document, tagged: true)
    }
    Terminal.output("\(document.descriptor.digest)\n")
    if purge { try await Blocking.run { try store.remove(key) } }
  }

  private static func name(of digest: Digest, in list: ImageLocation) -> String {
    if case .registry(let reference) = list { return reference.repository.with(digest: digest).description }
    return list.with(digest: digest).description
  }

  private func check(_ entries: [ManifestListEntry]) throws {
    for entry in entries where entry.descriptor.platform.map({ $0.os.isEmpty || $0.architecture.isEmpty }) ?? true {
      throw BuildError.usage(
        "manifest \(ManifestLists.source(entry).fullDescription) must have an OS and Architecture to be pushed to a registry",
        suggestion: "Say them: manifold manifest annotate --os … --arch … \(list) \(ManifestLists.name(entry))")
    }
    let duplicates = ManifestLists.duplicates(entries)
    guard strict, !duplicates.isEmpty else {
      for text in duplicates { Terminal.error("WARNING: \(text)\n") }
      return
    }
    throw BuildError.usage(
      duplicates.joined(separator: "\n"), suggestion: "Tell them apart with manifest annotate (--os-version, --variant), or begin the list anew without one of them.")
  }
}

struct ManifestInspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Show a list, of this machine or else of a registry, or one image.", usage: "manifold manifest inspect [options] [<list>] <image>",
    discussion: """
      Examples:
        manifold manifest inspect debian:bookworm | jq -r '.manifests[].platform.architecture'
        manifold manifest inspect -v reg/me/app:1 reg/me/app:1-arm64
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("A list of this machine that the image is in.", valueName: "list")) var names: [String]
  @Flag(name: .customLong("insecure"), help: "Talk to this registry without verified TLS, or in plain HTTP.") var insecure = false
  @Flag(name: .shortAndLong, help: "Show names, descriptors with platforms, and the manifests of all images.") var verbose = false

  func validate() throws { if names.isEmpty || names.count > 2 { throw ValidationError("name one image, or a list and one of its images") } }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let locations = try names.map { try ManifestLists.location($0, facts) }
    let store = try ManifestLists.store()
    let first = locations[0], key = ManifestLists.key(first)
    let known = try await Blocking.run { try store.entries(key) }
    if locations.count == 2 {
      guard !known.isEmpty, let entry = ManifestAnnotateCommand.find(locations[1], among: known) else { throw ManifestLists.missing(locations[1]) }
      return Terminal.output(text(entry))
    }
    if !known.isEmpty { return Terminal.output(text(known)) }
    let verbose = verbose
    let remote = try await ImageCommands.withAccess(global, [first], insecure: insecure ? ImageCommands.references([first]) : []) { access in
      try await Self.remote(try access.source(first), verbose: verbose)
    }
    Terminal.output(remote)
  }

  private func text(_ entry: ManifestListEntry) -> [UInt8] { Self.text(entry, verbose: verbose) }
  private static func text(_ entry: ManifestListEntry, verbose: Bool) -> [UInt8] {
    (verbose ? JSONRelayout.indented(Self.verbose(entry), "\t") : JSONRelayout.indented(entry.bytes, "\t")) + [0x0a]
  }
  private func text(_ entries: [ManifestListEntry]) -> [UInt8] {
    verbose ? Self.verbose(entries) : ManifestLists.index(entries).dockerEncoded + [0x0a]
  }
  private static func verbose(_ entries: [ManifestListEntry]) -> [UInt8] {
    JSONRelayout.indented(Array("[".utf8) + entries.map { Self.verbose($0) }.joined(separator: Array(",".utf8)) + Array("]".utf8), "\t") + [0x0a]
  }
  /// Images outside of registries go by where they are.
  private static func verbose(_ entry: ManifestListEntry) -> [UInt8] {
    if case .registry = ManifestLists.source(entry) { return entry.verbose() }
    return entry.verbose(named: ManifestLists.name(entry))
  }

  /// As docker shows it: of an index's entries the descriptors without annotations, its media type by its first entry.
  private static func remote(_ source: any ImageSource, verbose: Bool) async throws -> [UInt8] {
    let root: FetchedManifest
    do { root = try await source.root() } catch let error as RegistryError where error.code == .notFound {
      throw BuildError(.notFound, .registry, "no such manifest: \(source.location.fullDescription)", cause: error)
    }
    switch try root.document() {
    case .manifest(let manifest):
      var descriptor = root.descriptor
      if verbose { descriptor.platform = try await source.platform(of: manifest) }
      return text(try entry(descriptor, root.bytes, source.location, position: nil), verbose: verbose)
    case .index(let index) where !verbose:
      let plain = index.manifests.map { OCIModel.Descriptor(mediaType: $0.mediaType, digest: $0.digest, size: $0.size, platform: $0.platform) }
      return ImageIndex(mediaType: plain.first?.mediaType == .ociManifest ? .ociIndex : .dockerManifestList, manifests: plain).dockerEncoded + [0x0a]
    case .index(let index):
      return Self.verbose(try await children(index, source))
    }
  }

  private static func children(_ index: ImageIndex, _ source: any ImageSource) async throws -> [ManifestListEntry] {
    try await withThrowingTaskGroup(of: (Int, ManifestListEntry).self) { group in
      for (i, child) in index.manifests.enumerated() {
        group.addTask {
          var fetched = try await source.manifest(child)
          fetched.descriptor.platform = child.platform ?? Platform(os: "", architecture: "")
          return (i, try entry(fetched.descriptor, fetched.bytes, source.location, position: i))
        }
      }
      return try await group.reduce(into: [(Int, ManifestListEntry)]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
    }
  }

  private static func entry(_ descriptor: OCIModel.Descriptor, _ bytes: [UInt8], _ location: ImageLocation, position: Int?) throws -> ManifestListEntry {
    guard case .registry(let reference) = location else {
      return ManifestListEntry(
        reference: try ManifestLists.reference(of: descriptor, in: location), descriptor: descriptor, bytes: bytes, origin: location.description, position: position)
    }
    return ManifestListEntry(reference: position == nil ? reference : reference.with(digest: descriptor.digest), descriptor: descriptor, bytes: bytes)
  }
}
