internal import HostOS
internal import Synchronization

/// The directories beneath a root that were asked for last, held open: walks ask about one entry after another of the same few, and one
/// call with a name costs less than one that resolves a path.
final class FolderCache: Sendable {
  private static let size = 4
  private struct Slots {
    var held: [(path: String, directory: Directory)] = []
    var next = 0
  }
  private let root: Directory
  private let follow: Follow
  private let slots = Mutex(Slots())

  init(_ root: Directory, follow: Follow) { (self.root, self.follow) = (root, follow) }

  /// The directory at a path from the root, "" being the root itself.
  func folder(_ path: String) throws -> Directory {
    if path.isEmpty { return root }
    if let found = slots.withLock({ $0.held.first { $0.path.utf8.elementsEqual(path.utf8) }?.directory }) { return found }
    let directory = try root.openDirectory(path, follow: follow)
    slots.withLock { slots in
      if slots.held.count < Self.size { slots.held.append((path, directory)) } else { slots.held[slots.next] = (path, directory) }
      slots.next = (slots.next + 1) % Self.size
    }
    return directory
  }

  /// The directory that something is in, and its name there.
  func place(_ path: String) throws -> (directory: Directory, name: String) {
    path.isEmpty ? (root, ".") : (try folder(TreePaths.parent(path)), TreePaths.name(path))
  }

  /// Directories were removed or renamed.
  func forget() { slots.withLock { $0 = Slots() } }
}
