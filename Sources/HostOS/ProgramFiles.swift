import CHostOS

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// An executable file that begins as ELF files do.
package struct ProgramFile: Sendable, Hashable {
  /// Beneath the tree.
  package var path: String
  /// Its first 64 bytes, zeros behind its end.
  package var head: [UInt8]
}

extension Directory {
  /// Calls `body` for the programs in the tree; one look at each file's status and, of executable ones, at 64 bytes. `body` answers whether to go on. Blocks.
  package func programs(_ body: (ProgramFile) -> Bool) throws {
    try withoutActuallyEscaping(body) { body in
      final class Box {
        let body: (ProgramFile) -> Bool
        init(_ body: @escaping (ProgramFile) -> Bool) { self.body = body }
      }
      let box = Box(body)
      let code = withExtendedLifetime((box, self)) {
        hostos_programs(
          descriptor.raw,
          { context, path, head in
            guard let context, let path, let head else { return 0 }
            let bytes = Array(UnsafeBufferPointer(start: head, count: 64))
            let name = PathText.decode(Array(UnsafeBufferPointer(start: path, count: strlen(path))).map { UInt8(bitPattern: $0) })
            return Unmanaged<Box>.fromOpaque(context).takeUnretainedValue().body(ProgramFile(path: name, head: bytes)) ? 0 : 1
          }, Unmanaged.passUnretained(box).toOpaque())
      }
      if code < 0 { throw HostError(errno: Int32(-code), operation: "look for programs", path: "") }
    }
  }
}
