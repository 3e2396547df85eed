internal import BuildKitAPI
package import GRPCCore
internal import Synchronization

/// How many calls are being answered, without those that last as long as their client likes.
final class CallCount: Sendable {
  private struct State {
    var running = 0
    var idle: [AsyncStream<Void>.Continuation] = []
  }
  private let state = Mutex(State())

  func begin() { state.withLock { $0.running += 1 } }
  func end() {
    let idle = state.withLock { state in
      state.running -= 1
      return Self.takeIdle(&state)
    }
    for one in idle { one.finish() }
  }

  /// Waits until none is being answered, or the task is cancelled.
  func waitUntilIdle() async {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
    let now = state.withLock { state in
      state.idle.append(continuation)
      return Self.takeIdle(&state)
    }
    for one in now { one.finish() }
    for await _ in stream {}
  }

  private static func takeIdle(_ state: inout State) -> [AsyncStream<Void>.Continuation] {
    if state.running > 0 { return [] }
    defer { state.idle = [] }
    return state.idle
  }
}

/// Says which calls fail, and counts those that the daemon's end waits for.
struct CallLog: ServerInterceptor {
  let core: DaemonCore
  private static let endless: Set<String> = ["Session", "Watch", "ListenBuildHistory"]

  func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingServerRequest<Input>, context: ServerContext,
    next: @Sendable (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<Output>
  ) async throws -> StreamingServerResponse<Output> {
    let name = context.descriptor.fullyQualifiedMethod
    let core = core
    let counts = !Self.endless.contains(context.descriptor.method)
    core.log.debug("call \(name) from \(context.remotePeer)")
    if counts { core.calls.begin() }
    do {
      var response = try await next(request, context)
      switch response.accepted {
      case .failure(let error):
        if counts { core.calls.end() }
        Self.tell(core, name, error)
      case .success(var contents):
        let producer = contents.producer
        contents.producer = { writer in
          defer { if counts { core.calls.end() } }
          do { return try await producer(writer) } catch {
            Self.tell(core, name, error)
            throw error
          }
        }
        response.accepted = .success(contents)
      }
      return response
    } catch {
      if counts { core.calls.end() }
      Self.tell(core, name, error)
      throw error
    }
  }

  private static func tell(_ core: DaemonCore, _ name: String, _ error: any Error) {
    let error = error as? RPCError ?? WireErrors.rpcError(error)
    // That a client goes away, or asks for what is not there, is nothing that is wrong here.
    if error.code == .cancelled || error.code == .unimplemented { return core.log.debug("\(name): \(error.message)") }
    core.log.error("\(name): \(error.message)")
  }
}
