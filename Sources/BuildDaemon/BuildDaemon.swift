internal import BuildSession
package import BuildInterface
internal import ContentStore
internal import GRPCCore
internal import GRPCNIOTransportCore
internal import GRPCNIOTransportHTTP2Posix
internal import HostOS
internal import NIOSSL
internal import OCIModel
internal import Synchronization

/// Serves BuildKit's protocol over an engine: `manifold daemon`. One daemon a root; other processes may work on the root beside it.
package final class BuildDaemon: Sendable {
  private let core: DaemonCore
  private let sockets: [ListeningSocket]
  private let tls: NIOSSLContext?
  private let lock: FileLock
  private let stopping: AsyncStream<Void>
  private let stopper: AsyncStream<Void>.Continuation

  /// Listens from now on; connections are taken when it runs. `version` is the program's. Throws `DaemonError`.
  package init(engine: any DaemonEngine, options: DaemonOptions, version: String) async throws {
    let root = engine.store.root
    guard let lock = try await Blocking.run({ try engine.store.locks.tryLock("daemon:\(root)") }) else {
      throw DaemonError(.busy, "another daemon works on \(root)", suggestion: "Stop it, or give this one another --root.")
    }
    self.lock = lock
    let addresses = try options.addresses.map { try ListenAddress($0) }
    if addresses.isEmpty { throw DaemonError(.setting, "the daemon has no address to listen on") }
    for address in addresses where !address.isLoopback && options.tls == nil && !options.allowsPlaintext {
      throw DaemonError(
        .setting, "\(address) is reached by other machines, and whoever reaches it can run anything here: without TLS it is refused",
        suggestion: "Give --tlscert, --tlskey and --tlscacert, listen on 127.0.0.1, or insist with --insecure-listen.")
    }
    tls = try await Blocking.run { try options.tls.map { try ServerTLS.context($0) } }
    sockets = try await Blocking.run {
      var opened: [ListeningSocket] = []
      do {
        for address in addresses { opened.append(try ListeningSocket.open(address, group: options.group)) }
      } catch {
        for socket in opened {
          socket.remove()
          HangUp.close(socket.descriptor)
        }
        throw error
      }
      return opened
    }
    let id = try await Blocking.run { try WorkerRecords.identity(root: root) }
    let platforms = options.platforms.isEmpty ? await WorkerRecords.platforms(engine, host: engine.hostPlatform.normalized) : options.platforms
    core = DaemonCore(engine: engine, options: options, version: version, workerID: id, platforms: platforms)
    (stopping, stopper) = AsyncStream.makeStream(of: Void.self)
  }

  /// Where it listens: as asked, with the port that was free for port 0.
  package var addresses: [String] { sockets.map { "\($0.address)" } }

  /// Ends `run`: no more connections and builds; those that run may finish within the time that the options give, then they are cancelled.
  package func stop() { stopper.yield() }

  /// For an end that waits for nothing. Blocks.
  package func removeSockets() { for socket in sockets { socket.remove() } }

  /// Serves until `stop`, or until the task is cancelled, which ends everything at once.
  package func run() async throws {
    let log = core.log
    let servers = sockets.map { socket in
      let refused: @Sendable (String) -> Void = { log.warning("\(socket.address): a connection could not be taken: \($0)") }
      // Who may open a socket in the filesystem is the filesystem's to say.
      let isUnix = if case .unix = socket.address { true } else { false }
      return Server(core: core, socket: socket, tls: isUnix ? nil : tls, refused: refused)
    }
    tellOfStart()
    ServiceManager.notify("READY=1")
    defer { for socket in sockets { socket.remove() } }
    do {
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for server in servers {
          group.addTask {
            try await server.serve()
            return false
          }
        }
        group.addTask {
          await self.waitForStop()
          return true
        }
        group.addTask {
          while true {
            try await Task.sleep(for: .seconds(30))
            self.core.builds.sweep()
          }
        }
        while let isStop = try await group.next() {
          if isStop { break }
        }
        ServiceManager.notify("STOPPING=1")
        for server in servers { server.stopListening() }
        for socket in sockets { socket.remove() }
        await drain()
        core.sessions.stop()
        group.cancelAll()
        while let _ = try? await group.next() {}
      }
    } catch is CancellationError where Task.isCancelled {
      core.builds.cancelAll()
      core.sessions.stop()
      throw CancellationError()
    }
    lock.release()
    log.info("stopped")
  }

  private func waitForStop() async { for await _ in stopping { return } }

  private func tellOfStart() {
    let log = core.log
    log.info("worker \(core.workerID) on \(core.engine.store.root); steps run for \(core.platforms.map { "\($0)" }.joined(separator: ", "))")
    for socket in sockets {
      let isTCP = if case .tcp = socket.address { true } else { false }
      let how = !isTCP ? "" : tls == nil ? " (without TLS)" : core.options.tls?.authorities.isEmpty == false ? " (TLS, clients by certificate)" : " (TLS)"
      log.info("listening on \(socket.address)\(how)")
      if isTCP, tls == nil, !socket.address.isLoopback { log.warning("\(socket.address): whoever reaches this address can run anything on this machine") }
    }
  }

  /// Lets builds finish, and their answers arrive.
  private func drain() async {
    core.builds.stopAccepting()
    let running = core.builds.running.count
    if running > 0 { core.log.info("stopping: \(running) build\(running == 1 ? "" : "s") may finish within \(core.options.stopTimeout) s; a second signal ends at once") }
    await Self.bounded(.seconds(core.options.stopTimeout)) { await self.core.builds.waitUntilIdle() }
    let left = core.builds.running.count
    if left > 0 {
      core.log.warning("\(left) build\(left == 1 ? " is" : "s are") cancelled: the time to finish is over")
      core.builds.cancelAll()
      await Self.bounded(.seconds(10)) { await self.core.builds.waitUntilIdle() }
    }
    await Self.bounded(.seconds(5)) { await self.core.calls.waitUntilIdle() }
    // A call counts as answered when its answer is handed to gRPC, which does not tell when it has written it.
    try? await Task.sleep(for: .milliseconds(250))
  }

  private static func bounded(_ time: Duration, _ body: @Sendable @escaping () async -> Void) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await body() }
      group.addTask { try? await Task.sleep(for: time) }
      await group.next()
      group.cancelAll()
    }
  }
}

/// One address with its gRPC server.
private struct Server: Sendable {
  private let factory: ConnectionFactory
  private let server: GRPCServer<HTTP2ServerTransport.Custom<ConnectionFactory>>

  init(core: DaemonCore, socket: ListeningSocket, tls: NIOSSLContext?, refused: @escaping @Sendable (String) -> Void) {
    factory = ConnectionFactory(socket, tls: tls, refused: refused)
    server = GRPCServer(
      transport: HTTP2ServerTransport.Custom(listenerFactory: factory, config: ServiceLimits.transport()), services: core.services(), interceptors: [CallLog(core: core)])
  }

  func serve() async throws { try await server.serve() }
  func stopListening() { factory.stopListening() }
}
