package import OCIModel
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A registry in this process, on a free loopback port, with faults to order and a log of what it was asked. One thread.
package final class TestRegistry: Sendable {
  let state: Mutex<TestRegistryState>
  private let group: MultiThreadedEventLoopGroup
  private let channel: any Channel
  private let connections = Mutex(0)

  /// `127.0.0.1:port`, as references name it.
  package let host: String

  package static func start(_ options: TestRegistryOptions = TestRegistryOptions()) async throws -> TestRegistry {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let holder = Holder()
    let channel = try await ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 256)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false, withErrorHandling: false).flatMapThrowing {
          try channel.pipeline.syncOperations.addHandler(TestRegistryHandler(holder))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let registry = TestRegistry(options, group, channel)
    holder.registry.withLock { $0 = registry }
    return registry
  }

  /// Runs `body` with a registry, which is stopped afterwards.
  package static func run<T>(_ options: TestRegistryOptions = TestRegistryOptions(), _ body: (TestRegistry) async throws -> T) async throws -> T {
    let registry = try await start(options)
    do {
      let result = try await body(registry)
      await registry.stop()
      return result
    } catch {
      await registry.stop()
      throw error
    }
  }

  private init(_ options: TestRegistryOptions, _ group: MultiThreadedEventLoopGroup, _ channel: any Channel) {
    self.group = group
    self.channel = channel
    host = "127.0.0.1:\(channel.localAddress?.port ?? 0)"
    var state = TestRegistryState(options)
    state.host = host
    self.state = Mutex(state)
  }

  package func stop() async {
    try? await channel.close()
    try? await group.shutdownGracefully()
  }

  func schedule(afterSeconds seconds: Int64, _ body: @escaping @Sendable () -> Void) { group.next().scheduleTask(in: .seconds(seconds), body) }

  final class Holder: Sendable { let registry = Mutex<TestRegistry?>(nil) }

  func nextConnection() -> Int {
    connections.withLock { count in
      count += 1
      return count
    }
  }

  // MARK: For tests

  /// `host/name`, ready to be parsed as a reference.
  package func reference(_ name: String) throws -> Reference { try Reference(parsing: host + "/" + name) }
  package func inject(_ fault: TestFault) { state.withLock { $0.faults.append(fault) } }
  package func clearFaults() { state.withLock { $0.faults = [] } }
  package func set(_ change: @Sendable (inout TestRegistryOptions) -> Void) { state.withLock { change(&$0.options) } }
  /// Moves the registry's clock, to let tokens expire.
  package func advance(seconds: Int64) { state.withLock { $0.now += seconds } }
  package var requests: [TestRequest] { state.withLock { $0.log } }
  package func clearRequests() { state.withLock { $0.log = [] } }
  package var connectionCount: Int { connections.withLock { $0 } }
  package var openUploads: Int { state.withLock { $0.uploads.count } }

  /// All that the repository's tags reach is there: manifests, configs, layers. What is missing, else nil.
  package func missing(of tag: String, in repository: String) -> String? { state.withLock { $0.missingBelow(tag, in: repository) } }
  package func addBlob(_ bytes: [UInt8], to repository: String) { state.withLock { $0.repositories[repository, default: .init()].blobs[Digest.sha256(of: bytes)] = bytes } }
  /// Puts `bytes` under the digest of something else.
  package func addBlob(_ bytes: [UInt8], as digest: Digest, to repository: String) { state.withLock { $0.repositories[repository, default: .init()].blobs[digest] = bytes } }
  package func addRedirected(_ bytes: [UInt8]) { state.withLock { $0.cdn[Digest.sha256(of: bytes)] = bytes } }
  package func addManifest(_ bytes: [UInt8], type: String, tag: String? = nil, to repository: String) {
    let digest = Digest.sha256(of: bytes)
    state.withLock { state in
      state.repositories[repository, default: .init()].manifests[digest] = (type, bytes)
      if let tag { state.repositories[repository]?.tags[tag] = digest }
    }
  }
  package func add(_ image: RandomImage, to repository: String, tag: String? = nil) {
    for blob in image.blobs { addBlob(blob.bytes, to: repository) }
    for manifest in image.manifests { addManifest(manifest.bytes, type: manifest.descriptor.mediaType.rawValue, tag: manifest.descriptor.digest == image.root.digest ? tag : nil, to: repository) }
  }
  package func blob(_ digest: Digest, in repository: String) -> [UInt8]? { state.withLock { $0.repositories[repository]?.blobs[digest] } }
  package func manifest(_ name: String, in repository: String) -> [UInt8]? {
    state.withLock { state in
      guard let repository = state.repositories[repository], let digest = Digest(name) ?? repository.tags[name] else { return nil }
      return repository.manifests[digest]?.bytes
    }
  }
}
