internal import HostOS
package import OCIModel

/// One image of a manifest list that is being made, as `docker manifest` keeps it.
package struct ManifestListEntry: Hashable, Sendable {
  /// The name it was added by; an entry out of an index is named by its digest.
  package var reference: Reference
  /// With the platform that the list will say.
  package var descriptor: OCIModel.Descriptor
  /// The manifest, byte for byte.
  package var bytes: [UInt8]
  /// Where it came from, as a location is written, when that is not what `reference` says: an index that it was in, a layout, the local store.
  package var origin: String?
  /// Its place in the index.
  package var position: Int?
  /// Whether the list is to be an OCI index whatever is in it.
  package var wantsIndex: Bool

  package init(reference: Reference, descriptor: OCIModel.Descriptor, bytes: [UInt8], origin: String? = nil, position: Int? = nil, wantsIndex: Bool = false) {
    self.reference = reference
    self.descriptor = descriptor
    self.bytes = bytes
    self.origin = origin
    self.position = position
    self.wantsIndex = wantsIndex
  }

  // MARK: The file: what Docker's client writes, and one member of our own, which it passes over.

  private static let own = "Manifold"

  package init(parsing file: [UInt8]) throws(OCIError) {
    guard let object = try JSONValue(parsing: file).objectValue else { throw OCIError(.invalidDocument, "it is not a JSON object") }
    guard let name = object["Ref"]?.stringValue else { throw OCIError(.invalidDocument, "it has no Ref") }
    reference = try Reference(parsing: name)
    let embedded = object["SchemaV2Manifest"] ?? object["OCIManifest"] ?? .null
    if let digest = object["Digest"]?.stringValue, !digest.isEmpty {
      // The form of clients before 2018: digest and platform stand alone.
      let type = embedded["mediaType"]?.stringValue.map { MediaType($0) } ?? .dockerManifest
      descriptor = OCIModel.Descriptor(mediaType: type, digest: try Digest(parsing: digest), size: 0)
      if let platform = object["Platform"], !platform.isNull { descriptor.platform = try Platform(json: platform) }
    } else {
      descriptor = try OCIModel.Descriptor(json: object["Descriptor"] ?? .null)
    }
    let raw = object["Raw"]?.stringValue.flatMap { Base64.decode($0) }
    // Without the raw manifest its layout is found by trying those that clients wrote.
    let forms = raw.map { [$0] } ?? [embedded.encoded(), embedded.encoded(.indented("   ")), embedded.encoded(.indented("  "))]
    let wanted = descriptor.digest
    guard let bytes = forms.first(where: { Digest.sha256(of: $0) == wanted }) else { throw OCIError(.invalidDocument, "the manifest in it does not have the digest \(wanted)") }
    self.bytes = bytes
    descriptor.size = Int64(bytes.count)
    let note = object[Self.own]
    origin = note?["origin"]?.stringValue
    position = note?["position"]?.intValue.map { Int($0) }
    wantsIndex = note?["index"]?.boolValue ?? false
  }

  package var file: [UInt8] {
    var out = json
    var note = JSONObject()
    if let origin { note["origin"] = .string(origin) }
    if let position { note["position"] = .int(position) }
    if wantsIndex { note["index"] = true }
    guard !note.isEmpty else { return out }
    out.removeLast()
    return out + ",\"\(Self.own)\":".utf8 + JSONValue.object(note).encoded() + "}".utf8
  }

  /// What `inspect -v` shows, not yet indented; of images outside of registries with where they are as their name.
  package func verbose(named name: String? = nil) -> [UInt8] { json(name ?? reference.description) }

  private var json: [UInt8] { json(reference.description) }

  private func json(_ name: String) -> [UInt8] {
    let member = descriptor.mediaType == .dockerManifest ? "SchemaV2Manifest" : "OCIManifest"
    return Array("{\"Ref\":".utf8) + JSONValue.string(name).encoded() + ",\"Descriptor\":".utf8 + descriptor.json.encoded()
      + ",\"Raw\":\"\(Base64.encode(bytes))\",\"\(member)\":".utf8 + JSONRelayout.embedded(bytes) + "}".utf8
  }
}

/// The manifest lists that are being made on this machine, where Docker's client keeps them and in its form: a folder a list and a file an image, beneath
/// `manifests` of its configuration. Its functions block; call them through `Blocking.run`.
///
/// A list is named as a location is written: a registry's in full.
package struct ManifestListStore: Sendable {
  package let root: String
  package init(root: String) { self.root = root }

  /// `$DOCKER_CONFIG/manifests`, else `~/.docker/manifests`; nil without a home.
  package static func defaultRoot(_ environment: [String: String]) -> String? {
    let file = DockerConfigCredentials.defaultPath(environment)
    return file.isEmpty ? nil : file.dropLast("config.json".count) + "manifests"
  }

  /// Beyond this nobody made it.
  private static let fileLimit = 32 << 20

  private static func fileName(_ reference: Reference) -> String {
    String(reference.description.map { $0 == ":" ? "-" : $0 == "/" ? "_" : $0 })
  }
  /// Of a registry's list as Docker has it; what is no registry's is named by a digest, since a path may hold anything.
  private static func folderName(_ list: String) -> String {
    guard let reference = try? Reference(parsing: list), reference.description == list else { return "manifold-" + Digest.sha256(of: list).hex.prefix(32) }
    return fileName(reference)
  }
  private func folder(_ list: String) -> String { root + "/" + Self.folderName(list) }

  /// The entry of that name; nil when there is none. Throws `RegistryError(.local)`.
  package func entry(_ list: String, _ manifest: Reference) throws -> ManifestListEntry? {
    do { return try read(folder(list) + "/" + Self.fileName(manifest)) } catch let error as HostError where error.code == .notFound { return nil }
  }

  /// All entries in the order in which they will stand: by name, as Docker has it, those out of one index in its order. Empty when there is no such list.
  package func entries(_ list: String) throws -> [ManifestListEntry] {
    let names: [String]
    do { names = try Directory.open(folder(list)).entries().map(\.name) } catch let error as HostError where error.code == .notFound { return [] }
    let sorted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    var found: [(group: String, position: Int, entry: ManifestListEntry)] = []
    for name in sorted {
      let entry = try read(folder(list) + "/" + name)
      let group = entry.position == nil ? name : String(name.prefix { $0 != "@" }) + "@" + (entry.origin ?? "")
      found.append((group, entry.position ?? 0, entry))
    }
    // What came out of one index stands where its first stands.
    var places: [String: Int] = [:]
    for (i, one) in found.enumerated() where places[one.group] == nil { places[one.group] = i }
    return found.enumerated().sorted { a, b in
      (places[a.element.group] ?? 0, a.element.position, a.offset) < (places[b.element.group] ?? 0, b.element.position, b.offset)
    }.map(\.element.entry)
  }

  private func read(_ path: String) throws -> ManifestListEntry {
    let bytes = try Files.read(path, limit: Self.fileLimit)
    do { return try ManifestListEntry(parsing: bytes) } catch {
      throw RegistryError(.local, "invalid manifest file \(path)", advice: "Remove the list (manifest rm) and create it again.", cause: error)
    }
  }

  /// Adds entries to a list, or replaces them. A reader sees each whole or not at all, and nothing but entries in the list's folder.
  package func save(_ entries: [ManifestListEntry], in list: String) throws {
    try Files.makeDirectories(root, mode: 0o700)
    let directory = try Directory.open(root)
    let folder = try directory.makeDirectories(Self.folderName(list))
    for entry in entries {
      let temporary = ".manifold-\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
      do {
        try directory.writeAtomically(entry.file, to: temporary, durable: false)
        try directory.rename(temporary, to: Self.fileName(entry.reference), into: folder)
      } catch {
        try? directory.unlink(temporary)
        throw error
      }
    }
  }

  /// Does nothing when there is no such list.
  package func remove(_ list: String) throws { try Files.removeTree(folder(list)) }
}
