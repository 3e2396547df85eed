internal import BuildInterface
internal import HostOS
internal import LayerArchive
internal import OCIModel

/// `ADD archive.tar /`: what counts as an archive, and how it is unpacked (solver/llbsolver/file/unpack.go). Besides what layers may be compressed
/// with, these may be xz and bzip2: the system's programs undo them.
enum ArchiveUnpacker {
  /// Whether a file is a tar archive, plain or compressed. A file that cannot be told apart is none. Blocks.
  static func isArchive(_ open: () throws -> HostOS.Descriptor) throws -> Bool {
    do {
      let reader = TarReader(try DetectingSource(try source(try open())))
      return try reader.next() != nil
    } catch is LayerArchiveError {
      return false
    }
  }

  /// The latest modification of a file in an archive, in nanoseconds; nil where there is no archive, or no file in it. Blocks.
  static func newestTime(_ file: HostOS.Descriptor) throws -> Int64? {
    do {
      let reader = TarReader(try DetectingSource(try source(file)))
      var newest: Int64?
      while let entry = try reader.next() { if entry.kind == .file { newest = max(newest ?? .min, entry.modified.nanosecondsSinceEpoch) } }
      return newest
    } catch is LayerArchiveError { return nil }
  }

  /// Blocks. Owners come from the archive unless one is given.
  static func unpack(_ file: HostOS.Descriptor, into target: Directory, owner: FileOwner?) throws {
    let applier = LayerApplier(
      form: .archive, ownership: owner.map { .fixed(uid: $0.uid, gid: $0.gid) } ?? .preserve, decompressionLimits: .default.packed(try file.status().size))
    _ = try applier.apply(try source(file), to: target, isCancelled: { Task.isCancelled })
  }

  /// The file's bytes, without the compressions that our own library does not know.
  private static func source(_ file: HostOS.Descriptor) throws -> any ByteSource {
    var head = [UInt8](repeating: 0, count: 6)
    _ = try head.withUnsafeMutableBytes { try file.readFully(into: $0, at: 0) }
    if head.starts(with: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) { return try FilteredSource("xz", package: "xz-utils", file) }
    if head.starts(with: [0x42, 0x5a, 0x68]) { return try FilteredSource("bzip2", package: "bzip2", file) }
    return DescriptorSource(file)
  }
}

/// What a decompressor makes of a file.
private final class FilteredSource: ByteSource {
  private let process: FilterProcess
  private let program: String

  init(_ program: String, package: String, _ file: HostOS.Descriptor) throws {
    self.program = program
    do { process = try FilterProcess(program, ["-d", "-c", "-q"], input: file) } catch let error as HostError where error.code == .notFound {
      throw BuildError(
        .failedPrecondition, .build, "a file to be added is compressed with \(program), and the program \(program) is not installed",
        suggestion: "install the package \(package), or keep the file as it is with ADD --unpack=false", cause: error)
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
    let n = try process.output.read(into: buffer)
    if n == 0, !buffer.isEmpty {
      do { try process.finish() } catch { throw LayerArchiveError(.corruptCompression, "\(program) cannot decompress it", cause: error) }
    }
    return n
  }
}
