internal import BuildSolver
internal import ContentStore
internal import HostOS

/// The solver's locks on cache keys, held on the store's lock file: equal work is done by one process at a time.
struct StoreKeyLocking: KeyLocking {
  let locks: KeyLocks

  func lock(_ key: String) async throws -> any KeyLock { StoreKeyLock(lock: try await locks.lock("step:" + key)) }
}

/// A held key. Its descriptor is handed to a step's supervisor, so that the key stays locked until the container is gone.
struct StoreKeyLock: KeyLock {
  let lock: FileLock
  func unlock() async { lock.release() }
}
