import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// How much of the disk a tree takes, and what it looks like without being read.
package struct TreeUsage: Sendable, Equatable {
  package var bytes: Int64
  /// Of names, kinds, modes, and files' sizes and times: the same until something changes.
  package var fingerprint: Int64
}

/// Whole files of the host by path. Blocks; call through Blocking.run.
package enum Files {
  /// The file's bytes; more than `limit` are refused.
  package static func read(_ path: String, limit: Int) throws -> [UInt8] {
    do { return try Descriptor.open(path).readToEnd(limit: limit) } catch var error as HostError {
      if error.path.isEmpty { error.path = path }
      throw error
    }
  }

  /// The file as text, or nil when it is not there, not readable or too large: for facts of /proc and /etc.
  package static func text(_ path: String, limit: Int = 1 << 20) -> String? {
    (try? read(path, limit: limit)).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Replaces the file at `path`, or makes it: its readers see the old content or the new and nothing between, also after a crash. The new
  /// file has `mode` whatever the umask.
  package static func writeAtomically(_ bytes: [UInt8], to path: String, mode: UInt32 = 0o644, durable: Bool = true) throws {
    let (head, name) = Directory.split(path)
    let parent = try Directory.open(head.isEmpty ? (path.utf8.first == UInt8(ascii: "/") ? "/" : ".") : head)
    try parent.writeAtomically(bytes, to: name, mode: mode, durable: durable)
  }

  package static func exists(_ path: String) -> Bool {
    var s = hostos_stat()
    return (try? withPath(path, "stat") { hostos_stat(AT_FDCWD, $0, 1, &s) }) == 0
  }

  package static func status(_ path: String, followLast: Bool = true) throws -> FileStatus {
    var s = hostos_stat()
    try checked(try withPath(path, "stat") { hostos_stat(AT_FDCWD, $0, followLast ? 1 : 0, &s) }, "stat", path)
    return FileStatus(s)
  }

  /// What a file or a whole tree takes on the disk, in blocks, as `du` counts them. What vanishes meanwhile counts nothing.
  package static func usage(_ path: String) throws -> TreeUsage {
    var usage = hostos_usage()
    try checked(try withPath(path, "stat") { hostos_tree_usage(AT_FDCWD, $0, &usage) }, "stat", path)
    return TreeUsage(bytes: Int64(clamping: usage.bytes), fingerprint: Int64(bitPattern: usage.fingerprint))
  }

  /// Makes a directory and what is missing above it. Symbolic links of the host are followed.
  package static func makeDirectories(_ path: String, mode: UInt32 = 0o755) throws {
    var made = try makeDirectory(path, mode)
    if made == -ENOENT {
      let (head, _) = Directory.split(path)
      if head.isEmpty || head == path { throw HostError(errno: ENOENT, operation: "mkdir", path: path) }
      try makeDirectories(head, mode: mode)
      // Once more and no oftener: /proc answers ENOENT to a mkdir for ever, and so does a dangling link.
      made = try makeDirectory(path, mode)
    }
    if made == 0 { return }
    if made == -EEXIST, try status(path).kind == .directory { return }
    throw HostError(errno: -made, operation: "mkdir", path: path)
  }

  private static func makeDirectory(_ path: String, _ mode: UInt32) throws -> Int32 {
    try withPath(path, "mkdir") { mkdir($0, mode_t(mode)) == 0 ? 0 : -errno }
  }

  /// Makes a new directory with a name of its own, that only this user may enter.
  package static func makeTemporaryDirectory(in parent: String = "/tmp", prefix: String = "manifold-") throws -> String {
    for _ in 0..<100 {
      let path = parent + "/" + prefix + String(UInt64.random(in: .min ... .max), radix: 36)
      let made = try withPath(path, "mkdir") { mkdir($0, 0o700) == 0 ? 0 : -errno }
      if made == 0 { return path }
      if made != -EEXIST { throw HostError(errno: -made, operation: "mkdir", path: path) }
    }
    throw HostError(errno: EEXIST, operation: "mkdir", path: parent + "/" + prefix)
  }

  /// Removes the tree at a path of the host (see Directory.removeTree).
  package static func removeTree(_ path: String) throws {
    let (head, name) = Directory.split(path)
    do {
      let parent = try Directory.open(head.isEmpty ? (path.utf8.first == UInt8(ascii: "/") ? "/" : ".") : head)
      try parent.removeTree(name)
    } catch let error as HostError where error.code == .notFound {}
  }
}

extension Directory {
  /// Replaces the file at `path`, or makes it, in one step (see Files.writeAtomically).
  package func writeAtomically(_ bytes: [UInt8], to path: String, mode: UInt32 = 0o644, durable: Bool = true) throws {
    let (directory, name) = try parent(of: path)
    let temporary = ".\(name.prefix(200)).\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
    let file = try directory.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: mode, follow: .none)
    do {
      try file.write(bytes)
      try file.setMode(mode)
      if durable { try file.sync() }
      try file.close()
      try directory.rename(temporary, to: name)
    } catch {
      try? directory.unlink(temporary)
      throw error
    }
    if durable { try directory.sync() }
  }

  /// The bytes of the file at `path`; more than `limit` are refused.
  package func read(_ path: String, limit: Int, follow: Follow = .inRoot) throws -> [UInt8] {
    do { return try openFile(path, follow: follow).readToEnd(limit: limit) } catch var error as HostError {
      if error.path.isEmpty { error.path = path }
      throw error
    }
  }
}
