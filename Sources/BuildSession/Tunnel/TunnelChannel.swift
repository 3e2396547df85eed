package import NIOCore
internal import Synchronization

/// A NIO channel with no socket below it: what arrives is handed in by `receive`, what the pipeline writes is taken out by `nextOutgoing`. It carries an HTTP/2 connection
/// through something else, such as a stream of messages. Both ways have back-pressure: `receive` answers once the pipeline has read, and the pipeline is told to stop
/// writing while more than `highWater` bytes were not sent.
package final class TunnelChannel: Channel, ChannelCore, @unchecked Sendable {
  // Unchecked: the stored variables are touched on `eventLoop` alone (checked in `receive0`), except `flags` and `outgoing`, which have locks.
  private static let highWater = 1 << 20, lowWater = 256 << 10

  package let eventLoop: any EventLoop
  package let allocator = ByteBufferAllocator()
  package let parent: (any Channel)? = nil
  package let localAddress: SocketAddress? = nil
  package let remoteAddress: SocketAddress? = nil
  private let closePromise: EventLoopPromise<Void>
  private var madePipeline: ChannelPipeline?
  private struct Flags { var active = false, writable = true }
  private let flags = Mutex(Flags())
  private let outgoing = OutgoingBytes()

  private var closed = false
  private var autoRead = true
  private var readWanted = false
  private var parked: Parked?
  private var unflushed: [OutgoingBytes.Write] = []
  private var buffered = 0

  private struct Parked {
    var fire: @Sendable (ChannelPipeline) -> Void
    var delivered: CheckedContinuation<Bool, Never>
  }

  package init(eventLoop: any EventLoop) {
    self.eventLoop = eventLoop
    self.closePromise = eventLoop.makePromise()
    // A pipeline and its channel hold one another until the channel is closed.
    self.madePipeline = ChannelPipeline(channel: self)
  }

  package var closeFuture: EventLoopFuture<Void> { closePromise.futureResult }
  package var pipeline: ChannelPipeline { madePipeline ?? ChannelPipeline(channel: self) }
  package var isActive: Bool { flags.withLock { $0.active } }
  package var isWritable: Bool { flags.withLock { $0.writable } }
  package var _channelCore: any ChannelCore { self }

  /// Registers the channel, lets `configure` fill its pipeline, and makes it active. When `configure` fails the channel is closed.
  package func start<Value: Sendable>(_ configure: @escaping @Sendable (any Channel) -> EventLoopFuture<Value>) async throws -> Value {
    try await eventLoop.flatSubmit { () -> EventLoopFuture<Value> in
      self.pipeline.fireChannelRegistered()
      let configured = configure(self)
      configured.whenComplete { result in
        switch result {
        case .success: self.activate()
        case .failure(let error): self.close0(error: error, mode: .all, promise: nil)
        }
      }
      return configured
    }.get()
  }

  private func activate() {
    guard !closed else { return }
    flags.withLock { $0.active = true }
    pipeline.fireChannelActive()
    if autoRead { read0() }
  }

  // What arrives

  /// Hands in what the other side sent; answers when the pipeline has taken it, false when the channel is closed. One call at a time. A cancelled call closes the channel.
  package func receive(_ buffer: ByteBuffer) async -> Bool { await hand { $0.fireChannelRead(buffer) } }

  /// Hands in a value for a pipeline that reads no bytes (a listener's connections).
  package func receive<Value: Sendable>(value: Value) async -> Bool { await hand { $0.fireChannelRead(value) } }

  private func hand(_ fire: @escaping @Sendable (ChannelPipeline) -> Void) async -> Bool {
    await withTaskCancellationHandler {
      await withCheckedContinuation { delivered in
        eventLoop.execute { self.receive0(Parked(fire: fire, delivered: delivered)) }
      }
    } onCancel: {
      self.close(promise: nil)
    }
  }

  private func receive0(_ arrived: Parked) {
    eventLoop.preconditionInEventLoop()
    guard !closed, parked == nil else { return arrived.delivered.resume(returning: false) }
    guard readWanted else {
      parked = arrived
      return
    }
    deliver(arrived)
  }

  private func deliver(_ arrived: Parked) {
    readWanted = false
    arrived.fire(pipeline)
    pipeline.fireChannelReadComplete()
    arrived.delivered.resume(returning: !closed)
    if autoRead, !closed { read0() }
  }

  package func read0() {
    guard !closed else { return }
    guard let waiting = parked else {
      readWanted = true
      return
    }
    parked = nil
    deliver(waiting)
  }

  // What leaves

  /// The next bytes to send, all that were flushed up to a few hundred KiB; nil when the channel is closed. `sent` must be called with what came of it before the next call.
  /// A cancelled call closes the channel.
  package func nextOutgoing() async -> OutgoingBytes.Batch? {
    await withTaskCancellationHandler {
      await outgoing.next()
    } onCancel: {
      self.close(promise: nil)
    }
  }

  package func sent(_ batch: OutgoingBytes.Batch) {
    eventLoop.execute {
      for promise in batch.promises { promise.succeed(()) }
      guard !self.closed else { return }
      self.buffered -= batch.count
      let resumed = self.buffered <= Self.lowWater && self.flags.withLock { flags in
        defer { flags.writable = true }
        return !flags.writable
      }
      if resumed { self.pipeline.fireChannelWritabilityChanged() }
    }
  }

  package func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard !closed else {
      promise?.fail(ChannelError.ioOnClosedChannel)
      return
    }
    let buffer = unwrapData(data, as: ByteBuffer.self)
    unflushed.append(OutgoingBytes.Write(buffer: buffer, promise: promise))
    buffered += buffer.readableBytes
    guard buffered > Self.highWater else { return }
    let stopped = flags.withLock { flags in
      defer { flags.writable = false }
      return flags.writable
    }
    if stopped { pipeline.fireChannelWritabilityChanged() }
  }

  package func flush0() {
    guard !closed, !unflushed.isEmpty else { return }
    outgoing.append(unflushed)
    unflushed.removeAll(keepingCapacity: true)
  }

  // The end

  package func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard mode == .all else {
      promise?.fail(ChannelError.operationUnsupported)
      return
    }
    guard !closed else {
      promise?.fail(ChannelError.alreadyClosed)
      return
    }
    closed = true
    let wasActive = flags.withLock { flags in
      defer { flags.active = false }
      return flags.active
    }
    let waiting = parked, dropped = unflushed + outgoing.finish()
    parked = nil
    unflushed = []
    for write in dropped { write.promise?.fail(error) }
    waiting?.delivered.resume(returning: false)
    promise?.succeed(())
    if wasActive { pipeline.fireChannelInactive() }
    pipeline.fireChannelUnregistered()
    eventLoop.execute {
      self.removeHandlers(pipeline: self.pipeline)
      self.closePromise.succeed(())
    }
  }

  // What a channel without a socket has not

  package func localAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
  package func remoteAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
  package func register0(promise: EventLoopPromise<Void>?) { promise?.succeed(()) }
  package func registerAlreadyConfigured0(promise: EventLoopPromise<Void>?) { promise?.succeed(()) }
  package func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) { promise?.fail(ChannelError.operationUnsupported) }
  package func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) { promise?.fail(ChannelError.operationUnsupported) }
  package func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) { promise?.succeed(()) }
  package func channelRead0(_ data: NIOAny) {}
  /// An error that no handler took: the connection is of no more use.
  package func errorCaught0(error: any Error) { close0(error: error, mode: .all, promise: nil) }

  package func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<Void> {
    eventLoop.submit { try self.setOption0(option, value) }
  }

  package func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
    eventLoop.submit { try self.getOption0(option) }
  }

  private func setOption0<Option: ChannelOption>(_ option: Option, _ value: Option.Value) throws {
    guard option is ChannelOptions.Types.AutoReadOption, let value = value as? Bool else { throw ChannelError.operationUnsupported }
    let starts = value && !autoRead
    autoRead = value
    if starts, isActive { read0() }
  }

  private func getOption0<Option: ChannelOption>(_ option: Option) throws -> Option.Value {
    guard option is ChannelOptions.Types.AutoReadOption, let value = autoRead as? Option.Value else { throw ChannelError.operationUnsupported }
    return value
  }

  package var syncOptions: (any NIOSynchronousChannelOptions)? { SynchronousOptions(channel: self) }

  private struct SynchronousOptions: NIOSynchronousChannelOptions {
    let channel: TunnelChannel
    func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) throws { try channel.setOption0(option, value) }
    func getOption<Option: ChannelOption>(_ option: Option) throws -> Option.Value { try channel.getOption0(option) }
  }
}
