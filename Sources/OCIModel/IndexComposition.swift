extension Descriptor {
  /// Of an attestation's entry in an index (BuildKit's attestation-storage.md): the digest of the image that it is about; nil for any other entry.
  public var attestedDigest: Digest? {
    guard annotations["vnd.docker.reference.type"] == "attestation-manifest" else { return nil }
    return (annotations["vnd.docker.reference.digest"] ?? annotations["com.docker.reference.digest"]).flatMap { Digest($0) }
  }
}

/// An annotation for an index that is being made, with buildx's prefixes: `index:key=value`, `manifest-descriptor[linux/arm64]:key=value`.
public struct IndexAnnotation: Hashable, Sendable {
  /// What the annotation is put on, by buildx's word.
  public enum Place: String, Hashable, Sendable, CaseIterable {
    case index, indexDescriptor = "index-descriptor", manifest, manifestDescriptor = "manifest-descriptor"
  }
  /// nil when none was written.
  public var place: Place?
  /// Only the manifest of this platform; nil for all.
  public var platform: Platform?
  /// Never empty.
  public var key: String
  /// May be empty, and hold further `=`.
  public var value: String

  /// Parses one option's text; several places separated by commas give one annotation each. Throws `OCIError.invalidDocument`.
  public static func parse(_ text: String) throws(OCIError) -> [IndexAnnotation] {
    guard let equals = text.firstIndex(of: "=") else { throw OCIError(.invalidDocument, "invalid annotation \"\(text.prefix(200))\", expected key=value") }
    let head = text[..<equals], value = String(text[text.index(after: equals)...])
    guard !head.isEmpty else { throw OCIError(.invalidDocument, "invalid annotation \"\(text.prefix(200))\": the key is empty") }
    guard let colon = head.firstIndex(of: ":") else { return [IndexAnnotation(place: nil, platform: nil, key: String(head), value: value)] }
    let key = String(head[head.index(after: colon)...])
    guard !key.isEmpty else { throw OCIError(.invalidDocument, "invalid annotation \"\(text.prefix(200))\": the key is empty") }
    var out: [IndexAnnotation] = []
    for word in head[..<colon].split(separator: ",", omittingEmptySubsequences: false) {
      var name = word, platform: Platform?
      if let open = word.firstIndex(of: "["), word.last == "]" {
        platform = try Platform(parsing: String(word[word.index(after: open)..<word.index(before: word.endIndex)]))
        name = word[..<open]
      } else if word.contains("[") {
        throw OCIError(.invalidDocument, "invalid annotation \"\(text.prefix(200))\": expected a platform in brackets behind \(word.prefix { $0 != "[" })")
      }
      guard let place = Place(rawValue: String(name)) else {
        throw OCIError(.invalidDocument, "there is no annotation type \"\(word.prefix(100))\": types are \(Place.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      out.append(IndexAnnotation(place: place, platform: platform, key: key, value: value))
    }
    return out
  }
}

/// Entries of a flat index that is put together from manifests and other indexes, each digest once, in the order they came. Pure.
public struct IndexComposition: Hashable, Sendable {
  /// In the order they came; no digest twice.
  public private(set) var entries: [Descriptor] = []
  private var places: [Digest: Int] = [:]

  /// As `add` for each.
  public init(_ entries: [Descriptor] = []) { for entry in entries { add(entry) } }

  /// Adds an entry. One with a digest that is there already completes that: its platform wins, annotations are joined.
  public mutating func add(_ entry: Descriptor) {
    guard let place = places[entry.digest] else {
      places[entry.digest] = entries.count
      return entries.append(entry)
    }
    if let platform = entry.platform { entries[place].platform = platform }
    entries[place].annotations.merge(entry.annotations) { $1 }
  }

  /// A Docker manifest list when every entry is Docker's, else an OCI index.
  public var mediaType: MediaType {
    entries.allSatisfy { $0.mediaType.rawValue.hasPrefix("application/vnd.docker.") } ? .dockerManifestList : .ociIndex
  }

  /// Puts descriptor annotations on the entries they are for.
  public mutating func annotate(_ annotation: IndexAnnotation) {
    for i in entries.indices where annotation.platform == nil || annotation.platform?.fullDescription == entries[i].platform?.description {
      entries[i].annotations[annotation.key] = annotation.value
    }
  }

  /// The entries for the wanted platforms, with the attestations about them. Entries that name no platform stay.
  public func filtered(_ matcher: PlatformMatcher) -> [Descriptor] {
    func matches(_ entry: Descriptor) -> Bool { entry.platform.map(matcher.matches) ?? true }
    return entries.filter { entry in
      if matches(entry) { return true }
      guard let subject = entry.attestedDigest.flatMap({ places[$0] }) else { return false }
      return matches(entries[subject])
    }
  }

  /// Images first, then what is attested of them; each in the order it has.
  public var imagesFirst: [Descriptor] { entries.filter { $0.attestedDigest == nil } + entries.filter { $0.attestedDigest != nil } }

  /// Platforms that more than one image is for, `os.version`, features and variant counted: clients take one of them, and which is theirs to say.
  public static func duplicatePlatforms(_ entries: [Descriptor]) -> [(platform: Platform, places: [Int])] {
    var groups: [(platform: Platform, places: [Int])] = []
    for (i, entry) in entries.enumerated() where entry.attestedDigest == nil {
      guard let platform = entry.platform?.normalized, platform.os != "unknown" || platform.architecture != "unknown" else { continue }
      if let group = groups.firstIndex(where: { $0.platform == platform }) { groups[group].places.append(i) } else { groups.append((platform, [i])) }
    }
    return groups.filter { $0.places.count > 1 }
  }
}

extension ImageIndex {
  /// The document as Docker's client writes it: indented by three spaces, a descriptor's size before its digest, every entry with a platform.
  public var dockerEncoded: [UInt8] {
    var object = JSONObject([("schemaVersion", 2), ("mediaType", .string(mediaType.rawValue))])
    object["manifests"] = .array(
      manifests.map { entry in
        var out = JSONObject([("mediaType", .string(entry.mediaType.rawValue)), ("size", .int(entry.size)), ("digest", .string(entry.digest.description))])
        if !entry.urls.isEmpty { out["urls"] = .array(entry.urls.map { .string($0) }) }
        if !entry.annotations.isEmpty { out["annotations"] = .object(JSONObject(sorted: entry.annotations)) }
        out["platform"] = (entry.platform ?? Platform(os: "", architecture: "")).json
        if !entry.artifactType.isEmpty { out["artifactType"] = .string(entry.artifactType) }
        return .object(out)
      })
    if !annotations.isEmpty { object["annotations"] = .object(JSONObject(sorted: annotations)) }
    return JSONValue.object(object).encoded(.indented("   "))
  }
}

extension Platform {
  /// Whether operating system and architecture are names that Go knows, by which images are described.
  public var isKnown: Bool { Platform.knownOperatingSystems.contains(os) && Platform.knownArchitectures.contains(architecture) }
}
