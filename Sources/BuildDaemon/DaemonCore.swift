package import BuildEngine
package import BuildInterface
internal import BuildKitAPI
package import BuildKitProto
package import BuildSession
package import ContentStore
internal import EmbeddedBackend
package import GRPCCore
package import OCIModel

/// What a daemon needs of an engine.
package protocol DaemonEngine: BuildBackend, LocalEngine {
  var store: ContentStore { get }
  /// What builds leave behind.
  var records: BuildRecords { get }
  /// Where native steps run.
  var hostPlatform: Platform { get }
  /// `overlayfs` or `native`, as BuildKit names them.
  var snapshotter: String { get }
  /// The rules by which the store is kept small, as workers report them.
  var collectionRules: [CollectionNote] { get }
}

extension EmbeddedBackend: DaemonEngine {}

/// What all services of one daemon share.
package final class DaemonCore: Sendable {
  package let engine: any DaemonEngine
  package let options: DaemonOptions
  package let builds = RunningBuilds()
  package let sessions: SessionManager
  let gateway = GatewayBuilds()
  package let version: String
  package let workerID: String
  package let platforms: [Platform]
  let slots: BuildSlots
  let calls = CallCount()
  var log: DaemonLog { options.log }

  init(engine: any DaemonEngine, options: DaemonOptions, version: String, workerID: String, platforms: [Platform]) {
    self.engine = engine
    self.options = options
    self.version = version
    self.workerID = workerID
    self.platforms = platforms
    slots = BuildSlots(options.maxBuilds)
    var limits = SessionManager.Limits()
    limits.sessions = options.maxSessions
    sessions = SessionManager(limits: limits)
  }

  /// Everything that is served on each of the daemon's addresses. A part of the daemon adds its services here.
  func services() -> [any RegistrableRPCService] {
    [ControlService(self), GatewayService(gateway), ContentService(engine.records), HealthService(self)]
  }
}

extension DaemonCore {
  /// Runs `body` so that the end of the call, the client's going away or the daemon's end cancels it, and turns what it throws into what a client is told.
  static func answering<T: Sendable>(_ body: @Sendable @escaping () async throws -> T) async throws -> T {
    let task = Task { try await body() }
    do {
      return try await withTaskCancellationHandler {
        try await withRPCCancellationHandler {
          try await task.value
        } onCancelRPC: {
          task.cancel()
        }
      } onCancel: {
        task.cancel()
      }
    } catch {
      throw WireErrors.rpcError(error)
    }
  }
}
