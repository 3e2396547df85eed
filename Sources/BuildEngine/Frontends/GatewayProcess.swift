internal import BuildExecutor
internal import BuildInterface
internal import Dispatch
internal import HostOS
internal import Synchronization

/// A process in a container of a frontend: its streams from outside.
final class GatewayProcess: FrontendProcess {
  /// Where what is written for it goes; its terminal's other end, when it has one.
  private let input: HostOS.Descriptor?
  private let terminal: HostOS.Descriptor?
  /// The ends that the container gets.
  private let given: (input: HostOS.Descriptor, output: HostOS.Descriptor, error: HostOS.Descriptor)
  private let readers: [Task<Void, Never>]
  private let signals: AsyncStream<Int32>
  private let signalling: AsyncStream<Int32>.Continuation
  private let isInputClosed = Atomic(false)
  private let writes = Turns()
  private let running = Mutex<Task<StepExit, any Error>?>(nil)

  private init(
    input: HostOS.Descriptor?, terminal: HostOS.Descriptor?, given: (HostOS.Descriptor, HostOS.Descriptor, HostOS.Descriptor), readers: [Task<Void, Never>]
  ) {
    self.input = input
    self.terminal = terminal
    self.given = given
    self.readers = readers
    (signals, signalling) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(64))
  }

  static func prepare(_ request: ContainerProcessRequest, output: @escaping @Sendable (UInt32, [UInt8]) async -> Void) async throws -> GatewayProcess {
    try await Blocking.run {
      if request.hasTerminal {
        let (controller, end) = try HostOS.Descriptor.pseudoTerminal()
        controller.setTerminalSize(rows: 24, columns: 80)
        return GatewayProcess(input: controller, terminal: controller, given: (end, end, end), readers: [OutputPump.start(controller) { await output(1, $0) }])
      }
      let out = try HostOS.Descriptor.pipe(), error = try HostOS.Descriptor.pipe()
      let readers = [OutputPump.start(out.read) { await output(1, $0) }, OutputPump.start(error.read) { await output(2, $0) }]
      guard request.hasInput else { return GatewayProcess(input: nil, terminal: nil, given: (try HostOS.Descriptor.open("/dev/null"), out.write, error.write), readers: readers) }
      let input = try HostOS.Descriptor.pipe()
      return GatewayProcess(input: input.write, terminal: nil, given: (input.read, out.write, error.write), readers: readers)
    }
  }

  func run(_ spec: ProcessSpec, root: MountPlan, executor: any StepExecutor, ended: @escaping @Sendable () -> Void) {
    running.withLock { running in
      running = Task { [given, terminal, signals] in
        defer {
          // The outputs' readers come to their end by it.
          for end in [given.input, given.output, given.error] { try? end.close() }
          ended()
        }
        return try await executor.run(
          spec, root: root, locks: [],
          streams: .attached(input: given.input, output: given.output, error: given.error, terminal: terminal != nil, signals: signals))
      }
    }
  }

  func wait() async throws -> Int32 {
    guard let task = running.withLock({ $0 }) else { throw CancellationError() }
    let exit: StepExit
    do { exit = try await task.value } catch {
      for reader in readers { await reader.value }
      throw ErrorTranslation.buildError(error)
    }
    for reader in readers { await reader.value }
    if let message = exit.runtimeMessage { throw BuildError(.unknown, .build, "the process could not be started: \(message)", exitCode: exit.code) }
    return exit.code
  }

  func write(_ bytes: [UInt8]) async {
    guard let input else { return }
    await writes.take { [self] in
      guard !isInputClosed.load(ordering: .acquiring) else { return }
      // A process that does not read keeps a thread waiting, and nobody else.
      await Self.onThread { try? input.write(bytes) }
    }
  }

  func closeInput() async {
    guard let input else { return }
    await writes.take { [self] in
      guard !isInputClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
      // A terminal's end of input is a character.
      if terminal != nil { await Self.onThread { try? input.write([4]) } } else { try? input.close() }
    }
  }

  private static func onThread(_ body: @escaping @Sendable () -> Void) async { try? await DedicatedThread.run(body) }

  func resize(rows: UInt16, columns: UInt16) {
    guard let terminal else { return }
    given.input.setTerminalSize(rows: rows, columns: columns)
    terminal.setTerminalSize(rows: rows, columns: columns)
    signalling.yield(Signals.windowChange)
  }

  func signal(_ number: Int32) { signalling.yield(number) }

  /// Kills it, and waits for its end.
  func end() async {
    let task = running.withLock { $0 }
    task?.cancel()
    _ = await task?.result
    if terminal == nil { try? input?.close() }
    signalling.finish()
  }
}

/// One at a time, in the order of asking.
private actor Turns {
  private var last: Task<Void, Never>?
  func take(_ body: @escaping @Sendable () async -> Void) async {
    let before = last
    let mine = Task {
      await before?.value
      await body()
    }
    last = mine
    await mine.value
  }
}

/// Hands over what comes out of a descriptor, no faster than it is taken.
private enum OutputPump {
  static func start(_ descriptor: HostOS.Descriptor, _ deliver: @escaping @Sendable ([UInt8]) async -> Void) -> Task<Void, Never> {
    let (chunks, feed) = AsyncStream<[UInt8]>.makeStream()
    let room = DispatchSemaphore(value: 8)
    DedicatedThread.start {
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 16)
      defer {
        buffer.deallocate()
        feed.finish()
      }
      // A terminal whose program is gone answers with an error.
      while let n = try? descriptor.read(into: buffer), n > 0 {
        room.wait()
        feed.yield(Array(UnsafeRawBufferPointer(rebasing: buffer[..<n])))
      }
    }
    return Task {
      for await chunk in chunks {
        await deliver(chunk)
        room.signal()
      }
    }
  }
}
