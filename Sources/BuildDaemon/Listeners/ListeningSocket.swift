internal import HostOS

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// A socket that listens; what becomes of it at the end is `remove`.
struct ListeningSocket: Sendable {
  var address: ListenAddress
  /// Whoever takes it closes it.
  var descriptor: Int32
  /// Of a unix socket, so that another daemon's at the same place is not removed.
  var file: FileIdentity?
  struct FileIdentity: Sendable, Equatable {
    var device: UInt64
    var inode: UInt64
  }

  /// Blocks.
  static func open(_ address: ListenAddress, group: String?) throws -> ListeningSocket {
    switch address {
    case .unix(let path): try unix(path, group: group)
    case .tcp(let host, let port): try tcp(host, port)
    case .inherited(let name): ListeningSocket(address: address, descriptor: try InheritedSockets.take(name))
    }
  }

  // MARK: unix

  private static func unix(_ path: String, group: String?) throws -> ListeningSocket {
    let address = ListenAddress.unix(path: path)
    let id = try group.map(groupID)
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
    do { if !folder.isEmpty { try Files.makeDirectories(folder, mode: 0o711) } } catch { throw DaemonError(.system, "cannot make the folder of \(address)", cause: error) }
    try clear(path)
    // Bound under another name: nobody connects before owner and mode are right.
    let directory: Directory
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    do { directory = try Directory.open(folder.isEmpty ? "/" : folder) } catch { throw DaemonError(.system, "cannot open the folder of \(address)", cause: error) }
    let hidden = ".\(name).\(ProcessIdentity.current.pid)"
    do {
      let descriptor = try Sockets.listen(at: hidden, in: directory)
      do {
        if let id { try directory.setOwner(hidden, uid: HostFacts.userID, gid: id) }
        try directory.setMode(hidden, 0o660)
        let status = try directory.status(hidden, followLast: false)
        try directory.rename(hidden, to: name)
        return ListeningSocket(address: address, descriptor: try descriptor.released(), file: .init(device: status.device, inode: status.inode))
      } catch {
        try? directory.unlink(hidden)
        throw error
      }
    } catch let error as HostError {
      throw DaemonError(.system, "cannot listen on \(address)", suggestion: id == nil ? nil : "The group \(group ?? "") must be one that this user may give files to.", cause: error)
    }
  }

  /// Removes a socket that nobody listens on any more.
  private static func clear(_ path: String) throws {
    guard let status = try? Files.status(path, followLast: false) else { return }
    guard status.kind == .socket else { throw DaemonError(.busy, "\(path) is there already, and is no socket") }
    if (try? Sockets.connect(path)) != nil { throw DaemonError(.busy, "another daemon listens on unix://\(path)", suggestion: "Stop it, or take another --addr.") }
    _ = path.withCString { unlink($0) }
  }

  static func groupID(_ group: String) throws -> UInt32 {
    if let number = UInt32(group) { return number }
    let lines = (Files.text("/etc/group") ?? "").split(separator: "\n")
    for line in lines {
      let fields = line.split(separator: ":", omittingEmptySubsequences: false)
      if fields.count >= 3, fields[0] == group, let id = UInt32(fields[2]) { return id }
    }
    if let id = group.withCString({ getgrnam($0)?.pointee.gr_gid }) { return UInt32(id) }
    throw DaemonError(.setting, "there is no group \"\(group)\"")
  }

  // MARK: tcp

  private static func tcp(_ host: String, _ port: Int) throws -> ListeningSocket {
    let address = ListenAddress.tcp(host: host, port: port)
    var hints = addrinfo()
    hints.ai_flags = AI_PASSIVE
    #if canImport(Glibc)
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    #else
      hints.ai_socktype = Int32(SOCK_STREAM)
    #endif
    var list: UnsafeMutablePointer<addrinfo>?
    let found = getaddrinfo(host.isEmpty ? nil : host, "\(port)", &hints, &list)
    guard found == 0, let first = list else { throw DaemonError(.setting, "\(address): \(String(cString: gai_strerror(found)))") }
    defer { freeaddrinfo(first) }
    // Every interface means the IPv6 socket that takes IPv4 as well, where there is one.
    var candidates: [UnsafeMutablePointer<addrinfo>] = []
    var next: UnsafeMutablePointer<addrinfo>? = first
    while let one = next {
      candidates.append(one)
      next = one.pointee.ai_next
    }
    if host.isEmpty { candidates.sort { $0.pointee.ai_family == AF_INET6 && $1.pointee.ai_family != AF_INET6 } }
    var failure: Int32 = 0
    for one in candidates {
      let made = socket(one.pointee.ai_family, one.pointee.ai_socktype, one.pointee.ai_protocol)
      if made < 0 {
        failure = errno
        continue
      }
      let descriptor = HostOS.Descriptor(owning: made)
      try? descriptor.setCloseOnExec(true)
      var on: Int32 = 1, off: Int32 = 0
      setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
      if one.pointee.ai_family == AF_INET6, host.isEmpty { setsockopt(made, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, socklen_t(MemoryLayout<Int32>.size)) }
      if bind(made, one.pointee.ai_addr, one.pointee.ai_addrlen) == 0, listen(made, 1024) == 0 {
        return ListeningSocket(address: try bound(made, address), descriptor: try descriptor.released())
      }
      failure = errno
    }
    let error = HostError(errno: failure, operation: "listen", path: "\(address)")
    throw DaemonError(failure == EADDRINUSE ? .busy : .system, "cannot listen on \(address)", cause: error)
  }

  /// Port 0 is whichever was free.
  private static func bound(_ descriptor: Int32, _ address: ListenAddress) throws -> ListenAddress {
    guard case .tcp(let host, 0) = address else { return address }
    var storage = sockaddr_storage(), size = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let result = withUnsafeMutablePointer(to: &storage) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) } }
    guard result == 0 else { return address }
    // The port is at the same place in both families.
    let port = withUnsafeBytes(of: storage) { Int($0[2]) << 8 | Int($0[3]) }
    return .tcp(host: host, port: port)
  }

  // MARK: the end

  /// Takes a unix socket out of the filesystem, unless another daemon has put its own there. Blocks.
  func remove() {
    guard case .unix(let path) = address, let file, let status = try? Files.status(path, followLast: false),
      FileIdentity(device: status.device, inode: status.inode) == file
    else { return }
    _ = path.withCString { unlink($0) }
  }
}
