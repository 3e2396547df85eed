import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A socket in a directory, to which other processes connect. Ends with the last reference.
package final class SocketListener: Sendable {
  private let socket: Descriptor

  /// Makes the socket at `name`, beneath no other directory than this one, with the owner and mode given. Blocks.
  package init(at name: String, in directory: Directory, mode: UInt32, uid: UInt32? = nil, gid: UInt32? = nil) throws {
    let made = try withPath(name, "listen") { name in directory.with { hostos_socket_listen($0, name) } }
    socket = Descriptor(owning: try checked(made, "listen", name))
    if let uid, let gid { try directory.setOwner(name, uid: uid, gid: gid) }
    try directory.setMode(name, mode)
  }

  /// Hands over each connection as it comes, from a thread of its own that must not be kept waiting, until `close`. To be called once.
  package func serve(_ connected: @escaping @Sendable (Descriptor) -> Void) {
    let socket = socket
    DedicatedThread.start {
      while case let connection = hostos_socket_accept(socket.raw), connection >= 0 { connected(Descriptor(owning: connection)) }
    }
  }

  /// No more connections are taken; those that there are go on.
  package func close() { shutdown(socket.raw, Int32(SHUT_RDWR)) }

  deinit { close() }
}

/// Connections between processes of one machine. Blocks.
package enum Sockets {
  package static func connect(_ path: String) throws -> Descriptor {
    Descriptor(owning: try checked(try withPath(path, "connect") { hostos_socket_connect($0) }, "connect to", path))
  }

  /// A socket at `name`, beneath no other directory than this one, that listens.
  package static func listen(at name: String, in directory: Directory) throws -> Descriptor {
    let made = try withPath(name, "listen") { name in directory.with { hostos_socket_listen($0, name) } }
    return Descriptor(owning: try checked(made, "listen", name))
  }

  package static func pair() throws -> (Descriptor, Descriptor) {
    var ends: [Int32] = [0, 0]
    try checked(hostos_socket_pair(&ends), "socketpair", "")
    return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
  }

  /// Ends both directions, for everyone who has the socket.
  package static func end(_ socket: Descriptor) { shutdown(socket.raw, Int32(SHUT_RDWR)) }

  /// Waits until something can be read from `socket`, or it has ended. false: `other` has gone meanwhile.
  package static func waitToRead(_ socket: Descriptor, unlessGone other: Descriptor) -> Bool {
    while true {
      var two = [pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0), pollfd(fd: other.raw, events: 0, revents: 0)]
      if poll(&two, 2, -1) < 0 {
        if errno == EINTR { continue }
        return false
      }
      if two[0].revents != 0 { return true }
      if two[1].revents != 0 { return false }
    }
  }
}
