package import BuildInterface
internal import BuildKitAPI
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import NIOCore
internal import NIOPosix
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// Serves LLBBridge to frontends that are programs, each over the connection to its standard streams.
package struct FrontendProgramServer: FrontendServer {
  /// What a frontend may take to end after it returned its result.
  static let timeAfterReturn = Duration.seconds(20)

  package init() {}

  package func serve(_ gateway: any FrontendGateway, connection: Int32) async throws -> NestedResult? {
    let build = BridgeBuild(gateway: gateway)
    let listener = OneConnection(connection)
    var config = HTTP2ServerTransport.Custom<OneConnection>.Config.defaults
    config.rpc.maxRequestPayloadSize = MessageLimits.message
    config.http2.targetWindowSize = 4 << 20
    let server = GRPCServer(transport: HTTP2ServerTransport.Custom(listenerFactory: listener, config: config), services: [GatewayService(build)])
    do {
      try await withTaskCancellationHandler {
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { try await server.serve() }
          group.addTask {
            _ = try? await build.returned()
            try await Task.sleep(for: Self.timeAfterReturn)
            listener.finish()
          }
          // The first to end is the server, or the waiting for it.
          try await group.next()
          listener.finish()
          group.cancelAll()
          while let end = await group.nextResult() { if case .failure(let error) = end, !(error is CancellationError) { throw error } }
        }
      } onCancel: {
        listener.finish()
      }
    } catch {
      listener.finish()
      await build.close()
      if let result = build.result, case .failure(let returned) = result { throw returned }
      throw error
    }
    let result = build.result
    await build.close()
    try Task.checkCancellation()
    return try result?.get()
  }
}

/// The one connection that a server has.
private final class OneConnection: HTTP2ServerTransport.ListenerFactory {
  let eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
  private struct State {
    var socket: Int32?
    var channels: [any Channel] = []
    var isFinished = false
  }
  private let state: Mutex<State>

  init(_ socket: Int32) { state = Mutex(State(socket: socket)) }
  deinit { if let socket = state.withLock({ $0.socket }) { close(socket) } }

  func makeListeningChannel(
    listenerConfigurator: HTTP2ServerTransport.ListenerConfigurator, connectionConfigurator: HTTP2ServerTransport.ConnectionConfigurator
  ) async throws -> NIOAsyncChannel<HTTP2ServerTransport.ConnectionConfigurator.ConnectionChannel, Never> {
    // Stands for a socket that listens: a pipe on which nothing is ever written.
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw IOError(errnoCode: errno, reason: "pipe") }
    let listening = try await NIOPipeBootstrap(group: eventLoopGroup).takingOwnershipOfDescriptors(input: ends[0], output: ends[1]) { channel in
      channel.eventLoop.makeCompletedFuture {
        try NIOAsyncChannel<HTTP2ServerTransport.ConnectionConfigurator.ConnectionChannel, Never>(wrappingChannelSynchronously: channel)
      }
    }
    guard let socket = state.withLock({ state in
      defer { state.socket = nil }
      return state.socket
    }) else { throw ChannelError.alreadyClosed }
    let connected = try await ClientBootstrap(group: eventLoopGroup).withConnectedSocket(socket) { channel in
      connectionConfigurator.configure(channel: channel, tls: .none).map { (channel, $0) }
    }
    let isFinished = state.withLock { state in
      state.channels = [connected.0, listening.channel]
      return state.isFinished
    }
    listening.channel.pipeline.fireChannelRead(connected.1)
    listening.channel.pipeline.fireChannelReadComplete()
    // With the connection the server ends.
    connected.0.closeFuture.whenComplete { [channel = listening.channel] _ in channel.close(promise: nil) }
    if isFinished { finish() }
    return listening
  }

  func finish() {
    let channels = state.withLock { state in
      state.isFinished = true
      return state.channels
    }
    for channel in channels { channel.close(promise: nil) }
  }
}
