internal import BuildInterface
internal import BuildKitAPI
internal import BuildKitProto
internal import Foundation
internal import GRPCCore
internal import HostOS
internal import NIOCore
internal import NIOPosix

/// SSH agents of a session's client (session/sshforward). What may be done with their keys is the client's to say, and to keep.
struct SessionAgents: AgentService {
  static let header = "buildkit.ssh.id"
  let session: ClientSession

  func hasAgent(id: String) async throws -> Bool {
    do {
      try await session.ask("the SSH agent \"\(id)\"") { client in
        var request = Moby_Sshforward_V1_CheckAgentRequest()
        request.id = id
        _ = try await Moby_Sshforward_V1_SSH.Client(wrapping: client).checkAgent(request)
      }
      return true
    } catch let error as SessionError {
      if error.code == .unsupported || error.code == .refused { return false }
      throw error.buildError
    }
  }

  func serve(id: String, connection: Int32) {
    let session = session
    session.keep { 
      try? await SocketBridge.run(connection) { inbound, outbound in
        try await session.ask("the SSH agent \"\(id)\"") { client in
          let bridge = SocketBridge.Ends(inbound: inbound, outbound: outbound)
          try await Moby_Sshforward_V1_SSH.Client(wrapping: client).forwardAgent(metadata: [SessionAgents.header: "\(id)"]) { writer in
            for try await bytes in bridge.inbound {
              var message = Moby_Sshforward_V1_BytesMessage()
              message.data = Data(bytes.readableBytesView)
              try await writer.write(message)
            }
          } onResponse: { response in
            for try await message in response.messages where !message.data.isEmpty { try await bridge.outbound.write(ByteBuffer(bytes: message.data)) }
            bridge.outbound.finish()
          }
        }
      }
    }
  }

  /// Not a thing that clients of this protocol tell: they give known hosts with the build.
  func knownHosts() async throws -> [UInt8] { [] }
}

/// A connected stream socket as two async ends.
enum SocketBridge {
  /// One reader and one writer, each used by one task.
  struct Ends: Sendable {
    let inbound: NIOAsyncChannelInboundStream<ByteBuffer>
    let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
  }

  /// Takes over `descriptor` and closes it in the end, whatever happens. Cancellation ends it.
  static func run(
    _ descriptor: Int32, _ body: @Sendable @escaping (NIOAsyncChannelInboundStream<ByteBuffer>, NIOAsyncChannelOutboundWriter<ByteBuffer>) async throws -> Void
  ) async throws {
    let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>
    do {
      channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).channelOption(.allowRemoteHalfClosure, value: true).withConnectedSocket(descriptor) { channel in
        channel.eventLoop.makeCompletedFuture {
          try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
        }
      }
    } catch {
      close(descriptor)
      throw error
    }
    try await channel.executeThenClose(body)
  }

  static func close(_ descriptor: Int32) { _ = HostOS.Descriptor(owning: descriptor) }

  /// Two connected stream sockets, both the caller's.
  static func pair() throws -> (Int32, Int32) {
    let (one, other) = try Sockets.pair()
    return (try one.released(), try other.released())
  }
}
