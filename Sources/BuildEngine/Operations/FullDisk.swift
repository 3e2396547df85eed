internal import BuildInterface
internal import ContentStore
internal import HostOS

/// A step's own program says at best that no space is left: which disk that is, and how much it wanted, is known here.
enum FullDisk {
  /// The error, with advice if the disk that holds the store is full. `written`: by the failed step.
  static func told(_ error: any Error, written: () async -> Int64, store: ContentStore) async -> any Error {
    guard var failure = error as? BuildError, failure.suggestion == nil, failure.exitCode != nil else { return error }
    let root = store.root
    guard let disk = try? await Blocking.run({ try FileSystemFacts.of(root) }), disk.availableBytes < max(256 << 10, disk.totalBytes / 1000) else { return error }
    failure.suggestion =
      "The disk that holds the store at \(root) is full (\(ByteCount.text(Int64(clamping: disk.availableBytes))) free of \(ByteCount.text(Int64(clamping: disk.totalBytes)))): "
      + "this step has written \(ByteCount.text(await written())), and needs more than that: free some space (manifold prune, manifold rmi), or put the store elsewhere with --root."
    return failure
  }
}
