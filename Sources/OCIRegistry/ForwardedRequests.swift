internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1

/// Plain HTTP through a proxy (RFC 9112, section 3.2.2: the request names its whole address). The HTTP client underneath would tunnel it by CONNECT, which
/// proxies refuse for all but TLS. So the client is pointed at the proxy itself, and the address is put into the request's line
/// from its Host field here.
final class ForwardedRequestForm: ChannelOutboundHandler, Sendable {
  typealias OutboundIn = HTTPClientRequestPart
  typealias OutboundOut = HTTPClientRequestPart

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard case .head(var head) = unwrapOutboundIn(data), let host = head.headers.first(name: "Host") else { return context.write(data, promise: promise) }
    head.uri = "http://" + host + head.uri
    context.write(wrapOutboundOut(.head(head)), promise: promise)
  }

  /// For `HTTPClient.Configuration.http1_1ConnectionDebugInitializer`, which comes when the connection's own handlers are there.
  @Sendable static func install(_ channel: any Channel) -> EventLoopFuture<Void> {
    channel.eventLoop.submit {
      let encoder = try channel.pipeline.syncOperations.handler(type: HTTPRequestEncoder.self)
      try channel.pipeline.syncOperations.addHandler(ForwardedRequestForm(), position: .after(encoder))
    }
  }
}
