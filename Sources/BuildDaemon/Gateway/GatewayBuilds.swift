package import BuildInterface
internal import BuildKitProto
internal import Synchronization

/// The builds whose frontend is a function of the client, by their ids: what a client asks over its connection finds its build here.
package final class GatewayBuilds: Sendable {
  /// A call may come before the build that it is of.
  static let wait = Duration.seconds(10)
  private struct State {
    var builds: [String: BridgeBuild] = [:]
    var waiting: [String: [Int: CheckedContinuation<BridgeBuild?, Never>]] = [:]
    var next = 0
  }
  private let state = Mutex(State())

  package init() {}

  /// A frontend that is what the client asks and at last returns over LLBBridge for the build of this id (`SolveRequest.ownFrontend`).
  package func frontend(build id: String) -> any Frontend { ClientFunction(id: id, builds: self) }

  func register(_ build: BridgeBuild, as id: String) throws {
    let waiting = try state.withLock { state in
      guard state.builds[id] == nil else { throw BuildError(.failedPrecondition, .usage, "a build of the id \(id) is running already") }
      state.builds[id] = build
      return state.waiting.removeValue(forKey: id) ?? [:]
    }
    for waiter in waiting.values { waiter.resume(returning: build) }
  }

  func remove(_ id: String) { _ = state.withLock { $0.builds.removeValue(forKey: id) } }

  /// Waits for it to be there, for a while.
  func build(_ id: String) async throws -> BridgeBuild {
    if let build = state.withLock({ $0.builds[id] }) { return build }
    let number = state.withLock { state in
      state.next += 1
      return state.next
    }
    let timer = Task { [weak self] in
      try? await Task.sleep(for: Self.wait)
      self?.giveUp(id, number)
    }
    defer { timer.cancel() }
    let found = await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<BridgeBuild?, Never>) in
        let now: (done: Bool, build: BridgeBuild?) = state.withLock { state in
          if let build = state.builds[id] { return (true, build) }
          if Task.isCancelled { return (true, nil) }
          state.waiting[id, default: [:]][number] = continuation
          return (false, nil)
        }
        if now.done { continuation.resume(returning: now.build) }
      }
    } onCancel: {
      giveUp(id, number)
    }
    guard let found else { throw BuildError(.notFound, .usage, "unknown job \(id)", suggestion: "the build has ended, or was never begun on this daemon") }
    return found
  }

  private func giveUp(_ id: String, _ number: Int) {
    let waiter = state.withLock { state in
      let waiter = state.waiting[id]?.removeValue(forKey: number)
      if state.waiting[id]?.isEmpty == true { state.waiting[id] = nil }
      return waiter
    }
    waiter?.resume(returning: nil)
  }
}

/// A client's function as a frontend: it works elsewhere, and asks.
private struct ClientFunction: Frontend {
  let id: String
  let builds: GatewayBuilds

  func build(_ gateway: any FrontendGateway) async throws -> FrontendResult {
    let bridge = BridgeBuild(gateway: gateway)
    try builds.register(bridge, as: id)
    let outcome: Result<FrontendResult, any Error>
    do { outcome = .success(try FrontendResult(try await bridge.returned(), platform: gateway.environment.buildPlatform)) } catch { outcome = .failure(error) }
    builds.remove(id)
    await bridge.close()
    return try outcome.get()
  }
}
