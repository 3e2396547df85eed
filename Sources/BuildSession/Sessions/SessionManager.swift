package import BuildKitProto
package import GRPCCore
internal import Synchronization

/// The sessions that are open with a daemon.
package final class SessionManager: Sendable {
  package struct Limits: Sendable {
    /// Sessions open at once.
    package var sessions = 1000
    /// How long a build waits for the session that it names: clients open it beside the build.
    package var wait = Duration.seconds(5)
    /// Instead of what the client asks for; for tests.
    package var health: HealthSchedule?
    package init() {}
  }

  private struct Waiter {
    var id: String
    var continuation: CheckedContinuation<ClientSession?, Never>
  }
  private struct State {
    var sessions: [String: ClientSession] = [:]
    /// Ids whose connection is being made.
    var reserved: Set<String> = []
    var waiters: [Int: Waiter] = [:]
    var next = 0
    var stopped: SessionError?
  }
  private let state = Mutex(State())
  private let limits: Limits

  package init(limits: Limits = Limits()) { self.limits = limits }

  // Serving

  /// What the daemon's Control.Session answers: the stream is the session, open until the client, its health or the daemon ends it.
  package func serve(_ request: StreamingServerRequest<Moby_Buildkit_V1_BytesMessage>) -> StreamingServerResponse<Moby_Buildkit_V1_BytesMessage> {
    StreamingServerResponse { writer in
      do {
        try await self.run(SessionHeaders.Values(request.metadata), inbound: request.messages, outbound: writer)
      } catch let error as SessionError {
        throw RPCError(code: error.rpcCode, message: error.description, cause: error)
      }
      return [:]
    }
  }

  /// The life of one session. Returns when the stream has ended; throws SessionError when something else ended it.
  package func run(
    _ headers: SessionHeaders.Values, inbound: RPCAsyncSequence<Moby_Buildkit_V1_BytesMessage, any Error>, outbound: RPCWriter<Moby_Buildkit_V1_BytesMessage>
  ) async throws {
    try reserve(headers.id)
    let channel = TunnelTransport.newChannel()
    let client: GRPCClient<ClientSession.Transport>
    do {
      client = GRPCClient(transport: try await TunnelTransport.client(over: channel))
    } catch {
      state.withLock { _ = $0.reserved.remove(headers.id) }
      throw error
    }
    let session = ClientSession(headers: headers, client: client, channel: channel)
    let health = limits.health ?? headers.health
    register(session)
    defer { withdraw(session) }
    await withTaskGroup(of: Void.self) { group in
      // This one outlives the others: what waits for an answer learns from it that none comes.
      group.addTask { try? await client.runConnections() }
      group.addTask {
        do {
          try await Tunnel.run(channel, inbound: inbound, outbound: outbound)
          session.end(SessionError(.ended, "the client closed the session \(session.id)"))
        } catch {
          session.end(SessionError(.ended, "the connection of the session \(session.id) broke", cause: error))
        }
      }
      group.addTask {
        do {
          try await health.watch(client)
        } catch let error as SessionError {
          session.end(error)
        } catch {}
      }
      await group.next()
      session.end(SessionError(.ended, "the session \(session.id) ended"))
      group.cancelAll()
    }
    if let reason = session.endedBecause, reason.cause is RPCError || state.withLock({ $0.stopped }) != nil { throw reason }
  }

  private func reserve(_ id: String) throws {
    try state.withLock { state in
      if let stopped = state.stopped { throw stopped }
      if state.reserved.contains(id) || state.sessions[id]?.isOpen == true { throw SessionError(.duplicate, "session \(id) already exists") }
      guard state.sessions.count + state.reserved.count < limits.sessions else {
        throw SessionError(.tooMany, "\(limits.sessions) sessions are open, the limit of this daemon; end some builds, or wait")
      }
      state.reserved.insert(id)
    }
  }

  private func register(_ session: ClientSession) {
    var stopped: SessionError?
    let waiting = state.withLock { state -> [Waiter] in
      state.reserved.remove(session.id)
      state.sessions[session.id] = session
      stopped = state.stopped
      let found = state.waiters.filter { $0.value.id == session.id }
      for number in found.keys { state.waiters[number] = nil }
      return Array(found.values)
    }
    for waiter in waiting { waiter.continuation.resume(returning: session) }
    if let stopped { session.end(stopped) }
  }

  private func withdraw(_ session: ClientSession) {
    state.withLock { state in
      if state.sessions[session.id] === session { state.sessions[session.id] = nil }
    }
  }

  // Asking

  /// The open session that a build names; waits some seconds for one that is not there yet. A prefix up to a colon is no part of the id. Throws SessionError.notFound.
  package func session(id: String) async throws -> ClientSession {
    let id = Self.bare(id)
    if let found = open(id: id) { return found }
    let number = state.withLock { state in
      state.next += 1
      return state.next
    }
    let timer = Task { [limits] in
      try? await Task.sleep(for: limits.wait)
      self.giveUp(number)
    }
    defer { timer.cancel() }
    let found = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let ready = state.withLock { state -> ClientSession?? in
          if let found = state.sessions[id], found.isOpen { return .some(found) }
          if state.stopped != nil || Task.isCancelled { return .some(nil) }
          state.waiters[number] = Waiter(id: id, continuation: continuation)
          return nil
        }
        if let ready { continuation.resume(returning: ready) }
      }
    } onCancel: {
      giveUp(number)
    }
    if let found { return found }
    try Task.checkCancellation()
    throw state.withLock { $0.stopped } ?? SessionError(.notFound, "no active session for \(id): none came within \(limits.wait)")
  }

  /// The open session of that id, if there is one now.
  package func open(id: String) -> ClientSession? {
    let id = Self.bare(id)
    return state.withLock { state in state.sessions[id].flatMap { $0.isOpen ? $0 : nil } }
  }

  package var count: Int { state.withLock { $0.sessions.count } }

  private func giveUp(_ number: Int) {
    let waiter = state.withLock { $0.waiters.removeValue(forKey: number) }
    waiter?.continuation.resume(returning: nil)
  }

  private static func bare(_ id: String) -> String {
    guard let colon = id.firstIndex(of: ":") else { return id }
    let rest = id[id.index(after: colon)...]
    return rest.isEmpty ? id : String(rest)
  }

  /// Ends all sessions and takes no more.
  package func stop() {
    let reason = SessionError(.ended, "the daemon stops")
    let (open, waiting) = state.withLock { state -> ([ClientSession], [Waiter]) in
      state.stopped = state.stopped ?? reason
      defer { state.waiters = [:] }
      return (Array(state.sessions.values), Array(state.waiters.values))
    }
    for waiter in waiting { waiter.continuation.resume(returning: nil) }
    for session in open { session.end(reason) }
  }
}

extension SessionError {
  var rpcCode: RPCError.Code {
    switch code {
    case .invalidHeaders: .invalidArgument
    case .duplicate: .alreadyExists
    case .tooMany: .resourceExhausted
    case .notFound: .notFound
    case .ended: .unavailable
    case .unsupported: .unimplemented
    case .invalidAnswer: .failedPrecondition
    case .refused: .unknown
    }
  }
}
