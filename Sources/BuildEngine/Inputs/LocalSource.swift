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
  private let name: String

  init(id: String, name: String, tree: LocalTree) {
    self.id = id
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

  /// Gives the snapshot back, if one was made.
  func close() async {
    if let ref = await snapshot.ifReady() { await ref.release() }
  }

  private func copyAll(to target: Directory) throws {
    var options = CopyOptions()
    options.copyDirectoryContents = true
    var copy = try TreeCopy(from: tree, to: target, options: options, expected: { self.hash.knownDigest($0) })
    try copy.copy("/", to: "/")
  }
}

/// A value computed once for all who ask. A failure is told to those who waited and tried again by the next.
final class SingleFlight<Value: Sendable>: Sendable {
  private let state = Mutex<Task<Value, any Error>?>(nil)

  func value(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let task = state.withLock { running in
      if let running { return running }
      let task = Task { try await body() }
      running = task
      return task
    }
    do {
      return try await task.value
    } catch {
      state.withLock { if $0 == task { $0 = nil } }
      throw error
    }
  }
  /// The value if it was computed.
  func ifReady() async -> Value? {
    guard let task = state.withLock({ $0 }) else { return nil }
    return try? await task.value
  }
}
