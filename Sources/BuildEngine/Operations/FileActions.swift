internal import BuildKitProto
internal import HostOS
internal import LayerArchive
internal import OCIModel
internal import PathPatterns

/// The actions of a file op on a mounted tree, with BuildKit's semantics (solver/llbsolver/file/backend.go). All of them
/// block; call through Blocking.run.
struct FileActions {
  let target: Directory
  private var tree: MountedTree { MountedTree(target) }

  init(_ target: Directory) { self.target = target }

  /// -1 means "as it comes".
  private static func time(_ timestamp: Int64) -> Int64? { timestamp == -1 ? nil : timestamp }

  func makeDirectory(_ action: Pb_FileActionMkDir, owner: FileOwner?) throws {
    var options = CopyOptions()
    (options.owner, options.time) = (owner, FileActions.time(action.timestamp))
    let mode = UInt32(truncatingIfNeeded: action.mode) & 0o777
    if action.makeParents {
      options.mode = FileModeChange(octal: mode)
      _ = try DirectoryMaker(target, options).make(action.path, mode: mode)
      return
    }
    let path = try TreePaths.resolve(action.path, in: tree, followLast: true)
    if try path.isEmpty || target.statusIfPresent(path) != nil { return }
    try DirectoryMaker.makeOne(path, mode: mode, in: target)
    try finish(path, owner, options.time)
  }

  func makeFile(_ action: Pb_FileActionMkFile, owner: FileOwner?) throws {
    let path = try TreePaths.resolve(action.path, in: tree, followLast: true)
    let mode = UInt32(truncatingIfNeeded: action.mode) & 0o777
    let existed = try target.statusIfPresent(path) != nil
    let file = try target.openFile(path, flags: [.writeOnly, .create, .truncate], mode: mode, follow: .none)
    try file.write([UInt8](action.data))
    if !existed { try file.setMode(mode) }
    try finish(path, owner, FileActions.time(action.timestamp))
  }

  func makeSymlink(_ action: Pb_FileActionSymlink, owner: FileOwner?) throws {
    let path = try TreePaths.resolve(action.newpath, in: tree, followLast: true)
    try target.symlink(target: action.oldpath, at: path)
    try finish(path, owner, FileActions.time(action.timestamp))
  }

  private func finish(_ path: String, _ owner: FileOwner?, _ time: Int64?) throws {
    if let owner { try target.setOwner(path, uid: owner.uid, gid: owner.gid) }
    if let time { try target.setTimes(path, accessed: time, modified: time) }
  }

  func remove(_ action: Pb_FileActionRm) throws {
    let paths = action.allowWildcard ? try Wildcards.matches(action.path, in: tree, followLinks: false) : [action.path]
    for path in paths {
      let clean = TreePaths.clean(path)
      guard !clean.isEmpty else { throw TreeError("cannot remove the root directory") }
      let parent = try TreePaths.resolve(TreePaths.parent(clean), in: tree, followLast: true)
      let resolved = TreePaths.join(parent, TreePaths.name(clean))
      guard try target.statusIfPresent(resolved) != nil else {
        if action.allowNotFound { continue }
        throw TreeError(.notFound, "\"/\(clean)\": not found")
      }
      try target.removeTree(resolved)
    }
  }

  func copy(_ action: Pb_FileActionCopy, from source: any TreeReader, owner: FileOwner?, expected: (@Sendable (String) -> Digest?)?) throws {
    let from = FileActions.clean(action.src), destination = FileActions.clean(action.dest)
    if !action.createDestPath {
      let parent = try TreePaths.resolve(TreePaths.parent(TreePaths.clean(action.dest)), in: tree, followLast: true)
      guard try parent.isEmpty || target.statusIfPresent(parent) != nil else { throw TreeError(.notFound, "\"/\(parent)\": not found") }
    }
    var options = CopyOptions(owner: owner, time: FileActions.time(action.timestamp))
    if !action.modeStr.isEmpty {
      options.mode = try FileModeChange(action.modeStr)
    } else if action.mode != -1 {
      options.mode = FileModeChange(octal: UInt32(truncatingIfNeeded: action.mode))
    }
    (options.includePatterns, options.excludePatterns) = (action.includePatterns, action.excludePatterns)
    (options.copyDirectoryContents, options.followLinks) = (action.dirCopyContents, action.followSymlink)
    options.replaceExisting = action.alwaysReplaceExistingDestPaths
    var sources = [from]
    if action.allowWildcard {
      sources = try Wildcards.matches(from, in: source, followLinks: action.followSymlink)
      if sources.isEmpty {
        if action.allowEmptyWildcard { return }
        throw TreeError(.notFound, "\"\(from)\": not found")
      }
    }
    for item in sources {
      if action.attemptUnpackDockerCompatibility, try unpack(item, from: source, to: destination, options) { continue }
      var copy = try TreeCopy(from: source, to: target, options: options, expected: expected)
      try copy.copy(item, to: destination)
    }
  }

  /// A leading slash, no "." and "..", but a trailing slash or "/." kept: it says that a directory is meant.
  static func clean(_ path: String) -> String {
    let joined = "/" + TreePaths.clean(path)
    if path.hasSuffix("/.") { return (joined == "/" ? "" : joined) + "/." }
    return path.hasSuffix("/") && joined != "/" ? joined + "/" : joined
  }

  /// Whether the source was a tar archive, in any compression, and was unpacked into the destination.
  private func unpack(_ from: String, from source: any TreeReader, to destination: String, _ options: CopyOptions) throws -> Bool {
    let path = try TreePaths.resolve(from, in: source, followLast: true)
    guard let status = try source.status(path), status.kind == .regular, try ArchiveUnpacker.isArchive({ try source.open(path) }) else { return false }
    var making = CopyOptions()
    (making.owner, making.time) = (options.owner, options.time)
    _ = try DirectoryMaker(target, making).make(destination)
    let resolved = try TreePaths.resolve(destination, in: tree, followLast: true)
    let directory = resolved.isEmpty ? target : try target.openDirectory(resolved)
    try ArchiveUnpacker.unpack(try source.open(path), into: directory, owner: options.owner)
    return true
  }
}

/// Wildcards of a copy's source, against a tree.
enum Wildcards {
  /// The paths that match, in walking order; what is below a match is not looked at. A path without wildcards is itself.
  static func matches(_ path: String, in tree: any TreeReader, followLinks: Bool) throws -> [String] {
    var fixed: [Substring] = [], rest: [Substring] = []
    for part in TreePaths.split(TreePaths.clean(path)) {
      if rest.isEmpty, !ContentSelector.hasWildcard(part) { fixed.append(part) } else { rest.append(part) }
    }
    if rest.isEmpty { return [path] }
    let base = try TreePaths.resolve(fixed.joined(separator: "/"), in: tree, followLast: followLinks)
    let pattern = rest.joined(separator: "/")
    var found: [String] = []
    func walk(_ directory: String, _ relative: String) throws {
      for name in try tree.children(directory) {
        let child = TreePaths.join(directory, name), childRelative = TreePaths.join(relative, name)
        // A component never matches a slash, so nothing deeper than the pattern can match.
        if try Wildcard.matches(pattern, childRelative) {
          found.append("/" + child)
        } else if TreePaths.split(childRelative).count < rest.count, try tree.status(child)?.kind == .directory {
          try walk(child, childRelative)
        }
      }
    }
    // Nothing may match, but the directory that is named must be there.
    let status = try base.isEmpty ? FileStatus.emptyDirectory : tree.status(base)
    guard let status else { throw TreeError(.notFound, "\"/\(base)\": not found", suggestion: MissingPath.meant(by: base, in: tree, root: "/")) }
    if status.kind == .directory { try walk(base, "") }
    return found
  }
}
