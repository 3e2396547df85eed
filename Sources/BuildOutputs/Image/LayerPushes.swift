internal import BuildProgress
internal import BuildSnapshots
internal import OCIModel
internal import OCIRegistry
internal import Synchronization

/// The layers of one export on their way into registries. Each goes into a repository once, whether it was sent while others were still being made or is
/// asked for when the image is pushed.
final class LayerPushes: Sendable {
  private struct Key: Hashable, Sendable {
    var digest: Digest
    var repository: Reference
  }
  private let one: LayerPush
  private let underWay = SharedWork<Key, Void, Never>()
  private let arrived = Mutex<Set<Key>>([])

  init(_ one: LayerPush) { self.one = one }

  func push(_ layer: ImageLayer, to repository: Reference) async throws {
    let key = Key(digest: layer.descriptor.digest, repository: repository)
    while !arrived.withLock({ $0.contains(key) }) {
      let outcome = try await underWay.run(key, observer: { _ in }) { [one] _ in try await one.push(layer, to: repository) }
      // Another's failure may have been its cancellation.
      if case .joinedFailure = outcome { continue }
      arrived.withLock { _ = $0.insert(key) }
    }
  }

  /// Runs `body` and meanwhile sends to `repository` what it says was made. That is only help: a layer that could not be sent is asked for again when the image
  /// is pushed, and its failure told then. What `body` has not waited for at its end is given up.
  func sending<T: Sendable>(to repository: Reference?, _ body: (_ made: @escaping @Sendable (LayerBlob) -> Void) async throws -> T) async throws -> T {
    guard let repository else { return try await body { _ in } }
    let (offers, offer) = AsyncStream.makeStream(of: LayerBlob.self)
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        await withDiscardingTaskGroup { pushes in
          for await blob in offers {
            pushes.addTask { try? await self.push(ImageLayer(descriptor: blob.descriptor, diffID: blob.diffID, description: ""), to: repository) }
          }
        }
      }
      defer {
        offer.finish()
        group.cancelAll()
      }
      return try await body { offer.yield($0) }
    }
  }
}
