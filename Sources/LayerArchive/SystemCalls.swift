#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The calls that HostOS's Directory has for text, here for bytes: names in archives are bytes, and these run once for every file of a layer. Each answers a
/// negated errno in failure, as CHostOS's own do.
enum SystemCalls {
  static func read(_ fd: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int {
    while true {
      let n = systemRead(fd, buffer, count)
      if n >= 0 { return n }
      if errno != EINTR { return -Int(errno) }
    }
  }

  /// All of it, at a place.
  static func write(_ fd: Int32, _ bytes: UnsafeRawBufferPointer, at offset: Int64) -> Int {
    var done = 0
    while done < bytes.count {
      let n = pwrite(fd, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
      if n >= 0 { done += n } else if errno != EINTR { return -Int(errno) }
    }
    return done
  }

  static func truncate(_ fd: Int32, _ size: Int64) -> Int32 { answer(ftruncate(fd, off_t(size))) }
  static func makeDirectory(_ fd: Int32, _ name: UnsafePointer<CChar>, _ mode: UInt32) -> Int32 { answer(mkdirat(fd, name, mode_t(mode))) }
  static func makeSymbolicLink(_ target: UnsafePointer<CChar>, _ fd: Int32, _ name: UnsafePointer<CChar>) -> Int32 { answer(symlinkat(target, fd, name)) }
  static func link(_ from: Int32, _ name: UnsafePointer<CChar>, _ to: Int32, _ newName: UnsafePointer<CChar>) -> Int32 { answer(linkat(from, name, to, newName, 0)) }
  static func unlink(_ fd: Int32, _ name: UnsafePointer<CChar>, directory: Bool = false) -> Int32 { answer(unlinkat(fd, name, directory ? AT_REMOVEDIR : 0)) }

  /// A symbolic link's target, or a negated errno.
  static func readLink(_ fd: Int32, _ name: UnsafePointer<CChar>) -> (bytes: [UInt8], code: Int32) {
    var size = 256
    while true {
      var count = 0
      let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
        count = buffer.withMemoryRebound(to: CChar.self) { readlinkat(fd, name, $0.baseAddress!, size) }
        if count < 0 { count = Int(-errno) }
        initialized = max(0, count)
      }
      if count < 0 { return ([], Int32(count)) }
      if count < size { return (bytes, 0) }
      size *= 4
    }
  }

  private static func answer(_ result: Int32) -> Int32 { result < 0 ? -errno : result }
}

private func systemRead(_ fd: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int { read(fd, buffer, count) }

extension SystemCalls {
  static func close(_ fd: Int32) { _ = systemClose(fd) }
}
private func systemClose(_ fd: Int32) -> Int32 { close(fd) }
