import HostOS
package import OCIModel

/// An OCI image layout in a directory (image-spec, image-layout.md): read as a source of images, or written from a store.
///
/// Its content is a stranger's: documents are verified when read, blobs when they are taken into a store.
package struct OCILayout: BlobSource {
  package let path: String
  let directory: Directory

  package static let refName = "org.opencontainers.image.ref.name"
  package static let imageName = "io.containerd.image.name"
  /// The content of the file `oci-layout`.
  package static let marker = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)

  private init(path: String, directory: Directory) { (self.path, self.directory) = (path, directory) }

  /// Opens a layout to read. Throws `StoreError.notFound` or `invalid` for a directory that is none. Blocks; call through Blocking.run.
  package static func open(_ path: String) throws -> OCILayout {
    let layout = try OCILayout(path: path, directory: wrapping("cannot open the OCI layout \(path)") { try Directory.open(path) })
    let marker: [UInt8]
    do { marker = try layout.directory.read("oci-layout", limit: 4096) } catch let error as HostError where error.code == .notFound {
      throw StoreError(.invalid, "\(path) is not an OCI layout: it has no file oci-layout", path: path)
    }
    let version = try JSONValue(parsing: marker)["imageLayoutVersion"]?.stringValue
    guard version == "1.0.0" else {
      throw StoreError(.invalid, "\(path): OCI layout version \(version ?? "none") is not supported, only 1.0.0", path: path)
    }
    return layout
  }

  /// Opens a layout to write, making what is missing of it. Blocks; call through Blocking.run.
  package static func create(_ path: String) throws -> OCILayout {
    try wrapping("cannot make the OCI layout \(path)") {
      try Files.makeDirectories(path + "/blobs/sha256")
      let layout = try OCILayout(path: path, directory: Directory.open(path))
      if try layout.directory.statusIfPresent("oci-layout") == nil { try layout.directory.writeAtomically(marker, to: "oci-layout") }
      return layout
    }
  }

  // MARK: - Reading

  /// `index.json`; an empty index when there is none yet.
  package func index() throws -> ImageIndex {
    let bytes: [UInt8]
    do { bytes = try directory.read("index.json", limit: DocumentLimits.manifest) } catch let error as HostError where error.code == .notFound { return ImageIndex(manifests: []) }
    // The media type is optional in index.json, and some writers leave it out.
    guard case .index(let index) = try ImageDocument(parsing: bytes, mediaType: .ociIndex) else {
      throw StoreError(.invalid, "\(path)/index.json is not an image index", path: path)
    }
    return index
  }

  /// The image of a name or tag, or of a digest (`sha256:…`); with nil the only one there is, or the one called `latest`.
  package func resolve(_ name: String?) throws -> OCIModel.Descriptor {
    let manifests = try index().manifests
    guard let name else {
      let digests = Set(manifests.map(\.digest))
      if digests.count == 1 { return manifests[0] }
      if let latest = Self.find(Reference.defaultTag, manifests) { return latest }
      throw StoreError(digests.isEmpty ? .notFound : .invalid, "\(path) holds \(digests.isEmpty ? "no image" : "\(digests.count) images: say which: \(Self.names(manifests))")", path: path)
    }
    guard let found = Self.find(name, manifests) ?? manifests.first(where: { $0.digest.description == name }) else {
      throw StoreError(.notFound, "\(path) has no image \(name): it has \(Self.names(manifests))", path: path)
    }
    return found
  }

  private static func find(_ name: String, _ manifests: [OCIModel.Descriptor]) -> OCIModel.Descriptor? {
    manifests.first { $0.annotations[imageName] == name } ?? manifests.first { $0.annotations[refName] == name }
  }

  private static func names(_ manifests: [OCIModel.Descriptor]) -> String {
    let names = manifests.map { $0.annotations[imageName] ?? $0.annotations[refName] ?? $0.digest.description }
    return names.isEmpty ? "none" : names.prefix(20).joined(separator: ", ") + (names.count > 20 ? " and \(names.count - 20) more" : "")
  }

  static func file(_ digest: Digest) -> String { "blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }

  package func size(of digest: Digest) -> Int64? {
    // Layouts with linked blobs exist; the link is followed no further than the layout.
    guard let status = try? directory.statusIfPresent(Self.file(digest), followLast: true), status.kind == .regular else { return nil }
    return status.size
  }

  package func reader(_ digest: Digest) throws -> BlobReader {
    do {
      let file = try directory.openFile(Self.file(digest), flags: [.readOnly, .nonBlocking])
      let status = try file.status()
      guard status.kind == .regular else { throw StoreError(.invalid, "\(path)/\(Self.file(digest)) is not a file", path: path, digest: digest) }
      return BlobReader(digest: digest, size: status.size, descriptor: file)
    } catch let error as HostError where error.code == .notFound {
      throw StoreError(.notFound, "\(digest) is not in the OCI layout \(path)", path: path, digest: digest)
    }
  }

  package func bytes(_ digest: Digest, limit: Int) throws -> [UInt8] {
    let blob = try reader(digest)
    guard blob.size <= Int64(limit) else { throw StoreError(.tooLarge, "\(digest) in \(path) has \(blob.size) bytes, more than the \(limit) expected of it", path: path, digest: digest) }
    let bytes = try Self.wrapping("cannot read \(digest) in \(path)") { try blob.descriptor.readToEnd(limit: limit) }
    var hasher = DigestHasher(digest.algorithm)
    hasher.update(bytes)
    guard hasher.finish() == digest else { throw StoreError(.digestMismatch, "\(path)/\(Self.file(digest)) has other content than its name promises", path: path, digest: digest) }
    return bytes
  }

  // MARK: - Writing

  /// Puts one blob of the store into the layout, if it is not there: as a reflink where the filesystem can, else as a copy. Never as a hard
  /// link, since what is done to the layout's file must not be done to the store's. Blocks.
  package func add(_ digest: Digest, from store: ContentStore) throws {
    if try size(of: digest) == store.reader(digest).size { return }
    let blob = try store.reader(digest)
    try Self.wrapping("cannot write \(digest) to \(path)") {
      let folder = try directory.makeDirectories("blobs/\(digest.algorithm.rawValue)")
      let temporary = ".\(digest.hex.prefix(16)).\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
      let file = try folder.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o644, follow: .none)
      do {
        try blob.descriptor.copyContents(to: file, size: blob.size)
        try file.close()
        try folder.rename(temporary, to: digest.hex)
      } catch {
        try? folder.unlink(temporary)
        throw error
      }
    }
  }

  /// Puts a document into the layout, if it is not there. Blocks.
  package func put(_ bytes: [UInt8]) throws {
    let digest = Digest.sha256(of: bytes)
    if size(of: digest) == Int64(bytes.count) { return }
    try Self.wrapping("cannot write \(digest) to \(path)") { try directory.writeAtomically(bytes, to: Self.file(digest)) }
  }

  /// Writes an image with everything it is made of, and names it in `index.json` as BuildKit's oci exporter does: no names means the tag `latest`. Entries of
  /// the same name are replaced, others stay. Blobs of the image must all be in the store: else `StoreError.notFound`.
  package func write(_ image: OCIModel.Descriptor, names: [LayoutName], from store: ContentStore) async throws {
    let closure = try await Blocking.run { try store.closure(of: image) }
    if let missing = closure.missing.first {
      throw StoreError(.notFound, "\(closure.missing.count) parts of \(image.digest) are not in the store at \(store.root), the first is \(missing.digest)", digest: missing.digest)
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for descriptor in closure.blobs + closure.documents { group.addTask { try await Blocking.run { try self.add(descriptor.digest, from: store) } } }
      try await group.waitForAll()
    }
    try await update { index in Self.insert(image, names.isEmpty ? [.tag("latest")] : names, into: &index) }
  }

  /// Changes `index.json` in one step, after other programs that are changing it: BuildKit and buildx lock the same file.
  package func update(_ body: @Sendable @escaping (inout ImageIndex) -> Void) async throws {
    do {
      try await directory.withLockFile("index.json.lock") {
        var index = try index()
        body(&index)
        let encoded = index.json.encoded()
        try Self.wrapping("cannot write \(path)/index.json") { try directory.writeAtomically(encoded, to: "index.json") }
      }
    } catch let error as HostError { try Self.wrapping("cannot lock \(path)/index.json") { throw error } }
  }

  /// Enters an image under names, in place of entries with the same ones.
  package static func insert(_ image: OCIModel.Descriptor, _ names: [LayoutName], into index: inout ImageIndex) {
    for name in names {
      var entry = image
      entry.annotations[imageName] = name.image
      entry.annotations[refName] = name.reference
      index.manifests.removeAll { $0.annotations[refName] == name.reference && $0.annotations[imageName] == name.image }
      index.manifests.append(entry)
    }
  }

  static func wrapping<T>(_ what: String, _ body: () throws -> T) throws -> T {
    do { return try body() } catch let error as HostError {
      let code: StoreError.Code = switch error.code {
      case .notFound: .notFound
      case .noSpace: .noSpace
      case .permission, .readOnly: .notWritable
      default: .system
      }
      throw StoreError(code, what, path: error.path, cause: error)
    }
  }
}

/// How an image is called in `index.json`.
package struct LayoutName: Sendable, Hashable {
  /// The full name, of `io.containerd.image.name`; nil when there is only a tag.
  package let image: String?
  /// Of `org.opencontainers.image.ref.name`.
  package let reference: String

  package static func tag(_ tag: String) -> LayoutName { LayoutName(image: nil, reference: tag) }
  /// The full name, and its tag as the short one.
  package static func name(_ reference: Reference) -> LayoutName {
    let full = reference.withDefaultTag
    return LayoutName(image: full.description, reference: full.tag ?? full.object)
  }
}

extension ContentStore {
  /// Takes an image of a layout into the store, with everything it is made of, verified. What the layout lacks is `StoreError.notFound`.
  package func take(_ image: OCIModel.Descriptor, from layout: OCILayout) async throws {
    let closure = try await Blocking.run { try layout.closure(of: image) }
    if let missing = closure.missing.first(where: { !contains($0.digest) }) {
      throw StoreError(.notFound, "\(layout.path) lacks \(missing.digest), a part of \(image.digest)", path: layout.path, digest: missing.digest)
    }
    // Children before their parents: a document in the store has its parts there.
    for descriptor in closure.blobs + closure.documents where !contains(descriptor.digest) { try await takeBlob(descriptor, from: layout) }
  }

  /// Takes one blob of a layout into the store, verified, unless it is there.
  package func takeBlob(_ descriptor: OCIModel.Descriptor, from layout: OCILayout) async throws {
    guard let writer = try await writer(for: descriptor.digest, size: descriptor.size) else { return }
    let blob = try layout.reader(descriptor.digest)
    try await Blocking.run {
      try writer.restart()
      try Self.copy(blob, to: writer)
      _ = try writer.commit()
    }
  }

  private static func copy(_ blob: BlobReader, to writer: BlobWriter) throws {
    let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { chunk.deallocate() }
    var offset: Int64 = 0
    while true {
      let count = try blob.descriptor.readFully(into: chunk, at: offset)
      if count == 0 { return }
      try writer.write(UnsafeRawBufferPointer(rebasing: chunk[..<count]))
      offset += Int64(count)
    }
  }
}
