/// What must be mounted to see a tree: given by a snapshot, carried out by whichever process needs it. Paths are the host's, absolute.
package enum MountPlan: Sendable, Hashable, Codable {
  case bind(path: String, readOnly: Bool)
  /// `lowers`: the topmost first. Without `upper` it is read-only. `userXattr`: marks are in user.overlay.* (in a user namespace).
  /// `volatile`: fsync inside does nothing, which a tree that is not trusted before its commit does not need.
  case overlay(lowers: [String], upper: String?, work: String?, userXattr: Bool, volatile: Bool = false)
  /// nil: the kernel's default size.
  case tmpfs(size: UInt64?)

  /// The same without the right to write.
  package var readOnly: MountPlan {
    switch self {
    case .bind(let path, _): .bind(path: path, readOnly: true)
    case .overlay(let lowers, let upper?, _, let userXattr, _): .overlay(lowers: [upper] + lowers, upper: nil, work: nil, userXattr: userXattr)
    case .overlay, .tmpfs: self
    }
  }
}
