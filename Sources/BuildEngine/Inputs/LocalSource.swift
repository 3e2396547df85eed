internal import BuildSnapshots
internal import HostOS
internal import OCIModel
internal import Synchronization

/// A client's directory as one build sees it: walked once, hashed as far as asked, copied into a snapshot only when a step
/// mounts it.
final class LocalSource: Sendable {
  let id: String
  let tree: LocalTree
  let hash: ContentHash
  private let snapshot = SingleFlight<ImmutableRef>()
  /// By which the build knows it: `context` is the main one.
  let name: String
  /// Layers that copies from here made, for other trees that get the same one.
  let layers = KeyedFlights()
  private let kept = Mutex<[ImmutableRef]>([])

  private let ended: @Sendable () async -> Void

  /// `ended` runs when nobody reads the directory any more.
  init(id: String, name: String, tree: LocalTree, ended: @escaping @Sendable () async -> Void = {}) {
    self.id = id
    self.ended = ended
    self.name = name
    self.tree = tree
    hash = ContentHash(tree)
  }

  /// A snapshot with the same files, made at first use; lives as long as this.
  func materialized(in refs: RefStore) async throws -> ImmutableRef {
    try await snapshot.value {
      let mutable = try await refs.newMutable(parent: nil, description: "local source \(self.name)", recordType: .localSource)
      do {
        try await mutable.withMounted { target in
          try self.copyAll(to: target)
        }
        return try await mutable.commit()
      } catch {
        await mutable.discard()
        throw error
      }
    }
  }

  /// Takes a handle over until `close`.
  func keep(_ ref: ImmutableRef) { kept.withLock { $0.append(ref) } }

  /// Gives back what was made.
  func close() async {
    for ref in kept.withLock({ kept in
      defer { kept = [] }
      return kept
    }) { await ref.release() }
    if let ref = await snapshot.ifReady() { await ref.release() }
    await ended()
  }

  private func copyAll(to target: Directory) throws {
    var options = CopyOptions()
    options.copyDirectoryContents = true
    var copy = try TreeCopy(from: tree, to: target, options: options, expected: { self.hash.knownDigest($0) })
    try copy.copy("/", to: "/")
  }
}
