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
  private let known = Mutex<[ExactPath: Digest]>([:])

  init(_ tree: any TreeReader) { self.tree = tree }

  /// The key of all selectors together, as the solver wants it for one input.
  func digest(of selectors: [ContentSelector]) throws -> Digest {
    let all = selectors.isEmpty ? [ContentSelector(path: "")] : selectors
    let digests = try all.map { try digest(of: $0).description }
    return .sha256(of: digests.joined(separator: "\0"))
  }

  func digest(of selector: ContentSelector) throws -> Digest {
    if !selector.hasWildcardOrFilters {
      let path = try TreePaths.resolve(selector.path, in: tree, followLast: selector.followLinks)
      return try whole(path, asked: selector.path)
    }
    let (prefix, included) = try IncludedPaths(self, selector).list()
    if included.isEmpty { return .sha256(of: "") }
    let cleaned = "/" + TreePaths.clean(selector.path)
    if included.count == 1, GoPath.base(cleaned) == GoPath.base(included[0].path) { return included[0].digest }
    var hasher = DigestHasher()
    for item in included {
      let relative = item.path.hasPrefix(prefix) ? String(item.path.dropFirst(prefix.count)) : item.path
      hasher.update(relative.isEmpty ? [0] : relative.utf8.map { $0 == UInt8(ascii: "/") ? 0 : $0 })
      hasher.update(item.digest.description)
    }
    return hasher.finish()
  }

  /// Of a file, or of a directory with all in it. `path` is resolved.
  func whole(_ path: String, asked: String) throws -> Digest {
    let status = try tree.status(path)
    if path.isEmpty { return try directory(path) }
    guard let status else { throw TreeError(.notFound, "\"/\(TreePaths.clean(asked))\": not found") }
    return status.kind == .directory ? try directory(path) : try file(path, status)
  }

  private func directory(_ path: String) throws -> Digest {
    if let digest = known.withLock({ $0[ExactPath(path)] }) { return digest }
    var files: [(String, FileStatus)] = []
    try collect(path, into: &files)
    try hash(files)
    return try combine(path)
  }

  private func combine(_ path: String) throws -> Digest {
    if let digest = known.withLock({ $0[ExactPath(path)] }) { return digest }
    var hasher = DigestHasher()
    hasher.update([0])
    hasher.update(try header(path).description)
    for name in try tree.children(path) {
      let child = TreePaths.join(path, name)
      guard let status = try tree.status(child) else { continue }
      hasher.update([0])
      hasher.update(name)
      hasher.update((status.kind == .directory ? try combine(child) : try file(child, status)).description)
    }
    let digest = hasher.finish()
    known.withLock { $0[ExactPath(path)] = digest }
    return digest
  }

  private func collect(_ path: String, into files: inout [(String, FileStatus)]) throws {
    for name in try tree.children(path) {
      let child = TreePaths.join(path, name)
      guard let status = try tree.status(child) else { continue }
      if status.kind == .directory { try collect(child, into: &files) } else if status.kind == .regular { files.append((child, status)) }
    }
  }

  /// A directory's own metadata.
  func header(_ path: String) throws -> Digest {
    if path.isEmpty, let digest = tree.rootDigest { return digest }
    let key = path + "/"
    if let digest = known.withLock({ $0[ExactPath(key)] }) { return digest }
    guard let status = try tree.status(path) else { throw TreeError(.notFound, "\"/\(path)\": not found") }
    let digest = try FileHash.digest(path, status: status, in: tree)
    known.withLock { $0[ExactPath(key)] = digest }
    return digest
  }

  func file(_ path: String, _ status: FileStatus) throws -> Digest {
    if let digest = known.withLock({ $0[ExactPath(path)] }) { return digest }
    if status.kind == .regular, let digest = tree.rememberedHashes?.lookup(status) {
      known.withLock { $0[ExactPath(path)] = digest }
      return digest
    }
    let digest = try FileHash.digest(path, status: status, in: tree)
    if status.kind == .regular { tree.rememberedHashes?.remember(status, digest) }
    known.withLock { $0[ExactPath(path)] = digest }
    return digest
  }

  /// What a file's digest was when a key was made from it; nil when none was.
  func knownDigest(_ path: String) -> Digest? { known.withLock { $0[ExactPath(path)] } }

  /// Hashes files on all cores, so that walking in order finds them known.
  func hash(_ files: [(String, FileStatus)]) throws {
    let missing = files.filter { item in known.withLock { $0[ExactPath(item.0)] == nil } }
    if missing.count < 8 { return }
    let failure = Mutex<(any Error)?>(nil)
    DispatchQueue.concurrentPerform(iterations: (missing.count + 31) / 32) { chunk in
      if failure.withLock({ $0 != nil }) { return }
      for (path, status) in missing[chunk * 32..<min(missing.count, chunk * 32 + 32)] {
        do { _ = try file(path, status) } catch { failure.withLock { $0 = error } }
      }
    }
    if let error = failure.withLock({ $0 }) { throw error }
  }
}

/// Which paths a selector with wildcards or filters takes, in the order and with the oddities of BuildKit's radix tree walk.
private struct IncludedPaths {
  struct Item {
    var path: String
    var digest: Digest
  }
  /// A directory on the way down whose header joins the list once something beneath it does.
  private struct Parent {
    var path: String
    var digest: Digest
    var included: Bool
    var include: MatchInfo?
    var exclude: MatchInfo?
    var followLinks: Bool
  }

  private let hash: ContentHash
  private let selector: ContentSelector
  private let pattern: String
  private let endsInSlash: Bool
  private let include: PatternMatcher?
  private let exclude: PatternMatcher?
  private var parents: [Parent] = []
  private var lastMatched = ""
  private var items: [Item] = []

  init(_ hash: ContentHash, _ selector: ContentSelector) throws {
    self.hash = hash
    self.selector = selector
    let joined = GoPath.join(["/", selector.path])
    pattern = joined == "/" ? "" : joined
    // The path reaches here joined, so only the root can end in a slash; kept as the peers have it.
    endsInSlash = joined.hasSuffix("/")
    include = selector.includePatterns.isEmpty ? nil : try PatternMatcher(selector.includePatterns)
    exclude = selector.excludePatterns.isEmpty ? nil : try PatternMatcher(selector.excludePatterns)
  }

  func list() throws -> (prefix: String, items: [Item]) {
    var walk = self
    let prefix = try walk.run()
    return (prefix, walk.items)
  }

  /// The part of the pattern before its first component with a wildcard.
  private func fixedPrefix() -> (String, String) {
    var fixed: [Substring] = [], rest: [Substring] = []
    for part in pattern.split(separator: "/") {
      if rest.isEmpty, !GoPath.containsWildcards(String(part)) { fixed.append(part) } else { rest.append(part) }
    }
    return ("/" + fixed.joined(separator: "/"), rest.joined(separator: "/"))
  }

  private mutating func run() throws -> String {
    var origin = pattern, followLast = false
    if selector.wildcard {
      let (fixed, rest) = fixedPrefix()
      origin = fixed == "/" ? "" : fixed
      followLast = !rest.isEmpty
    }
    let start = try TreePaths.resolve(origin, in: hash.tree, followLast: followLast)
    if !start.isEmpty, try hash.tree.status(start) == nil {
      try checkRequired()
      return origin
    }
    try prefetch(start)
    try visit(start, shown: origin)
    try checkRequired()
    return origin
  }

  private func checkRequired() throws {
    for required in selector.requiredPaths where !items.contains(where: { $0.path.hasPrefix(required) }) {
      throw TreeError(.notFound, "\"\(required)\": not found")
    }
  }

  /// Hashes in parallel what the walk will most likely need: without filters all below; with them the walk hashes as it goes.
  private func prefetch(_ start: String) throws {
    guard include == nil, exclude == nil || selector.wildcard else { return }
    if selector.wildcard, start.isEmpty { return }
    var files: [(String, FileStatus)] = []
    func collect(_ path: String) throws {
      guard let status = try hash.tree.status(path) else { return }
      if status.kind == .regular { files.append((path, status)) }
      if status.kind == .directory { for name in try hash.tree.children(path) { try collect(TreePaths.join(path, name)) } }
    }
    if !selector.wildcard { try collect(start) }
    try hash.hash(files)
  }

  /// `path` is where it is in the tree; `shown` what it is called from the pattern's point of view ("" or "/a/b").
  private mutating func visit(_ path: String, shown: String) throws {
    let status = try hash.tree.status(path)
    let isDirectory = path.isEmpty || status?.kind == .directory
    while let last = parents.last, !shown.hasPrefix(last.path + "/") { parents.removeLast() }
    if isDirectory {
      if !(shown == pattern && endsInSlash) { try take(path, shown, nil) }
      for name in try hash.tree.children(path) { try visit(TreePaths.join(path, name), shown: shown + "/" + name) }
    } else if let status {
      try take(path, shown, status)
    }
  }

  /// One record: a directory's header (`file` nil) or a file.
  private mutating func take(_ path: String, _ shown: String, _ file: FileStatus?) throws {
    while let last = parents.last, !shown.hasPrefix(last.path + "/") { parents.removeLast() }
    let candidate: String
    if selector.wildcard {
      if !pattern.isEmpty, lastMatched.isEmpty || !shown.hasPrefix(lastMatched + "/") {
        guard try GoPath.match(pattern, shown) else { return }
        lastMatched = shown
      }
      candidate = relative(shown, to: lastMatched)
    } else {
      candidate = relative(shown, to: pattern)
    }
    var includeInfo: MatchInfo?, excludeInfo: MatchInfo?
    var chosen = true
    if let include {
      let (matched, info) = include.matches(candidate, parent: parents.last?.include)
      includeInfo = info
      chosen = matched
    }
    if chosen, let exclude {
      let (matched, info) = exclude.matches(candidate, parent: parents.last?.exclude)
      excludeInfo = info
      if matched { chosen = false }
    }
    if !chosen, file != nil { return }
    let followed = parents.isEmpty && selector.followLinks
    let digest: Digest
    if let file {
      if followed, file.kind == .symbolicLink {
        let target = try TreePaths.resolve(shown, in: hash.tree, followLast: true)
        digest = try hash.whole(target, asked: shown)
      } else {
        digest = try hash.file(path, file)
      }
    } else {
      digest = try hash.header(path)
    }
    if chosen {
      for i in parents.indices where !parents[i].included {
        items.append(Item(path: parents[i].path, digest: parents[i].digest))
        parents[i].included = true
      }
      items.append(Item(path: shown, digest: digest))
    }
    if file == nil {
      parents.append(Parent(path: shown, digest: digest, included: chosen, include: includeInfo, exclude: excludeInfo, followLinks: followed))
    }
  }

  private func relative(_ shown: String, to base: String) -> String {
    var text = Substring(shown + "/")
    if text.hasPrefix(base + "/") { text = text.dropFirst(base.count + 1) }
    return text.hasSuffix("/") ? String(text.dropLast()) : String(text)
  }
}
