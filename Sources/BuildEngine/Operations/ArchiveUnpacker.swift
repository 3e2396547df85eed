internal import HostOS
internal import LayerArchive
internal import OCIModel

/// `ADD archive.tar /`: what counts as an archive, and how it is unpacked (solver/llbsolver/file/unpack.go).
enum ArchiveUnpacker {
  /// Whether a file is a tar archive, plain or compressed in a way that layers may be. A file that cannot be told apart is none. Blocks.
  static func isArchive(_ open: () throws -> HostOS.Descriptor) throws -> Bool {
    do {
      let reader = TarReader(try decompressed(try open()))
      return try reader.next() != nil
    } catch is LayerArchiveError {
      return false
    }
  }

  /// Blocks. Owners come from the archive unless one is given.
  static func unpack(_ file: HostOS.Descriptor, into target: Directory, owner: FileOwner?) throws {
    let applier = LayerApplier(form: .archive, ownership: owner.map { .fixed(uid: $0.uid, gid: $0.gid) } ?? .preserve)
    _ = try applier.apply(DescriptorSource(file), to: target, isCancelled: { Task.isCancelled })
  }

  private static func decompressed(_ file: HostOS.Descriptor) throws -> any ByteSource { try DetectingSource(DescriptorSource(file)) }
}
