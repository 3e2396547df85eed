#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What a service manager (systemd) and a program that it starts tell one another by the environment: sd_listen_fds(3) and sd_notify(3).
package enum ServiceManager {
  /// A socket that listens already.
  package struct Inherited: Sendable, Hashable {
    package var name: String
    package var descriptor: Int32
    package init(name: String, descriptor: Int32) { (self.name, self.descriptor) = (name, descriptor) }
  }

  private static let first: Int32 = 3
  /// More than any unit has.
  private static let limit = 256

  /// The sockets that were handed to this very process, marked so that no program that it starts has them too. The variables are gone afterwards: nobody else takes
  /// the sockets for his own. To be called once, before other threads read the environment.
  package static func takeSockets() -> [Inherited] {
    defer { for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) } }
    let found = sockets(pid: value("LISTEN_PID"), count: value("LISTEN_FDS"), names: value("LISTEN_FDNAMES"), own: getpid())
    return found.filter { fcntl($0.descriptor, F_SETFD, FD_CLOEXEC) == 0 }
  }

  static func sockets(pid: String?, count: String?, names: String?, own: Int32) -> [Inherited] {
    guard let pid, Int32(pid) == own, let count = count.flatMap({ Int($0) }), count > 0, count <= limit else { return [] }
    let names = (names ?? "").split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    return (0..<count).map { Inherited(name: $0 < names.count ? names[$0] : "", descriptor: first + Int32($0)) }
  }

  /// `READY=1`, `STOPPING=1`. Whether there is somebody to tell. Does not wait.
  @discardableResult
  package static func notify(_ state: String) -> Bool {
    guard let path = value("NOTIFY_SOCKET"), path.count > 1, path.hasPrefix("/") || path.hasPrefix("@") else { return false }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return false }
    // Of a name that is in no filesystem.
    if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    #if canImport(Glibc)
      let kind = Int32(SOCK_DGRAM.rawValue), flag = Int32(MSG_DONTWAIT)
    #else
      let kind = Int32(SOCK_DGRAM), flag = Int32(MSG_DONTWAIT)
    #endif
    let made = socket(AF_UNIX, kind, 0)
    guard made >= 0 else { return false }
    let descriptor = Descriptor(owning: made)
    try? descriptor.setCloseOnExec(true)
    let length = MemoryLayout.size(ofValue: address) - MemoryLayout.size(ofValue: address.sun_path) + bytes.count
    let text = Array(state.utf8)
    let sent = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(made, text, text.count, flag, $0, socklen_t(length)) }
    }
    return sent == text.count
  }

  private static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
