package import GRPCCore
package import GRPCNIOTransportHTTP2Posix
internal import NIOCore
internal import Synchronization

/// An open session: what a client offers, reached through the connection that it made. `SessionManager` makes them.
package final class ClientSession: Sendable {
  package typealias Transport = HTTP2ClientTransport.WrappedChannel
  package typealias RPCClient = GRPCClient<Transport>

  package let id: String
  package let name: String
  /// What stands for the client's directories: two sessions with one key have the same ones. Empty when the client says nothing.
  package let sharedKey: String
  /// Calls to the client; messages of 16 MiB both ways. Calls fail when the session ends. Use it as the generated stubs want it:
  /// `Moby_Buildkit_Secrets_V1_Secrets.Client(wrapping: session.client)`; `translated` makes errors typed.
  package let client: GRPCClient<Transport>
  private let methods: Set<String>

  private struct State {
    var reason: SessionError?
    var watchers: [Int: @Sendable (SessionError) -> Void] = [:]
    var next = 0
    var tasks: [Int: Task<Void, Never>] = [:]
  }
  private let state = Mutex(State())
  private let channel: TunnelChannel

  init(headers: SessionHeaders.Values, client: GRPCClient<Transport>, channel: TunnelChannel) {
    id = headers.id
    name = headers.name
    sharedKey = headers.sharedKey
    methods = headers.methods
    self.client = client
    self.channel = channel
  }

  /// Whether the client said that it serves a method, named `/package.Service/Method`; case does not matter.
  package func supports(_ method: String) -> Bool { methods.contains(method.lowercased()) }
  package func supports(_ method: MethodDescriptor) -> Bool { supports("/" + method.fullyQualifiedMethod) }

  /// Why it ended; nil while it is open.
  package var endedBecause: SessionError? { state.withLock { $0.reason } }
  package var isOpen: Bool { endedBecause == nil }

  /// Ends it: calls that are under way fail at once, and the client's stream ends. The first reason stays.
  package func end(_ reason: SessionError) {
    let ended = state.withLock { state -> State in
      let before = state
      state.reason = state.reason ?? reason
      state.watchers = [:]
      return before
    }
    guard ended.reason == nil else { return }
    for watcher in ended.watchers.values { watcher(reason) }
    for task in ended.tasks.values { task.cancel() }
    channel.close(promise: nil)
  }

  /// Calls `body` when the session ends, or now when it has. `forget` with the answer when that is of no more interest.
  package func onEnd(_ body: @escaping @Sendable (SessionError) -> Void) -> Int {
    var ended: SessionError?
    let number = state.withLock { state in
      ended = state.reason
      state.next += 1
      if ended == nil { state.watchers[state.next] = body }
      return state.next
    }
    if let ended { body(ended) }
    return number
  }
  package func forget(_ number: Int) { state.withLock { _ = $0.watchers.removeValue(forKey: number) } }

  /// Work for the client that nobody waits for, such as a connection of a step to its agent: cancelled when the session ends.
  package func keep(_ body: @escaping @Sendable () async -> Void) {
    let number = state.withLock { state in
      state.next += 1
      return state.next
    }
    let task = Task {
      await body()
      self.state.withLock { _ = $0.tasks.removeValue(forKey: -number) ?? $0.tasks.removeValue(forKey: number) }
    }
    let ended = state.withLock { state in
      state.tasks[number] = task
      return state.reason != nil
    }
    if ended { task.cancel() }
  }

  /// Runs calls to the client. When the session ends they are cancelled and this throws why; a client's error is `refused` with the client's words, a method that it
  /// does not serve `unsupported`; `what` says in a few words what was asked for.
  package func ask<Value: Sendable>(_ what: String, _ body: @Sendable @escaping (GRPCClient<Transport>) async throws -> Value) async throws -> Value {
    if let endedBecause { throw endedBecause }
    do {
      return try await withThrowingTaskGroup(of: Value.self) { group in
        group.addTask { [client] in try await body(client) }
        let watch = Cancellation()
        group.addTask {
          try await watch.wait()
          throw CancellationError()
        }
        let number = onEnd { watch.fail($0) }
        defer {
          forget(number)
          group.cancelAll()
        }
        guard let value = try await group.next() else { throw CancellationError() }
        return value
      }
    } catch {
      throw translated(error, what)
    }
  }

  /// An error of a call, typed.
  package func translated(_ error: any Error, _ what: String) -> any Error {
    if let endedBecause { return endedBecause }
    guard let rpc = error as? RPCError else { return error }
    // What a body made of an answer comes wrapped by the library.
    if let inner = rpc.cause as? SessionError { return inner }
    switch rpc.code {
    case .unimplemented: return SessionError(.unsupported, "the client does not offer \(what)", cause: rpc)
    case .unavailable, .cancelled:
      // The client may say the same itself.
      guard !channel.isActive else { return SessionError(.refused, "\(what): the client says: \(rpc.message)", cause: rpc) }
      end(SessionError(.ended, "the client went away while it was asked for \(what)", cause: rpc))
      return endedBecause ?? error
    case .resourceExhausted: return SessionError(.invalidAnswer, "the client's answer is too large: \(what)", cause: rpc)
    default: return SessionError(.refused, "\(what): the client says: \(rpc.message)", cause: rpc)
    }
  }
}

/// Something that never answers, and fails when told to.
private final class Cancellation: Sendable {
  private enum State { case idle, waiting(CheckedContinuation<Void, any Error>), failed(any Error) }
  private let state = Mutex(State.idle)

  func fail(_ error: any Error) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, any Error>? in
      if case .failed = state { return nil }
      defer { state = .failed(error) }
      if case .waiting(let waiter) = state { return waiter }
      return nil
    }
    waiter?.resume(throwing: error)
  }

  func wait() async throws {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (waiter: CheckedContinuation<Void, any Error>) in
        let failed = state.withLock { state -> (any Error)? in
          if case .failed(let error) = state { return error }
          state = .waiting(waiter)
          return nil
        }
        if let failed { waiter.resume(throwing: failed) }
      }
    } onCancel: {
      fail(CancellationError())
    }
  }
}
