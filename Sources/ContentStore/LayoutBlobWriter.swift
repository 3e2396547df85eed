import HostOS
package import OCIModel
import Synchronization

/// A blob on its way into an OCI layout: a file beside its place, which gets its name when digest and size are right, and goes when it is let go before.
/// Its calls block and come one after another.
package final class LayoutBlobWriter: Sendable {
  private let layout: OCILayout
  private let descriptor: OCIModel.Descriptor
  private let folder: Directory
  private let file: HostOS.Descriptor
  private let temporary: String
  private struct State {
    var hasher: DigestHasher
    var isOpen = true
  }
  private let state: Mutex<State>

  fileprivate init(_ layout: OCILayout, _ descriptor: OCIModel.Descriptor) throws {
    (self.layout, self.descriptor) = (layout, descriptor)
    state = Mutex(State(hasher: DigestHasher(descriptor.digest.algorithm)))
    folder = try layout.directory.makeDirectories("blobs/\(descriptor.digest.algorithm.rawValue)")
    temporary = ".\(descriptor.digest.hex.prefix(16)).\(String(UInt64.random(in: .min ... .max), radix: 36)).tmp"
    file = try folder.openFile(temporary, flags: [.writeOnly, .create, .exclusive, .noFollow], mode: 0o644, follow: .none)
  }

  deinit { if state.withLock({ $0.isOpen }) { try? folder.unlink(temporary) } }

  /// Throws `StoreError.sizeMismatch` as soon as there is more than promised.
  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    try state.withLock { state in
      guard state.hasher.count + Int64(bytes.count) <= descriptor.size else {
        throw StoreError(.sizeMismatch, "\(descriptor.digest) is larger than the \(descriptor.size) bytes that were promised", path: layout.path, digest: descriptor.digest)
      }
      try wrapping { try file.write(bytes) }
      state.hasher.update(bytes)
    }
  }

  /// Throws `StoreError.digestMismatch` or `sizeMismatch` when it is not what was promised.
  package func commit() throws {
    try state.withLock { state in
      guard state.hasher.count == descriptor.size else {
        throw StoreError(.sizeMismatch, "\(descriptor.digest) has \(state.hasher.count) bytes, not the \(descriptor.size) that were promised", path: layout.path, digest: descriptor.digest)
      }
      let found = state.hasher.finish()
      guard found == descriptor.digest else { throw StoreError(.digestMismatch, "the content promised as \(descriptor.digest) is \(found)", path: layout.path, digest: descriptor.digest) }
      try wrapping {
        try file.syncData()
        try file.close()
        try folder.rename(temporary, to: descriptor.digest.hex)
      }
      state.isOpen = false
    }
  }

  private func wrapping<T>(_ body: () throws -> T) throws -> T { try OCILayout.wrapping("cannot write \(descriptor.digest) to \(layout.path)", body) }
}

extension OCILayout {
  /// Takes in a blob, or nil when it is there: a file of its digest with another size is not it, and is replaced. Blocks.
  package func writer(for descriptor: OCIModel.Descriptor) throws -> LayoutBlobWriter? {
    if size(of: descriptor.digest) == descriptor.size { return nil }
    return try Self.wrapping("cannot write \(descriptor.digest) to \(path)") { try LayoutBlobWriter(self, descriptor) }
  }
}
