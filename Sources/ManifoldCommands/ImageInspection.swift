internal import OCIModel
internal import OCIRegistry

/// What a name stands for in a registry, as `docker buildx imagetools inspect` prints it.
struct ImageInspection {
  /// The templates that are served without a template language.
  enum Template: String {
    case manifest = "{{.Manifest}}"
    case manifestJSON = "{{json .Manifest}}"
    case digest = "{{.Manifest.Digest}}"
    case mediaType = "{{.Manifest.MediaType}}"
    case name = "{{.Name}}"

    /// Blanks do not matter just inside the braces, nor around them in the case of the whole manifest.
    init?(_ text: String) {
      var inner = text[...]
      while inner.first?.isWhitespace == true { inner.removeFirst() }
      while inner.last?.isWhitespace == true { inner.removeLast() }
      guard inner.hasPrefix("{{"), inner.hasSuffix("}}"), inner.count >= 4 else { return nil }
      let words = inner.dropFirst(2).dropLast(2).split(whereSeparator: \.isWhitespace).joined(separator: " ")
      self.init(rawValue: "{{\(words)}}")
      if self != .manifest, inner.count != text.count { return nil }
    }
  }

  /// As typed.
  var name: String
  /// With a tag or a digest.
  var reference: Reference
  var manifest: FetchedManifest
  private let index: ImageIndex?

  init(name: String, reference: Reference, manifest: FetchedManifest) throws {
    (self.name, self.reference, self.manifest) = (name, reference, manifest)
    if case .index(let index) = try manifest.document() { self.index = index } else { index = nil }
  }

  func text(_ template: Template) -> String {
    switch template {
    case .manifest: summary
    case .manifestJSON: json.encodedString(.indented("  "))
    case .digest: manifest.descriptor.digest.description
    case .mediaType: manifest.descriptor.mediaType.rawValue
    case .name: name
    }
  }

  private var summary: String {
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

  /// The index with its own descriptor's digest and size, or a manifest's descriptor alone: only the members that the peers know.
  private var json: JSONValue {
    let own = manifest.descriptor
    guard let index else {
      return .object(JSONObject([("mediaType", .string(own.mediaType.rawValue)), ("digest", .string(own.digest.description)), ("size", .int(own.size))]))
    }
    // The document's own words, which need not say their media type.
    let document = try? JSONValue(parsing: manifest.bytes)
    var object = JSONObject([("schemaVersion", document?["schemaVersion"] ?? 0)])
    if let type = document?["mediaType"]?.stringValue, !type.isEmpty { object["mediaType"] = .string(type) }
    object["digest"] = .string(own.digest.description)
    object["size"] = .int(own.size)
    object["manifests"] = .array(
      index.manifests.map { descriptor in
        var known = descriptor
        known.unknown = JSONObject()
        return known.json
      })
    if !index.annotations.isEmpty { object["annotations"] = .object(JSONObject(sorted: index.annotations)) }
    return .object(object)
  }
}
