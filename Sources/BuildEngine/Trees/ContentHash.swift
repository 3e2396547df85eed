internal import Dispatch
internal import HostOS
internal import OCIModel
internal import PathPatterns
internal import Synchronization

/// Content keys of parts of a tree, equal to BuildKit's contenthash (cache/contenthash/checksum.go): a directory is the
/// digest of its own header and of its entries in order, each with its name; a filtered part is a list of paths and digests.
/// Blocks; call through Blocking.run. Remembers what it hashed, so one per tree is enough.
final class ContentHash: Sendable {
  let tree: any TreeReader
  private struct Known {
    var files: [ExactPath: ShortDigest] = [:]
    var directories: [ExactPath: Digest] = [:]
    var headers: [ExactPath: Digest] = [:]
  }
  private let known = Mutex(Known())

  init(_ tree: any TreeReader) { self.tree = tree }

  /// The key of all selectors together, as the solver wants it for one input.
  func digest(of selectors: [ContentSelector]) throws -> Digest {
    let all = selectors.isEmpty ? [ContentSelector(path: "")] : selectors
    let digests = try all.map { try digest(of: $0).description }
    return .sha256(of: digests.joined(separator: "\0"))
  }

  func digest(of selector: ContentSelector) throws -> Digest {
    if tree is EmptyTree {
      guard TreePaths.clean(selector.path).isEmpty else { throw TreeError(.notFound, "\"\(SlashPath.join("/", selector.path))\": not found, the tree is empty") }
      return .sha256(of: "")
    }
    if !selector.hasWildcardOrFilters { return try whole(selector.path, followLast: selector.followLinks) }
    let (prefix, included) = try IncludedPaths(self, selector).list()
    if included.isEmpty { return .sha256(of: "") }
    let asked = SlashPath.join("/", selector.path)
    if included.count == 1, ExactPath(SlashPath.base(asked)) == ExactPath(SlashPath.base(included[0].path)) { return included[0].digest }
    var hasher = DigestHasher()
    for item in included {
      let relative = item.path.utf8.starts(with: prefix.utf8) ? String(Substring(item.path.utf8.dropFirst(prefix.utf8.count))) : item.path
      hasher.update(relative.isEmpty ? [0] : PathText.bytes(relative).map { $0 == UInt8(ascii: "/") ? 0 : $0 })
      hasher.update(item.digest.description)
    }
    return hasher.finish()
  }

  /// Of a file, or of a directory with all in it.
  func whole(_ asked: String, followLast: Bool) throws -> Digest {
    let path = try TreePaths.resolve(asked, in: tree, followLast: followLast)
    if path.isEmpty { return try directory(path) }
    guard let status = try tree.status(path) else { throw TreeError(.notFound, "\"/\(TreePaths.clean(asked))\": not found") }
    return status.kind == .directory ? try directory(path) : try file(path, status)
  }

  private func directory(_ path: String) throws -> Digest {
    if let digest = known.withLock({ $0.directories[ExactPath(path)] }) { return digest }
    try hashFiles(below: path)
    return try combine(path)
  }

  private func combine(_ path: String) throws -> Digest {
    if let digest = known.withLock({ $0.directories[ExactPath(path)] }) { return digest }
    var hasher = DigestHasher()
    hasher.update(CollectionOfOne(0))
    hasher.update(try header(path).description)
    try addEntries(of: path, shown: [], onlyHigh: false, to: &hasher)
    let digest = hasher.finish()
    known.withLock { $0.directories[ExactPath(path)] = digest }
    return digest
  }

  /// The entries of a directory, each as NUL, its name and its digest. After a directory the peers mean to pass over what
  /// is in it, but land on those names in it that begin with the byte 0xFF (none in UTF-8): these count again here.
  private func addEntries(of path: String, shown: [UInt8], onlyHigh: Bool, to hasher: inout DigestHasher) throws {
    for name in try tree.children(path) {
      let bytes = PathText.bytes(name)
      if onlyHigh, bytes.first != 0xFF { continue }
      let child = TreePaths.join(path, name)
      guard let status = try tree.status(child) else { continue }
      let shown = shown + [0] + bytes
      hasher.update(shown)
      guard status.kind == .directory else {
        hasher.update(try file(child, status).description)
        continue
      }
      hasher.update(try combine(child).description)
      try addEntries(of: child, shown: shown, onlyHigh: true, to: &hasher)
    }
  }

  /// So many files are hashed at once, lest a list of all of them be made.
  static let batch = 4096

  private func hashFiles(below path: String) throws {
    var files: [(String, FileStatus)] = []
    var folders = [path]
    while let folder = folders.popLast() {
      for name in try tree.children(folder) {
        let child = TreePaths.join(folder, name)
        guard let status = try tree.status(child) else { continue }
        if status.kind == .directory { folders.append(child) } else if status.kind == .regular { files.append((child, status)) }
        if files.count == Self.batch {
          try hash(files)
          files.removeAll(keepingCapacity: true)
        }
      }
    }
    try hash(files)
  }

  /// A directory's own metadata.
  func header(_ path: String) throws -> Digest {
    if path.isEmpty, let digest = tree.rootDigest { return digest }
    if let digest = known.withLock({ $0.headers[ExactPath(path)] }) { return digest }
    guard let status = try tree.status(path) else { throw TreeError(.notFound, "\"/\(path)\": not found") }
    let digest = try FileHash.digest(path, status: status, in: tree)
    known.withLock { $0.headers[ExactPath(path)] = digest }
    return digest
  }

  /// Of anything but a directory.
  func file(_ path: String, _ status: FileStatus) throws -> Digest {
    if let digest = knownDigest(path) { return digest }
    let digest = try FileHash.digest(path, status: status, in: tree)
    let short = ShortDigest(digest)
    known.withLock { $0.files[ExactPath(path)] = short }
    return digest
  }

  /// What a file's digest was when a key was made from it; nil when none was.
  func knownDigest(_ path: String) -> Digest? { known.withLock { $0.files[ExactPath(path)] }?.digest }

  /// Hashes regular files on all cores, so that walking in order finds them known. What was hashed in an earlier build and has not
  /// changed since is not read.
  func hash(_ files: [(String, FileStatus)]) throws {
    let unknown = known.withLock { known in files.filter { known.files[ExactPath($0.0)] == nil } }
    if unknown.isEmpty { return }
    guard let remembered = tree.rememberedHashes else { return try hashNow(unknown) }
    var missing: [(String, FileStatus)] = []
    let found = try remembered.lookup(unknown.map(\.1))
    known.withLock { known in
      for (item, digest) in zip(unknown, found) {
        if let digest { known.files[ExactPath(item.0)] = ShortDigest(digest) } else { missing.append(item) }
      }
    }
    if missing.isEmpty { return }
    let began = HostClock.now
    try hashNow(missing)
    try remembered.remember(known.withLock { known in missing.compactMap { item in known.files[ExactPath(item.0)].map { (item.1, $0.digest) } } }, began: began)
  }

  private func hashNow(_ files: [(String, FileStatus)]) throws {
    let size = 16
    let failure = Mutex<(any Error)?>(nil)
    DispatchQueue.concurrentPerform(iterations: (files.count + size - 1) / size) { chunk in
      if failure.withLock({ $0 != nil }) { return }
      for (path, status) in files[chunk * size..<min(files.count, (chunk + 1) * size)] {
        do { _ = try file(path, status) } catch { failure.withLock { $0 = error } }
      }
    }
    if let error = failure.withLock({ $0 }) { throw error }
  }
}

/// A SHA-256 in its 32 bytes: there may be one for each of a million files.
private struct ShortDigest: Sendable {
  private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

  init(_ digest: Digest) {
    withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: digest.bytes.prefix(32)) }
  }

  var digest: Digest { withUnsafeBytes(of: words) { Digest(sha256: $0) } }
}
