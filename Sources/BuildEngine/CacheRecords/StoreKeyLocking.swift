internal import BuildSolver
internal import ContentStore
internal import HostOS

/// The solver's locks on cache keys, held on the store's lock file: equal work is done by one process at a time.
struct StoreKeyLocking: KeyLocking {
  let locks: KeyLocks

  func lock(_ names: [String]) async throws -> any KeyLock {
    var held: [FileLock] = []
    do {
      for name in names { held.append(try await locks.lock("step:" + name)) }
    } catch {
      for lock in held { lock.release() }
      throw error
    }
    return StoreKeyLock(locks: held)
  }
}

/// A held key. Its descriptors are handed to a step's supervisor, so that the key stays locked until the container is gone.
struct StoreKeyLock: KeyLock {
  let locks: [FileLock]
  func unlock() async { for lock in locks { lock.release() } }
}
