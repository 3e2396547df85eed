import Synchronization
import Testing

@testable import HostOS

@Suite struct SocketTests {
  /// However long the directory's path is: a socket's address has room for 107 bytes.
  @Test(arguments: [0, 200]) func servesConnections(_ length: Int) throws {
    let root = try Files.makeTemporaryDirectory(prefix: "manifold-socket-")
    defer { try? Files.removeTree(root) }
    let path = root + "/" + String(repeating: "d", count: length)
    try Files.makeDirectories(path)
    let listener = try SocketListener(at: "s", in: try Directory.open(path), mode: 0o640)
    #expect(try Files.status(path + "/s").permissions == 0o640 && Files.status(path + "/s").kind == .socket)
    listener.serve { connection in
      var bytes = [UInt8](repeating: 0, count: 3)
      _ = try? bytes.withUnsafeMutableBytes { try connection.readFully(into: $0) }
      try? connection.write(bytes.reversed())
    }
    for text in ["abc", "xyz"] {
      let socket = try Sockets.connect(path + "/s")
      try socket.write(text)
      #expect(try String(decoding: socket.readToEnd(limit: 10), as: UTF8.self) == String(text.reversed()))
    }
    listener.close()
    #expect(throws: HostError.self) { try Sockets.connect(root + "/absent") }
  }

  @Test func seesWhoIsGone() throws {
    let (a, b) = try Sockets.pair(), (c, d) = try Sockets.pair()
    try b.write("x")
    #expect(Sockets.waitToRead(a, unlessGone: c))
    _ = try [0 as UInt8].withUnsafeBufferPointer { _ in var one: [UInt8] = [0]; return try one.withUnsafeMutableBytes { try a.read(into: $0) } }
    Sockets.end(d)
    try d.close()
    #expect(!Sockets.waitToRead(a, unlessGone: c))
  }
}
