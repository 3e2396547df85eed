internal import HostOS
internal import OCIModel
internal import PathPatterns

/// Which paths a selector with wildcards or filters takes, in the order and with the oddities of BuildKit's walk of its radix tree.
struct IncludedPaths {
  struct Item {
    /// From the root as the selector calls it, with a leading slash.
    var path: String
    var digest: Digest
  }
  /// A directory on the way down, whose header joins the list once something beneath it does.
  private struct Folder {
    var path: String
    var digest: Digest
    var included: Bool
    var include: PatternList.Folder?
    var exclude: PatternList.Folder?
  }
  /// What is taken, before it is hashed.
  private struct Taken {
    var path: String
    var place: Place
  }
  private enum Place {
    case digest(Digest)
    case file(String, FileStatus)
    case link(String)
  }

  private let hash: ContentHash
  private let selector: ContentSelector
  /// "" for the root, else with a leading slash.
  private let pattern: String
  private let include: PatternList?
  private let exclude: PatternList?
  private var folders: [Folder] = []
  private var lastMatched = ""
  private var taken: [Taken] = []

  init(_ hash: ContentHash, _ selector: ContentSelector) throws {
    self.hash = hash
    self.selector = selector
    let joined = SlashPath.join("/", selector.path)
    pattern = joined == "/" ? "" : joined
    include = selector.includePatterns.isEmpty ? nil : try PatternList(selector.includePatterns)
    exclude = selector.excludePatterns.isEmpty ? nil : try PatternList(selector.excludePatterns)
  }

  /// The items, and the part of their paths that the selector itself names.
  func list() throws -> (prefix: String, items: [Item]) {
    var walk = self
    let prefix = try walk.run()
    var files: [(String, FileStatus)] = []
    for case .file(let path, let status) in walk.taken.map(\.place) where status.kind == .regular { files.append((path, status)) }
    try hash.hash(files)
    let items = try walk.taken.map { item in
      switch item.place {
      case .digest(let digest): Item(path: item.path, digest: digest)
      case .file(let path, let status): Item(path: item.path, digest: try hash.file(path, status))
      case .link(let path): Item(path: item.path, digest: try hash.whole(path, followLast: true))
      }
    }
    return (prefix, items)
  }

  private mutating func run() throws -> String {
    var origin = pattern, followLast = false
    if selector.wildcard {
      let parts = TreePaths.split(pattern)
      let fixed = parts.prefix { !ContentSelector.hasWildcard($0) }
      origin = fixed.map { "/" + $0 }.joined()
      followLast = fixed.count < parts.count
    }
    let start = try TreePaths.resolve(origin, in: hash.tree, followLast: followLast)
    if start.isEmpty {
      try folder(start, shown: origin)
    } else if let status = try hash.tree.status(start) {
      if status.kind == .directory { try folder(start, shown: origin) } else { try visitFile(start, origin, status) }
    }
    for required in selector.requiredPaths where !taken.contains(where: { $0.path.utf8.starts(with: required.utf8) }) {
      throw TreeError(.notFound, "\"\(required)\": not found")
    }
    return origin
  }

  /// `path` is where it is in the tree; `shown` what the selector calls it ("" or "/a/b").
  private mutating func folder(_ path: String, shown: String) throws {
    // The root itself is left out where all of it is asked for.
    if !shown.isEmpty { try visitFolder(path, shown) }
    for name in try hash.tree.children(path) {
      let child = TreePaths.join(path, name)
      guard let status = try hash.tree.status(child) else { continue }
      let childShown = shown + "/" + name
      if status.kind == .directory { try folder(child, shown: childShown) } else { try visitFile(child, childShown, status) }
    }
    while let last = folders.last, TreePaths.isWithin(last.path, shown) { folders.removeLast() }
  }

  private mutating func visitFolder(_ path: String, _ shown: String) throws {
    guard let judged = try judge(shown) else { return }
    let digest = try hash.header(path)
    if judged.isIncluded { take(shown, .digest(digest)) }
    folders.append(Folder(path: shown, digest: digest, included: judged.isIncluded, include: judged.include, exclude: judged.exclude))
  }

  private mutating func visitFile(_ path: String, _ shown: String, _ status: FileStatus) throws {
    guard let judged = try judge(shown), judged.isIncluded else { return }
    // A link is followed only where the selector itself names it.
    let followed = selector.followLinks && folders.isEmpty && status.kind == .symbolicLink
    take(shown, followed ? .link(shown) : .file(path, status))
  }

  private mutating func take(_ path: String, _ place: Place) {
    for index in folders.indices where !folders[index].included {
      taken.append(Taken(path: folders[index].path, place: .digest(folders[index].digest)))
      folders[index].included = true
    }
    taken.append(Taken(path: path, place: place))
  }

  private struct Judgement {
    var isIncluded: Bool
    var include: PatternList.Folder?
    var exclude: PatternList.Folder?
  }

  /// nil when it is not in what the wildcard names.
  private mutating func judge(_ shown: String) throws -> Judgement? {
    var base = pattern
    if selector.wildcard {
      if !pattern.isEmpty, lastMatched.isEmpty || !shown.utf8.starts(with: (lastMatched + "/").utf8) {
        guard try Wildcard.matches(pattern, Self.matchable(shown)) else { return nil }
        lastMatched = shown
      }
      base = lastMatched
    }
    let candidate = String(Substring(shown.utf8.dropFirst(base.utf8.count + 1)))
    var judged = Judgement(isIncluded: true)
    if let include {
      let visit = include.visit(candidate, in: folders.last.map(\.include) ?? nil)
      judged.include = visit.folder
      judged.isIncluded = visit.isExcluded
    }
    // Whether exclude patterns match a folder is found out only if it is included: else those above are tried again below it.
    if judged.isIncluded, let exclude {
      let visit = exclude.visit(candidate, in: folders.last.map(\.exclude) ?? nil)
      judged.exclude = visit.folder
      if visit.isExcluded { judged.isIncluded = false }
    }
    return judged
  }

  /// A name as a wildcard sees it: a character of Unicode is one, and so is a byte that is part of none. (PathText also writes its
  /// own private characters as bytes, where they are in a real name.)
  private static func matchable(_ name: String) -> String {
    guard PathText.isEscaped(name) else { return name }
    let bytes = PathText.bytes(name)
    var out = String.UnicodeScalarView()
    var at = 0
    while at < bytes.count {
      var scalar: Unicode.Scalar?
      for length in 1...4 where scalar == nil && at + length <= bytes.count {
        scalar = String(validating: bytes[at..<at + length], as: UTF8.self)?.unicodeScalars.first
      }
      out.append(scalar ?? Unicode.Scalar(0x10FF00 + UInt32(bytes[at])) ?? "\u{FFFD}")
      at += scalar.map { UTF8.width($0) } ?? 1
    }
    return String(out)
  }
}
