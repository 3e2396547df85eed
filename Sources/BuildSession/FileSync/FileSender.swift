package import BuildInterface
internal import Synchronization

/// The end that has files (fsutil's send.go). `walk` and `serve` run on threads of their own and block; `take` is told what the other end says.
package final class FileSender: Sendable {
  private struct State {
    /// What can be asked for, once.
    var files: [UInt32: [UInt8]] = [:]
    var next: UInt32 = 0
    var isAllTold = false
  }
  /// What the other end wants next.
  package enum Request: Sendable, Equatable {
    case file(UInt32, path: [UInt8])
    case finish
  }
  /// Bytes of content in one packet.
  package static let piece = 32 << 10
  private let tree: any FileTree
  private let state = Mutex(State())

  package init(_ tree: any FileTree) { self.tree = tree }

  /// Tells of every entry. `send` blocks while the other end reads nothing.
  package func walk(_ send: (FilePacket) throws -> Void) throws {
    try tree.walk { entry in
      state.withLock { state in
        if entry.mode & (GoFileMode.kinds | GoFileMode.directory) == 0 { state.files[state.next] = entry.path }
        state.next += 1
      }
      try send(.entry(entry))
    }
    state.withLock { $0.isAllTold = true }
    try send(.endOfEntries)
  }

  /// What the other end asks for with a packet.
  package func take(_ packet: FilePacket) throws -> Request {
    switch packet {
    case .request(let id):
      guard let path = state.withLock({ $0.files.removeValue(forKey: id) }) else { throw FileSyncError(.violation, "the receiver asks for file \(id), which it cannot ask for") }
      return .file(id, path: path)
    case .finish:
      guard state.withLock({ $0.isAllTold }) else { throw FileSyncError(.violation, "the receiver finished before it was told of all files") }
      return .finish
    case .failure(let text): throw FileSyncError(.peer, text.isEmpty ? "the receiver failed" : text)
    case .entry, .endOfEntries, .data: throw FileSyncError(.violation, "the receiver sends files")
    }
  }

  /// Sends what was asked for.
  package func serve(_ request: Request, _ send: (FilePacket) throws -> Void) throws {
    switch request {
    case .finish: try send(.finish)
    case .file(let id, let path):
      try tree.read(path) { bytes in
        var rest = bytes[...]
        while !rest.isEmpty {
          let piece = rest.prefix(Self.piece)
          try send(.data(id, Array(piece)))
          rest = rest.dropFirst(piece.count)
        }
      }
      try send(.data(id, []))
    }
  }
}
