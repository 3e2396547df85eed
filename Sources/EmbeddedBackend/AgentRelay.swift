internal import HostOS

/// What stands between a step and the user's SSH agent: a step may list keys and have something signed with them. Everything else (adding and removing keys, locking the
/// agent, its extensions) is answered with a refusal, as BuildKit's client does.
enum AgentRelay {
  /// Message numbers of the agent's protocol (draft-miller-ssh-agent, section 5.1).
  private static let failure: UInt8 = 5, listKeys: UInt8 = 11, sign: UInt8 = 13
  /// OpenSSH's own limit.
  static let longest = 256 << 10

  /// Until either side ends. Blocks.
  static func run(_ step: HostOS.Descriptor, socket path: String) {
    defer { Sockets.end(step) }
    // A new connection each time: agents know their users by it.
    guard let agent = try? Sockets.connect(path) else { return }
    while let request = message(from: step) {
      let answer: [UInt8]
      if let type = request.first, type == listKeys || type == sign {
        guard (try? agent.write(framed(request))) != nil, Sockets.waitToRead(agent, unlessGone: step), let found = message(from: agent) else { return }
        answer = found
      } else {
        answer = [failure]
      }
      guard (try? step.write(framed(answer))) != nil else { return }
    }
  }

  static func framed(_ message: [UInt8]) -> [UInt8] {
    let count = UInt32(message.count)
    return [UInt8(truncatingIfNeeded: count >> 24), UInt8(truncatingIfNeeded: count >> 16), UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)] + message
  }

  /// nil at the end, and when it is none.
  private static func message(from socket: HostOS.Descriptor) -> [UInt8]? {
    guard let head = bytes(4, from: socket) else { return nil }
    let count = head.reduce(0) { $0 << 8 | Int($1) }
    guard count > 0, count <= longest else { return nil }
    return bytes(count, from: socket)
  }

  private static func bytes(_ count: Int, from socket: HostOS.Descriptor) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    let read = try? bytes.withUnsafeMutableBytes { try socket.readFully(into: $0) }
    return read == count ? bytes : nil
  }
}
