package import ContentStore
package import HostOS
internal import LayerArchive
package import OCIModel
internal import Synchronization

/// Takes the images of an archive into the store: an OCI layout, or a docker archive, old or new; plain or compressed with gzip, zstd, and by the system's
/// programs xz and bzip2. The archive is a stranger's: what it promises is checked before anything of it is written, digests while that is done.
package struct ImageLoad: Sendable {
  /// What came of one image.
  package struct Loaded: Sendable {
    /// Empty: it has no name, and is found by its id.
    package var names: [Reference]
    package var descriptor: OCIModel.Descriptor
    /// Of its platforms those that were asked for, or all in the archive.
    package var platforms: [Platform]
    /// What its index lists and the archive has not.
    package var absent: [Platform]
  }

  let store: ContentStore
  /// Only these; empty: all.
  let platforms: [Platform]
  let progress: @Sendable (OCIModel.Descriptor, Int64) -> Void

  /// `progress` is told of each blob's bytes so far, from any thread.
  package init(_ store: ContentStore, platforms: [Platform] = [], progress: @escaping @Sendable (OCIModel.Descriptor, Int64) -> Void = { _, _ in }) {
    (self.store, self.platforms, self.progress) = (store, platforms, progress)
  }

  /// `input`: a file at its beginning, or a pipe. Images get their names when the content of all is there. Throws `ImageToolsError`, `StoreError`, `OCIError`.
  package func load(_ input: HostOS.Descriptor) async throws -> [Loaded] {
    let cancelled = Flag()
    return try await withTaskCancellationHandler {
      let images = try await read(input, cancelled)
      try Task.checkCancellation()
      let local = LocalImages(store)
      for image in images { try await local.tag(image.names.isEmpty ? [LocalImages.unnamed(image.descriptor.digest)] : image.names, image.descriptor) }
      return images
    } onCancel: {
      cancelled.set()
    }
  }

  private func read(_ input: HostOS.Descriptor, _ cancelled: Flag) async throws -> [Loaded] {
    let store = store
    let files = try await Blocking.run { try ArchiveFiles(try ArchiveInput.plain(input, in: store) { cancelled.isSet } ) { cancelled.isSet } }
    if files["oci-layout"] != nil, files["index.json"] != nil { return try await LayoutLoad(load: self, files: files, cancelled: cancelled).images() }
    if files["manifest.json"] != nil { return try await DockerArchiveLoad(load: self, files: files, cancelled: cancelled).images() }
    if files["repositories"] != nil {
      throw ImageToolsError(.unsupported, "the archive is of a docker before 1.10, which names no config", suggestion: "Load it with an old docker, and save it again.")
    }
    throw ArchiveFiles.invalid("it has neither index.json and oci-layout nor manifest.json")
  }

  /// Copies a file of the archive into the store as the blob it must be, unless that is there.
  func take(_ descriptor: OCIModel.Descriptor, _ file: ArchiveFiles.File, of files: ArchiveFiles, _ cancelled: Flag) async throws {
    guard let writer = try await store.writer(for: descriptor.digest, size: descriptor.size) else { return }
    let progress = progress
    let isDocument = descriptor.mediaType.isIndex || descriptor.mediaType.isManifest || descriptor.mediaType.isConfig
    try await Blocking.run {
      do {
        try writer.restart()
        let source = files.source(file)
        let buffer = IOBuffer(1 << 20)
        while true {
          if cancelled.isSet { throw CancellationError() }
          let n = try source.read(into: buffer.all)
          if n == 0 { break }
          try writer.write(buffer.head(n))
          if !isDocument { progress(descriptor, writer.offset) }
        }
        _ = try writer.commit()
      } catch {
        // Nothing is to be gained from keeping a part: the archive is there.
        writer.abort()
        if let error = error as? StoreError, error.code == .digestMismatch || error.code == .sizeMismatch {
          throw ArchiveFiles.invalid("the file of \(descriptor.digest) has other content", error)
        }
        throw error
      }
    }
  }

  /// So many layers at once: each keeps a disk and a core busy.
  static func inParallel<Item: Sendable>(_ items: [Item], _ body: @escaping @Sendable (Item) async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (i, item) in items.enumerated() {
        if i >= max(2, HostFacts.cores) { try await group.next() }
        group.addTask { try await body(item) }
      }
      try await group.waitForAll()
    }
  }

  final class Flag: Sendable {
    private let flag = Atomic<Bool>(false)
    var isSet: Bool { flag.load(ordering: .relaxed) }
    func set() { flag.store(true, ordering: .relaxed) }
  }
}
