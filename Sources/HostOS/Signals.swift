import CHostOS
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Signals of the process, as values.
package enum Signals {
  package static let interrupt = SIGINT, terminate = SIGTERM, hangUp = SIGHUP, quit = SIGQUIT, windowChange = SIGWINCH, childEnded = SIGCHLD

  private struct State {
    var writer: Descriptor?
    var listeners: [(id: UInt64, signals: Set<Int32>, continuation: AsyncStream<Int32>.Continuation)] = []
    var nextID: UInt64 = 0
  }

  private static let state = Mutex(State())

  /// The given signals as they come, from now on instead of their default action; every listener gets each. The action stays replaced
  /// when the stream ends.
  package static func events(_ signals: Set<Int32>) throws -> AsyncStream<Int32> {
    let (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
    let writer = try state.withLock { state in
      let writer = try state.writer ?? startReading()
      state.writer = writer
      state.nextID += 1
      let id = state.nextID
      state.listeners.append((id, signals, continuation))
      continuation.onTermination = { _ in Signals.state.withLock { $0.listeners.removeAll { $0.id == id } } }
      return writer
    }
    for signal in signals { try checked(hostos_signal_to_fd(signal, writer.raw), "listen for signal \(signal)", "") }
    return stream
  }

  /// Writing to a closed pipe or socket is then an error and not the end.
  package static func ignoreBrokenPipe() { _ = hostos_signal_ignore(SIGPIPE) }
  package static func restoreDefault(_ signal: Int32) { _ = hostos_signal_default(signal) }
  /// Ends the process by the signal, as a shell expects of a program that was interrupted.
  package static func end(by signal: Int32) -> Never {
    hostos_raise_default(signal)
    exit(128 + signal)
  }

  /// A thread of its own: it waits for the process's whole life.
  private static func startReading() throws -> Descriptor {
    let (reader, writer) = try Descriptor.pipe()
    _ = fcntl(writer.raw, F_SETFL, O_NONBLOCK)
    let box = Unmanaged.passRetained(reader)
    #if os(Linux)
      var thread = pthread_t()
    #else
      var thread: pthread_t?
    #endif
    let made = pthread_create(
      &thread, nil,
      { context in
        #if os(Linux)
          let reader = Unmanaged<Descriptor>.fromOpaque(context!).takeRetainedValue()
        #else
          let reader = Unmanaged<Descriptor>.fromOpaque(context).takeRetainedValue()
        #endif
        Signals.deliver(from: reader)
        return nil
      }, box.toOpaque())
    if made != 0 {
      box.release()
      throw HostError(errno: made, operation: "start a thread for signals", path: "")
    }
    return writer
  }

  private static func deliver(from reader: Descriptor) {
    var byte: UInt8 = 0
    while let n = try? withUnsafeMutableBytes(of: &byte, { try reader.read(into: $0) }), n == 1 {
      let number = Int32(byte)
      let listeners = state.withLock { $0.listeners.filter { $0.signals.contains(number) }.map(\.continuation) }
      for listener in listeners { listener.yield(number) }
    }
  }
}
