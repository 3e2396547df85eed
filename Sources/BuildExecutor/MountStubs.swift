import HostOS

/// The places that mounts need in a root filesystem and that the layer must not keep. They are made before the runtime would make them, so that the
/// directories above keep their times, and removed after the step when nothing has been put there.
struct MountStubs {
  /// Canonical paths beneath the root, parents before children.
  private(set) var made: [(path: String, isMountPoint: Bool)] = []

  /// `wanted`, in the order in which they will be mounted: destination, and whether a directory is mounted there. `covered`: destinations whose
  /// inside is not the root filesystem by then; inside a wanted directory those that come after it need no place either.
  /// Blocks. A root that cannot be written gets no stubs: the runtime says then what is missing.
  init(in root: Directory, wanted: [(destination: String, isDirectory: Bool)], covered: [String]) throws {
    var covers = try covered.map { try root.canonicalPath(of: $0) }.filter { !$0.isEmpty }
    for (destination, isDirectory) in wanted {
      let path = try root.canonicalPath(of: destination)
      if path.isEmpty || covers.contains(where: { path.hasPrefix($0 + "/") }) { continue }
      do { try make(path, isDirectory: isDirectory, in: root) } catch let error as HostError where error.code == .readOnly { return } catch {
        // What is there already must not stay behind because something later failed.
        remove(from: root, parents: true)
        throw error
      }
      if isDirectory { covers.append(path) }
    }
  }

  private mutating func make(_ path: String, isDirectory: Bool, in root: Directory) throws {
    var missing: [String] = []
    var at = path
    while !at.isEmpty, try root.statusIfPresent(at) == nil {
      missing.append(at)
      at = Self.parent(at)
    }
    guard !missing.isEmpty else { return }
    let times = try root.status(at.isEmpty ? "." : at)
    for (i, name) in missing.enumerated().reversed() {
      if i > 0 || isDirectory {
        try root.makeDirectory(name, mode: 0o755)
      } else {
        try root.makeNode(name, kind: .regular, mode: 0o644)
      }
      try root.setMode(name, i > 0 || isDirectory ? 0o755 : 0o644)
      made.append((name, i == 0))
    }
    try root.setTimes(at.isEmpty ? "." : at, accessed: times.atime, modified: times.mtime)
  }

  /// Removes what was made and is still empty. `parents` false leaves the directories above mount points.
  func remove(from root: Directory, parents: Bool) {
    for (path, isMountPoint) in made.reversed() where isMountPoint || parents {
      // A step may have replaced a parent by a symbolic link: nothing is removed through one.
      guard (try? root.canonicalPath(of: Self.parent(path))) == Self.parent(path), let status = try? root.status(path) else { continue }
      let parent = Self.parent(path).isEmpty ? "." : Self.parent(path)
      guard let times = try? root.status(parent) else { continue }
      switch status.kind {
      case .directory: guard (try? root.removeDirectory(path)) != nil else { continue }
      case .regular where status.size == 0: guard (try? root.unlink(path)) != nil else { continue }
      default: continue
      }
      try? root.setTimes(parent, accessed: times.atime, modified: times.mtime)
    }
  }

  private static func parent(_ path: String) -> String {
    path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
  }
}
