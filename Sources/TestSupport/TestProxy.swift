import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A forward proxy in this process, on a free loopback port: tunnels by CONNECT, forwards plain HTTP, keeps a log of what passes, and knows names that nobody else does.
package final class TestProxy: Sendable {
  struct State {
    /// `host:port` as asked for → the loopback port that stands behind it. Others are refused.
    var hosts: [String: Int] = [:]
    var log: [String] = []
  }
  let state = Mutex(State())
  /// What `Proxy-Authorization` must be; nil for an open proxy.
  let authorization: String?
  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let channel = Mutex<(any Channel)?>(nil)

  /// `hosts`: `registry.test:443` → port on this machine.
  package static func start(_ hosts: [String: Int], authorization: String? = nil) async throws -> TestProxy {
    let proxy = TestProxy(authorization)
    proxy.state.withLock { $0.hosts = hosts }
    let channel = try await ServerBootstrap(group: proxy.group)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandlers([
            ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes)), HTTPResponseEncoder(), TestProxyHandler(proxy),
          ])
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    proxy.channel.withLock { $0 = channel }
    return proxy
  }

  private init(_ authorization: String?) { self.authorization = authorization }

  package func stop() async {
    let channel = channel.withLock { $0 }
    try? await channel?.close()
    try? await group.shutdownGracefully()
  }

  /// `http://127.0.0.1:port`
  package var address: String { "http://127.0.0.1:\(channel.withLock { $0?.localAddress?.port } ?? 0)" }
  /// `CONNECT registry.test:443`, `GET http://plain.test/v2/`, in the order they came; ` 407` behind what was refused.
  package var log: [String] { state.withLock { $0.log } }
  package func clear() { state.withLock { $0.log = [] } }
}

/// One client's connection.
private final class TestProxyHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let proxy: TestProxy
  private var head: HTTPRequestHead?
  private var body = ByteBuffer()
  init(_ proxy: TestProxy) { self.proxy = proxy }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      self.head = head
      body.clear()
    case .body(var part): body.writeBuffer(&part)
    case .end:
      guard let head else { return }
      self.head = nil
      let allowed = proxy.authorization == nil || head.headers.first(name: "Proxy-Authorization") == proxy.authorization
      proxy.state.withLock { $0.log.append("\(head.method.rawValue) \(head.uri)\(allowed ? "" : " 407")") }
      guard allowed else { return refuse(context, .proxyAuthenticationRequired) }
      if head.method == .CONNECT { tunnel(context, to: head.uri) } else { forward(context, head) }
    }
  }

  private func refuse(_ context: ChannelHandlerContext, _ status: HTTPResponseStatus) {
    context.write(wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: status, headers: ["Content-Length": "0", "Connection": "close"]))), promise: nil)
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in bound.value.close(promise: nil) }
  }

  private func port(of host: String) -> Int? { proxy.state.withLock { $0.hosts[host] } }

  private func tunnel(_ context: ChannelHandlerContext, to host: String) {
    guard let port = port(of: host) else { return refuse(context, .badGateway) }
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    connect(context, port) { remote in
      let (handler, context) = bound.value
      context.write(handler.wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .ok))), promise: nil)
      context.writeAndFlush(handler.wrapOutboundOut(.end(nil)), promise: nil)
      handler.becomeBytes(context, remote)
    }
  }

  /// To the origin, in the form it expects, on a connection that ends with the answer.
  private func forward(_ context: ChannelHandlerContext, _ head: HTTPRequestHead) {
    guard head.uri.hasPrefix("http://") else { return refuse(context, .badRequest) }
    let rest = head.uri.dropFirst(7), authority = String(rest.prefix { $0 != "/" })
    guard let port = port(of: authority.contains(":") ? authority : authority + ":80") else { return refuse(context, .badGateway) }
    var text = "\(head.method.rawValue) \(rest.dropFirst(authority.count)) HTTP/1.1\r\nConnection: close\r\n"
    var hasLength = false
    for (name, value) in head.headers where !["connection", "proxy-authorization", "transfer-encoding"].contains(name.lowercased()) {
      text += "\(name): \(value)\r\n"
      hasLength = hasLength || name.lowercased() == "content-length"
    }
    if !hasLength, body.readableBytes > 0 || [.POST, .PUT, .PATCH].contains(head.method) { text += "Content-Length: \(body.readableBytes)\r\n" }
    var message = ByteBuffer(string: text + "\r\n")
    message.writeBuffer(&body)
    let request = message
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    connect(context, port) { remote in
      let (handler, context) = bound.value
      handler.becomeBytes(context, remote)
      remote.writeAndFlush(request, promise: nil)
    }
  }

  private func connect(_ context: ChannelHandlerContext, _ port: Int, _ then: @escaping @Sendable (any Channel) -> Void) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    ClientBootstrap(group: context.eventLoop).channelOption(.allowRemoteHalfClosure, value: true).connect(host: "127.0.0.1", port: port).whenComplete { result in
      switch result {
      case .success(let remote): then(remote)
      case .failure: bound.value.0.refuse(bound.value.1, .badGateway)
      }
    }
  }

  /// From here on bytes go both ways as they come.
  private func becomeBytes(_ context: ChannelHandlerContext, _ remote: any Channel) {
    let pipeline = context.pipeline.syncOperations, client = context.channel
    do {
      try pipeline.addHandler(ByteRelay(to: remote))
      try remote.pipeline.syncOperations.addHandler(ByteRelay(to: client))
      let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self), encoder = try pipeline.handler(type: HTTPResponseEncoder.self)
      pipeline.removeHandler(self, promise: nil)
      pipeline.removeHandler(encoder, promise: nil)
      pipeline.removeHandler(decoder, promise: nil)
    } catch { client.close(promise: nil) }
  }
}

private final class ByteRelay: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private let other: any Channel
  init(to other: any Channel) { self.other = other }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) { other.writeAndFlush(unwrapInboundIn(data), promise: nil) }
  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .some(.inputClosed) = event as? ChannelEvent { other.close(mode: .output, promise: nil) }
    context.fireUserInboundEventTriggered(event)
  }
  func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
