internal import BuildInterface
internal import BuildKitProto
internal import OCIModel
internal import Synchronization

/// What a build asks about its sources: each once, however many platforms and stages want to know. Whoever made it calls `cancel` at the end, so that nothing is
/// asked that nobody waits for.
final class SourceLookups: Sendable {
  private struct ImageKey: Hashable {
    var reference: Reference
    var platform: Platform
    var mode: BuildInterface.ImageResolveMode
    var logName: String
    var layout: String?
  }
  private let gateway: any FrontendGateway
  private let images = Lookups<ImageKey, ResolvedImage>()
  private let times = Lookups<Digest, Timestamp?>()

  init(_ gateway: any FrontendGateway) { self.gateway = gateway }

  func image(_ reference: Reference, _ options: ImageResolveOptions) async throws -> ResolvedImage {
    let key = ImageKey(reference: reference, platform: options.platform, mode: options.mode, logName: options.logName, layout: options.layout)
    return try await images.value(key) { [gateway] in try await gateway.resolveImage(reference, options: options) }
  }

  /// The time of a source whose vertex is `head`; nil for what has none.
  func time(of source: Pb_SourceOp, head: Digest, logName: String) async throws -> Timestamp? {
    try await times.value(head) { [gateway] in try await gateway.time(of: source, logName: logName) }
  }

  /// Stops what is under way.
  func cancel() {
    images.cancel()
    times.cancel()
  }
}

/// Answers by key. One who stops waiting does not stop the others' question; `cancel` stops all.
private final class Lookups<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private let tasks = Mutex<[Key: Task<Value, any Error>]>([:])

  func value(_ key: Key, _ ask: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let task = tasks.withLock { tasks in
      if let asked = tasks[key] { return asked }
      let new = Task { try await ask() }
      tasks[key] = new
      return new
    }
    return try await task.value
  }

  func cancel() { tasks.withLock { for task in $0.values { task.cancel() } } }
}
