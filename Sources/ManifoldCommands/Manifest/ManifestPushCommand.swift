internal import ArgumentParser
internal import BuildInterface
internal import HostOS
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
    let list = try ManifestLists.reference(list)
    let store = try ManifestLists.store()
    let entries = try await Blocking.run { try store.entries(list) }
    guard !entries.isEmpty else { throw ManifestLists.missing(list) }
    guard list.digest == nil else { throw BuildError.usage("\(list.familiar): a list is pushed to a tag, not to a digest") }
    try check(entries)
    let index = ManifestLists.index(entries)
    let bytes = index.dockerEncoded
    let digest = try await RegistryAccess.withClient(global, insecure: insecure ? [list] + entries.map(\.reference) : []) { client in
      try await client.copyMembers(entries.map { IndexMember($0.descriptor, in: $0.reference, bytes: $0.bytes) }, to: list)
      for entry in entries where entry.reference.path != list.path || entry.reference.domain != list.domain {
        Terminal.output("Pushed ref \(list.repository.with(digest: entry.descriptor.digest)) with digest: \(entry.descriptor.digest)\n")
      }
      return try await client.pushManifest(bytes, mediaType: index.mediaType, to: list).digest
    }
    Terminal.output("\(digest)\n")
    if purge { try await Blocking.run { try store.remove(list) } }
  }

  private func check(_ entries: [ManifestListEntry]) throws {
    for entry in entries where entry.descriptor.platform.map({ $0.os.isEmpty || $0.architecture.isEmpty }) ?? true {
      throw BuildError.usage(
        "manifest \(entry.reference) must have an OS and Architecture to be pushed to a registry",
        suggestion: "Say them: manifold manifest annotate --os … --arch … \(list) \(entry.reference.familiar)")
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
    let references = try names.map(ManifestLists.reference)
    let store = try ManifestLists.store()
    let first = references[0]
    let local = try await Blocking.run { try store.entries(first) }
    if references.count == 2 {
      guard !local.isEmpty, let entry = local.first(where: { $0.reference == references[1] }) else { throw ManifestLists.missing(references[1]) }
      return Terminal.output(text(entry))
    }
    if !local.isEmpty { return Terminal.output(text(local)) }
    let verbose = verbose
    let remote = try await RegistryAccess.withClient(global, insecure: insecure ? [first] : []) { client in try await Self.remote(first, verbose: verbose, client) }
    Terminal.output(remote)
  }

  private func text(_ entry: ManifestListEntry) -> [UInt8] { Self.text(entry, verbose: verbose) }
  private static func text(_ entry: ManifestListEntry, verbose: Bool) -> [UInt8] {
    (verbose ? JSONRelayout.indented(entry.verbose, "\t") : JSONRelayout.indented(entry.bytes, "\t")) + [0x0a]
  }
  private func text(_ entries: [ManifestListEntry]) -> [UInt8] {
    verbose ? Self.verbose(entries) : ManifestLists.index(entries).dockerEncoded + [0x0a]
  }
  private static func verbose(_ entries: [ManifestListEntry]) -> [UInt8] {
    JSONRelayout.indented(Array("[".utf8) + entries.map(\.verbose).joined(separator: Array(",".utf8)) + Array("]".utf8), "\t") + [0x0a]
  }

  /// As docker shows it: of an index's entries the descriptors without annotations, its media type by its first entry.
  private static func remote(_ name: Reference, verbose: Bool, _ client: RegistryClient) async throws -> [UInt8] {
    let root: FetchedManifest
    do { root = try await client.manifest(name) } catch let error as RegistryError where error.code == .notFound {
      throw BuildError(.notFound, .registry, "no such manifest: \(name)", cause: error)
    }
    switch try root.document() {
    case .manifest(let manifest):
      var descriptor = root.descriptor
      if verbose { descriptor.platform = try await client.platform(of: manifest, in: name) }
      return text(ManifestListEntry(reference: name, descriptor: descriptor, bytes: root.bytes), verbose: verbose)
    case .index(let index) where !verbose:
      let plain = index.manifests.map { OCIModel.Descriptor(mediaType: $0.mediaType, digest: $0.digest, size: $0.size, platform: $0.platform) }
      return ImageIndex(mediaType: plain.first?.mediaType == .ociManifest ? .ociIndex : .dockerManifestList, manifests: plain).dockerEncoded + [0x0a]
    case .index(let index):
      return Self.verbose(try await children(index, name, client))
    }
  }

  private static func children(_ index: ImageIndex, _ name: Reference, _ client: RegistryClient) async throws -> [ManifestListEntry] {
    try await withThrowingTaskGroup(of: (Int, ManifestListEntry).self) { group in
      for (i, child) in index.manifests.enumerated() {
        group.addTask {
          var fetched = try await client.manifest(name, digest: child.digest)
          fetched.descriptor.platform = child.platform ?? Platform(os: "", architecture: "")
          return (i, ManifestListEntry(reference: name.with(digest: child.digest), descriptor: fetched.descriptor, bytes: fetched.bytes))
        }
      }
      return try await group.reduce(into: [(Int, ManifestListEntry)]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
    }
  }
}
