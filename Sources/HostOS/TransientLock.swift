import CHostOS

extension Directory {
  /// Runs `body` while a file of that name in this directory is locked (flock(2)), which is made for it and removed afterwards: how BuildKit and buildx exclude
  /// one another from an image layout. Waits without holding a thread; a cancelled task stops waiting.
  package func withLockFile<T: Sendable>(_ name: String, _ body: @Sendable @escaping () throws -> T) async throws -> T {
    var pause = Duration.milliseconds(1)
    while true {
      try Task.checkCancellation()
      if let lock = try await Blocking.run({ try self.takeLockFile(name) }) {
        // In one go with its removal: a task that is cancelled in between would leave the file.
        return try await Blocking.run {
          defer {
            try? self.unlink(name)
            try? lock.close()
          }
          return try body()
        }
      }
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(40))
    }
  }

  private func takeLockFile(_ name: String) throws -> Descriptor? {
    let file = try openFile(name, flags: [.readWrite, .create, .noFollow], mode: 0o600, follow: .none)
    guard try checked(hostos_flock(file.raw), "lock", name) == 1 else { return nil }
    // Who had it before has removed it meanwhile: then others may hold a newer one of this name.
    guard let present = try statusIfPresent(name), try present.inode == file.status().inode else { return nil }
    return file
  }
}
