internal import BuildInterface
internal import HostOS

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// Asks the person at the terminal. Every function blocks; call through `Blocking.run`.
enum LoginPrompt {
  static let limit = 64 << 10

  /// A line, shown as it is typed; nil at the end of the input.
  static func line(_ question: String) -> String? {
    Terminal.output(question)
    var bytes: [UInt8] = []
    while let byte = byte(), byte != 0x0a { if bytes.count < limit { bytes.append(byte) } }
    return bytes.isEmpty && isAtEnd ? nil : String(decoding: bytes, as: UTF8.self).trimmed
  }

  /// A line that is not shown. Ctrl-C throws `Interrupted`, with the terminal as it was before.
  static func secret(_ question: String) throws -> String {
    Terminal.output(question)
    var before = termios()
    guard tcgetattr(STDIN_FILENO, &before) == 0 else { throw BuildError.usage("cannot keep the password from being shown: standard input is no terminal") }
    var silent = before
    // Character by character and without signals, so that nothing ends the program before the terminal is as it was.
    silent.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
    guard tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0 else { throw HostError(errno: errno, operation: "set", path: "the terminal") }
    defer {
      tcsetattr(STDIN_FILENO, TCSAFLUSH, &before)
      Terminal.output("\n")
    }
    var bytes: [UInt8] = []
    while let byte = byte(), byte != 0x0a, byte != 0x0d {
      switch byte {
      case 0x03: throw Interrupted(signal: SIGINT)
      case 0x04: return String(decoding: bytes, as: UTF8.self)
      case 0x15: bytes = []
      case 0x08, 0x7f:
        // One character, of however many bytes.
        while let last = bytes.popLast(), last & 0xc0 == 0x80 {}
      default: if bytes.count < limit { bytes.append(byte) }
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// All of standard input, without the end of its last line.
  static func piped() throws -> String {
    var bytes: [UInt8] = []
    while let byte = byte() {
      guard bytes.count < limit else { throw BuildError.usage("the password on standard input is longer than \(limit) bytes") }
      bytes.append(byte)
    }
    if bytes.last == 0x0a { bytes.removeLast() }
    if bytes.last == 0x0d { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func byte() -> UInt8? {
    var byte: UInt8 = 0
    while true {
      let n = read(STDIN_FILENO, &byte, 1)
      if n == 1 { return byte }
      if n < 0, errno == EINTR { continue }
      return nil
    }
  }

  /// Whether nothing more can come; asked only after a line without content.
  private static var isAtEnd: Bool {
    var descriptor = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, 0) > 0 && descriptor.revents & Int16(POLLHUP) != 0
  }
}

extension String {
  /// Without blanks and line ends around it.
  var trimmed: String {
    var text = self[...]
    while let c = text.first, c.isWhitespace { text.removeFirst() }
    while let c = text.last, c.isWhitespace { text.removeLast() }
    return String(text)
  }
}
