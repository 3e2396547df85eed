internal import HostOS
internal import OCIModel
internal import PathPatterns

/// Which part of a client's directory a build sees (the attributes of an LLB local source).
struct LocalFilter: Sendable, Hashable {
  var includePatterns: [String] = []
  var excludePatterns: [String] = []
  /// Paths that matter, with wildcards; symlinks among them are followed and become include patterns.
  var followPaths: [String] = []
}

/// A client's directory read in place: the entries that pass the filter, as they were at one walk. Owners read as root's,
/// as the peers send them, unless they are kept. Immutable, so it may be read from any thread.
final class LocalTree: TreeReader {
  let root: Directory
  private let table: FileTable
  private let folders: FolderCache
  let rememberedHashes: (any RememberedHashes)?

  /// Walks now; blocks. Throws `HostError` for what cannot be read.
  init(_ root: Directory, filter: LocalFilter, rememberedHashes: (any RememberedHashes)? = nil, keepsOwners: Bool = false) throws {
    self.root = root
    self.rememberedHashes = rememberedHashes
    folders = FolderCache(root, follow: .none)
    var includes = filter.includePatterns
    if !filter.followPaths.isEmpty, let followed = try FollowedPaths(root).patterns(for: filter.followPaths) { includes += followed }
    // The peers keep what they were sent in a directory of their own, made now: its metadata is not the client's.
    var top = FileStatus.emptyDirectory
    top.mtime = HostClock.now
    var walk = try LocalWalk(include: includes, exclude: filter.excludePatterns, root: top, keepsOwners: keepsOwners)
    try walk.directory(root, path: "", include: .init(), exclude: .init())
    walk.table.seal()
    table = walk.table
  }

  /// The peers' sender never tells of the root itself; when it tells of nothing, the directory that they made for it counts.
  var rootDigest: Digest? { count == 0 ? nil : Digest.sha256(of: "") }
  var deviceNumbersCount: Bool { true }
  var carriesCapabilities: Bool { false }
  func status(_ path: String) throws -> FileStatus? { table.status(path) }
  func children(_ path: String) throws -> [String] { table.children(path) }
  func readLink(_ path: String) throws -> String { try at(path) { try $0.readLink($1) } }
  func open(_ path: String) throws -> HostOS.Descriptor { try at(path) { try $0.openFile($1, flags: [.readOnly, .nonBlocking], follow: .none) } }
  func xattrs(_ path: String) throws -> [(name: String, value: [UInt8])] { path.isEmpty ? [] : try at(path) { try $0.attributes(of: $1) } }
  func xattrs(_ path: String, of file: HostOS.Descriptor) throws -> [(name: String, value: [UInt8])] { try file.attributes() }
  var count: Int { table.count }
  /// Its regular files; the path is made when it is asked for.
  func eachFile(_ body: (() -> String, FileStatus) -> Void) { table.eachFile(body) }

  /// Errors name the path in the context.
  private func at<Value>(_ path: String, _ body: (Directory, String) throws -> Value) throws -> Value {
    do {
      let (directory, name) = try folders.place(path)
      return try body(directory, name)
    } catch var error as HostError {
      error.path = path
      throw error
    }
  }
}

/// One walk of a directory under include and exclude patterns, as fsutil's filter does it: a directory appears when it
/// matches itself or something in it does; one that nothing in it can match is not entered.
private struct LocalWalk {
  private let include: PatternList?
  private let exclude: PatternList?
  private let prefixes: IncludePrefixes
  private let keepsOwners: Bool
  var table: FileTable
  /// The directories on the way down; those that have no node yet get one with the first thing found in them.
  private var way: [(name: String, status: FileStatus, node: UInt32?)]

  init(include: [String], exclude: [String], root: FileStatus, keepsOwners: Bool) throws {
    self.keepsOwners = keepsOwners
    table = FileTable(root: root)
    way = [("", root, 0)]
    self.include = include.isEmpty ? nil : try PatternList(include)
    prefixes = IncludePrefixes(include)
    self.exclude = exclude.isEmpty ? nil : try PatternList(exclude)
  }

  mutating func directory(_ directory: Directory, path: String, include parentInclude: PatternList.Folder, exclude parentExclude: PatternList.Folder) throws {
    for entry in try entries(directory, path) {
      let child = TreePaths.join(path, entry.name)
      var includeInfo = PatternList.Folder(), excludeInfo = PatternList.Folder()
      var skip = false
      if let include {
        let visit = include.visit(child, in: parentInclude)
        includeInfo = visit.folder
        if !visit.isExcluded {
          if entry.kind != .directory || !prefixes.mayMatch(below: child) { continue }
          skip = true
        }
      }
      if let exclude {
        let visit = exclude.visit(child, in: parentExclude)
        excludeInfo = visit.folder
        if visit.isExcluded {
          if entry.kind != .directory || exclude.canPrune(excludedFolder: child) { continue }
          skip = true
        }
      }
      // What vanishes between the listing and here was never there.
      guard var status = try directory.statusIfPresent(entry.name) else { continue }
      if !keepsOwners { (status.uid, status.gid) = (0, 0) }
      guard status.kind == .directory else {
        if !skip { _ = add(entry.name, status) }
        continue
      }
      way.append((entry.name, status, skip ? nil : add(entry.name, status)))
      try self.directory(try directory.openDirectory(entry.name, follow: .none), path: child, include: includeInfo, exclude: excludeInfo)
      way.removeLast()
    }
  }

  /// By their path in the context: "." would say nothing.
  private func entries(_ directory: Directory, _ path: String) throws -> [DirectoryEntry] {
    do { return try directory.entries().sorted { TreePaths.precedes($0.name, $1.name) } } catch var error as HostError {
      if !path.isEmpty { error.path = path }
      throw error
    }
  }

  private mutating func add(_ name: String, _ status: FileStatus) -> UInt32 {
    var parent: UInt32 = 0
    for i in way.indices {
      if let node = way[i].node { parent = node; continue }
      parent = table.add(way[i].name, way[i].status, in: parent)
      way[i].node = parent
    }
    return table.add(name, status, in: parent)
  }
}

/// Where includes can match at all: the part of each before its first wildcard. What lies beside all of them is not walked.
private struct IncludePrefixes {
  private let fixed: [[Substring]]
  init(_ patterns: [String]) {
    fixed = patterns.filter { !$0.hasPrefix("!") }.map { pattern in
      let parts = SlashPath.clean("/" + pattern).split(separator: "/")
      // An escaped character is written otherwise than it is called: that counts as a wildcard here.
      return Array(parts.prefix { !Wildcard.hasWildcard(String($0)) })
    }
  }
  func mayMatch(below directory: String) -> Bool {
    let parts = directory.split(separator: "/")
    return fixed.contains { fixed in zip(fixed, parts).allSatisfy { $0.utf8.elementsEqual($1.utf8) } }
  }
}

/// Include patterns for a list of wanted paths: each with every symlink that is met on the way to it (fsutil's FollowLinks).
private struct FollowedPaths {
  private let root: Directory
  private var resolved = Set<ExactPath>()
  init(_ root: Directory) { self.root = root }

  /// nil when everything is wanted.
  func patterns(for paths: [String]) throws -> [String]? {
    var copy = self
    for path in paths { try copy.add(path, depth: 0) }
    let sorted = copy.resolved.map(\.text).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    if sorted.contains("") { return nil }
    return OpCacheKey.withoutChildren(sorted)
  }

  private mutating func add(_ path: String, depth: Int) throws {
    guard depth <= TreePaths.maximumLinks else { throw TreeError("too many symbolic links in \"\(path)\" of the build context") }
    var rest = TreePaths.split(TreePaths.clean(path)).map { String($0) }[...]
    var current = ""
    if rest.isEmpty { resolved.insert(ExactPath("")) }
    while let part = rest.popFirst() {
      current = TreePaths.join(current, part)
      let targets = try links(at: current, wildcards: true)
      let key = ExactPath(current)
      if rest.isEmpty || targets != nil {
        guard resolved.insert(key).inserted else { return }
      }
      if let targets {
        for target in targets { try add(TreePaths.join(TreePaths.clean(target), rest.joined(separator: "/")), depth: depth + 1) }
        return
      }
    }
  }

  /// Where the links at a path (or all that match its last component) lead; nil when there are none.
  private func links(at path: String, wildcards: Bool) throws -> [String]? {
    let name = TreePaths.name(path), parent = TreePaths.parent(path)
    if wildcards, ContentSelector.hasWildcard(name) {
      guard try root.statusIfPresent(parent.isEmpty ? "." : parent)?.kind == .directory else { return nil }
      var out: [String] = []
      for entry in try root.entries(parent.isEmpty ? "." : parent) where entry.kind == .symbolicLink && (try? Wildcard.matches(name, entry.name)) == true {
        out += try links(at: TreePaths.join(parent, entry.name), wildcards: false) ?? []
      }
      return out.isEmpty ? nil : out
    }
    guard try root.statusIfPresent(path)?.kind == .symbolicLink else { return nil }
    let target = try root.readLink(path)
    return [target.utf8.first == UInt8(ascii: "/") ? target : TreePaths.join(parent, target)]
  }
}
