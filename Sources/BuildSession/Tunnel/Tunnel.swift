package import BuildKitProto
internal import Foundation
package import GRPCCore
internal import NIOCore

/// BuildKit's tunnel: the bytes of a connection as messages of a gRPC stream (Control.Session, either end of it).
package enum Tunnel {
  /// Moves bytes between the stream and the channel until either ends, then closes the channel. Throws what the stream threw; its end and the channel's are no errors.
  /// Cancellation closes the channel.
  package static func run(
    _ channel: TunnelChannel, inbound: RPCAsyncSequence<Moby_Buildkit_V1_BytesMessage, any Error>, outbound: RPCWriter<Moby_Buildkit_V1_BytesMessage>
  ) async throws {
    defer { channel.close(promise: nil) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await receive(inbound, into: channel) }
      group.addTask { try await send(from: channel, to: outbound) }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  /// One half: hands the channel what arrives, as fast as it reads, until the stream ends or the channel is closed.
  static func receive(_ inbound: RPCAsyncSequence<Moby_Buildkit_V1_BytesMessage, any Error>, into channel: TunnelChannel) async throws {
    for try await message in inbound where !message.data.isEmpty {
      guard await channel.receive(ByteBuffer(bytes: message.data)) else { return }
    }
  }

  /// The other half: sends what the channel writes until that is closed.
  static func send(from channel: TunnelChannel, to outbound: RPCWriter<Moby_Buildkit_V1_BytesMessage>) async throws {
    while let batch = await channel.nextOutgoing() {
      var message = Moby_Buildkit_V1_BytesMessage()
      message.data = batch.data
      try await outbound.write(message)
      channel.sent(batch)
    }
  }
}

extension OutgoingBytes.Batch {
  var data: Data {
    var data = Data(capacity: count)
    for buffer in buffers { buffer.withUnsafeReadableBytes { data.append(contentsOf: $0) } }
    return data
  }
}
