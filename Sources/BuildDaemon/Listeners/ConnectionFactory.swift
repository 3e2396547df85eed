package import GRPCNIOTransportCore
package import GRPCNIOTransportHTTP2Posix
internal import HostOS
package import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// Takes the connections of one listening socket. The socket can be closed while connections go on.
package final class ConnectionFactory: HTTP2ServerTransport.ListenerFactory {
  package let eventLoopGroup: any EventLoopGroup
  private let descriptor: Int32
  private let tls: NIOSSLContext?
  private let refused: @Sendable (String) -> Void
  private let channel = Mutex<(any Channel)?>(nil)

  /// `refused` is told why a connection could not be taken.
  init(_ socket: ListeningSocket, tls: NIOSSLContext?, refused: @escaping @Sendable (String) -> Void) {
    descriptor = socket.descriptor
    self.tls = tls
    self.refused = refused
    eventLoopGroup = MultiThreadedEventLoopGroup.singleton
  }

  package func makeListeningChannel(
    listenerConfigurator: HTTP2ServerTransport.ListenerConfigurator, connectionConfigurator: HTTP2ServerTransport.ConnectionConfigurator
  ) async throws -> NIOAsyncChannel<HTTP2ServerTransport.ConnectionConfigurator.ConnectionChannel, Never> {
    let (tls, refused) = (tls, refused)
    let server = try await ServerBootstrap(group: eventLoopGroup)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(AcceptErrors(refused: refused)) }
          .flatMap { listenerConfigurator.configure(channel: channel) }
      }
      .bind(NIOBSDSocket.Handle(descriptor)) { channel in
        channel.eventLoop.makeCompletedFuture {
          if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
        }.flatMap {
          connectionConfigurator.configure(channel: channel, tls: tls == nil ? .none : .configured(requireALPN: false))
        }
      }
    channel.withLock { $0 = server.channel }
    return server
  }

  /// No more connections; those that there are go on.
  func stopListening() { channel.withLock { $0 }?.close(promise: nil) }
}

/// That a connection could not be taken (there are no more descriptors) is not the end of the listener: it goes on after a pause, which NIO makes.
private final class AcceptErrors: ChannelInboundHandler {
  typealias InboundIn = Any
  private let refused: @Sendable (String) -> Void
  init(refused: @escaping @Sendable (String) -> Void) { self.refused = refused }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { refused("\(error)") }
}
