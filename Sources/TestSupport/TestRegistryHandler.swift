import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// One connection of a `TestRegistry`: gathers a request, lets the state answer it, applies the faults.
final class TestRegistryHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let holder: TestRegistry.Holder
  private var request: TestRequest?
  private var keepAlive = true
  private var body = [UInt8]()
  private var fault: TestFault.Action?
  private var number = 0

  init(_ holder: TestRegistry.Holder) { self.holder = holder }

  private var registry: TestRegistry? { holder.registry.withLock { $0 } }

  func channelActive(context: ChannelHandlerContext) {
    number = registry?.nextConnection() ?? 0
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let registry else { return context.close(promise: nil) }
    switch unwrapInboundIn(data) {
    case .head(let head):
      let parts = head.uri.split(separator: "?", maxSplits: 1)
      var headers: [String: String] = [:]
      for (name, value) in head.headers where headers[name.lowercased()] == nil { headers[name.lowercased()] = value }
      let path = TestRequest.decoded(parts.first.map { $0.split(separator: "+", omittingEmptySubsequences: false).joined(separator: "%2B") } ?? "/")
      let request = TestRequest(method: head.method.rawValue, path: path, query: parts.count > 1 ? String(parts[1]) : "", headers: headers, connection: number)
      self.request = request
      keepAlive = head.isKeepAlive
      body = []
      fault = registry.state.withLock { $0.fault(for: request) }
      if case .reset? = fault { breakOff(context, registry) }
    case .body(let buffer):
      guard let request else { return }
      body += buffer.readableBytesView
      if case .resetDuringBody(let count)? = fault, body.count >= count {
        let kept = Array(body.prefix(count))
        registry.state.withLock { $0.keep(kept, for: request) }
        breakOff(context, registry)
      }
    case .end:
      guard request != nil else { return }
      answer(context, registry)
    }
  }

  private func log(_ status: Int?, _ registry: TestRegistry) {
    guard var entry = request else { return }
    entry.bodySize = body.count
    entry.status = status
    let done = entry
    registry.state.withLock { $0.log.append(done) }
    request = nil
  }

  /// Ends the connection with a reset, not an orderly end.
  private func breakOff(_ context: ChannelHandlerContext, _ registry: TestRegistry) {
    log(nil, registry)
    if let options = context.channel as? any SocketOptionProvider { _ = options.setSoLinger(linger(l_onoff: 1, l_linger: 0)) }
    context.close(promise: nil)
  }

  private func answer(_ context: ChannelHandlerContext, _ registry: TestRegistry) {
    guard let request else { return }
    var response: TestResponse
    var delay = registry.state.withLock { $0.options.latencyMilliseconds }
    var cut: Int?
    if case .status(let status, let headers, let text)? = fault {
      response = TestResponse(status: status, headers: headers, body: Array(text.utf8))
    } else {
      let received = body
      response = registry.state.withLock { $0.respond(request, received) }
      switch fault {
      case .loseAnswer?: return breakOff(context, registry)
      case .truncate(let count)?: cut = count
      case .corrupt?: if !response.body.isEmpty { response.body[response.body.count / 2] ^= 0xff }
      case .claim(let length)?: response.claimed = length
      case .surplus(let count)?:
        response.body += [UInt8](repeating: 0, count: count)
        response.isChunked = true
      case .stall(let milliseconds)?: delay += milliseconds
      default: break
      }
    }
    fault = nil
    log(response.status, registry)
    guard delay > 0 else { return write(context, request, response, cut, registry) }
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    let (final, end) = (response, cut)
    context.eventLoop.scheduleTask(in: .milliseconds(delay)) {
      let (handler, context) = bound.value
      handler.write(context, request, final, end, registry)
    }
  }

  private func write(_ context: ChannelHandlerContext, _ request: TestRequest, _ response: TestResponse, _ cut: Int?, _ registry: TestRegistry) {
    var head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: response.status))
    for (name, value) in response.headers { head.headers.add(name: name, value: value) }
    if response.isChunked {
      head.headers.add(name: "Transfer-Encoding", value: "chunked")
    } else if response.status != 204 {
      head.headers.add(name: "Content-Length", value: "\(response.claimed ?? response.length.flatMap { request.method == "HEAD" ? $0 : nil } ?? response.body.count)")
    }
    if !keepAlive { head.headers.add(name: "Connection", value: "close") }
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if request.method != "HEAD", !response.body.isEmpty {
      context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: response.body.prefix(cut ?? .max))))), promise: nil)
    }
    if let cut, cut < response.body.count {
      let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
      context.flush()
      // Long after the bytes left: a client's network stack may drop what its user has not read yet when the connection goes.
      context.eventLoop.scheduleTask(in: .milliseconds(300)) { bound.value.close(promise: nil) }
      return
    }
    let end = context.writeAndFlush(wrapOutboundOut(.end(nil)))
    if !keepAlive {
      let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
      end.whenComplete { _ in bound.value.close(promise: nil) }
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
