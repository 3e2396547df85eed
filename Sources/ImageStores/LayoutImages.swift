internal import ContentStore
internal import HostOS
internal import NIOCore
package import OCIModel
package import OCIRegistry
internal import Synchronization

/// An image in an OCI layout, whose content is a stranger's: documents and blobs are checked as they are read.
package struct LayoutImageSource: ImageSource {
  package let path: String
  package let tag: String?
  package let digest: Digest?
  /// Opened by the first who needs it.
  private let opened = Opened()

  private actor Opened {
    private var layout: OCILayout?
    func get(_ path: String) async throws -> OCILayout {
      if let layout { return layout }
      let layout = try await Blocking.run { try OCILayout.open(path) }
      self.layout = layout
      return layout
    }
  }

  package init(path: String, tag: String?, digest: Digest?) { (self.path, self.tag, self.digest) = (path, tag, digest) }

  package var location: ImageLocation { .layout(path: path, tag: tag, digest: digest) }

  private func read(_ digest: Digest) async throws -> [UInt8] {
    let layout = try await opened.get(path)
    return try await Blocking.run { try layout.bytes(digest, limit: DocumentLimits.manifest) }
  }

  package func root() async throws -> FetchedManifest {
    let layout = try await opened.get(path)
    let (tag, digest) = (tag, digest)
    if let digest {
      // What is not entered may be there too: the children of an index.
      let entry = try await Blocking.run { try layout.index().manifests.first { $0.digest == digest } }
      if let entry { return try await manifest(entry) }
      return try DocumentOfLayout.fetched(try await read(digest), digest, said: nil, location)
    }
    return try await manifest(try await Blocking.run { try layout.resolve(tag) })
  }

  /// What `index.json` says of the image, annotations and all; nil for one that is named by its digest alone.
  package func entry() async throws -> OCIModel.Descriptor? {
    guard digest == nil else { return nil }
    let layout = try await opened.get(path)
    return try await Blocking.run { [tag] in try layout.resolve(tag) }
  }

  package func manifest(_ descriptor: OCIModel.Descriptor) async throws -> FetchedManifest {
    let bytes = try await read(descriptor.digest)
    try check(bytes, descriptor)
    return try DocumentOfLayout.fetched(bytes, descriptor.digest, said: descriptor.mediaType, location)
  }

  package func content(of descriptor: OCIModel.Descriptor, from offset: Int64) async throws -> BlobContent {
    let layout = try await opened.get(path)
    let reader = try await Blocking.run { try layout.reader(descriptor.digest) }
    guard reader.size == descriptor.size else {
      throw ImageStoreError(.invalidContent, "\(location): \(descriptor.digest) has \(reader.size) bytes, not the \(descriptor.size) that are said of it")
    }
    return CheckedBlob.content(reader, descriptor, from: offset, location)
  }

  package func presence(of descriptor: OCIModel.Descriptor) async throws -> BlobPresence {
    let layout = try await opened.get(path)
    return try await Blocking.run { layout.size(of: descriptor.digest).map { .present(size: $0) } ?? .absent }
  }

  /// As buildx finds them: entries of `index.json` that say so, and manifests within the named images.
  package func referrers(of digest: Digest) async throws -> [OCIModel.Descriptor] {
    let layout = try await opened.get(path)
    return try await Blocking.run {
      let roots = try layout.index().manifests
      var walk = ReferrerWalk(layout: layout, subject: digest)
      for root in roots where root.annotations[ReferrerKinds.subjectAnnotation] == nil { walk.visit(root, depth: 0) }
      for root in roots where root.annotations[ReferrerKinds.subjectAnnotation] == digest.description { walk.add(root) }
      return walk.found
    }
  }
}

/// Looks for manifests with a subject. What cannot be read refers to nothing.
private struct ReferrerWalk {
  let layout: OCILayout
  let subject: Digest
  var found: [OCIModel.Descriptor] = []
  private var seen: Set<Digest> = []

  init(layout: OCILayout, subject: Digest) { (self.layout, self.subject) = (layout, subject) }

  mutating func add(_ descriptor: OCIModel.Descriptor) { if !found.contains(where: { $0.digest == descriptor.digest }) { found.append(descriptor) } }

  mutating func visit(_ descriptor: OCIModel.Descriptor, depth: Int) {
    guard depth < ImageTransfer.maximumDepth, seen.count < 10_000, seen.insert(descriptor.digest).inserted, descriptor.mediaType == .ociIndex || descriptor.mediaType == .ociManifest,
      let bytes = try? layout.bytes(descriptor.digest, limit: DocumentLimits.manifest), let document = try? ImageDocument(parsing: bytes, mediaType: descriptor.mediaType)
    else { return }
    switch document {
    case .index(let index): for child in index.manifests { visit(child, depth: depth + 1) }
    case .manifest(let manifest):
      guard manifest.subject?.digest == subject else { return }
      // As it is listed: one that its index says no artifact type of is none that is looked for.
      add(descriptor)
    }
  }
}

/// A blob's file as a stream that fails in place of its end when the content is not its digest's.
enum CheckedBlob {
  static func content(_ reader: BlobReader, _ descriptor: OCIModel.Descriptor, from offset: Int64, _ location: ImageLocation) -> BlobContent {
    BlobContent {
      var position = offset
      // A part cannot be checked; whoever goes on from it has hashed what came before.
      var hasher: DigestHasher? = offset == 0 ? DigestHasher(descriptor.digest.algorithm) : nil
      return {
        let (start, count) = (position, Int(max(0, min(1 << 20, reader.size - position))))
        let buffer = try await Blocking.run { () throws -> ByteBuffer in
          var buffer = ByteBuffer()
          try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) {
            count == 0 ? 0 : try reader.descriptor.readFully(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]), at: start)
          }
          return buffer
        }
        position += Int64(buffer.readableBytes)
        buffer.withUnsafeReadableBytes { hasher?.update($0) }
        // The last piece is kept back when it is not right: who got it would take the whole for sent.
        if position >= descriptor.size || buffer.readableBytes == 0, position != descriptor.size || (hasher.map { $0.finish() != descriptor.digest } ?? false) {
          throw ImageStoreError(.invalidContent, "\(location): the content of \(descriptor.digest) is other than its digest says")
        }
        guard buffer.readableBytes > 0 else { return nil }
        return buffer
      }
    }
  }
}

/// A name in an OCI layout, which is made when it is not there.
package final class LayoutImageDestination: ImageDestination {
  package let path: String
  package let tag: String?
  package let digest: Digest?
  private let writes = SharedWork<Digest, Bool, TransferProgress>()
  /// What was put as a referrer, to be entered when the image is: the lists say which of it the image holds itself.
  private let pending = Mutex<[OCIModel.Descriptor]>([])
  private let opened = Opened()

  private actor Opened {
    private var layout: OCILayout?
    func get(_ path: String) async throws -> OCILayout {
      if let layout { return layout }
      let layout = try await Blocking.run { try OCILayout.create(path) }
      self.layout = layout
      return layout
    }
  }

  /// With a digest the image is entered without a name, and must have it; without tag and digest it is called `latest`. Both are buildx's rules.
  package init(path: String, tag: String?, digest: Digest?) { (self.path, self.tag, self.digest) = (path, tag, digest) }

  package var location: ImageLocation { .layout(path: path, tag: tag, digest: digest) }

  package func hasManifest(_ descriptor: OCIModel.Descriptor) async throws -> Bool {
    let layout = try await opened.get(path)
    // What a broken copy left is not enough, and a damaged document is replaced.
    return try await Blocking.run {
      guard layout.size(of: descriptor.digest) == descriptor.size else { return false }
      return ((try? layout.closure(of: descriptor))?.missing.allSatisfy { !$0.isDistributable }) ?? false
    }
  }

  package func put(blob: OCIModel.Descriptor, from source: any ImageSource, progress: @escaping TransferProgressHandler) async throws {
    let layout = try await opened.get(path)
    while true {
      let outcome = try await writes.run(blob.digest, observer: progress) { emit in
        try await Self.put(blob, in: layout, from: source, emit)
        return true
      }
      if case .joinedFailure = outcome { continue }
      return
    }
  }

  private static func put(_ blob: OCIModel.Descriptor, in layout: OCILayout, from source: any ImageSource, _ progress: @escaping TransferProgressHandler) async throws {
    func report(_ bytes: Int64, _ state: TransferProgress.State) { progress(TransferProgress(.push, blob, repository: layout.path, bytes: bytes, state: state)) }
    if let local = source as? LocalImageSource, local.store.size(of: blob.digest) == blob.size {
      try await Blocking.run { try layout.add(blob.digest, from: local.store) }
      return report(blob.size, .done)
    }
    guard let writer = try await Blocking.run({ try layout.writer(for: blob) }) else { return report(blob.size, .exists) }
    var written: Int64 = 0
    for try await pieces in Pieces(try await source.content(of: blob, from: 0)) {
      try await Blocking.run { try pieces.withUnsafeReadableBytes { try writer.write($0) } }
      written += Int64(pieces.readableBytes)
      report(written, .transferring)
    }
    try await Blocking.run { try writer.commit() }
    report(blob.size, .done)
  }

  package func put(manifest: FetchedManifest, tagged: Bool) async throws {
    let layout = try await opened.get(path)
    let bytes = manifest.bytes
    if tagged, let digest, digest != manifest.descriptor.digest {
      throw ImageStoreError(.unsupported, "\(location): the image to write is \(manifest.descriptor.digest)")
    }
    try await Blocking.run { try layout.put(bytes) }
    guard tagged else { return }
    let (descriptor, tag, isNameless) = (manifest.descriptor, tag, digest != nil)
    var held: Set<Digest> = [descriptor.digest]
    if case .index(let own) = try manifest.document() { held.formUnion(own.manifests.map(\.digest)) }
    let referrers = pending.withLock { $0 }.filter { !held.contains($0.digest) }
    try await layout.update { index in
      for referrer in referrers where !index.manifests.contains(where: { $0.digest == referrer.digest }) { index.manifests.append(referrer) }
      if isNameless {
        if !index.manifests.contains(where: { $0.digest == descriptor.digest }) { index.manifests.append(descriptor) }
      } else {
        OCILayout.insert(descriptor, [.tag(tag ?? Reference.defaultTag)], into: &index)
      }
    }
  }

  package func put(referrer: FetchedManifest, listed: OCIModel.Descriptor, of subject: Digest) async throws {
    try await put(manifest: referrer, tagged: false)
    var entry = listed
    entry.annotations[ReferrerKinds.subjectAnnotation] = subject.description
    let done = entry
    pending.withLock { $0.append(done) }
  }
}
