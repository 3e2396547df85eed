internal import BuildKitAPI
package import GRPCCore
package import GRPCNIOTransportHTTP2Posix
package import NIOCore
internal import NIOPosix

package enum TunnelTransport {
  /// Wide enough that a context is not sent a few packets at a time.
  static let window = 4 << 20

  /// 16 MiB both ways. The library bounds what a client receives by the option that is named for requests, too.
  package static var serviceConfig: ServiceConfig {
    ServiceConfig(methodConfig: [
      MethodConfig(names: [.init(service: "")], maxRequestMessageBytes: MessageLimits.message, maxResponseMessageBytes: MessageLimits.message)
    ])
  }

  /// A gRPC client whose server is at the other end of `channel`, which must be new. The caller must run `GRPCClient.runConnections` with it, whatever happens.
  package static func client(over channel: TunnelChannel) async throws -> HTTP2ClientTransport.WrappedChannel {
    let config = HTTP2ClientTransport.WrappedChannel.Config.defaults { config in
      config.http2.targetWindowSize = window
      config.http2.authority = "localhost"
      config.connection.maxIdleTime = nil
    }
    return try await HTTP2ClientTransport.WrappedChannel.wrapping(config: config, serviceConfig: serviceConfig) { configure in
      try await channel.start { configure($0) }
    }
  }

  package static func newChannel() -> TunnelChannel { TunnelChannel(eventLoop: MultiThreadedEventLoopGroup.singleton.next()) }
}

/// A gRPC server's connections that are made by hand: each is a channel that the program connects itself.
///
///     let listener = TunnelListener()
///     let server = GRPCServer(transport: listener.transport(), services: […])   // server.serve() runs until `finish`
///     let channel = try await listener.connect()                                // and move its bytes with Tunnel.run
package final class TunnelListener: HTTP2ServerTransport.ListenerFactory {
  package let eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
  private let listening: TunnelChannel
  private let configurator: EventLoopPromise<HTTP2ServerTransport.ConnectionConfigurator>

  package init() {
    listening = TunnelTransport.newChannel()
    configurator = listening.eventLoop.makePromise()
  }

  /// The server's transport; use it once.
  package func transport() -> HTTP2ServerTransport.Custom<TunnelListener> {
    var config = HTTP2ServerTransport.Custom<TunnelListener>.Config.defaults
    config.rpc.maxRequestPayloadSize = MessageLimits.message
    config.http2.targetWindowSize = TunnelTransport.window
    return HTTP2ServerTransport.Custom(listenerFactory: self, config: config)
  }

  package func makeListeningChannel(
    listenerConfigurator: HTTP2ServerTransport.ListenerConfigurator, connectionConfigurator: HTTP2ServerTransport.ConnectionConfigurator
  ) async throws -> NIOAsyncChannel<HTTP2ServerTransport.ConnectionConfigurator.ConnectionChannel, Never> {
    let accepting = try await listening.start { channel in
      channel.eventLoop.makeCompletedFuture {
        try NIOAsyncChannel<HTTP2ServerTransport.ConnectionConfigurator.ConnectionChannel, Never>(wrappingChannelSynchronously: channel)
      }
    }
    configurator.succeed(connectionConfigurator)
    return accepting
  }

  /// A new connection, which the server serves from now on; waits until the server is up. Throws when the listener has ended.
  package func connect() async throws -> TunnelChannel {
    let configurator = try await configurator.futureResult.get()
    let channel = TunnelTransport.newChannel()
    let connection = try await channel.start { configurator.configure(channel: $0, tls: .none) }
    guard await listening.receive(value: connection) else {
      try? await channel.close()
      throw ChannelError.ioOnClosedChannel
    }
    return channel
  }

  /// No more connections: the server ends when those that it has are closed.
  package func finish() {
    configurator.fail(ChannelError.ioOnClosedChannel)
    listening.close(promise: nil)
  }
}
