internal import BuildInterface
internal import ContentStore
internal import HostOS
internal import LayerArchive
internal import OCIModel

/// An OCI image layout in one tar archive, entry for entry as containerd's archive exporter writes it: in the order of the names, owned by root, of 1970.
struct LayoutArchive: Sendable {
  let image: WrittenImage
  /// The content of `index.json`.
  let index: [UInt8]
  /// The content of `manifest.json`, which `docker load` reads.
  var dockerManifest: [UInt8]?

  private enum Content { case none, bytes([UInt8]), blob(OCIModel.Descriptor) }

  /// The layers are in the store. Blocks; call through Blocking.run.
  func write(into sink: any ByteSink, store: ContentStore, meter: ExportMeter, isCancelled: () -> Bool) throws {
    var entries: [(name: String, mode: UInt32, content: Content)] = [
      ("blobs/", 0o755, .none), ("blobs/sha256/", 0o755, .none), ("index.json", 0o644, .bytes(index)), ("oci-layout", 0o444, .bytes(OCILayout.marker)),
    ]
    if let dockerManifest { entries.append(("manifest.json", 0o644, .bytes(dockerManifest))) }
    var blobs: [Digest: Content] = [:]
    for document in image.documents { blobs[document.descriptor.digest] = .bytes(document.bytes) }
    for (layer, _) in image.layers { blobs[layer.descriptor.digest] = .blob(layer.descriptor) }
    for (digest, content) in blobs { entries.append(("blobs/\(digest.algorithm.rawValue)/\(digest.hex)", 0o444, content)) }
    entries.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    let tar = TarWriter(sink, style: .compact)
    for entry in entries {
      if isCancelled() { throw CancellationError() }
      switch entry.content {
      case .none: try tar.begin(TarEntry(path: ByteString(text: entry.name), kind: .directory, mode: entry.mode))
      case .bytes(let bytes):
        try tar.begin(TarEntry(path: ByteString(text: entry.name), mode: entry.mode, size: Int64(bytes.count)))
        try bytes.withUnsafeBytes { try tar.write($0) }
      case .blob(let descriptor):
        try tar.begin(TarEntry(path: ByteString(text: entry.name), mode: entry.mode, size: descriptor.size))
        try copy(descriptor, from: store, to: tar, meter, isCancelled)
      }
    }
    try tar.finish()
  }

  /// Hashed again on its way out: the archive is where a damaged disk would otherwise go unnoticed.
  private func copy(_ descriptor: OCIModel.Descriptor, from store: ContentStore, to tar: TarWriter, _ meter: ExportMeter, _ isCancelled: () -> Bool) throws {
    let blob = try store.reader(descriptor.digest)
    let buffer = IOBuffer(1 << 20)
    var hasher = DigestHasher(descriptor.digest.algorithm)
    while hasher.count < blob.size {
      if isCancelled() { throw CancellationError() }
      let count = try blob.descriptor.readFully(into: buffer.all, at: hasher.count)
      if count == 0 { break }
      hasher.update(buffer.head(count))
      try tar.write(buffer.head(count))
      meter.add(Int64(count))
    }
    guard hasher.finish() == descriptor.digest else {
      throw StoreError(
        .corrupt, "\(store.path(of: descriptor.digest)) is damaged: its content is not that of its digest", path: store.path(of: descriptor.digest), digest: descriptor.digest)
    }
  }
}
