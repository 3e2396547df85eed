import HostOS
package import OCIModel
import Synchronization

/// Where an unfinished blob may be taken up again without reading it.
struct ResumePoint: Sendable {
  var hasher: DigestHasher
}

/// Content on its way into the store. Its calls block; they come one after another, from any thread.
///
/// A writer that is let go without `commit` leaves nothing, but for one whose digest is known: what it got is kept for the next writer of that
/// digest, until a day has passed. Where the disk is full nothing is kept: it would be what fills it, and the store's own rows need room too.
package final class BlobWriter: Sendable {
  /// The digest the content must have; nil when it is yet to be found.
  package let expected: Digest?
  package let expectedSize: Int64?
  /// Bytes an earlier attempt left, which were not written by this one.
  package let resumedFrom: Int64

  private enum Phase { case open, committed, ended }
  private struct State {
    var hasher: DigestHasher
    var phase = Phase.open
  }
  private let state: Mutex<State>
  private let store: ContentStore
  private let file: HostOS.Descriptor
  private let path: String
  private let lock: FileLock?

  /// A file of its own, named after its owner so that it can be swept.
  init(_ store: ContentStore, algorithm: Digest.Algorithm) throws {
    (self.store, expected, expectedSize, resumedFrom, lock) = (store, nil, nil, 0, nil)
    path = "\(StoreLayout.ingest)/\(IngestName.fresh())"
    file = try store.directory.openFile(path, flags: [.readWrite, .create, .exclusive, .noFollow], mode: 0o600, follow: .none)
    state = Mutex(State(hasher: DigestHasher(algorithm)))
  }

  /// Goes on with what there is of `digest`. The caller holds the digest's ingest lock.
  init(_ store: ContentStore, resuming digest: Digest, size: Int64?, lock: FileLock) throws {
    (self.store, expected, expectedSize, self.lock) = (store, digest, size, lock)
    path = "\(StoreLayout.ingest)/\(IngestName.partial(digest))"
    file = try store.directory.openFile(path, flags: [.readWrite, .create, .noFollow], mode: 0o600, follow: .none)
    let hasher = try Self.takeUp(file, digest, size, store.resumable.withLock { $0.removeValue(forKey: digest) })
    try file.truncate(to: hasher.count)
    try file.seek(to: hasher.count)
    resumedFrom = hasher.count
    state = Mutex(State(hasher: hasher))
  }

  deinit { finish(keeping: true) }

  /// Bytes taken in so far, earlier attempts' included: where a ranged request goes on.
  package var offset: Int64 { state.withLock { $0.hasher.count } }

  /// Throws `StoreError.sizeMismatch` as soon as there is more than promised. `noSpace` when the disk is full: that ends the content, and its room is free again.
  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    try state.withLock { state in
      guard state.phase == .open else { throw StoreError(.invalid, "the content was ended already") }
      if let size = expectedSize, state.hasher.count + Int64(bytes.count) > size {
        throw StoreError(.sizeMismatch, "\(name) is larger than the \(size) bytes that were promised", digest: expected)
      }
      try wrapping {
        do { try file.write(bytes) } catch {
          // What was written of the piece is not hashed: go back to where the hash is.
          try? file.truncate(to: state.hasher.count)
          _ = try? file.seek(to: state.hasher.count)
          guard (error as? HostError)?.code == .noSpace else { throw error }
          // Now, not when the last owner lets go of the writer: others need the room.
          try? file.truncate(to: 0)
          end(&state, keeping: false)
          throw StoreError.wrap(error, "cannot take in \(name): \(need(state.hasher.count + Int64(bytes.count)))", root: store.root)
        }
      }
      state.hasher.update(bytes)
    }
  }
  package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

  /// Throws away what there is, to take the content from its beginning again.
  package func restart() throws {
    try state.withLock { state in
      guard state.phase == .open else { throw StoreError(.invalid, "the content was ended already") }
      try wrapping {
        try file.truncate(to: 0)
        try file.seek(to: 0)
      }
      state.hasher = DigestHasher(expected?.algorithm ?? .sha256)
    }
  }

  /// Ends the content and makes it a blob, durably. Throws `StoreError.digestMismatch` or `sizeMismatch` when it is not what was promised: then it is gone.
  package func commit(expecting digest: Digest? = nil) throws -> (digest: Digest, size: Int64) {
    do {
      return try state.withLock { state in
        guard state.phase == .open else { throw StoreError(.invalid, "the content was ended already") }
        let found = state.hasher.finish()
        let size = state.hasher.count
        if let expectedSize, size != expectedSize {
          throw StoreError(.sizeMismatch, "\(name) has \(size) bytes, not the \(expectedSize) that were promised", digest: expected)
        }
        for promised in [expected, digest] {
          if let promised, promised != found { throw StoreError(.digestMismatch, "the content promised as \(promised) is \(found)", digest: promised) }
        }
        try wrapping {
          try file.syncData()
          // Named before it is looked for: from then on nobody takes it away.
          try store.take(found, size: file.status().allocated)
          if store.contains(found) {
            try store.directory.unlink(path)
          } else {
            try file.setMode(0o444)
            try store.directory.rename(path, to: StoreLayout.blob(found))
            store.noteUnsynced(found.algorithm)
          }
        }
        state.phase = .committed
        lock?.release()
        return (found, size)
      }
    } catch {
      finish(keeping: false)
      throw error
    }
  }

  /// Throws the content away.
  package func abort() { finish(keeping: false) }

  private var name: String { expected?.description ?? "the content" }

  private func wrapping(_ body: () throws -> Void) throws { try StoreError.wrapping("cannot take in \(name)", root: store.root, body) }

  /// How much room it takes, as far as is known.
  private func need(_ so: Int64) -> String { expectedSize.map { "it needs \($0) bytes" } ?? "it needs more than \(so) bytes" }

  private func finish(keeping: Bool) { state.withLock { end(&$0, keeping: keeping) } }

  private func end(_ state: inout State, keeping: Bool) {
    guard state.phase == .open else { return }
    state.phase = .ended
    if keeping, let expected, state.hasher.count > 0 {
      store.resumable.withLock { [hasher = state.hasher] in $0[expected] = ResumePoint(hasher: hasher) }
    } else {
      try? store.directory.unlink(path)
    }
    lock?.release()
  }

  /// The hash of as much as can be kept of what is there: known from this process, or read again.
  private static func takeUp(_ file: HostOS.Descriptor, _ digest: Digest, _ size: Int64?, _ known: ResumePoint?) throws -> DigestHasher {
    let present = try file.size
    if let known, known.hasher.count <= present, known.hasher.count <= size ?? .max { return known.hasher }
    var hasher = DigestHasher(digest.algorithm)
    guard present > 0, present <= size ?? .max else { return hasher }
    let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { chunk.deallocate() }
    while true {
      let count = try file.readFully(into: chunk, at: hasher.count)
      if count == 0 { return hasher }
      hasher.update(UnsafeRawBufferPointer(rebasing: chunk[..<count]))
    }
  }
}

/// Names of files beneath `ingest`.
enum IngestName {
  /// Says whose it is.
  static func fresh() -> String {
    let me = ProcessIdentity.current
    return "tmp.\(me.pid).\(me.startTime).\(me.pidNamespace).\(me.bootID).\(String(UInt64.random(in: .min ... .max), radix: 36))"
  }
  static func owner(_ name: String) -> ProcessIdentity? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 6, parts[0] == "tmp", let pid = Int32(parts[1]), let start = UInt64(parts[2]), let namespace = UInt64(parts[3]) else { return nil }
    return ProcessIdentity(pid: pid, startTime: start, bootID: String(parts[4]), pidNamespace: namespace)
  }
  static func partial(_ digest: Digest) -> String { "\(digest.algorithm.rawValue)-\(digest.hex).part" }
  static func partialDigest(_ name: String) -> Digest? {
    guard name.hasSuffix(".part"), let dash = name.firstIndex(of: "-") else { return nil }
    return Digest("\(name[..<dash]):\(name[name.index(after: dash)...].dropLast(5))")
  }
}
