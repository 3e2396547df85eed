internal import HostOS
internal import Synchronization

/// The sockets that systemd opened for this process: each serves one address.
enum InheritedSockets {
  private static let left = Mutex<[ServiceManager.Inherited]?>(nil)

  /// `name`: FileDescriptorName= of the unit, or the descriptor's number; empty takes the first.
  static func take(_ name: String) throws -> Int32 {
    try left.withLock { left in
      var sockets = left ?? ServiceManager.takeSockets()
      defer { left = sockets }
      let position = name.isEmpty ? sockets.indices.first : sockets.firstIndex { $0.name == name || "\($0.descriptor)" == name }
      guard let position else {
        throw DaemonError(
          .setting, sockets.isEmpty ? "no sockets found via socket activation: make sure the service was started by systemd" : "systemd passed no socket named \"\(name)\"",
          suggestion: "fd:// takes a socket of a systemd socket unit (LISTEN_FDS).")
      }
      return sockets.remove(at: position).descriptor
    }
  }
}
