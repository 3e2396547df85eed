package import HostOS
package import OCIModel

/// Applies one layer, a tar stream in any compression, to a directory.
///
/// What the archive says is a stranger's word: every path is resolved beneath the root's descriptor (absolute paths and ".." stay inside, links on the way lead
/// where they would after chroot), hard links reach nothing outside, and an entry that asks for the impossible is an error with its name. Where the OCI text leaves
/// room it does as containerd does: the root's own entry and pax global headers mean nothing, an entry replaces what has its name unless both are
/// directories, `trusted.*` attributes are never set. A whiteout hides the layers below and never what its own layer has (image-spec, layer.md).
///
/// Memory grows with the number of directories (their times are set when all is written, and in plain form the paths are remembered for opaque
/// whiteouts), not with the bytes. Blocks; call through Blocking.run. After an error the directory holds a part of the layer: throw it away.
package struct LayerApplier: Sendable {
  package enum Form: Sendable {
    /// The directory is an overlay's upper layer, empty before: deletions are character devices 0:0, opaque directories carry trusted.overlay.opaque
    /// (or user.overlay.opaque for an overlay mounted with `userxattr`).
    case overlay(userXattr: Bool, lower: LowerView)
    /// The directory is a copy of all the layers below: deletions delete.
    case plain
    /// The archive is no layer but somebody's tar (`ADD x.tar /`): a name that begins with `.wh.` is a name.
    case archive
  }
  package enum Ownership: Sendable {
    /// As the archive says. An id that the user namespace has not is an error (`unmappedOwner`).
    case preserve
    /// All files belong to whoever runs this.
    case ignore
    /// All files belong to one owner.
    case fixed(uid: UInt32, gid: UInt32)
  }

  package var form: Form
  /// The layer is of a Windows image: of what the archive holds `Files` is the root, the rest is left out (`WindowsLayer`).
  package var isWindows: Bool
  package var ownership: Ownership
  package var tarLimits: TarLimits
  package var decompressionLimits: DecompressionLimits
  /// Entries of the archive. Default: 20 million.
  package var maximumEntries: Int
  /// Decompress and hash on a thread of its own, while this one writes files. Default: true.
  package var readsAhead: Bool

  package init(
    form: Form, isWindows: Bool = false, ownership: Ownership = .preserve, tarLimits: TarLimits = .default, decompressionLimits: DecompressionLimits = .default,
    maximumEntries: Int = 20_000_000, readsAhead: Bool = true
  ) {
    (self.form, self.isWindows, self.ownership, self.tarLimits, self.decompressionLimits) = (form, isWindows, ownership, tarLimits, decompressionLimits)
    (self.maximumEntries, self.readsAhead) = (maximumEntries, readsAhead)
  }

  /// `isCancelled` is asked now and then; true ends with CancellationError.
  package func apply(_ source: any ByteSource, to root: Directory, isCancelled: () -> Bool = { false }) throws -> ApplyResult {
    let plain = try DetectingSource(source, limits: decompressionLimits)
    let hashing = HashingSource(plain)
    let reader = TarReader(readsAhead ? ReadAheadSource(hashing) : hashing, limits: tarLimits, globalHeaders: .ignore)
    let session = try ApplySession(self, root)
    var windows = isWindows ? WindowsLayerReader() : nil
    while var entry = try reader.next() {
      if isCancelled() { throw CancellationError() }
      session.result.entries += 1
      if session.result.entries > maximumEntries { throw LayerArchiveError(.limit, "the layer has more than \(maximumEntries) entries") }
      if windows?.unwrap(&entry) == false { continue }
      try session.apply(entry, reader, isCancelled)
    }
    try reader.drain()
    try session.finish()
    session.result.diffID = hashing.digest
    session.result.size = hashing.size
    session.result.compression = plain.compression
    return session.result
  }

  /// Gives the parents that a layer applied with `LowerView.later` had to make up the metadata that they have in the layers below. Throws `needsLowerView` when one
  /// of them is no directory there: then the layer must be applied again, with the view.
  package func reconcile(_ implicitParents: [ByteString], in root: Directory, lower: Directory) throws {
    guard case .overlay(let userXattr, _) = form else { return }
    var seeing = self
    seeing.form = .overlay(userXattr: userXattr, lower: .view(lower))
    let session = try ApplySession(seeing, root)
    for path in implicitParents.sorted() where !path.isEmpty { try session.reconcile(path) }
    try session.finish()
  }
}

package struct ApplyResult: Sendable {
  /// Of the uncompressed stream, to its last byte.
  package var diffID: Digest = .sha256(of: [UInt8]())
  /// Bytes of the uncompressed stream.
  package var size: Int64 = 0
  package var compression: Compression = .none
  package var entries = 0
  /// Bytes of files' contents.
  package var contentBytes: Int64 = 0
  /// Files' sizes together, holes included.
  package var fileBytes: Int64 = 0
  /// Device nodes that the system did not let us make (no privilege on the host); nothing is in their place. containerd does the same in a user namespace. The first 100.
  package var skippedDevices: [ByteString] = []
  package var skippedDeviceCount = 0
  /// Extended attributes that were left out: `trusted.*` and overlay's own always, others where the filesystem or the kernel does not take them. The first 100.
  package var skippedXattrs: [SkippedXattr] = []
  package var skippedXattrCount = 0
  /// With `LowerView.later`: directories made because entries lie in them, with defaults. The root counts, as an empty path.
  package var implicitParents: [ByteString] = []

  package struct SkippedXattr: Sendable, Hashable {
    package var path: ByteString
    package var name: String
  }
}
