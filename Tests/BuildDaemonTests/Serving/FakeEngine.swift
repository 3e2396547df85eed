import BuildDaemon
import BuildEngine
import BuildInterface
import BuildProgress
import ContentStore
import OCIModel
import Synchronization

/// An engine whose builds are what a test says.
final class FakeEngine: DaemonEngine {
  typealias Body = @Sendable (SolveRequest, any ClientServices, any ProgressSink) async throws -> SolveResponse
  let store: ContentStore
  let records: BuildRecords
  let body: Body
  let requests = Mutex<[SolveRequest]>([])
  init(root: String, _ body: @escaping Body = { _, _, _ in SolveResponse() }) async throws {
    store = try await ContentStore.open(root: root, migrations: [BuildRecords.migration])
    records = BuildRecords(store: store)
    self.body = body
  }
  var hostPlatform: Platform { Platform(os: "linux", architecture: "amd64") }
  var snapshotter: String { "overlayfs" }
  var collectionRules: [CollectionNote] { [CollectionNote(all: true, filters: ["type==regular"], keepDuration: 5, limits: SpaceLimits(reserved: 1, maxUsed: 2, minFree: 3))] }

  func solve(_ request: SolveRequest, client: any ClientServices, progress: any ProgressSink) async throws -> SolveResponse {
    requests.withLock { $0.append(request) }
    return try await body(request, client, progress)
  }
  func platformSupport(for platforms: [Platform]) async -> [PlatformSupport] {
    platforms.map { platform in
      PlatformSupport(platform: platform, kind: platform.architecture == "amd64" ? .native : platform.architecture == "arm64" ? .emulated(by: "QEMU") : .impossible(reason: "no"))
    }
  }
  func images() async throws -> [BuildInterface.LocalImage] { [] }
  func run(_ request: RunRequest) async throws -> Int32 { 0 }
  func removeImage(_ reference: Reference) async throws -> Bool { false }
  static let records = [UsageRecord(id: "one", parents: ["zero"], size: 10, description: "d"), UsageRecord(id: "two", type: "exec.cachemount", lastUsed: Timestamp(seconds: 9), mutable: true, size: 20)]
  func diskUsage() async throws -> [UsageRecord] { Self.records }
  func prune(_ request: PruneRequest, removed: @escaping @Sendable (UsageRecord) -> Void) async throws -> [UsageRecord] {
    let gone = Self.records.filter(request.filter.matches)
    gone.forEach(removed)
    return gone
  }
  func verifyStore(repair: Bool) async throws -> StoreReport { StoreReport() }
}
