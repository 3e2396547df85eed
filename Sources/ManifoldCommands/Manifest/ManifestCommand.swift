internal import ArgumentParser
internal import BuildInterface
internal import HostOS
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

/// `manifold manifest`: docker's. A list is made on this machine, in docker's own place and form, and pushed whole.
struct ManifestCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "manifest", abstract: "Join images of several platforms under one name.",
    discussion: """
      Examples:
        manifold manifest create reg/me/app:1 reg/me/app:1-amd64 reg/me/app:1-arm64
        manifold manifest annotate reg/me/app:1 reg/me/app:1-win --os-version 10.0.20348.1
        manifold manifest inspect reg/me/app:1
        manifold manifest push --purge reg/me/app:1
        manifold manifest create reg/me/app:1 local:app oci-layout://./windows:ltsc2022 oci-layout://./windows:ltsc2025

      The list is kept where docker keeps it (~/.docker/manifests, or manifests beneath DOCKER_CONFIG) until it is pushed: a list begun with \
      the one can be pushed with the other.
      """,
    subcommands: [ManifestCreateCommand.self, ManifestAnnotateCommand.self, ManifestInspectCommand.self, ManifestPushCommand.self, ManifestRemoveCommand.self])
}

/// What the verbs of `manifest` share.
enum ManifestLists {
  /// A list or an image: a registry's name with its tag (`latest` if none), an OCI layout by its absolute path, or a name of the local store.
  static func location(_ text: String, _ facts: CommandFacts) throws -> ImageLocation {
    let location = try ImageCommands.location(text)
    guard case .layout(let path, let tag, let digest) = location else { return location }
    return .layout(path: facts.absolute(path), tag: tag, digest: digest)
  }

  /// What lists are kept by.
  static func key(_ list: ImageLocation) -> String { list.fullDescription }

  /// Where an entry's content is.
  static func source(_ entry: ManifestListEntry) -> ImageLocation {
    if let origin = entry.origin, let location = try? ImageLocation(parsing: origin) {
      if case .registry = location {} else { return location }
    }
    return .registry(entry.reference)
  }

  /// How people name an entry.
  static func name(_ entry: ManifestListEntry) -> String {
    switch source(entry) {
    case .registry(let reference): reference.familiar
    case let location: entry.position == nil ? location.description : location.with(digest: entry.descriptor.digest).description
    }
  }

  /// The name that an entry from outside of registries is filed by, since docker's files hold registries' names only.
  static func reference(of descriptor: OCIModel.Descriptor, in list: ImageLocation) throws -> Reference {
    if case .registry(let reference) = list { return reference.repository.with(digest: descriptor.digest) }
    return try Reference(parsing: "localhost/image").with(digest: descriptor.digest)
  }

  static func store() throws -> ManifestListStore {
    guard let root = ManifestListStore.defaultRoot(RegistryConfiguration.processEnvironment) else {
      throw BuildError.usage("there is no place for manifest lists: neither HOME nor DOCKER_CONFIG is set")
    }
    return ManifestListStore(root: root)
  }

  static func missing(_ location: ImageLocation) -> BuildError { BuildError(.notFound, .usage, "No such manifest: \(location.fullDescription)") }

  /// What the list will be, of its entries in their order: images first, then what is attested of them.
  static func index(_ entries: [ManifestListEntry]) -> ImageIndex {
    let descriptors = entries.map(\.descriptor)
    let images = descriptors.filter { $0.attestedDigest == nil } + descriptors.filter { $0.attestedDigest != nil }
    let isDocker = !entries.contains(where: \.wantsIndex) && descriptors.allSatisfy { $0.mediaType == .dockerManifest }
    return ImageIndex(mediaType: isDocker ? .dockerManifestList : .ociIndex, manifests: images)
  }

  /// A sentence for each platform that several entries are for.
  static func duplicates(_ entries: [ManifestListEntry]) -> [String] {
    IndexComposition.duplicatePlatforms(entries.map(\.descriptor)).map { platform, places in
      "\(platform.fullDescription): \(places.map { name(entries[$0]) }.joined(separator: " and ")) are for the same platform; clients will take one of them"
    }
  }
}

struct ManifestCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Begin a manifest list on this machine, of images wherever they are.",
    usage: "manifold manifest create [options] <list> <image> [<image> ...]",
    discussion: """
      Images are in registries, in OCI layouts (oci-layout://PATH[:TAG][@DIGEST]) or in the local store (local:NAME), in any mixture, and so is the list.
      An image that is an index itself gives all of its entries, attestations included. Platforms are those of the index, else of the images' configs.
      Docker images alone make a Docker manifest list, as in docker; all others an OCI index.
      """)

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The name that the list will be pushed to.", valueName: "list")) var list: String
  @Argument(help: ArgumentHelp("Images and indexes.", valueName: "image")) var images: [String] = []
  @Flag(name: .shortAndLong, help: "Add to a list that was begun before.") var amend = false
  @Flag(name: .customLong("insecure"), help: "Talk to these registries without verified TLS, or in plain HTTP.") var insecure = false
  @Flag(name: .customLong("oci"), help: "Make an OCI index, also of Docker images.") var oci = false

  func validate() throws { if images.isEmpty { throw ValidationError("name at least one image for the list") } }

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let list = try ManifestLists.location(list, facts), key = ManifestLists.key(list)
    let images = try images.map { try ManifestLists.location($0, facts) }
    let (store, amend, oci) = (try ManifestLists.store(), amend, oci)
    let known = try await Blocking.run { try store.entries(key) }
    guard known.isEmpty || amend else {
      throw BuildError.usage("refusing to amend an existing manifest list with no --amend flag", suggestion: "To begin anew: manifold manifest rm \(list)")
    }
    // All are read before the first is kept: a name that is wrong leaves no half of a list.
    let entries = try await ImageCommands.withAccess(global, images, insecure: insecure ? ImageCommands.references(images) : []) { access in
      try await withThrowingTaskGroup(of: [ManifestListEntry].self) { group in
        for image in images {
          let here = Self.known(image, known)
          let source = try access.source(image)
          group.addTask { here.isEmpty ? try await Self.entries(of: image, source, list) : here }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
    }
    try await Blocking.run {
      try store.save(
        entries.map { entry in
          var entry = entry
          entry.wantsIndex = entry.wantsIndex || oci
          return entry
        }, in: key)
    }
    Terminal.output("Created manifest list \(list.fullDescription)\n")
  }

  /// What the list has of an image already. Layouts and the local store may have another one under the name by now: they are read again.
  private static func known(_ image: ImageLocation, _ entries: [ManifestListEntry]) -> [ManifestListEntry] {
    guard case .registry(let reference) = image else { return [] }
    return entries.filter { $0.origin == reference.description || ($0.reference == reference && $0.origin == nil) }
  }

  private static func entries(of image: ImageLocation, _ source: any ImageSource, _ list: ImageLocation) async throws -> [ManifestListEntry] {
    let (isIndex, members) = try await source.members()
    return try members.enumerated().map { i, member in
      let position = isIndex ? i : nil
      guard case .registry(let reference) = image else {
        return ManifestListEntry(
          reference: try ManifestLists.reference(of: member.descriptor, in: list), descriptor: member.descriptor, bytes: member.bytes ?? [], origin: image.description, position: position)
      }
      return ManifestListEntry(
        reference: isIndex ? reference.repository.with(digest: member.descriptor.digest) : reference, descriptor: member.descriptor, bytes: member.bytes ?? [],
        origin: isIndex ? reference.description : nil, position: position)
    }
  }
}

struct ManifestAnnotateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "annotate", abstract: "Say of an image in a list what it is for.", usage: "manifold manifest annotate [options] <list> <image>")

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("The list.", valueName: "list")) var list: String
  @Argument(help: ArgumentHelp("One of its images, by the name it was added by; one out of an index also by its digest.", valueName: "image")) var image: String
  @Option(name: .customLong("os"), parsing: .unconditional, help: ArgumentHelp("Its operating system.", valueName: "name")) var os = ""
  @Option(name: .customLong("arch"), parsing: .unconditional, help: ArgumentHelp("Its architecture.", valueName: "name")) var arch = ""
  @Option(name: .customLong("variant"), parsing: .unconditional, help: ArgumentHelp("Its architecture's variant, as v7.", valueName: "variant")) var variant = ""
  @Option(name: .customLong("os-version"), parsing: .unconditional, help: ArgumentHelp("Its operating system's version, as 10.0.20348.1.", valueName: "version")) var osVersion = ""
  @Option(
    name: .customLong("os-features"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("What it needs of the operating system. May be repeated, or separated by commas.", valueName: "feature")) var osFeatures: [String] = []

  mutating func run() async throws {
    let facts = try CommandFacts.current()
    let list = try ManifestLists.location(list, facts), key = ManifestLists.key(list)
    let image = try ManifestLists.location(image, facts)
    let store = try ManifestLists.store()
    let features = try osFeatures.flatMap { try CommaFields.parse($0, option: "--os-features") }
    var entry = try Self.choose(image, among: try await Blocking.run { try store.entries(key) }, list)
    var platform = entry.descriptor.platform ?? Platform(os: "", architecture: "")
    if !os.isEmpty { platform.os = os }
    if !arch.isEmpty { platform.architecture = arch }
    for feature in features where !platform.osFeatures.contains(feature) { platform.osFeatures.append(feature) }
    if !variant.isEmpty { platform.variant = variant }
    if !osVersion.isEmpty { platform.osVersion = osVersion }
    guard platform.isKnown else {
      throw BuildError.usage("manifest entry for image has unsupported os/arch combination: \(platform.os)/\(platform.architecture)")
    }
    entry.descriptor.platform = platform
    let changed = entry
    try await Blocking.run { try store.save([changed], in: key) }
  }

  /// The entry of that name, or the only image out of the index of that name.
  static func choose(_ image: ImageLocation, among entries: [ManifestListEntry], _ list: ImageLocation) throws -> ManifestListEntry {
    if let entry = find(image, among: entries) { return entry }
    let origin = image.fullDescription
    let ofIndex = entries.filter { $0.origin == origin && $0.descriptor.attestedDigest == nil }
    guard ofIndex.count < 2 else {
      throw BuildError.usage(
        "\(image) is an index with \(ofIndex.count) images: say which",
        suggestion: "They are: " + ofIndex.map { "\(ManifestLists.name($0)) (\($0.descriptor.platform?.fullDescription ?? "no platform"))" }.joined(separator: ", "))
    }
    guard let entry = ofIndex.first else { throw BuildError(.notFound, .usage, "manifest for image \(image) does not exist in \(list)") }
    return entry
  }

  /// The one entry that the name can mean, without looking into indexes.
  static func find(_ image: ImageLocation, among entries: [ManifestListEntry]) -> ManifestListEntry? {
    switch image {
    case .registry(let reference): entries.first { $0.reference == reference && ManifestLists.source($0) == .registry(reference) }
    case .layout(_, _, let digest?): entries.first { $0.descriptor.digest == digest && ManifestLists.source($0).sharesContent(with: image) }
    case .local(let name) where Digest(name) != nil: entries.first { $0.descriptor.digest.description == name && ManifestLists.source($0).isLocal }
    case .layout, .local: entries.first { $0.origin == image.description && $0.position == nil }
    }
  }
}

struct ManifestRemoveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rm", abstract: "Forget lists that were begun on this machine. Nothing in a registry changes.", usage: "manifold manifest rm <list> [<list> ...]")

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("Lists.", valueName: "list")) var lists: [String]

  mutating func run() async throws {
    let store = try ManifestLists.store(), facts = try CommandFacts.current()
    var failures: [String] = []
    for name in lists {
      do {
        let list = try ManifestLists.location(name, facts), key = ManifestLists.key(list)
        try await Blocking.run {
          guard !(try store.entries(key).isEmpty) else { throw ManifestLists.missing(list) }
          try store.remove(key)
        }
      } catch { failures.append("\(error)") }
    }
    if !failures.isEmpty { throw BuildError(.notFound, .usage, failures.joined(separator: "\n")) }
  }
}
