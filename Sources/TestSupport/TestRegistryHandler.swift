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
  private var isIgnored = false
  private var isWhole = false

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
      isWhole = false
      keepAlive = head.isKeepAlive
      body = []
      fault = registry.state.withLock { $0.fault(for: request) }
      switch fault {
      case .reset?: breakOff(context, registry)
      case .close?:
        log(nil, registry)
        context.close(promise: nil)
      case .early(let status, let headers, let text)?:
        isIgnored = true
        keepAlive = false
        let entry = log(status, registry)
        write(context, entry ?? request, TestResponse(status: status, headers: headers, body: Array(text.utf8)), nil, registry)
      default: break
      }
    case .body(let buffer):
      guard !isIgnored, let request else { return }
      body += buffer.readableBytesView
      if case .resetDuringBody(let count)? = fault, body.count >= count {
        let kept = Array(body.prefix(count))
        registry.state.withLock { $0.options.losesBrokenSessions ? $0.prepare(.forgetUpload, request) : $0.keep(kept, for: request) }
        breakOff(context, registry)
      }
    case .end:
      guard !isIgnored, var entry = request else { return }
      (entry.number, entry.arrived, entry.bodySize) = (registry.state.withLock { $0.arrive() }, TestRegistryHandler.now(), body.count)
      request = entry
      isWhole = true
      let (observer, gates) = registry.state.withLock { ($0.observer, $0.gates) }
      observer?(entry)
      let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
      let loop = context.eventLoop
      for gate in gates where gate.hold(entry, { loop.execute { bound.value.0.answer(bound.value.1, registry) } }) { return }
      answer(context, registry)
    }
  }

  private static func now() -> UInt64 { NIODeadline.now().uptimeNanoseconds }

  /// What went into the log.
  @discardableResult
  private func log(_ status: Int?, _ registry: TestRegistry) -> TestRequest? {
    guard var entry = request else { return nil }
    entry.bodySize = body.count
    entry.status = status
    if entry.number == 0 { (entry.number, entry.arrived) = (registry.state.withLock { $0.arrive() }, TestRegistryHandler.now()) }
    let done = entry
    registry.state.withLock { $0.log.append(done) }
    request = nil
    return done
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
    var drip: (Int, Int64)?
    switch fault {
    case .status(let status, let headers, let text)?: response = TestResponse(status: status, headers: headers, body: Array(text.utf8))
    case .redirect(let origin)?:
      response = TestResponse(status: 307, headers: [("Location", origin + request.path + (request.query.isEmpty ? "" : "?" + request.query))])
    default:
      let received = body
      let fault = fault
      response = registry.state.withLock { state in
        state.prepare(fault, request)
        return state.respond(request, received)
      }
      switch fault {
      case .loseAnswer?: return breakOff(context, registry)
      case .truncate(let count)?: cut = count
      case .corrupt?: if !response.body.isEmpty { response.body[response.body.count / 2] ^= 0xff }
      case .claim(let length)?:
        response.claimed = length
        keepAlive = false
      case .surplus(let count)?:
        response.body += [UInt8](repeating: 0, count: count)
        response.isChunked = true
      case .stall(let milliseconds)?: delay += milliseconds
      case .drip(let bytes, let pause)?: drip = (bytes, pause)
      case .fields(let without, let with)?:
        response.headers.removeAll { name, _ in without.contains { $0.lowercased() == name.lowercased() } || with.contains { $0.0.lowercased() == name.lowercased() } }
        response.headers += with
      default: break
      }
    }
    fault = nil
    guard let entry = log(response.status, registry) else { return }
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    let (final, end, pace) = (response, cut, drip)
    func send() {
      if let pace { write(context, entry, final, pace, registry) } else { write(context, entry, final, end, registry) }
    }
    guard delay > 0 else { return send() }
    context.eventLoop.scheduleTask(in: .milliseconds(delay)) {
      let (handler, context) = bound.value
      if let pace { handler.write(context, entry, final, pace, registry) } else { handler.write(context, entry, final, end, registry) }
    }
  }

  private func head(_ request: TestRequest, _ response: TestResponse, _ registry: TestRegistry) -> HTTPResponseHead {
    let options = registry.state.withLock { $0.options }
    var head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: response.status))
    func add(_ name: String, _ value: String) {
      guard !options.omitsDigests || name != "Docker-Content-Digest" else { return }
      head.headers.add(name: options.uppercaseHeaders ? name.uppercased() : name, value: value)
    }
    for (name, value) in response.headers { add(name, value) }
    if response.isChunked {
      add("Transfer-Encoding", "chunked")
    } else if response.status != 204 {
      add("Content-Length", "\(response.claimed ?? response.length.flatMap { request.method == "HEAD" ? $0 : nil } ?? response.body.count)")
    }
    if !keepAlive { add("Connection", "close") }
    return head
  }

  private func write(_ context: ChannelHandlerContext, _ request: TestRequest, _ response: TestResponse, _ cut: Int?, _ registry: TestRegistry) {
    registry.state.withLock { $0.answered(request.number, TestRegistryHandler.now()) }
    context.write(wrapOutboundOut(.head(head(request, response, registry))), promise: nil)
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
    finish(context)
  }

  private func finish(_ context: ChannelHandlerContext) {
    let end = context.writeAndFlush(wrapOutboundOut(.end(nil)))
    if !keepAlive {
      let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
      // What the client still sends is read for a while: a close with unread bytes is a reset, which may overtake the answer.
      let pause: Int64 = isIgnored ? 300 : 0
      end.whenComplete { _ in _ = bound.eventLoop.scheduleTask(in: .milliseconds(pause)) { bound.value.close(promise: nil) } }
    }
  }

  /// Piece by piece.
  private func write(_ context: ChannelHandlerContext, _ request: TestRequest, _ response: TestResponse, _ pace: (bytes: Int, pause: Int64), _ registry: TestRegistry) {
    registry.state.withLock { $0.answered(request.number, TestRegistryHandler.now()) }
    context.writeAndFlush(wrapOutboundOut(.head(head(request, response, registry))), promise: nil)
    piece(context, request.method == "HEAD" ? [] : response.body[...], pace.bytes, pace.pause)
  }

  private func piece(_ context: ChannelHandlerContext, _ rest: ArraySlice<UInt8>, _ count: Int, _ pause: Int64) {
    guard !rest.isEmpty else { return finish(context) }
    guard context.channel.isActive else { return }
    context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: rest.prefix(count))))), promise: nil)
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    let left = rest.dropFirst(count)
    context.eventLoop.scheduleTask(in: .milliseconds(pause)) { bound.value.0.piece(bound.value.1, left, count, pause) }
  }

  /// The client went away in the middle of a request: what came of it is kept, or the session lost, as the registry is.
  func channelInactive(context: ChannelHandlerContext) {
    if let registry, let request, !isWhole, !isIgnored {
      let kept = body
      registry.state.withLock { $0.options.losesBrokenSessions ? $0.prepare(.forgetUpload, request) : $0.keep(kept, for: request) }
      log(nil, registry)
    }
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
