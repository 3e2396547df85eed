internal import BuildInterface
internal import BuildSnapshots
internal import HostOS
internal import OCIModel

/// A client's directory behind a connection: the files that a build needs are brought up to date in a directory of ours (BuildKit's source/local), which is then read in place.
struct RemoteSource: Sendable {
  /// By which the client knows it.
  var name: String
  var directory: any RemoteDirectory
  var filter: DirectoryFilter
  var hint: String
  var comparesNothing: Bool
  var metadataOnlyExcept: [String]?
  let services: EngineServices

  /// Files of the same name, size and times are the same only where they were written twenty milliseconds apart: more than a tick of any clock that stamps files.
  private static let tick: Int64 = 20_000_000

  /// Whoever opens it calls `close`.
  func open(id: String, progress: @escaping @Sendable (Int64) -> Void) async throws -> LocalSource {
    // Clients that say nothing of where their files are may have others by the same names: nothing is kept of theirs.
    let isKept = !directory.sharedKey.isEmpty
    let key = [name, hint, isKept ? directory.sharedKey : "once \(id)", metadataOnlyExcept == nil ? "" : "metadata"].joined(separator: ":")
    let synced = try await services.refs.syncedDirectory(key: Digest.sha256(of: key).hex, name: name)
    do {
      let hashes = try await waited(synced)
      let root = try await Blocking.run { try Directory.open(synced.path) }
      var update = DirectoryUpdate(directory: root.descriptor.raw, filter: filter, hash: Self.hash, progress: progress)
      update.comparesNothing = comparesNothing
      update.metadataOnlyExcept = metadataOnlyExcept
      let result = try await directory.update(update)
      let tree = try await Blocking.run {
        // The update borrowed its descriptor until now.
        let tree = try LocalTree(root, filter: LocalFilter(), rememberedHashes: hashes, keepsOwners: true)
        var received: [ExactPath: Digest] = [:]
        received.reserveCapacity(result.received.count)
        for file in result.received { received[ExactPath(PathText.decode(file.path))] = file.digest }
        try hashes.renew(tree, received: received)
        return tree
      }
      return LocalSource(id: id, name: name, tree: tree) { if isKept { synced.release() } else { await synced.discard() } }
    } catch {
      if isKept { synced.release() } else { await synced.discard() }
      throw error
    }
  }

  /// What is known from before.
  private func waited(_ synced: SyncedDirectory) async throws -> SyncedHashes {
    let (path, notes) = (synced.path, synced.notes)
    let since = try await Blocking.run { HostClock.now - max((try? Files.status(notes).mtime) ?? 0, try Files.status(path).ctime) }
    if since < Self.tick { try await Task.sleep(nanoseconds: UInt64(Self.tick - max(0, since))) }
    return try await Blocking.run { SyncedHashes(path: notes) }
  }

  /// As BuildKit hashes what it is sent.
  @Sendable private static func hash(_ entry: FileEntry) -> DigestHasher {
    var unix: UInt32 = 0o100000 | entry.mode & 0o777
    if entry.mode & 1 << 23 != 0 { unix |= 0o4000 }
    if entry.mode & 1 << 22 != 0 { unix |= 0o2000 }
    if entry.mode & 1 << 20 != 0 { unix |= 0o1000 }
    var status = FileStatus(mode: unix, links: 1)
    (status.uid, status.gid, status.size) = (entry.uid, entry.gid, entry.size)
    var hasher = DigestHasher()
    FileHash.header(status, linkTarget: "", xattrs: entry.attributes.map { (name: PathText.decode($0.name), value: $0.value) }, deviceNumbersCount: true, into: &hasher)
    return hasher
  }
}
