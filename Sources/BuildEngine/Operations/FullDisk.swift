internal import BuildInterface
internal import BuildSnapshots
internal import ContentStore
internal import HostOS

/// A step's own program says at best that no space is left: which disk that is, and how much it wanted, is known here.
enum FullDisk {
  /// The error, with advice if the disk that holds the store is full. `layers`: what the failed step was writing.
  static func told(_ error: any Error, writing layers: [MutableRef], store: ContentStore) async -> any Error {
    let root = store.root
    let failure: BuildError
    if let known = error as? BuildError, known.exitCode != nil {
      guard known.suggestion == nil, let disk = await facts(root), disk.availableBytes < max(256 << 10, disk.totalBytes / 1000) else { return error }
      failure = known
    } else {
      guard ErrorTranslation.isFullDisk(error), !"\(error)".contains("--root") else { return error }
      failure = (error as? BuildError) ?? BuildError(.resourceExhausted, .build, "\(error)")
    }
    var written: Int64 = 0
    for layer in layers { written += await layer.currentUsage() }
    let disk = await facts(root)
    var told = failure
    told.suggestion =
      "The disk that holds the store at \(root) is full (\(ByteCount.text(Int64(clamping: disk?.availableBytes ?? 0))) free of \(ByteCount.text(Int64(clamping: disk?.totalBytes ?? 0)))): "
      + "this step has written \(ByteCount.text(written)), and needs more than that: free some space (manifold prune, manifold rmi), or put the store elsewhere with --root."
    return told
  }

  private static func facts(_ root: String) async -> FileSystemFacts? { try? await Blocking.run { try FileSystemFacts.of(root) } }
}
