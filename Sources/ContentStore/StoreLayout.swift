import HostOS
package import OCIModel

/// Names of what lies under the root.
package enum StoreLayout {
  package static let database = "manifold.db"
  package static let blobs = "blobs"
  package static let ingest = "ingest"
  package static let locks = "locks"
  package static let snapshots = "snapshots"
  static let marker = "idmap"

  /// Relative to the root.
  package static func blob(_ digest: Digest) -> String { "\(blobs)/\(digest.algorithm.rawValue)/\(digest.hex)" }

  /// MANIFOLD_ROOT, else the system's folder for root, else the user's (XDG_DATA_HOME, ~/.local/share).
  ///
  /// Inside the user namespace that the program enters for an ordinary user, the user still is that user.
  package static func defaultRoot(environment: [String: String], isSystem: Bool) throws -> String {
    if let root = environment["MANIFOLD_ROOT"], !root.isEmpty { return root }
    if isSystem { return "/var/lib/manifold" }
    // The XDG specification has relative paths ignored.
    if let data = environment["XDG_DATA_HOME"], data.hasPrefix("/") { return data + "/manifold" }
    if let home = environment["HOME"], home.hasPrefix("/") { return home + "/.local/share/manifold" }
    throw StoreError(.invalid, "cannot tell where to keep data: HOME is not set: set it, or MANIFOLD_ROOT, or give --root")
  }
}

/// The checks a root must pass before it is trusted with anything.
enum RootChecks {
  /// Makes the directories. Blocks.
  static func prepare(_ root: String) throws {
    try StoreError.wrapping("cannot make the store's directories", root: root) {
      try Files.makeDirectories(root, mode: HostFacts.isRoot && !HostFacts.inUserNamespace ? 0o711 : 0o700)
      // Root's own directory lets others through (the run directory, of user namespaces' containers, is beneath it), so each member keeps them out: images may be private.
      for algorithm in Digest.Algorithm.allCases { try Files.makeDirectories("\(root)/\(StoreLayout.blobs)/\(algorithm.rawValue)", mode: 0o700) }
      for name in [StoreLayout.ingest, StoreLayout.locks] { try Files.makeDirectories("\(root)/\(name)", mode: 0o700) }
    }
  }

  /// A filesystem that cannot hold the files of images (vfat, exFAT, NTFS). Asked once, when the root is made.
  private static func refuseUnfit(_ root: String) throws {
    func refuse(_ what: String, _ cause: (any Error)? = nil) -> StoreError {
      StoreError(.notWritable, "\(root) is on a filesystem that has no \(what), which images have: give --root (or MANIFOLD_ROOT) a directory on ext4, xfs, btrfs or tmpfs", path: root, cause: cause)
    }
    let scratch = try StoreError.wrapping("cannot make a directory", root: root) {
      try Files.makeDirectories(root + "/" + StoreLayout.ingest, mode: 0o700)
      return try Files.makeTemporaryDirectory(in: root + "/" + StoreLayout.ingest, prefix: "probe-")
    }
    defer { try? Files.removeTree(scratch) }
    let directory = try StoreError.wrapping("cannot open a directory", root: root) { try Directory.open(scratch) }
    do {
      try directory.openFile("File", flags: [.writeOnly, .create, .exclusive], mode: 0o600).close()
      try directory.symlink(target: "File", at: "link")
    } catch let error as HostError where error.code != .noSpace { throw refuse("symbolic links", error) }
    do { try directory.hardlink(from: "File", to: "second") } catch let error as HostError where error.code != .noSpace { throw refuse("hard links", error) }
    for mode: UInt32 in [0o4755, 0o640] {
      try? directory.setDiskMode("File", mode)
      guard (try? directory.status("File").permissions) == mode else { throw refuse("permissions") }
    }
    if (try? directory.statusIfPresent("FILE")) ?? nil != nil { throw refuse("names that differ in case alone") }
  }

  static func refuseNetwork(_ root: String, kind: FileSystemFacts.Kind) throws {
    guard kind.isNetwork else { return }
    throw StoreError(
      .networkFilesystem,
      "\(root) is on a network filesystem (\(kind.rawValue)), where locks and renames cannot be relied on: give --root (or MANIFOLD_ROOT) a directory on a local disk",
      path: root)
  }

  /// Owners in snapshots are ids of the map the root was first used with; under another map they would be other users.
  static func checkIDMap(_ root: String, users: IDMap, groups: IDMap) throws {
    let path = root + "/" + StoreLayout.marker
    let mine = text(users, groups)
    guard let recorded = Files.text(path) else {
      try refuseUnfit(root)
      try StoreError.wrapping("cannot write \(path)", root: root) { try Files.writeAtomically(Array(mine.utf8), to: path, mode: 0o644) }
      return
    }
    guard recorded != mine else { return }
    throw StoreError(
      .otherIDMap,
      "\(root) was made under another user id map (\(oneLine(recorded))) than this process has (\(oneLine(mine))\(OwnerRecords.need == .alone ? ": no user namespace, the note says why" : "")), so owners of its files would be wrong: "
        + "run as the user and with the subordinate ids it was made with, use another --root (or MANIFOLD_ROOT), or remove it",
      path: path)
  }

  private static func text(_ users: IDMap, _ groups: IDMap) -> String {
    func lines(_ kind: String, _ map: IDMap) -> String { map.ranges.map { "\(kind) \($0.inside) \($0.outside) \($0.count)\n" }.joined() }
    // Who keeps owners in records has all files be his own: no other user's, nor root's.
    if OwnerRecords.need == .alone { return "alone \(HostFacts.userID)\n" }
    return lines("uid", users) + lines("gid", groups)
  }
  private static func oneLine(_ text: String) -> String { text.split(separator: "\n").joined(separator: ", ") }
}
