#if os(Linux)
  import HostOS

  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// One container from this side: its control socket and the read ends of its output.
  final class StepWatch: Sendable {
    struct Outcome: Sendable {
      /// nil when the supervisor ended without a word.
      var code: Int32?
      /// What could not be set up.
      var failure: (what: String, errno: Int32)?
      var runtimeLog: String = ""
    }

    private let control: Descriptor
    private let output: Descriptor?
    private let error: Descriptor?
    private let sink: @Sendable (StepOutput) -> Void

    init(control: Descriptor, output: Descriptor?, error: Descriptor?, sink: @escaping @Sendable (StepOutput) -> Void) {
      self.control = control
      self.output = output
      self.error = error
      self.sink = sink
    }

    /// Kills the container. May be called at any time, from anywhere.
    func cancel() { shutdown(control.raw, Int32(SHUT_WR)) }

    /// Passes a signal on to the container's process.
    func signal(_ number: Int32) {
      let text = Array(String(number).utf8)
      _ = text.withUnsafeBytes { send(control.raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }

    /// Waits for the supervisor to be gone, after `cancel`; the kernel may take its time with a process in a system call.
    func waitForEnd(seconds: Int32) {
      var buffer = [UInt8](repeating: 0, count: 9216)
      while true {
        var one = pollfd(fd: control.raw, events: Int16(POLLIN), revents: 0)
        let ready = poll(&one, 1, seconds * 1000)
        if ready < 0, errno == EINTR { continue }
        if ready <= 0 || buffer.withUnsafeMutableBytes({ recv(control.raw, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT)) }) <= 0 { return }
      }
    }

    /// Hands over output until the container has ended and nothing more can come. Blocks.
    func follow() -> Outcome {
      var outcome = Outcome()
      var descriptors = [
        pollfd(fd: control.raw, events: Int16(POLLIN), revents: 0), pollfd(fd: output?.raw ?? -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: error?.raw ?? -1, events: Int16(POLLIN), revents: 0),
      ]
      let size = 64 << 10
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
      defer { buffer.deallocate() }
      var controlOpen = true
      while (controlOpen && outcome.code == nil) || descriptors[1].fd >= 0 || descriptors[2].fd >= 0 {
        if poll(&descriptors, 3, -1) < 0 { continue }
        for i in 1...2 where descriptors[i].revents != 0 {
          let n = read(descriptors[i].fd, buffer.baseAddress, size)
          if n > 0 {
            let bytes = [UInt8](UnsafeRawBufferPointer(rebasing: buffer[..<n]))
            sink(i == 1 ? .standardOutput(bytes) : .standardError(bytes))
          } else if n == 0 || (errno != EINTR && errno != EAGAIN) {
            descriptors[i].fd = -1
          }
        }
        if descriptors[0].revents != 0 {
          let n = recv(control.raw, buffer.baseAddress, size, Int32(MSG_DONTWAIT))
          if n > 0 {
            Self.take(UnsafeRawBufferPointer(rebasing: buffer[..<n]), into: &outcome)
          } else if n == 0 || (errno != EINTR && errno != EAGAIN) {
            controlOpen = false
            descriptors[0].fd = -1
          }
        }
      }
      return outcome
    }

    static func take(_ packet: UnsafeRawBufferPointer, into outcome: inout Outcome) {
      let words = packet.split(separator: 0, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
      switch words.first {
      case "exit": outcome.code = words.count > 1 ? Int32(words[1]) : nil
      case "log": outcome.runtimeLog += words.dropFirst().joined()
      case "fail": if outcome.failure == nil, words.count > 2 { outcome.failure = (words[1], Int32(words[2]) ?? 0) }
      default: break
      }
    }
  }
#endif
