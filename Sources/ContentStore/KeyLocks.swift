package import HostOS
import OCIModel

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Serialises work on a key among all processes of a root and all tasks of this one. A lock ends with its process, however that ends.
///
/// Two keys may, once in 2^62, share a byte: they wait for one another and nothing else. Whoever takes several takes them in one order.
package final class KeyLocks: Sendable {
  private let file: LockFile

  /// The file for a directory is never removed. Blocks; call through Blocking.run.
  init(directory: String) throws { file = try LockFile(path: directory + "/keys") }

  /// Waits for the key. `onWait` is called once if another has it. A cancelled task stops waiting with CancellationError.
  package func lock(_ key: String, shared: Bool = false, onWait: (@Sendable () -> Void)? = nil) async throws -> FileLock {
    try await file.lock(offset: Self.offset(key), shared: shared, onWait: onWait)
  }

  /// The key, or nil while another has it.
  package func tryLock(_ key: String, shared: Bool = false) throws -> FileLock? { try file.tryLock(offset: Self.offset(key), shared: shared) }

  /// Holds the key while `body` runs.
  package func withLock<T: Sendable>(_ key: String, onWait: (@Sendable () -> Void)? = nil, _ body: () async throws -> T) async throws -> T {
    let held = try await lock(key, onWait: onWait)
    defer { held.release() }
    return try await body()
  }

  /// Waits on the calling thread: for the moments when there is no task yet.
  func lockBlocking(_ key: String) throws -> FileLock {
    while true {
      if let held = try tryLock(key) { return held }
      usleep(2000)
    }
  }

  /// The first 62 bits of the key's SHA-256.
  static func offset(_ key: String) -> Int64 {
    let bytes = Digest.sha256(of: key).bytes
    return Int64(bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) } >> 2)
  }
}
