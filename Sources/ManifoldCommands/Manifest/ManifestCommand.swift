internal import ArgumentParser
internal import BuildInterface
internal import HostOS
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

      The list is kept where docker keeps it (~/.docker/manifests, or manifests beneath DOCKER_CONFIG) until it is pushed: a list begun with \
      the one can be pushed with the other.
      """,
    subcommands: [ManifestCreateCommand.self, ManifestAnnotateCommand.self, ManifestInspectCommand.self, ManifestPushCommand.self, ManifestRemoveCommand.self])
}

/// What the verbs of `manifest` share.
enum ManifestLists {
  /// A name with its tag, `latest` if none; what is no registry's name is refused by what it is.
  static func reference(_ text: String) throws -> Reference {
    for scheme in ["oci-layout://", "local:"] where text.hasPrefix(scheme) {
      throw BuildError.notYet("\(text): a source other than a registry", suggestion: "Push the image first, and name it as the registry has it.")
    }
    return try Reference(parsing: text).withDefaultTag
  }

  static func store() throws -> ManifestListStore {
    guard let root = ManifestListStore.defaultRoot(RegistryConfiguration.processEnvironment) else {
      throw BuildError.usage("there is no place for manifest lists: neither HOME nor DOCKER_CONFIG is set")
    }
    return ManifestListStore(root: root)
  }

  static func missing(_ reference: Reference) -> BuildError { BuildError(.notFound, .usage, "No such manifest: \(reference)") }

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
      "\(platform.fullDescription): \(places.map { entries[$0].reference.familiar }.joined(separator: " and ")) are for the same platform; clients will take one of them"
    }
  }
}

struct ManifestCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Begin a manifest list on this machine, of images in registries.",
    usage: "manifold manifest create [options] <list> <image> [<image> ...]",
    discussion: """
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
    let list = try ManifestLists.reference(list)
    let images = try images.map(ManifestLists.reference)
    let (store, amend, oci) = (try ManifestLists.store(), amend, oci)
    let known = try await Blocking.run { try store.entries(list) }
    guard known.isEmpty || amend else {
      throw BuildError.usage("refusing to amend an existing manifest list with no --amend flag", suggestion: "To begin anew: manifold manifest rm \(list.familiar)")
    }
    // All are read before the first is kept: a name that is wrong leaves no half of a list.
    let entries = try await RegistryAccess.withClient(global, insecure: insecure ? images : []) { client in
      try await withThrowingTaskGroup(of: [ManifestListEntry].self) { group in
        for image in images {
          let here = known.filter { $0.reference == image || $0.origin == image }
          group.addTask { here.isEmpty ? try await Self.entries(of: image, client) : here }
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
        }, in: list)
    }
    Terminal.output("Created manifest list \(list)\n")
  }

  private static func entries(of image: Reference, _ client: RegistryClient) async throws -> [ManifestListEntry] {
    let (isIndex, members) = try await client.members(of: image)
    guard isIndex else {
      return members.map { ManifestListEntry(reference: image, descriptor: $0.descriptor, bytes: $0.bytes ?? []) }
    }
    return members.enumerated().map { i, member in
      ManifestListEntry(
        reference: image.repository.with(digest: member.descriptor.digest), descriptor: member.descriptor, bytes: member.bytes ?? [], origin: image, position: i)
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
    let list = try ManifestLists.reference(list)
    let image = try ManifestLists.reference(image)
    let store = try ManifestLists.store()
    let features = try osFeatures.flatMap { try CommaFields.parse($0, option: "--os-features") }
    var entry = try Self.choose(image, among: try await Blocking.run { try store.entries(list) }, list)
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
    try await Blocking.run { try store.save([changed], in: list) }
  }

  /// The entry of that name, or the only image out of the index of that name.
  static func choose(_ image: Reference, among entries: [ManifestListEntry], _ list: Reference) throws -> ManifestListEntry {
    if let entry = entries.first(where: { $0.reference == image }) { return entry }
    let ofIndex = entries.filter { $0.origin == image && $0.descriptor.attestedDigest == nil }
    guard ofIndex.count < 2 else {
      throw BuildError.usage(
        "\(image.familiar) is an index with \(ofIndex.count) images: say which",
        suggestion: "They are: " + ofIndex.map { "\($0.reference.familiar) (\($0.descriptor.platform?.fullDescription ?? "no platform"))" }.joined(separator: ", "))
    }
    guard let entry = ofIndex.first else { throw BuildError(.notFound, .usage, "manifest for image \(image.familiar) does not exist in \(list.familiar)") }
    return entry
  }
}

struct ManifestRemoveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rm", abstract: "Forget lists that were begun on this machine. Nothing in a registry changes.", usage: "manifold manifest rm <list> [<list> ...]")

  @OptionGroup var global: GlobalOptions
  @Argument(help: ArgumentHelp("Lists.", valueName: "list")) var lists: [String]

  mutating func run() async throws {
    let store = try ManifestLists.store()
    var failures: [String] = []
    for name in lists {
      do {
        let list = try ManifestLists.reference(name)
        try await Blocking.run {
          guard !(try store.entries(list).isEmpty) else { throw ManifestLists.missing(list) }
          try store.remove(list)
        }
      } catch { failures.append("\(error)") }
    }
    if !failures.isEmpty { throw BuildError(.notFound, .usage, failures.joined(separator: "\n")) }
  }
}
