internal import BuildInterface
internal import GoTemplate
internal import NIOCore
internal import OCIModel
internal import OCIRegistry

/// What a name stands for in a registry, as `docker buildx imagetools inspect` prints it.
struct ImageInspection {
  /// As typed.
  var name: String
  /// With a tag or a digest.
  var reference: Reference
  var manifest: FetchedManifest
  let index: ImageIndex?

  init(name: String, reference: Reference, manifest: FetchedManifest) throws {
    (self.name, self.reference, self.manifest) = (name, reference, manifest)
    if case .index(let index) = try manifest.document() { self.index = index } else { index = nil }
  }

  /// What `{{.Manifest}}` alone, and no format at all, print.
  static func isWholeManifest(_ format: String) -> Bool {
    var inner = format[...]
    while inner.first?.isWhitespace == true { inner.removeFirst() }
    while inner.last?.isWhitespace == true { inner.removeLast() }
    return inner.hasPrefix("{{") && inner.hasSuffix("}}") && inner.dropFirst(2).dropLast(2).split(whereSeparator: \.isWhitespace) == [".Manifest"]
  }

  var summary: String {
    var head = AlignedText(padding: 1)
    head.add("Name:", reference.description)
    head.add("MediaType:", manifest.descriptor.mediaType.rawValue)
    head.add("Digest:", manifest.descriptor.digest.description)
    var out = head.flush()
    guard let index else { return out }
    head.add("", "")
    head.add("Manifests:", "")
    out += head.flush()
    var table = AlignedText(padding: 1)
    for (i, descriptor) in index.manifests.enumerated() {
      if i > 0 { table.add("", "") }
      table.add("  Name:", reference.with(digest: descriptor.digest).description)
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

  /// `.Manifest`: the index with its own descriptor's digest and size, or a manifest's descriptor alone.
  var templateValue: TemplateValue {
    let own = manifest.descriptor
    let known = [("digest", JSONValue.string(own.digest.description)), ("size", .int(own.size))]
    guard index != nil, let document = (try? JSONValue(parsing: manifest.bytes))?.objectValue else {
      return ImageTemplateData.object(
        "v1.Descriptor", ImageTemplateData.descriptor, .object(JSONObject([("mediaType", .string(own.mediaType.rawValue))] + known)))
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

  private static let inToto = "application/vnd.in-toto+json"
  private static let predicateType = "in-toto.io/predicate-type"
  private static let references = ["vnd.docker.reference.digest", "com.docker.reference.digest"]

  /// Reads them from the registry: every manifest and config, and every attestation.
  static func load(_ inspection: ImageInspection, _ client: RegistryClient) async throws -> InspectedImages {
    let repository = inspection.reference
    guard let index = inspection.index else {
      return InspectedImages(images: [try await image(inspection.manifest, platform: nil, attestations: [], repository, client)])
    }
    let isReference: (OCIModel.Descriptor) -> String? = { descriptor in references.lazy.compactMap { descriptor.annotations[$0] }.first }
    var attested: [String: [OCIModel.Descriptor]] = [:]
    for descriptor in index.manifests { if let digest = isReference(descriptor) { attested[digest, default: []].append(descriptor) } }
    let images = try await withThrowingTaskGroup(of: (Int, Image).self) { group in
      for (i, descriptor) in index.manifests.enumerated() where isReference(descriptor) == nil && descriptor.mediaType.isManifest {
        let attestations = attested[descriptor.digest.description] ?? []
        group.addTask {
          let fetched = try await client.manifest(repository, digest: descriptor.digest)
          return (i, try await image(fetched, platform: descriptor.platform, attestations: attestations, repository, client))
        }
      }
      return try await group.reduce(into: [(Int, Image)]()) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
    }
    // Of two images for one platform the later one is shown.
    var byPlatform: [String: Image] = [:]
    for image in images { byPlatform[image.platform] = image }
    return InspectedImages(images: byPlatform.values.sorted { $0.platform < $1.platform })
  }

  private static func image(
    _ fetched: FetchedManifest, platform: Platform?, attestations: [OCIModel.Descriptor], _ repository: Reference, _ client: RegistryClient
  ) async throws -> Image {
    guard case .manifest(let manifest) = try fetched.document() else {
      throw BuildError(.unimplemented, .usage, "\(repository.familiar) holds an index within an index, which is not supported here")
    }
    let config = try await blob(manifest.config, repository, client)
    let own = try? ImageConfig(parsing: config.bytes).platform
    var image = Image(platform: (platform ?? own ?? Platform(os: "unknown", architecture: "unknown")).normalized.description, config: config.json)
    for descriptor in attestations {
      guard case .manifest(let attestation) = try await client.manifest(repository, digest: descriptor.digest).document() else { continue }
      for layer in attestation.layers where layer.mediaType.rawValue == inToto {
        let type = layer.annotations[predicateType] ?? ""
        let isProvenance = type.hasPrefix("https://slsa.dev/provenance/")
        guard isProvenance && image.provenance == nil || type == "https://spdx.dev/Document" else { continue }
        guard let predicate = try await blob(layer, repository, client).json["predicate"] else { continue }
        if isProvenance { image.provenance = predicate } else { image.sboms.append(predicate) }
      }
    }
    return image
  }

  /// A document of a blob; large ones are refused.
  private static func blob(_ descriptor: OCIModel.Descriptor, _ repository: Reference, _ client: RegistryClient) async throws -> (bytes: [UInt8], json: JSONValue) {
    guard descriptor.size <= 64 << 20 else {
      throw BuildError(.resourceExhausted, .registry, "\(repository.familiar): the document \(descriptor.digest) has \(descriptor.size) bytes; at most 64 MiB are read")
    }
    var bytes: [UInt8] = []
    for try await part in client.blobContent(descriptor, from: repository) { bytes += part.readableBytesView }
    return (bytes, try JSONValue(parsing: bytes, maxDepth: 512))
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
