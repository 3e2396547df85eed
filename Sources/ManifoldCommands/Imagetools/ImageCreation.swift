internal import BuildInterface
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

/// One source of `imagetools create`: a name, a digest, or a descriptor as JSON.
struct CreationSource: Sendable, Hashable {
  /// What a descriptor of the user's says; empty where it says nothing.
  struct Given: Sendable, Hashable {
    var digest: Digest
    var mediaType = ""
    var size: Int64 = 0
    var annotations: [String: String] = [:]
    var platform: Platform?
    /// A digest alone: everything else is asked for.
    var isDigestAlone = false
  }
  var text: String
  var location: ImageLocation?
  var given: Given?

  init(parsing text: String) throws {
    self.text = text
    do {
      if let digest = Digest(text) {
        given = Given(digest: digest, isDigestAlone: true)
      } else if text.hasPrefix("sha256") {
        _ = try Digest(parsing: text)
      } else if text.hasPrefix("{") {
        given = try Self.descriptor(text)
      } else {
        location = try ImageLocation(parsing: text)
      }
    } catch {
      let message = (error as? OCIError)?.message ?? (error as? ImageStoreError)?.message ?? "\(error)"
      throw BuildError.usage("failed to parse source \"\(text.prefix(200))\", valid sources are digests, references and descriptors: \(message)")
    }
  }

  private static func descriptor(_ text: String) throws(OCIError) -> Given {
    let json = try JSONValue(parsing: text)
    if let version = json["schemaVersion"]?.intValue, version != 0 {
      throw OCIError(.invalidDocument, "expected an OCI content descriptor, got a manifest or index (schemaVersion \(version))")
    }
    guard let digest = json["digest"]?.stringValue, !digest.isEmpty else { throw OCIError(.invalidDocument, "invalid descriptor: digest is required") }
    // What is left out is asked for later.
    guard var object = json.objectValue else { throw OCIError(.invalidDocument, "it is not a JSON object") }
    if object["mediaType"] == nil { object["mediaType"] = "" }
    if object["size"] == nil { object["size"] = 0 }
    let descriptor = try Descriptor(json: .object(object))
    return Given(
      digest: descriptor.digest, mediaType: descriptor.mediaType.rawValue, size: descriptor.size, annotations: descriptor.annotations, platform: descriptor.platform)
  }
}

/// What `imagetools create` makes of its sources, as buildx does it.
struct ImageCreation: Sendable {
  struct Source: Sendable {
    /// Its place holds the content.
    var source: any ImageSource
    var descriptor: Descriptor
    var bytes: [UInt8]
  }
  struct Member: Sendable {
    var descriptor: Descriptor
    var source: Source
  }
  struct Result: Sendable {
    var descriptor: Descriptor
    var bytes: [UInt8]
    /// What must be in a place before it, and the source of each.
    var members: [Member]
    var warnings: [String] = []
    /// What refers to the members and travels with them, by their digests.
    var referrers: [Digest: [Descriptor]] = [:]
  }
  var annotations: [IndexAnnotation] = []
  var prefersIndex = true
  var platforms: [Platform] = []

  // MARK: Sources

  /// Gives each source its place: those that name none take the only one that is named anywhere.
  static func locate(_ sources: [CreationSource], tags: [ImageLocation]) throws -> [CreationSource] {
    let named = sources.compactMap(\.location)
    let places = Set((tags + named).map(\.place))
    guard !places.isEmpty else { throw BuildError.usage("no repositories specified, please set a reference in tag or source") }
    let only = places.count == 1 ? named.first ?? tags.first : nil
    return try sources.map { source in
      guard source.location == nil, let given = source.given else { return source }
      guard let only else { throw BuildError.usage("multiple repositories specified, cannot infer repository for \"\(source.text)\"") }
      var source = source
      if given.isDigestAlone { source.location = only.with(digest: given.digest) } else if case .registry(let reference) = only { source.location = .registry(reference.repository.withDefaultTag) } else { source.location = only }
      return source
    }
  }

  static func load(_ sources: [CreationSource], _ access: ImageAccess) async throws -> [Source] {
    try await withThrowingTaskGroup(of: (Int, Source).self) { group in
      for (i, source) in sources.enumerated() { group.addTask { (i, try await load(source, access)) } }
      return try await group.reduce(into: [(Int, Source)]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
    }
  }

  private static func load(_ source: CreationSource, _ access: ImageAccess) async throws -> Source {
    guard let location = source.location else { throw BuildError.usage("the source \(source.text) names no repository") }
    let opened = try access.source(location)
    let fetched = try await (source.given.map { given in try access.source(location.with(digest: given.digest)) } ?? opened).root()
    var descriptor = fetched.descriptor
    if let given = source.given {
      guard given.size == 0 || given.size == descriptor.size else {
        throw BuildError.usage("invalid size mismatch for \(descriptor.digest), \(given.size) != \(descriptor.size)")
      }
      if !given.mediaType.isEmpty { descriptor.mediaType = MediaType(given.mediaType) }
      descriptor.annotations = given.annotations
      descriptor.platform = given.platform
    }
    if case .manifest(let manifest) = try fetched.document(), descriptor.platform.map({ $0.os.isEmpty || $0.architecture.isEmpty }) ?? true {
      descriptor.platform = completed(descriptor.platform, by: try await opened.platform(of: manifest).normalized)
    }
    return Source(source: opened, descriptor: descriptor, bytes: fetched.bytes)
  }

  // MARK: Referrers

  /// Looks for what refers to the images from elsewhere. An attestation that is kept beside its image becomes an entry of the index, where that has none of the image.
  func withReferrers(_ result: Result) async throws -> Result {
    let attested = Set(result.members.compactMap(\.descriptor.attestedDigest))
    let found = try await withThrowingTaskGroup(of: (Digest, [Descriptor]).self) { group in
      for member in result.members where member.descriptor.attestedDigest == nil {
        group.addTask { (member.descriptor.digest, try await member.source.source.referrers(of: member.descriptor.digest)) }
      }
      return try await group.reduce(into: [Digest: [Descriptor]]()) { $0[$1.0] = $1.1 }
    }
    var result = result
    result.referrers = found
    guard case .index(var index) = try ImageDocument(parsing: result.bytes, mediaType: result.descriptor.mediaType) else { return result }
    let known = Set(index.manifests.map(\.digest))
    var added: [Descriptor] = []
    for member in result.members where member.descriptor.attestedDigest == nil && !attested.contains(member.descriptor.digest) {
      guard let referrer = found[member.descriptor.digest]?.first(where: { $0.artifactType == ReferrerKinds.attestation && $0.mediaType.isManifest && !known.contains($0.digest) }) else { continue }
      var entry = referrer
      entry.platform = Platform(os: "unknown", architecture: "unknown")
      entry.annotations["vnd.docker.reference.type"] = "attestation-manifest"
      entry.annotations["vnd.docker.reference.digest"] = member.descriptor.digest.description
      entry.annotations[ReferrerKinds.subjectAnnotation] = nil
      entry.artifactType = ""
      added.append(entry)
    }
    guard !added.isEmpty else { return result }
    index.manifests += added
    result.bytes = index.encoded
    result.descriptor = Descriptor(mediaType: result.descriptor.mediaType, of: result.bytes, annotations: result.descriptor.annotations)
    return result
  }

  /// The config's platform where the descriptor has none. Windows images are told apart by their version, which buildx leaves out.
  static func completed(_ known: Platform?, by own: Platform) -> Platform {
    var platform = known ?? Platform(os: "", architecture: "")
    if platform.architecture.isEmpty {
      platform.architecture = own.architecture
      if platform.variant.isEmpty { platform.variant = own.variant }
    }
    if platform.os.isEmpty { platform.os = own.os }
    if platform.os == "windows", own.os == "windows" {
      if platform.osVersion.isEmpty { platform.osVersion = own.osVersion }
      if platform.osFeatures.isEmpty { platform.osFeatures = own.osFeatures }
    }
    return platform
  }

  // MARK: The result

  /// Puts the sources together. Pure.
  func result(_ sources: [Source]) throws -> Result {
    guard let first = sources.first else { throw BuildError.usage("no sources specified") }
    if sources.count == 1, annotations.isEmpty {
      if first.descriptor.mediaType.isIndex { return try filtered(first.bytes, first.descriptor, [:], whole: first, []) }
      if !prefersIndex { return try single(first) }
    }
    var composition = IndexComposition()
    var origins: [Digest: Source] = [:]
    for source in sources {
      var entries = [source.descriptor]
      if source.descriptor.mediaType.isIndex, case .index(let index) = try ImageDocument(parsing: source.bytes, mediaType: source.descriptor.mediaType) { entries = index.manifests }
      for entry in entries {
        composition.add(entry)
        origins[entry.digest] = source
      }
    }
    var index = ImageIndex(mediaType: composition.mediaType, manifests: [])
    var warnings: [String] = []
    if index.mediaType == .ociIndex {
      for annotation in annotations {
        switch annotation.place {
        case .index: index.annotations[annotation.key] = annotation.value
        case .manifestDescriptor: composition.annotate(annotation)
        case .manifest, nil:
          throw BuildError.usage(
            "\"\(annotation.place?.rawValue ?? "")\" annotations are not supported yet",
            suggestion: "They would change the images and their digests. Use index:\(annotation.key)=… or manifest-descriptor:\(annotation.key)=….")
        case .indexDescriptor: throw BuildError.usage("\"index-descriptor\" annotations are invalid while creating an image")
        }
      }
    } else if !annotations.isEmpty {
      warnings.append("the annotations are left out: all images are Docker's, and a Docker manifest list has none")
    }
    index.manifests = composition.entries
    let bytes = index.encoded
    return try filtered(bytes, Descriptor(mediaType: index.mediaType, of: bytes), origins, whole: first, warnings)
  }

  private var matcher: PlatformMatcher { platforms.isEmpty ? .all : PlatformMatcher(anyOf: platforms) }

  /// One manifest, as it is.
  private func single(_ source: Source) throws -> Result {
    if let platform = source.descriptor.platform, !matcher.matches(platform) {
      throw BuildError.usage("input platform \(platform) does not match any of the provided platforms")
    }
    return Result(descriptor: source.descriptor, bytes: source.bytes, members: [Member(descriptor: source.descriptor, source: source)])
  }

  private func filtered(_ bytes: [UInt8], _ descriptor: Descriptor, _ origins: [Digest: Source], whole: Source, _ warnings: [String]) throws -> Result {
    guard case .index(var index) = try ImageDocument(parsing: bytes, mediaType: descriptor.mediaType) else { throw BuildError.usage("\(descriptor.digest) is not an index") }
    let kept = platforms.isEmpty ? index.manifests : IndexComposition(index.manifests).filtered(matcher)
    guard !kept.isEmpty else { throw BuildError.usage("none of the manifests match the provided platforms", suggestion: Self.offered(index)) }
    var result = Result(descriptor: descriptor, bytes: bytes, members: kept.map { Member(descriptor: $0, source: origins[$0.digest] ?? whole) }, warnings: warnings)
    if kept.count < index.manifests.count {
      index.manifests = kept
      result.bytes = index.encoded
      result.descriptor = Descriptor(mediaType: descriptor.mediaType, of: result.bytes, annotations: descriptor.annotations)
    }
    for (platform, places) in IndexComposition.duplicatePlatforms(kept) {
      result.warnings.append("\(platform.fullDescription): \(places.count) images are for the same platform; clients will take one of them")
    }
    return result
  }

  private static func offered(_ index: ImageIndex) -> String? {
    let platforms = index.platforms.map(\.fullDescription)
    return platforms.isEmpty ? nil : "There are: \(platforms.joined(separator: ", "))."
  }
}
