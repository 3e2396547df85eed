package import HostOS
package import OCIModel

/// Writes what changed in a tree as an OCI layer: the entries, their order and their bytes are those that BuildKit (containerd's ChangeWriter, its walking differ and
/// BuildKit's overlay differ) writes for the same tree, so that the same step has the same diff ID here and there.
///
/// - Entries come in the order of their paths, component by component; before a changed entry come those parents that were not written yet, changed or not.
/// - A deletion is an empty file `.wh.NAME` of 1970. An opaque directory becomes the whiteouts of what it hides (`.wh..wh..opq` is written only when the
///   layers below cannot be looked at).
/// - What an overlay copied up and nobody changed is left out: same type, mode, owner, device and attributes, and for other than directories the same size and time
///   (and content, when neither time has a fraction: unpacking a layer cuts it off).
/// - Hard links within the layer stay such; sockets are left out.
/// - Modification times are cut to seconds.
///
/// Blocks; call through Blocking.run. Memory grows with the number of hard-linked files and of directories, not with the content.
package struct LayerDiffer: Sendable {
  package enum Attributes: Sendable {
    /// `security.capability` alone, as containerd.
    case capabilities
    /// And `user.*` (but not overlay's own). The default: a tree without user attributes gives the same bytes either way.
    case userToo
  }
  package enum Times: Sendable {
    case seconds
    /// To the nanosecond, in a pax record. The layers are then not those of other builders.
    case nanoseconds
  }

  package var attributes: Attributes
  package var times: Times
  /// No entry has a later modification time (SOURCE_DATE_EPOCH); whiteouts are of 1970.
  package var latest: Timestamp?

  package init(attributes: Attributes = .userToo, times: Times = .seconds, latest: Timestamp? = nil) {
    (self.attributes, self.times, self.latest) = (attributes, times, latest)
  }

  package enum Below: Sendable {
    /// This is the bottommost layer.
    case nothing
    /// The merged view of the layers below.
    case view(Directory)
    /// There are layers below and they cannot be looked at: whiteouts and opaque directories are written as they are, and nothing is taken for unchanged.
    case unseen
  }

  /// The layer that an overlay's upper directory is.
  /// An upper directory made with redirect_dir or metacopy is refused (`unrepresentable`): we never mount so.
  package func overlayDiff(upper: Directory, lower: Below, into tar: TarWriter, isCancelled: @escaping () -> Bool = { false }) throws {
    var below: OpenFile?
    var seen = true
    switch lower {
    case .nothing: break
    case .view(let directory): below = try DiffWalk.reopen(directory)
    case .unseen: seen = false
    }
    let walk = try DiffWalk(self, new: upper, knowsLower: seen, tar, isCancelled)
    try walk.overlay(upper: walk.root, lower: below, path: ByteString(), depth: 0)
  }

  /// The layer that leads from the tree `old` (nil: nothing) to the tree `new`.
  package func treeDiff(old: Directory?, new: Directory, into tar: TarWriter, isCancelled: @escaping () -> Bool = { false }) throws {
    let walk = try DiffWalk(self, new: new, tar, isCancelled)
    let before = try old.map { try DiffWalk.reopen($0) }
    try walk.trees(old: before, new: walk.root, path: ByteString(), depth: 0, hidesWhiteouts: false)
  }
}
