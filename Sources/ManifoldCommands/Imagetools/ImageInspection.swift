internal import BuildInterface
internal import BuildProgress
internal import GoTemplate
internal import ImageStores
internal import OCIModel
internal import OCIRegistry

/// What a name stands for, as `docker buildx imagetools inspect` prints it, and as we do.
struct ImageInspection {
  /// As typed.
  var name: String
  var location: ImageLocation
  var manifest: FetchedManifest
  let index: ImageIndex?
  /// What a layout's `index.json` says of the image.
  var listed: OCIModel.Descriptor?

  init(name: String, location: ImageLocation, manifest: FetchedManifest) throws {
    (self.name, self.manifest) = (name, manifest)
    // buildx's default.
    if case .layout(let path, nil, nil) = location { self.location = .layout(path: path, tag: Reference.defaultTag, digest: nil) } else { self.location = location }
    if case .index(let index) = try manifest.document() { self.index = index } else { index = nil }
  }

  /// What `{{.Manifest}}` alone, and no format at all, print.
  static func isWholeManifest(_ format: String) -> Bool {
    var inner = format[...]
    while inner.first?.isWhitespace == true { inner.removeFirst() }
    while inner.last?.isWhitespace == true { inner.removeLast() }
    return inner.hasPrefix("{{") && inner.hasSuffix("}}") && inner.dropFirst(2).dropLast(2).split(whereSeparator: \.isWhitespace) == [".Manifest"]
  }

  private func head(_ name: String) -> String {
    var head = AlignedText(padding: 1)
    head.add("Name:", name)
    head.add("MediaType:", manifest.descriptor.mediaType.rawValue)
    head.add("Digest:", manifest.descriptor.digest.description)
    return head.flush()
  }

  /// buildx's view, byte for byte.
  var summary: String {
    var head = AlignedText(padding: 1)
    var out = self.head(location.fullDescription)
    guard let index else { return out }
    head.add("", "")
    head.add("Manifests:", "")
    out += head.flush()
    var table = AlignedText(padding: 1)
    for (i, descriptor) in index.manifests.enumerated() {
      if i > 0 { table.add("", "") }
      table.add("  Name:", location.with(digest: descriptor.digest).fullDescription)
      table.add("  MediaType:", descriptor.mediaType.rawValue)
      guard let platform = descriptor.platform else { continue }
      table.add("  Platform:", platform.description)
      if !platform.osVersion.isEmpty { table.add("  OSVersion:", platform.osVersion) }
      if !platform.osFeatures.isEmpty { table.add("  OSFeatures:", platform.osFeatures.joined(separator: ", ")) }
      if !descriptor.urls.isEmpty { table.add("  URLs:", descriptor.urls.joined(separator: ", ")) }
      guard !descriptor.annotations.isEmpty else { continue }
      table.add("  Annotations:", "")
      out += table.flush()
      // buildx prints them in the order of a Go map, which is any.
      for (key, value) in descriptor.annotations.sorted(by: { $0.key < $1.key }) { table.add("    \(key):", value) }
      out += table.flush()
    }
    return out + table.flush()
  }

  /// Our own: what is attested of an image stands with it, and nothing is said to be for an unknown platform. `predicates`: of what kinds the statements of each attestation are.
  func view(_ predicates: [Digest: [String]]) -> String {
    var out = head(location.description)
    guard let index else { return out }
    let images = Set(index.manifests.filter { $0.attestedDigest == nil }.map(\.digest))
    out += "\nManifests:\n"
    var isFirst = true
    for descriptor in index.manifests {
      let subject = descriptor.attestedDigest
      if let subject, images.contains(subject) { continue }
      if !isFirst { out += "\n" }
      isFirst = false
      out += entry(descriptor)
      if let subject { out += "  Attests:   \(subject), which is not in this index\n" + lines(of: predicates[descriptor.digest], indent: "  ") }
      let attestations = index.manifests.filter { $0.attestedDigest == descriptor.digest }
      if !attestations.isEmpty { out += "  Attestations:\n" }
      for attestation in attestations { out += "    Digest:     \(attestation.digest)\n" + lines(of: predicates[attestation.digest], indent: "    ") }
    }
    if !index.annotations.isEmpty {
      out += "\nAnnotations:\n"
      var table = AlignedText(padding: 1)
      for (key, value) in index.annotations.sorted(by: { $0.key < $1.key }) { table.add("  \(key):", value) }
      out += table.flush()
    }
    return out
  }

  private func lines(of predicates: [String]?, indent: String) -> String {
    (predicates ?? []).map { "\(indent)Predicate:  \(TerminalText.singleLine($0))\n" }.joined()
  }

  private func entry(_ descriptor: OCIModel.Descriptor) -> String {
    var table = AlignedText(padding: 1)
    table.add("  Name:", location.with(digest: descriptor.digest).description)
    table.add("  MediaType:", descriptor.mediaType.rawValue)
    if let platform = descriptor.platform, platform.os != "unknown" || platform.architecture != "unknown" {
      table.add("  Platform:", platform.description)
      if !platform.osVersion.isEmpty { table.add("  OSVersion:", platform.osVersion) }
      if !platform.osFeatures.isEmpty { table.add("  OSFeatures:", platform.osFeatures.joined(separator: ", ")) }
    }
    if !descriptor.artifactType.isEmpty { table.add("  ArtifactType:", descriptor.artifactType) }
    if !descriptor.urls.isEmpty { table.add("  URLs:", descriptor.urls.joined(separator: ", ")) }
    var out = table.flush()
    let annotations = descriptor.annotations.filter { !$0.key.hasPrefix("vnd.docker.reference.") }
    guard !annotations.isEmpty else { return out }
    out += "  Annotations:\n"
    for (key, value) in annotations.sorted(by: { $0.key < $1.key }) { table.add("    \(key):", value) }
    return out + table.flush()
  }

  /// `.Manifest`: the index with its own descriptor's digest and size, or a manifest's descriptor alone.
  var templateValue: TemplateValue {
    let own = manifest.descriptor
    let known = [("digest", JSONValue.string(own.digest.description)), ("size", .int(own.size))]
    guard index != nil, let document = (try? JSONValue(parsing: manifest.bytes))?.objectValue else {
      return ImageTemplateData.object(
        "v1.Descriptor", ImageTemplateData.descriptor, listed?.json ?? .object(JSONObject([("mediaType", .string(own.mediaType.rawValue))] + known)))
    }
    var object = document
    for (key, value) in known { object[key] = value }
    return ImageTemplateData.object("struct", ImageTemplateData.index, .object(object))
  }
}

/// The images behind a name, with what is attested of them: what templates ask for beside `.Manifest`.
struct InspectedImages: Sendable {
  struct Image: Sendable {
    var platform: String
    var config: JSONValue
    /// Predicates, by what they are of.
    var provenance: JSONValue?
    var sboms: [JSONValue] = []
  }
  /// By platform, each once.
  var images: [Image]

  private static let predicateType = "in-toto.io/predicate-type"
  private static let references = ["vnd.docker.reference.digest", "com.docker.reference.digest"]
  /// Provenance and SBOMs may be large; other documents of blobs are configs.
  private static let statementLimit = 64 << 20

  /// A manifest of the image's tree, with what the index over it says.
  private struct Leaf: Sendable {
    var descriptor: OCIModel.Descriptor
    var manifest: ImageManifest
    var subject: String? { references.lazy.compactMap { descriptor.annotations[$0] }.first }
  }

  /// Reads every manifest and config, those of indexes within the index too, and the attestations if they are wanted.
  static func load(_ inspection: ImageInspection, _ source: any ImageSource, attestations: Bool) async throws -> InspectedImages {
    let leaves = try await leaves(inspection.manifest, inspection.manifest.descriptor, source, depth: 0)
    var attested: [String: [Leaf]] = [:]
    for leaf in leaves { if let subject = leaf.subject { attested[subject, default: []].append(leaf) } }
    let images = try await withThrowingTaskGroup(of: (Int, Image).self) { group in
      for (i, leaf) in leaves.enumerated() where leaf.subject == nil {
        let proofs = attestations ? attested[leaf.descriptor.digest.description] ?? [] : []
        group.addTask { (i, try await image(leaf, proofs, source)) }
      }
      return try await group.reduce(into: [(Int, Image)]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
    }
    // Of two images for one platform the later one is shown.
    var byPlatform: [String: Image] = [:]
    for image in images { byPlatform[image.platform] = image }
    return InspectedImages(images: byPlatform.values.sorted { $0.platform < $1.platform })
  }

  private static func leaves(_ fetched: FetchedManifest, _ descriptor: OCIModel.Descriptor, _ source: any ImageSource, depth: Int) async throws -> [Leaf] {
    switch try fetched.document() {
    case .manifest(let manifest): return [Leaf(descriptor: descriptor, manifest: manifest)]
    case .index(let index):
      guard depth < ImageTransfer.maximumDepth else { throw BuildError(.invalidArgument, .usage, "\(source.location): indexes are nested deeper than \(ImageTransfer.maximumDepth)") }
      return try await withThrowingTaskGroup(of: (Int, [Leaf]).self) { group in
        // buildx passes over entries of other kinds.
        for (i, entry) in index.manifests.enumerated() where entry.mediaType.isManifest || entry.mediaType.isIndex {
          group.addTask { (i, try await leaves(try await source.manifest(entry), entry, source, depth: depth + 1)) }
        }
        return try await group.reduce(into: [(Int, [Leaf])]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.flatMap(\.1)
      }
    }
  }

  private static func image(_ leaf: Leaf, _ attestations: [Leaf], _ source: any ImageSource) async throws -> Image {
    let config = try await source.config(leaf.manifest)
    let own = try? ImageConfig(parsing: config).platform
    let platform = leaf.descriptor.platform ?? own.map { Platform(os: $0.os, architecture: $0.architecture, variant: $0.variant) } ?? Platform(os: "unknown", architecture: "unknown")
    var image = Image(platform: platform.normalized.description, config: try JSONValue(parsing: config, maxDepth: 512))
    for attestation in attestations {
      // Of several provenances in one attestation the first counts, of several attestations the last, as in buildx.
      var provenance: JSONValue?
      for layer in attestation.manifest.layers where isStatement(layer.mediaType) {
        let type = layer.annotations[predicateType] ?? ""
        let isProvenance = type.hasPrefix("https://slsa.dev/provenance/")
        guard isProvenance && provenance == nil || type == "https://spdx.dev/Document" else { continue }
        let predicate = try statement(try await source.bytes(layer, limit: statementLimit), layer.mediaType)["predicate"]
        if isProvenance { provenance = predicate ?? .null } else if let predicate { image.sboms.append(predicate) }
      }
      if let provenance { image.provenance = provenance }
    }
    return image
  }

  private static func isStatement(_ type: MediaType) -> Bool { type == .inToto || isEnvelope(type) }
  private static func isEnvelope(_ type: MediaType) -> Bool { type.rawValue.hasPrefix("application/vnd.in-toto.") && type.rawValue.hasSuffix("+dsse") }

  /// The statement itself, out of the signed envelope if it is in one.
  private static func statement(_ bytes: [UInt8], _ type: MediaType) throws -> JSONValue {
    let json = try JSONValue(parsing: bytes, maxDepth: 512)
    guard isEnvelope(type) else { return json }
    guard let payload = json["payload"]?.stringValue.flatMap({ Base64.decode($0) }) else { throw OCIError(.invalidDocument, "a signed attestation has no payload that can be read") }
    return try JSONValue(parsing: payload, maxDepth: 512)
  }

  /// What kinds of statements the attestations of an index hold; nothing of those that cannot be read.
  static func predicates(_ inspection: ImageInspection, _ source: any ImageSource) async -> [Digest: [String]] {
    await withTaskGroup(of: (Digest, [String]).self) { group in
      for entry in inspection.index?.manifests ?? [] where entry.attestedDigest != nil && entry.mediaType.isManifest {
        group.addTask {
          guard case .manifest(let manifest)? = try? await source.manifest(entry).document() else { return (entry.digest, []) }
          return (entry.digest, manifest.layers.compactMap { $0.annotations[predicateType] })
        }
      }
      return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
  }

  // MARK: - For templates

  /// With several platforms these are maps by platform, else the one image's own.
  private func value(_ one: (Image) -> TemplateValue?) -> TemplateValue {
    guard images.count > 1 else { return images.first.flatMap(one) ?? .none }
    var map: [String: TemplateValue] = [:]
    for image in images { map[image.platform] = one(image) }
    return .map(map)
  }

  /// What a template is executed over.
  func templateValue(_ inspection: ImageInspection) -> TemplateValue {
    let isSingle = images.count <= 1
    func stub(_ fields: [TemplateObject.Field]) -> TemplateValue { .object(TemplateObject(type: "stub", fields: fields)) }
    return .object(
      TemplateObject(
        type: isSingle ? "imagetools.tplInput" : "imagetools.tplInputs",
        fields: [
          .init("Name", json: "name", .string(inspection.name)), .init("Manifest", json: "manifest", inspection.templateValue),
          .init("Image", json: "image", value { ImageTemplateData.object("v1.Image", ImageTemplateData.image, $0.config) }),
          // Methods of the peers' struct: not in its JSON.
          .init(
            "Provenance", json: nil,
            value { image in
              guard let predicate = image.provenance else { return isSingle ? stub([.init("SLSA", json: nil, .none)]) : nil }
              return stub([.init("SLSA", ImageTemplateData.any(predicate))])
            }),
          .init(
            "SBOM", json: nil,
            value { image in
              guard let first = image.sboms.first else { return isSingle ? stub([.init("SPDX", json: nil, .none), .init("AdditionalSPDXs", json: nil, .list([]))]) : nil }
              let more = image.sboms.dropFirst().map(ImageTemplateData.any)
              return stub([.init("SPDX", ImageTemplateData.any(first)), .init("AdditionalSPDXs", json: more.isEmpty ? nil : "AdditionalSPDXs", .list(more))])
            }),
        ]))
  }
}
