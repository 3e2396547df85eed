internal import HostOS
internal import LayerArchive
internal import OCIModel
internal import PathPatterns

/// Whom a copied or made file belongs to; nil keeps the source's owner, and root for what is made.
struct FileOwner: Sendable, Hashable {
  var uid: UInt32
  var gid: UInt32
}

/// How a file action changes what it copies (fsutil's copy.CopyInfo).
struct CopyOptions: Sendable {
  var owner: FileOwner?
  /// Nanoseconds since 1970; nil keeps the source's time.
  var time: Int64?
  var mode: FileModeChange?
  var includePatterns: [String] = []
  var excludePatterns: [String] = []
  var copyDirectoryContents = false
  var followLinks = false
  var replaceExisting = false
}

/// Copies parts of a tree into a directory, with BuildKit's semantics (fsutil/copy): what `COPY` and `ADD` do. Every
/// destination is resolved inside the target root. Blocks; call through Blocking.run. One instance is one source of an action: hard
/// links within it stay hard links, those between sources become files of their own, as the peers have it.
struct TreeCopy {
  let source: any TreeReader
  let target: Directory
  private let targetTree: MountedTree
  private let folders: FolderCache
  private let buffer = IOBuffer(256 << 10)
  private let options: CopyOptions
  private let include: PatternList?
  private let exclude: PatternList?
  /// The digest a file had when cache keys were made from it; the copy must have the same.
  private let expected: (@Sendable (String) -> Digest?)?
  private var links: [LinkID: String] = [:]
  private var parents: [Parent] = []

  private struct LinkID: Hashable {
    var device: UInt64
    var inode: UInt64
  }
  /// A directory on the way down: made when the first thing in it is copied.
  private struct Parent {
    var source: String
    var target: String
    var copied: Bool
    var createdHere = false
  }

  init(from source: any TreeReader, to target: Directory, options: CopyOptions, expected: (@Sendable (String) -> Digest?)? = nil) throws {
    self.source = source
    self.target = target
    targetTree = MountedTree(target)
    folders = FolderCache(target, follow: .inRoot)
    self.options = options
    include = options.includePatterns.isEmpty ? nil : try PatternList(options.includePatterns)
    exclude = options.excludePatterns.isEmpty ? nil : try PatternList(options.excludePatterns)
    self.expected = expected
  }

  /// `source` and `destination` as a file action has them; a trailing slash of the destination makes it a directory.
  mutating func copy(_ from: String, to destination: String) throws {
    let directory = destination.hasSuffix("/") || destination.hasSuffix("/.") ? destination : TreePaths.parent(destination)
    var created = try DirectoryMaker(target, options).make(directory)
    let resolved = try TreePaths.resolve(destination, in: targetTree, followLast: true)
    let sourcePath = try TreePaths.resolve(from, in: source, followLast: options.followLinks)
    let (path, more) = try prepare(sourcePath, asked: from, destination: resolved)
    created += more
    try copy(sourcePath, components: "", to: path, overwrite: false, include: .init(), exclude: .init())
    try DirectoryMaker(target, options).restoreTimes(of: created)
  }

  /// Decides whether the source goes onto the destination or into it, and makes the directories needed.
  private func prepare(_ sourcePath: String, asked: String, destination: String) throws -> (String, [String]) {
    guard let status = try statusOfSource(sourcePath) else {
      throw TreeError(.notFound, "\"/\(TreePaths.clean(asked))\": not found", suggestion: MissingPath.meant(by: sourcePath, in: source, root: "/"))
    }
    let isDirectory = status.kind == .directory
    let existing = try target.statusIfPresent(name(destination), followLast: true)
    var path = destination
    if (!options.copyDirectoryContents && isDirectory && existing != nil) || (!isDirectory && existing?.kind == .directory) {
      path = TreePaths.join(path, TreePaths.name(TreePaths.clean(asked)))
    }
    let parent = options.copyDirectoryContents && isDirectory && existing == nil ? path : TreePaths.parent(path)
    return (path, try DirectoryMaker(target, options).make(parent))
  }

  private func statusOfSource(_ path: String) throws -> FileStatus? {
    if let status = try source.status(path) { return status }
    guard path.isEmpty else { return nil }
    // The root of a filtered tree may have no entry of its own.
    return FileStatus.emptyDirectory
  }

  /// The name that HostOS gives the root.
  private func name(_ path: String) -> String { path.isEmpty ? "." : path }

  private mutating func copy(
    _ path: String, components: String, to destination: String, overwrite: Bool, include parentInclude: PatternList.Folder, exclude parentExclude: PatternList.Folder
  ) throws {
    if Task.isCancelled { throw CancellationError() }
    var included = true, excluded = false
    var includeInfo = PatternList.Folder(), excludeInfo = PatternList.Folder()
    if !components.isEmpty {
      if let include {
        let visit = include.visit(components, in: parentInclude)
        (included, includeInfo) = (visit.isExcluded, visit.folder)
      }
      if let exclude {
        let visit = exclude.visit(components, in: parentExclude)
        (excluded, excludeInfo) = (visit.isExcluded, visit.folder)
        if excluded { included = false }
      }
      if !included, include == nil, exclude?.hasExceptions != true { return }
    }
    guard let status = try statusOfSource(path) else { throw TreeError(.notFound, "\"/\(path)\": not found") }
    if !included, status.kind != .directory { return }
    // Whether a file is in the way shows when it is made.
    let existing = status.kind == .directory || options.replaceExisting ? try target.statusIfPresent(name(destination)) : nil
    if included {
      if options.replaceExisting, let existing, !(status.kind == .directory && existing.kind == .directory) {
        try target.removeTree(destination)
        folders.forget()
      }
      try makeParents(overwrite: overwrite)
    }
    if status.kind == .directory {
      try copyDirectory(
        path, components, destination, status, existing: existing, overwrite: overwrite, included: included, excluded: excluded, includeInfo, excludeInfo)
    } else {
      try copyFile(path, destination, status)
    }
  }

  private mutating func copyDirectory(
    _ path: String, _ components: String, _ destination: String, _ status: FileStatus, existing: FileStatus?, overwrite: Bool, included: Bool, excluded: Bool,
    _ includeInfo: PatternList.Folder, _ excludeInfo: PatternList.Folder
  ) throws {
    var created = false
    if included { created = try makeDirectory(destination, like: status, overwrite: overwrite) }
    parents.append(Parent(source: path, target: destination, copied: included))
    if !excluded || exclude?.hasExceptions == true {
      for child in try source.children(path) {
        try copy(
          TreePaths.join(path, child), components: TreePaths.join(components, child), to: TreePaths.join(destination, child), overwrite: true,
          include: includeInfo, exclude: excludeInfo)
      }
    }
    let parent = parents.removeLast()
    if included && (overwrite || created) {
      try setMetadata(of: destination, from: path, status)
    } else if included, existing != nil {
      try target.setTimes(name(destination), accessed: nil, modified: options.time ?? status.mtime)
    } else if parent.createdHere {
      // Its children came after its times were set.
      try target.setTimes(name(destination), accessed: nil, modified: options.time ?? status.mtime)
    }
  }

  /// Whether it was made now.
  private func makeDirectory(_ path: String, like status: FileStatus, overwrite: Bool) throws -> Bool {
    guard let existing = try target.statusIfPresent(name(path)) else {
      try target.makeDirectory(path, mode: status.mode & 0o7777)
      try target.setMode(path, status.mode & 0o7777)
      return true
    }
    guard existing.kind == .directory else { throw TreeError("cannot copy a directory onto \"/\(path)\", which is not a directory") }
    if overwrite { try target.setMode(name(path), status.mode & 0o7777) }
    return false
  }

  private mutating func makeParents(overwrite: Bool) throws {
    for i in parents.indices where !parents[i].copied {
      guard let status = try statusOfSource(parents[i].source) else { continue }
      if try makeDirectory(parents[i].target, like: status, overwrite: overwrite) {
        try setMetadata(of: parents[i].target, from: parents[i].source, status)
        parents[i].createdHere = true
      }
      parents[i].copied = true
    }
  }

  private mutating func copyFile(_ path: String, _ destination: String, _ status: FileStatus) throws {
    let (directory, name) = try folders.place(destination)
    func put<Value>(_ make: () throws -> Value) throws -> Value {
      do { return try make() } catch let error as HostError where error.code == .exists {
        if try directory.status(name).kind == .directory { throw TreeError("cannot copy a file onto the directory \"/\(destination)\"") }
        try directory.unlink(name)
        return try make()
      }
    }
    do {
      switch status.kind {
      case .regular:
        if status.links > 1 {
          let id = LinkID(device: status.device, inode: status.inode)
          if let first = links[id] { return try put { try target.hardlink(from: first, to: destination) } }
          links[id] = destination
        }
        return try copyContents(path, to: directory, name, status) { try put($0) }
      case .symbolicLink:
        let link = try source.readLink(path)
        try put { try directory.symlink(target: link, at: name) }
      // Nobody listens at a copied socket: the peers put an empty file in its place.
      case .socket: _ = try put { try directory.openFile(name, flags: [.writeOnly, .create, .exclusive], mode: 0o600, follow: .none) }
      case .characterDevice, .blockDevice, .fifo: try put { try directory.makeNode(name, kind: status.kind, mode: status.mode & 0o7777, device: status.rdev) }
      default: throw TreeError("\"/\(path)\" is of an unknown kind")
      }
      try setMetadata(of: destination, from: path, status)
    } catch var error as HostError {
      if error.path == name { error.path = destination }
      throw error
    }
  }

  private func copyContents(
    _ path: String, to directory: Directory, _ name: String, _ status: FileStatus, put: (() throws -> HostOS.Descriptor) throws -> HostOS.Descriptor
  ) throws {
    let owner = owner(status), mode = mode(status)
    let output = try put { try directory.openFile(name, flags: [.writeOnly, .create, .exclusive], mode: mode & 0o777 | 0o600, follow: .none) }
    let input = try source.open(path)
    let xattrs = try source.xattrs(path, of: input)
    if let digest = expected?(path) {
      try copyHashing(path, input, output, status, xattrs, digest)
    } else {
      try input.copyContents(to: output, size: status.size)
    }
    let made = try output.status()
    if made.uid != owner.uid || made.gid != owner.gid { try output.setOwner(uid: owner.uid, gid: owner.gid) }
    if made.permissions != mode || made.uid != owner.uid { try output.setMode(mode) }
    for (key, value) in xattrs where carries(key) { try? directory.setXattr(name, key, value) }
    try output.setTimes(accessed: nil, modified: options.time ?? status.mtime)
  }

  /// Bytes are hashed again on the way: what differs from what the key was made of is not copied.
  private func copyHashing(
    _ path: String, _ input: HostOS.Descriptor, _ output: HostOS.Descriptor, _ status: FileStatus, _ xattrs: [(name: String, value: [UInt8])], _ digest: Digest
  ) throws {
    var hasher = DigestHasher()
    FileHash.header(status, linkTarget: "", xattrs: xattrs, into: &hasher)
    while true {
      let n = try input.read(into: buffer.all)
      if n == 0 { break }
      hasher.update(buffer.head(n))
      try output.write(buffer.head(n))
    }
    guard hasher.finish() == digest else {
      throw TreeError("\"/\(path)\" changed while the build was reading it: run the build again when nothing writes to the build context")
    }
  }

  private func owner(_ status: FileStatus) -> FileOwner { options.owner ?? FileOwner(uid: status.uid, gid: status.gid) }
  private func mode(_ status: FileStatus) -> UInt32 {
    options.mode?.apply(to: status.mode, isDirectory: status.kind == .directory) ?? status.mode & 0o7777
  }
  /// Best effort, as the peers: a filesystem or namespace may refuse a namespace of attributes.
  private func carries(_ attribute: String) -> Bool { source.carriesCapabilities || attribute != "security.capability" }

  private func setMetadata(of destination: String, from path: String, _ status: FileStatus) throws {
    let (directory, name) = try folders.place(destination)
    let owner = owner(status)
    try directory.setOwner(name, uid: owner.uid, gid: owner.gid)
    if status.kind != .symbolicLink { try directory.setMode(name, mode(status)) }
    for (key, value) in try source.xattrs(path) where carries(key) { try? directory.setXattr(name, key, value) }
    try directory.setTimes(name, accessed: nil, modified: options.time ?? status.mtime)
  }
}

/// Makes missing directories on the way to a destination, as fsutil's MkdirAll: with the action's owner, mode and time.
struct DirectoryMaker {
  let target: Directory
  let options: CopyOptions
  init(_ target: Directory, _ options: CopyOptions) {
    self.target = target
    self.options = options
  }

  /// One directory of just these permissions; below a directory whose group is handed on (setgid) it hands it on, too, as the peers'.
  static func makeOne(_ path: String, mode: UInt32, in target: Directory) throws {
    try target.makeDirectory(path, mode: mode)
    let made = try target.status(path).permissions
    // Also where it has them: what its owner could not write in is noted, and writable, for a user without root.
    try target.setMode(path, mode | made & 0o2000)
  }

  /// The directories made, outermost first. Symlinks on the way are followed inside the root.
  func make(_ path: String, mode: UInt32? = nil) throws -> [String] {
    let tree = MountedTree(target)
    let resolved = try TreePaths.resolve(path, in: tree, followLast: true)
    if resolved.isEmpty { return [] }
    if let status = try target.statusIfPresent(resolved) {
      guard status.kind == .directory else { throw TreeError("\"/\(resolved)\" is not a directory") }
      return []
    }
    var made = try make(TreePaths.parent(resolved))
    // Of what COPY --chmod asks for they get the permissions alone.
    let bits = (mode ?? options.mode?.octal ?? 0o755) & 0o777
    try Self.makeOne(resolved, mode: bits, in: target)
    if let owner = options.owner { try target.setOwner(resolved, uid: owner.uid, gid: owner.gid) }
    if let time = options.time { try target.setTimes(resolved, accessed: time, modified: time) }
    made.append(resolved)
    return made
  }

  func restoreTimes(of directories: [String]) throws {
    guard let time = options.time else { return }
    for path in directories.reversed() { try target.setTimes(path, accessed: time, modified: time) }
  }
}
