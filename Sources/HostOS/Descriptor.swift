import CHostOS
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// An open file, closed with the last reference to it.
package final class Descriptor: Sendable {
  /// The number. Whoever passes it to a system call keeps the object alive meanwhile (`withExtendedLifetime`).
  package let raw: Int32
  private let closed = Atomic<Bool>(false)

  /// Takes over an open descriptor.
  package init(owning raw: Int32) { self.raw = raw }

  deinit { if !closed.load(ordering: .acquiring) { _ = unsafeClose(raw) } }

  package static func open(_ path: String, flags: OpenFlags = .readOnly, mode: UInt32 = 0o644) throws -> Descriptor {
    let fd = try withPath(path, "open") { hostos_openat(AT_FDCWD, $0, flags.rawValue, mode) }
    return Descriptor(owning: try checked(fd, "open", path))
  }

  /// A second one for a number that somebody else owns, as that of standard output.
  package static func duplicate(of raw: Int32) throws -> Descriptor {
    Descriptor(owning: try checked(fcntl(raw, F_DUPFD_CLOEXEC, 3).orErrno, "duplicate", "\(raw)"))
  }

  /// A pipe's two ends.
  package static func pipe() throws -> (read: Descriptor, write: Descriptor) {
    var ends: [Int32] = [0, 0]
    try checked(hostos_pipe(&ends), "pipe", "")
    return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
  }

  /// A new terminal: its user's end, and the end that a program on it has. Nobody's controlling terminal.
  package static func pseudoTerminal() throws -> (controller: Descriptor, terminal: Descriptor) {
    var ends: [Int32] = [0, 0]
    try checked(hostos_pseudo_terminal(&ends), "open", "/dev/ptmx")
    return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
  }

  /// Closes now, and says what the filesystem had to say about it. Later calls do nothing.
  package func close() throws {
    if closed.exchange(true, ordering: .acquiringAndReleasing) { return }
    // EINTR from close(2) on Linux means closed.
    if unsafeClose(raw) != 0, errno != EINTR { throw HostError(errno: errno, operation: "close", path: "") }
  }

  package func duplicate() throws -> Descriptor {
    try Descriptor.duplicate(of: raw)
  }

  /// A number for the same open file that is the caller's to close; this object is closed.
  package func released() throws -> Int32 {
    let number = try checked(fcntl(raw, F_DUPFD_CLOEXEC, 3).orErrno, "duplicate", "\(raw)")
    try? close()
    return number
  }

  /// Whether programs that this process executes lose the descriptor (as all do unless told otherwise).
  package func setCloseOnExec(_ on: Bool) throws { try checked(hostos_set_cloexec(raw, on ? 1 : 0), "fcntl", "") }

  // Reading and writing: blocks; call through Blocking.run.

  /// Reads up to the buffer's size. 0 is the end.
  package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    while true {
      let n = systemRead(raw, buffer.baseAddress, buffer.count)
      if n >= 0 { return n }
      if errno != EINTR { throw HostError(errno: errno, operation: "read", path: "") }
    }
  }

  /// Reads at a place, and does not move the position. 0 is the end.
  package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws -> Int {
    while true {
      let n = pread(raw, buffer.baseAddress, buffer.count, off_t(offset))
      if n >= 0 { return n }
      if errno != EINTR { throw HostError(errno: errno, operation: "read", path: "") }
    }
  }

  /// Fills the buffer unless the file ends before. Answers the bytes read.
  package func readFully(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64? = nil) throws -> Int {
    var done = 0
    while done < buffer.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
      let n = try offset.map { try read(into: rest, at: $0 + Int64(done)) } ?? read(into: rest)
      if n == 0 { break }
      done += n
    }
    return done
  }

  /// Everything from the position on. More than `limit` bytes are refused.
  package func readToEnd(limit: Int) throws -> [UInt8] {
    var out: [UInt8] = []
    let expected = (try? status()).map { $0.kind == .regular ? Int(clamping: $0.size) : 0 } ?? 0
    var chunk = min(max(expected + 1, 4096), min(limit, 1 << 24) + 1)
    while true {
      let before = out.count
      let more = try [UInt8](unsafeUninitializedCapacity: chunk) { buffer, count in
        count = try read(into: UnsafeMutableRawBufferPointer(buffer))
      }
      if more.isEmpty { return out }
      if before + more.count > limit { throw HostError(.tooLarge, operation: "read", message: "more than \(limit) bytes") }
      if before == 0 { out = more } else { out += more }
      chunk = 65536
    }
  }

  package func write(_ buffer: UnsafeRawBufferPointer) throws {
    var done = 0
    while done < buffer.count {
      let n = systemWrite(raw, buffer.baseAddress! + done, buffer.count - done)
      if n >= 0 { done += n } else if errno != EINTR { throw HostError(errno: errno, operation: "write", path: "") }
    }
  }

  package func write(_ buffer: UnsafeRawBufferPointer, at offset: Int64) throws {
    var done = 0
    while done < buffer.count {
      let n = pwrite(raw, buffer.baseAddress! + done, buffer.count - done, off_t(offset + Int64(done)))
      if n >= 0 { done += n } else if errno != EINTR { throw HostError(errno: errno, operation: "write", path: "") }
    }
  }

  package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }
  package func write(_ text: String) throws { try write(Array(text.utf8)) }

  package func truncate(to size: Int64) throws { try checked(ftruncate(raw, off_t(size)).orErrno, "truncate", "") }
  @discardableResult
  package func seek(to offset: Int64) throws -> Int64 { Int64(try checked(lseek(raw, off_t(offset), SEEK_SET).orErrno, "seek", "")) }

  /// Waits until content and metadata are on the disk.
  package func sync() throws { try checked(fsync(raw).orErrno, "fsync", "") }
  /// Waits until the content, and the size, are on the disk.
  package func syncData() throws {
    #if os(Linux)
      try checked(fdatasync(raw).orErrno, "fdatasync", "")
    #else
      try sync()
    #endif
  }

  /// Gives the file blocks on the disk up to `size`, holes included. What is in it stays.
  package func allocate(_ size: Int64) throws { try checked(hostos_allocate(raw, UInt64(size)), "fallocate", "") }

  package func status() throws -> FileStatus {
    var s = hostos_stat()
    try checked(hostos_stat(raw, "", 0, &s), "stat", "")
    return FileStatus(s)
  }

  package var size: Int64 { get throws { try status().size } }

  package func setMode(_ mode: UInt32) throws { try checked(hostos_chmod(raw, "", mode), "chmod", "") }
  package func setOwner(uid: UInt32, gid: UInt32) throws { try checked(hostos_chown(raw, "", uid, gid), "chown", "") }
  /// Nanoseconds since 1970; nil leaves a time as it is.
  package func setTimes(accessed: Int64?, modified: Int64?) throws {
    try checked(hostos_set_times(raw, "", accessed ?? .min, modified ?? .min), "utimens", "")
  }

  /// Makes `to` hold what this file holds: a reflink where the filesystem can, else copied in the kernel, holes kept. `to` is empty.
  package func copyContents(to other: Descriptor, size: Int64) throws {
    if size == 0 { return }
    if hostos_reflink(raw, other.raw) != 0 {
      try other.truncate(to: size)
      var offset: Int64 = 0
      var start: Int64 = 0, end: Int64 = 0
      while offset < size, hostos_next_data(raw, offset, size, &start, &end) == 1 {
        try checked(hostos_copy_range(raw, other.raw, start, end - start), "copy", "")
        offset = end
      }
    }
    if try status().size != size { throw HostError(.system, operation: "copy", message: "the file changed its size while it was copied") }
  }
}

extension FixedWidthInteger where Self: SignedInteger {
  /// A system call's answer, with -1 turned into the negated errno.
  @inline(__always)
  fileprivate var orErrno: Self { self < 0 ? Self(-errno) : self }
}

private func unsafeClose(_ fd: Int32) -> Int32 { close(fd) }
private func systemRead(_ fd: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int { read(fd, buffer, count) }
private func systemWrite(_ fd: Int32, _ buffer: UnsafeRawPointer, _ count: Int) -> Int { write(fd, buffer, count) }
