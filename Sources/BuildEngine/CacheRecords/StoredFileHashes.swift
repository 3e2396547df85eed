internal import ContentStore
internal import HostOS
internal import OCIModel

/// Hashes of clients' files as the store remembers them.
struct StoredFileHashes: RememberedHashes {
  private let cache: FileHashCache
  init(_ cache: FileHashCache) { self.cache = cache }

  func lookup(_ files: [FileStatus]) throws -> [Digest?] { try cache.lookupBlocking(files.map { FileIdentity($0) }) }
  func remember(_ hashes: [(file: FileStatus, digest: Digest)], began: Int64) throws {
    try cache.recordBlocking(hashes.map { (FileIdentity($0.file), $0.digest) }, began: began)
  }
}
