package import ContentStore
internal import HostOS
package import LayerArchive
package import OCIModel

/// Images in one tar archive, as `save` writes them. The bytes depend on the images and their names alone.
package struct ImageArchive: Sendable {
  package enum Form: String, Sendable, CaseIterable {
    /// An OCI layout that `docker load` of any age reads too: `manifest.json` names one platform of each image in it.
    case both
    /// An OCI layout (`oci-archive:` of skopeo and podman).
    case oci
    /// Docker's archive (`docker-archive:`): one platform an image, layers uncompressed.
    case docker
  }

  /// One image, under the names it was asked for by.
  package struct Item: Sendable {
    package var names: [Reference]
    package var selection: ImageSelection
    /// Whom `manifest.json` is about: one of the selection's.
    package var docker: PlatformImage?
    package init(names: [Reference], selection: ImageSelection, docker: PlatformImage?) { (self.names, self.selection, self.docker) = (names, selection, docker) }
  }

  private enum Content {
    case directory, bytes([UInt8]), blob(OCIModel.Descriptor)
    /// A layer's archive, decompressed; checked against its diff ID.
    case archive(OCIModel.Descriptor, diffID: Digest)
  }
  private struct Entry {
    var name: String
    var mode: UInt32 = 0o444
    var content: Content
  }

  private let store: ContentStore
  private let items: [Item]
  private let form: Form

  package init(_ items: [Item], form: Form, store: ContentStore) { (self.items, self.form, self.store) = (items, form, store) }

  /// Bytes of blobs that will be read, for who shows a measure.
  package var total: Int64 {
    var seen = Set<Digest>()
    let blobs = form == .docker ? items.flatMap { $0.docker?.manifest?.layers ?? [] } : items.flatMap(\.selection.blobs)
    return blobs.reduce(0) { seen.insert($1.digest).inserted ? $0 + $1.size : $0 }
  }

  /// Blocks; call through Blocking.run. `sink` is finished.
  package func write(into sink: any ByteSink, progress: (Int64) -> Void = { _ in }, isCancelled: () -> Bool = { false }) throws {
    let entries = try form == .docker ? dockerEntries() : layoutEntries()
    let tar = TarWriter(sink, style: .compact)
    for entry in entries.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
      if isCancelled() { throw CancellationError() }
      let path = ByteString(text: entry.name)
      switch entry.content {
      case .directory: try tar.begin(TarEntry(path: path, kind: .directory, mode: 0o755))
      case .bytes(let bytes):
        try tar.begin(TarEntry(path: path, mode: entry.mode, size: Int64(bytes.count)))
        try tar.write(bytes)
      case .blob(let descriptor):
        try tar.begin(TarEntry(path: path, mode: entry.mode, size: descriptor.size))
        try copy(descriptor, to: tar, progress, isCancelled)
      case .archive(let descriptor, let diffID):
        // Its size stands before it: it is decompressed twice.
        let size = try measure(descriptor, diffID, isCancelled)
        try tar.begin(TarEntry(path: path, mode: entry.mode, size: size))
        try tar.writeContent(of: try archive(descriptor))
        progress(descriptor.size)
      }
    }
    try tar.finish()
  }

  // MARK: - What is in it

  private static func path(_ digest: Digest) -> String { "blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }

  private func layoutEntries() throws -> [Entry] {
    var index = ImageIndex(manifests: [])
    var blobs: [Digest: Content] = [:]
    for item in items {
      OCILayout.insert(item.selection.root, item.names.map { LayoutName.name($0) }, into: &index)
      if item.names.isEmpty { index.manifests.append(item.selection.root) }
      blobs[item.selection.root.digest] = .bytes(item.selection.bytes)
      for part in item.selection.documents + item.selection.blobs where blobs[part.digest] == nil { blobs[part.digest] = .blob(part) }
    }
    var entries = blobs.map { Entry(name: Self.path($0.key), content: $0.value) }
    entries += ["blobs/"].map { Entry(name: $0, content: .directory) }
    entries += Set(blobs.keys.map(\.algorithm)).map { Entry(name: "blobs/\($0.rawValue)/", content: .directory) }
    entries.append(Entry(name: "oci-layout", content: .bytes(OCILayout.marker)))
    entries.append(Entry(name: "index.json", mode: 0o644, content: .bytes(index.json.encoded())))
    if form == .both, let manifest = dockerManifest(config: { Self.path($0.config.digest) }, layer: { layer, _ in Self.path(layer.digest) }) {
      entries.append(Entry(name: "manifest.json", mode: 0o644, content: .bytes(manifest)))
    }
    return entries
  }

  private func dockerEntries() throws -> [Entry] {
    var entries: [String: Entry] = [:]
    func add(_ name: String, _ content: Content) { entries[name] = Entry(name: name, content: content) }
    var ids: [Digest: [Digest]] = [:]
    for item in items {
      guard let manifest = item.docker?.manifest else { continue }
      let bytes = try store.bytes(manifest.config.digest, limit: DocumentLimits.config)
      let diffIDs = try ImageConfig(parsing: bytes).diffIDs
      guard diffIDs.count == manifest.layers.count else {
        throw ImageToolsError(.unsupported, "the image's config lists \(diffIDs.count) layers and its manifest \(manifest.layers.count): a docker archive cannot hold it", suggestion: "Save it with --format oci.")
      }
      ids[manifest.config.digest] = diffIDs
      add(manifest.config.digest.hex + ".json", .bytes(bytes))
      for (layer, id) in zip(manifest.layers, diffIDs) { add(id.hex + ".tar", .archive(layer, diffID: id)) }
    }
    let manifest = dockerManifest(config: { $0.config.digest.hex + ".json" }, layer: { layer, place in
      (ids[place.manifest]?[place.layer]).map { $0.hex + ".tar" } ?? layer.digest.hex
    })
    add("manifest.json", .bytes(manifest ?? Array("[]".utf8)))
    return Array(entries.values)
  }

  /// nil where no image has one platform that docker could load.
  private func dockerManifest(config: (ImageManifest) -> String, layer: (OCIModel.Descriptor, (manifest: Digest, layer: Int)) -> String) -> [UInt8]? {
    let entries: [JSONValue] = items.compactMap { item in
      guard let manifest = item.docker?.manifest else { return nil }
      let names = item.names.filter { $0.tag != nil && $0.digest == nil }.map { JSONValue.string($0.familiar) }
      let layers = manifest.layers.enumerated().map { JSONValue.string(layer($0.element, (manifest.config.digest, $0.offset))) }
      return .object(JSONObject([("Config", .string(config(manifest))), ("RepoTags", names.isEmpty ? .null : .array(names)), ("Layers", .array(layers))]))
    }
    return entries.isEmpty ? nil : JSONValue.array(entries).encoded()
  }

  // MARK: - Content

  private func damaged(_ digest: Digest) -> StoreError {
    StoreError(.corrupt, "\(store.path(of: digest)) is damaged: its content is not that of its digest: manifold store verify --repair", path: store.path(of: digest), digest: digest)
  }

  /// Hashed on its way out: the archive is where a damaged disk would otherwise go unnoticed.
  private func copy(_ descriptor: OCIModel.Descriptor, to tar: TarWriter, _ progress: (Int64) -> Void, _ isCancelled: () -> Bool) throws {
    let blob = try store.reader(descriptor.digest)
    guard blob.size == descriptor.size else { throw damaged(descriptor.digest) }
    let buffer = IOBuffer(1 << 20)
    var hasher = DigestHasher(descriptor.digest.algorithm)
    while hasher.count < blob.size {
      if isCancelled() { throw CancellationError() }
      let count = try blob.descriptor.readFully(into: buffer.all, at: hasher.count)
      if count == 0 { break }
      hasher.update(buffer.head(count))
      try tar.write(buffer.head(count))
      progress(Int64(count))
    }
    guard hasher.finish() == descriptor.digest else { throw damaged(descriptor.digest) }
  }

  private func archive(_ descriptor: OCIModel.Descriptor) throws -> any ByteSource {
    try DetectingSource(PositionedSource(store.reader(descriptor.digest).descriptor), limits: .default.packed(descriptor.size))
  }

  private func measure(_ descriptor: OCIModel.Descriptor, _ diffID: Digest, _ isCancelled: () -> Bool) throws -> Int64 {
    let source = HashingSource(try archive(descriptor), algorithm: diffID.algorithm)
    let buffer = IOBuffer(1 << 20)
    repeat { if isCancelled() { throw CancellationError() } } while try source.read(into: buffer.all) > 0
    guard source.digest == diffID else {
      throw ImageToolsError(.unsupported, "the layer \(descriptor.digest) is not what its image's config says (\(diffID))", suggestion: "The image is damaged; it can be saved as it is with --format oci.")
    }
    return source.size
  }
}
